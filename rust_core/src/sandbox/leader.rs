//! The first process of what was started: our own child, or one of a keeper's.

use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitStatus};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, pidfd_send_signal};

use crate::process::watch;

/// Must be waited for, so that nothing of it is left.
#[derive(Debug)]
pub enum Leader {
    /// Of this process.
    Own(Child),
    /// In the sandbox: its process 1, which says how the command ended when nothing in there lives any more.
    Confined(Confined),
}

/// See `Leader::Confined`.
#[derive(Debug)]
pub struct Confined {
    pid: Pid,
    /// Names this process and no later one.
    own: OwnedFd,
    socket: UnixStream,
    status: Option<ExitStatus>,
}

impl Confined {
    /// `socket`: the command's own, on which its status will come.
    pub fn new(pid: Pid, socket: UnixStream) -> io::Result<Self> {
        Ok(Self { pid, own: watch(pid)?, socket, status: None })
    }

    fn wait(&mut self) -> ExitStatus {
        if let Some(status) = self.status {
            return status;
        }
        let mut status = [0; 4];
        let status = if self.socket.read_exact(&mut status).is_ok() {
            i32::from_ne_bytes(status)
        } else {
            // It was killed itself; what it held is dead when it is.
            let _ = poll(&mut [PollFd::new(&self.own, PollFlags::IN)], None);
            Signal::KILL.as_raw()
        };
        *self.status.insert(ExitStatus::from_raw(status))
    }
}

impl Leader {
    /// As this process counts.
    pub fn pid(&self) -> Pid {
        match self {
            Self::Own(child) => Pid::from_child(child),
            Self::Confined(confined) => confined.pid,
        }
    }

    /// A descriptor that becomes readable when `wait` will not block.
    pub fn watch(&self) -> io::Result<OwnedFd> {
        match self {
            Self::Own(child) => watch(Pid::from_child(child)),
            Self::Confined(confined) => Ok(confined.socket.try_clone()?.into()),
        }
    }

    /// Its end. Twice gives the same.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        match self {
            Self::Own(child) => child.wait(),
            Self::Confined(confined) => Ok(confined.wait()),
        }
    }

    /// It has not ended, as far as is known.
    pub fn is_running(&mut self) -> bool {
        match self {
            Self::Own(child) => matches!(child.try_wait(), Ok(None)),
            Self::Confined(confined) => confined.status.is_none(),
        }
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        let _ = match self {
            Self::Own(child) => child.kill(),
            Self::Confined(confined) => pidfd_send_signal(&confined.own, Signal::KILL).map_err(Into::into),
        };
    }
}
