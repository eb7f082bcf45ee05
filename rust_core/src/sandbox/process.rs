//! A process that a tool of Python talks to: its pipes without blocking for ever, its end, and ending it.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::Pid;

use super::confined::Hold;
use super::leader::Leader;
use super::spawn::Running;
use crate::process::{kill_tree, timespec};

/// One direction of a process's pipes; `None` once closed.
type Pipe<T> = Mutex<Option<T>>;

/// Thread-safe: one thread may wait for output while another writes and a third kills.
pub struct Process {
    pid: Pid,
    marker: String,
    /// Readable once the process has ended.
    ended: OwnedFd,
    child: Mutex<Child>,
    input: Pipe<io::PipeWriter>,
    output: Pipe<io::PipeReader>,
    errors: Pipe<io::PipeReader>,
}

struct Child {
    leader: Leader,
    status: Option<ExitStatus>,
    /// Letting go of it ends a confined process; what has put it up is waited for then, and so stays no longer than it does.
    hold: Option<Hold>,
}

impl Process {
    /// Takes over what `spawn` gave; an error leaves nothing running.
    pub fn new(running: Running, marker: &str) -> io::Result<Self> {
        let Running { mut child, input, output, errors, hold } = running;
        let pid = child.pid();
        let prepared = child.watch().and_then(|ended| {
            let input = input.as_ref().map(AsFd::as_fd);
            for pipe in input.into_iter().chain([output.as_fd()]).chain(errors.as_ref().map(AsFd::as_fd)) {
                fcntl_setfl(pipe, fcntl_getfl(pipe)? | OFlags::NONBLOCK)?;
            }
            Ok(ended)
        });
        match prepared {
            Ok(ended) => Ok(Self {
                pid,
                marker: marker.to_owned(),
                ended,
                child: Mutex::new(Child { leader: child, status: None, hold }),
                input: Mutex::new(input),
                output: Mutex::new(Some(output)),
                errors: Mutex::new(errors),
            }),
            Err(error) => {
                child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// As the operating system counts.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Writes all of `bytes`; an error where the process has ended or its input was closed.
    pub fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut input = lock(&self.input);
        let pipe = input.as_mut().ok_or_else(|| io::Error::new(io::ErrorKind::BrokenPipe, "its input is closed"))?;
        let mut left = bytes;
        while !left.is_empty() {
            match pipe.write(left) {
                Ok(count) => left = &left[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let mut fds = [PollFd::new(pipe, PollFlags::OUT), PollFd::new(&self.ended, PollFlags::IN)];
                    let _ = poll(&mut fds, None);
                    if fds[0].revents().is_empty() && !fds[1].revents().is_empty() {
                        return Err(io::Error::new(io::ErrorKind::BrokenPipe, "the process has ended"));
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Says that nothing more will be written.
    pub fn close_input(&self) {
        lock(&self.input).take();
    }

    /// Up to `size` bytes of output. `None`: nothing came within `timeout`; empty: there will be no more.
    pub fn read_output(&self, size: usize, timeout: Option<Duration>) -> io::Result<Option<Vec<u8>>> {
        read(&self.output, &self.ended, size, timeout)
    }

    /// The same for the errors; where they are merged into the output, there are none.
    pub fn read_errors(&self, size: usize, timeout: Option<Duration>) -> io::Result<Option<Vec<u8>>> {
        read(&self.errors, &self.ended, size, timeout)
    }

    /// How it ended: the exit code, or the signal's number below zero. `None`: it still runs.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<Option<i32>> {
        let mut fds = [PollFd::new(&self.ended, PollFlags::IN)];
        let until = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            let left = until.map(|until| timespec(until.saturating_duration_since(Instant::now())));
            match poll(&mut fds, left.as_ref()) {
                Err(rustix::io::Errno::INTR) => {}
                Ok(0) => return Ok(None),
                Ok(_) => break,
                Err(error) => return Err(error.into()),
            }
        }
        let mut child = lock(&self.child);
        let status = match child.status {
            Some(status) => status,
            None => child.leader.wait()?, // ended by now: this does not block
        };
        child.status = Some(status);
        child.hold = None;
        Ok(status.code().or_else(|| status.signal().map(|signal| -signal)))
    }

    /// Ends it with everything it has started. Twice does nothing more.
    pub fn kill(&self) {
        if matches!(self.wait(Some(Duration::ZERO)), Ok(None)) {
            kill_tree(self.pid, &self.marker, &self.ended);
            let _ = self.wait(Some(Duration::from_secs(2)));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read(
    pipe: &Pipe<io::PipeReader>,
    ended: &OwnedFd,
    size: usize,
    timeout: Option<Duration>,
) -> io::Result<Option<Vec<u8>>> {
    let mut guard = lock(pipe);
    let Some(reader) = guard.as_mut() else { return Ok(Some(Vec::new())) };
    let mut buffer = vec![0; size.clamp(1, 1 << 20)];
    let until = timeout.map(|timeout| Instant::now() + timeout);
    let mut has_ended = false;
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => {
                guard.take();
                return Ok(Some(Vec::new()));
            }
            Ok(count) => {
                buffer.truncate(count);
                return Ok(Some(buffer));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            // Somebody it has left behind may hold the pipe open for ever: what was printed before its end was read.
            Err(_) if has_ended => return Ok(Some(Vec::new())),
            Err(_) => {}
        }
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(None);
        }
        let mut fds = [PollFd::new(reader, PollFlags::IN), PollFd::new(ended, PollFlags::IN)];
        let _ = poll(&mut fds, left.map(timespec).as_ref());
        has_ended = !fds[1].revents().is_empty();
    }
}
