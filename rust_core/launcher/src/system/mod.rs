//! The system calls that have no safe face in a crate, each as thin as can be. All `unsafe` of the launcher is in this folder.
#![allow(unsafe_code)]

mod descriptors;
mod mounts;
mod process;
mod rights;
mod signals;
mod socket;

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;

use libc::{c_int, c_long};

use crate::order::Layers;

pub use descriptors::{CLOSED, READABLE, close_all_but, open_path, pipe, poll, take_only};
pub use mounts::{attach_tree, clone_tree, mount, set_tree_attributes};
pub use process::{
    change_folder, clone_process, end_like, exit, fork, has_children, ids, new_session, reap, start_program, unshare,
    wait,
};
pub use rights::{keep_capabilities, landlock_version, limit, prctl};
pub use signals::{block, kill, next_signal, signal_fd, waited_signals};
pub use socket::{is_at_end, raise_loopback, receive_request, send_fd};

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn check_long(result: c_long) -> io::Result<c_int> {
    check(result as c_int)
}

fn text(path: impl AsRef<OsStr>) -> io::Result<CString> {
    Ok(CString::new(path.as_ref().as_bytes())?)
}

fn owned(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor for us and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// A message of the operating system with what was being done.
pub fn context<T>(result: io::Result<T>, doing: impl FnOnce() -> String) -> Result<T, String> {
    result.map_err(|error| format!("{}: {error}", doing()))
}

/// The namespaces that all commands of a confinement share. The network is one of them: it costs more than all others
/// together, and a server in the background can be reached by the next command.
pub fn shared_flags(layers: Layers) -> c_int {
    let mut flags = libc::CLONE_NEWNS | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    if layers.user_namespace {
        flags |= libc::CLONE_NEWUSER;
    }
    if layers.cgroup_namespace {
        flags |= libc::CLONE_NEWCGROUP;
    }
    flags
}

/// Those that each command has of its own.
pub fn init_flags(layers: Layers) -> c_int {
    if layers.namespaces { libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWIPC } else { 0 }
}
