//! Bytes in both directions between two sockets, until both are done or nothing has moved for too long.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;
use std::time::{Duration, Instant};

/// Nothing moves for so long in either direction: the connection is given up.
const IDLE: Duration = Duration::from_secs(300);
/// How often a waiting direction looks whether the other one has moved.
const TICK: Duration = Duration::from_secs(20);
/// Two threads a connection; they need little.
pub const STACK_BYTES: usize = 256 * 1024;

/// Relays. `first`: bytes of the client that were read already. `limit`: how many more the client may send (`None`: any
/// number, and its end is passed on). `vet` sees the client's stream first and gives the bytes it read; its error ends all.
pub fn relay(
    client: &TcpStream,
    server: &TcpStream,
    limit: Option<u64>,
    vet: impl FnOnce(&TcpStream) -> io::Result<Vec<u8>> + Send,
) -> io::Result<()> {
    let moved_at = Mutex::new(Instant::now());
    for stream in [client, server] {
        stream.set_write_timeout(Some(IDLE))?;
    }
    server.set_read_timeout(Some(TICK))?;
    let close = || {
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    };
    let upload = || -> io::Result<()> {
        let first = vet(client)?;
        client.set_read_timeout(Some(TICK))?;
        (&*server).write_all(&first)?;
        let left = limit.map(|limit| limit.saturating_sub(first.len() as u64));
        copy(client, server, left, &moved_at)?;
        if limit.is_none() { server.shutdown(Shutdown::Write) } else { Ok(()) }
    };
    thread::scope(|scope| {
        thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, || {
            if upload().is_err() {
                close();
            }
        })?;
        let result = copy(server, client, None, &moved_at);
        if result.is_err() || limit.is_some() {
            close();
        } else {
            let _ = client.shutdown(Shutdown::Write);
        }
        result
    })
}

fn copy(mut from: &TcpStream, mut to: &TcpStream, limit: Option<u64>, moved_at: &Mutex<Instant>) -> io::Result<()> {
    let mut left = limit.unwrap_or(u64::MAX);
    let mut chunk = vec![0; 64 * 1024];
    while left > 0 {
        let most = usize::try_from(left).map_or(chunk.len(), |left| left.min(chunk.len()));
        match from.read(&mut chunk[..most]) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                to.write_all(&chunk[..count])?;
                left -= count as u64;
                *moved_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                if moved_at.lock().unwrap_or_else(PoisonError::into_inner).elapsed() > IDLE {
                    return Err(ErrorKind::TimedOut.into());
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
