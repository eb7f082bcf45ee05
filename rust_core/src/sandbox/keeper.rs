//! The launcher's keepers: one builds what all commands of one confinement share, and has processes ready for the next.
//!
//! Those of a session are kept: a command then waits for nothing but its own program. One that is granted hosts, or that
//! lives long, gets a keeper of its own.

use std::io::{self, IoSlice, IoSliceMut, Read as _};
use std::net::TcpListener;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

use super::confinement::Confinement;
use super::environment::Environment;
use super::launcher;
use super::leader::Leader;
use super::order::{Ground, Message as _};
use super::spawn::{Input, Output, Request, spawn};

/// Putting up the sandbox takes milliseconds; on a machine that swaps, more.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Commands that may write and commands that only read take turns; a rule that admits a place makes another.
const MAX_KEPT: usize = 3;
/// One process is started at a time, while its end of the socket can be inherited. Another program started meanwhile by
/// somebody else may get it too: it could only say that the sandbox is ready.
static TURN: Mutex<()> = Mutex::new(());

/// The keepers of a session, the one used last at the end.
#[derive(Debug, Default)]
pub struct Keepers(Mutex<Vec<Arc<Keeper>>>);

impl Keepers {
    /// One for this ground, with the marker of its core.
    pub fn get(&self, ground: &Ground, marker: &str, state: &Path) -> io::Result<Arc<Keeper>> {
        // Held while one is started: whoever needs the same waits for it.
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.iter().position(|keeper| keeper.ground == *ground).map(|at| kept.remove(at));
        let keeper = match found.filter(|keeper| keeper.is_alive()) {
            Some(keeper) => keeper,
            None => Arc::new(Keeper::start(ground.clone(), marker, state, Input::Null)?.0),
        };
        kept.push(Arc::clone(&keeper));
        let dropped = if kept.len() > MAX_KEPT { Some(kept.remove(0)) } else { None };
        drop(kept);
        drop(dropped); // lives on as long as a command of its runs
        Ok(keeper)
    }

    /// Lets go of all of them.
    pub fn clear(&self) {
        let kept = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        drop(kept);
    }
}

/// A running launcher.
#[derive(Debug)]
pub struct Keeper {
    ground: Ground,
    socket: UnixStream,
    child: Mutex<Leader>,
    /// A fork of this program must not end what belongs to its parent.
    owner: u32,
}

impl Keeper {
    /// With the socket a proxy is to listen on, where the ground asks for one. `input`: `Inherit` leaves it in the terminal's
    /// reach. An error leaves nothing running.
    pub fn start(ground: Ground, marker: &str, state: &Path, input: Input) -> io::Result<(Self, Option<TcpListener>)> {
        let program = launcher::path(state)?;
        let (mut ours, theirs) = UnixStream::pair()?;
        ours.set_read_timeout(Some(PATIENCE))?;
        ours.set_write_timeout(Some(PATIENCE))?;
        let child = {
            let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
            fcntl_setfd(&theirs, FdFlags::empty())?;
            let started = spawn(&Request {
                program: &program,
                arguments: &[theirs.as_raw_fd().to_string().into()],
                folder: Path::new("/"),
                environment: &Environment::new(),
                marker,
                input,
                output: Output::Merged,
                confinement: &Confinement::Off,
            });
            drop(theirs);
            started?.child
        };
        let answer = ground.send(&mut ours).and_then(|()| answer(&mut ours, ground.wants_proxy));
        let keeper = Self { ground, socket: ours, child: Mutex::new(child), owner: std::process::id() };
        answer.map(|listener| (keeper, listener))
    }

    /// Hands over a command's socket and its input, output and errors.
    pub fn ask(&self, fds: [BorrowedFd<'_>; 4]) -> io::Result<()> {
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&fds));
        loop {
            match sendmsg(&self.socket, &[IoSlice::new(b"r")], &mut control, SendFlags::NOSIGNAL) {
                Err(rustix::io::Errno::INTR) => {}
                sent => return Ok(sent.map(drop)?),
            }
        }
    }

    fn is_alive(&self) -> bool {
        self.child.lock().unwrap_or_else(PoisonError::into_inner).is_running()
    }
}

impl Drop for Keeper {
    /// It ends all it has started.
    fn drop(&mut self) {
        if self.owner != std::process::id() {
            return;
        }
        let _ = self.socket.shutdown(std::net::Shutdown::Both); // a fork of this program may hold it, too
        let _ = self.child.get_mut().unwrap_or_else(PoisonError::into_inner).wait();
    }
}

fn gone() -> io::Error {
    io::Error::other("the sandbox's launcher ended before the command began")
}

/// `+`: it is ready. Before, where hosts are granted, the socket its proxy listens on.
fn answer(from: &mut UnixStream, wants_proxy: bool) -> io::Result<Option<TcpListener>> {
    let mut listener = None;
    loop {
        match receive(from)? {
            (Some(0), Some(fd)) if wants_proxy && listener.is_none() => listener = Some(TcpListener::from(fd)),
            (Some(b'+'), None) if listener.is_some() == wants_proxy => return Ok(listener),
            (Some(b'-'), None) => return Err(refusal(from)),
            _ => return Err(gone()),
        }
    }
}

/// What follows a `-`.
pub fn refusal(from: &mut UnixStream) -> io::Error {
    let mut why = String::new();
    match from.read_to_string(&mut why) {
        Ok(_) => io::Error::other(why),
        Err(error) => error,
    }
}

fn receive(from: &UnixStream) -> io::Result<(Option<u8>, Option<OwnedFd>)> {
    let mut byte = [0];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = loop {
        match recvmsg(from.as_fd(), &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC) {
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
