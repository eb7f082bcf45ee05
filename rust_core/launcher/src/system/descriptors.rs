//! Descriptors: inherited, opened, closed, waited for.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use libc::{c_int, c_uint};

use super::{check, owned, text};

/// Takes over a descriptor that was inherited, and closes every other one above standard error.
pub fn take_only(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: plain system calls on numbers; nothing in this program holds another descriptor yet.
    unsafe {
        check(libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC))?;
        close_range(3, fd as c_uint - 1)?;
        close_range(fd as c_uint + 1, c_uint::MAX)?;
    }
    Ok(owned(fd))
}

/// Closes every descriptor above standard error but these. Whoever holds others must not use or drop them any more.
pub fn close_all_but(kept: &[&OwnedFd]) -> io::Result<()> {
    let mut kept: Vec<c_uint> = kept.iter().map(|fd| fd.as_raw_fd() as c_uint).collect();
    kept.sort_unstable();
    let mut first = 3;
    for fd in kept {
        close_range(first, fd - 1)?;
        first = fd + 1;
    }
    close_range(first, c_uint::MAX)
}

fn close_range(first: c_uint, last: c_uint) -> io::Result<()> {
    if first > last {
        return Ok(());
    }
    // SAFETY: see `take_only`.
    if unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } == 0 {
        return Ok(());
    }
    // Kernels before 5.9.
    for entry in std::fs::read_dir("/proc/self/fd")?.flatten() {
        if let Some(fd) = entry.file_name().to_str().and_then(|name| name.parse::<c_uint>().ok())
            && (first..=last).contains(&fd)
        {
            // SAFETY: as above. The folder's own descriptor is closed twice; the second time does nothing.
            unsafe { libc::close(fd as c_int) };
        }
    }
    Ok(())
}

/// A descriptor that names a place without opening it.
pub fn open_path(path: &Path, follow: bool) -> io::Result<OwnedFd> {
    let path = text(path)?;
    let flags = libc::O_PATH | libc::O_CLOEXEC | if follow { 0 } else { libc::O_NOFOLLOW };
    // SAFETY: the path outlives the call.
    check(unsafe { libc::open(path.as_ptr(), flags) }).map(owned)
}

/// A pipe whose ends are not inherited by programs.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: the array has room for two.
    check(unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) })?;
    Ok((owned(fds[0]), owned(fds[1])))
}

/// Something can be read, or the other end was closed.
pub const READABLE: libc::c_short = libc::POLLIN;

/// The other end was closed.
pub const CLOSED: libc::c_short = 0;

/// Waits until what is asked for has happened on one of the descriptors; on which ones. `timeout_ms`: none of them, then.
pub fn poll<const N: usize>(fds: [(Option<BorrowedFd>, libc::c_short); N], timeout_ms: Option<c_int>) -> [bool; N] {
    let mut entries =
        fds.map(|(fd, events)| libc::pollfd { fd: fd.map_or(-1, |fd| fd.as_raw_fd()), events, revents: 0 });
    // SAFETY: the array is as long as said.
    let count = unsafe { libc::poll(entries.as_mut_ptr(), N as _, timeout_ms.unwrap_or(-1)) };
    entries.map(|entry| count > 0 && entry.revents != 0)
}
