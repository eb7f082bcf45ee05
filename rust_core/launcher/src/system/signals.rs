//! Signals: sent, blocked, and read from a descriptor.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::ptr;

use libc::{c_int, pid_t};

use super::{check, owned};

/// Signals that are waited for instead of being delivered.
pub fn waited_signals() -> libc::sigset_t {
    // SAFETY: the set is initialised by `sigemptyset`.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in
            [libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2]
        {
            libc::sigaddset(&raw mut set, signal);
        }
        set
    }
}

/// Blocks these signals, or none.
pub fn block(signals: Option<&libc::sigset_t>) {
    // SAFETY: the sets are initialised.
    unsafe {
        let mut empty: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut empty);
        libc::sigprocmask(libc::SIG_SETMASK, signals.unwrap_or(&empty), ptr::null_mut());
    }
}

/// Signals that the one who started us ignored are not ignored by the command: Python ignores `SIGPIPE`, for one.
pub fn restore_signals() {
    for signal in 1..32 {
        // SAFETY: the default action runs no code of ours. For `SIGKILL` and `SIGSTOP` it is refused.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// A descriptor that delivers blocked signals.
pub fn signal_fd(signals: &libc::sigset_t) -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised.
    check(unsafe { libc::signalfd(-1, signals, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) }).map(owned)
}

/// The next signal and whether a process sent it (not the terminal, not the kernel).
pub fn next_signal(fd: BorrowedFd<'_>) -> Option<(c_int, bool)> {
    // SAFETY: zero is a valid value, and the kernel writes no more than said.
    unsafe {
        let mut signal: libc::signalfd_siginfo = std::mem::zeroed();
        let size = size_of::<libc::signalfd_siginfo>();
        let count = libc::read(fd.as_raw_fd(), (&raw mut signal).cast(), size);
        (count as usize == size).then_some((signal.ssi_signo as c_int, signal.ssi_code <= 0))
    }
}

/// Sends a signal; below zero a process group.
pub fn kill(pid: pid_t, signal: c_int) {
    // SAFETY: takes no pointers.
    unsafe { libc::kill(pid, signal) };
}
