//! Starting a process through the launcher: the order goes out, the word that the command runs comes back.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, IoSliceMut, Read as _};
use std::net::TcpListener;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Child;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::confinement::Enclosure;
use super::environment::MARKER_VARIABLE;
use super::launcher;
use super::order::Order;
use super::spawn::{Input, Request};
use crate::network::{Proxy, Refusal};

/// Putting up the sandbox takes milliseconds; on a machine that swaps, more.
const PATIENCE: Duration = Duration::from_secs(20);
/// One process is started at a time, while its end of the socket can be inherited. Another program started meanwhile by
/// somebody else may get it too: it could only say that the command runs.
static TURN: Mutex<()> = Mutex::new(());

/// Keeps a confined process alive, and its way to the network open.
pub struct Hold {
    _life: UnixStream,
    proxy: Option<Proxy>,
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold").finish_non_exhaustive()
    }
}

impl Hold {
    /// Hosts that the command tried to reach in vain.
    pub fn refusals(&self) -> Vec<Refusal> {
        self.proxy.as_ref().map(Proxy::refusals).unwrap_or_default()
    }
}

/// `spawn` starts the launcher with one argument. An error leaves nothing running.
pub fn start(
    request: &Request<'_>,
    enclosure: &Enclosure,
    spawn: impl FnOnce(&Path, &str) -> io::Result<Child>,
) -> io::Result<(Child, Hold)> {
    let program = launcher::path(&enclosure.state)?;
    let (mut ours, theirs) = UnixStream::pair()?;
    ours.set_read_timeout(Some(PATIENCE))?;
    ours.set_write_timeout(Some(PATIENCE))?;
    let spawned = {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        fcntl_setfd(&theirs, FdFlags::empty())?;
        let spawned = spawn(&program, &theirs.as_raw_fd().to_string());
        drop(theirs);
        spawned
    };
    let mut child = spawned?;
    let order = order(request, enclosure);
    match order.send(&mut ours).and_then(|()| answer(&mut ours, enclosure)) {
        Ok(proxy) => Ok((child, Hold { _life: ours, proxy })),
        Err(error) => {
            drop(ours);
            let _ = child.kill();
            let _ = child.wait();
            Err(error)
        }
    }
}

fn order(request: &Request<'_>, enclosure: &Enclosure) -> Order {
    let mut variables = request.environment.clone();
    for (name, value) in enclosure.variables.iter().cloned().chain([(MARKER_VARIABLE.into(), request.marker.into())]) {
        variables.retain(|(other, _)| *other != name);
        variables.push((name, value));
    }
    let joined = |(name, value): (OsString, OsString)| {
        let mut text = name;
        text.push("=");
        text.push(value);
        text
    };
    let program = request.program.as_os_str().to_owned();
    Order {
        arguments: [program.clone()].into_iter().chain(request.arguments.iter().cloned()).collect(),
        program,
        folder: request.folder.as_os_str().to_owned(),
        environment: variables.into_iter().map(joined).collect(),
        layers: enclosure.layers,
        places: enclosure.places.clone(),
        devices: enclosure.devices.clone(),
        readable: enclosure.readable.clone(),
        wants_proxy: enclosure.hosts.is_some(),
        new_session: request.input != Input::Inherit,
        limits: enclosure.limits.clone(),
        processes: enclosure.processes,
    }
}

/// `+`: the command runs. Before, where hosts are granted, the socket its proxy listens on.
fn answer(from: &mut UnixStream, enclosure: &Enclosure) -> io::Result<Option<Proxy>> {
    let mut proxy = None;
    loop {
        let (byte, fd) = receive(from)?;
        match (byte, fd, &enclosure.hosts) {
            (Some(0), Some(fd), Some(hosts)) if proxy.is_none() => {
                // Without it there would be no network at all, which is safe, but not what was granted: that is said.
                proxy = Some(Proxy::start(TcpListener::from(fd), Arc::clone(hosts))?);
            }
            (Some(b'+'), None, _) if proxy.is_some() == enclosure.hosts.is_some() => return Ok(proxy),
            (Some(b'-'), None, _) => {
                let mut why = String::new();
                from.read_to_string(&mut why)?;
                return Err(io::Error::other(why));
            }
            _ => return Err(io::Error::other("the sandbox's launcher ended before the command began")),
        }
    }
}

fn receive(from: &UnixStream) -> io::Result<(Option<u8>, Option<OwnedFd>)> {
    let mut byte = [0];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = loop {
        match recvmsg(from, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other?,
        }
    };
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    Ok(((message.bytes == 1).then_some(byte[0]), fd))
}
