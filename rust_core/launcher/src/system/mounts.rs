//! Mounts, by the classic call and by the one that names trees with descriptors.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::ptr;

use libc::{c_uint, c_ulong};

use super::{check, check_long, owned, text};

/// The classic mount call; empty texts are left out.
pub fn mount(source: &str, target: &Path, kind: &str, flags: c_ulong, options: &str) -> io::Result<()> {
    let (source, target, kind, options) = (text(source)?, text(target)?, text(kind)?, text(options)?);
    let pointer = |text: &CString| if text.is_empty() { ptr::null() } else { text.as_ptr() };
    // SAFETY: the texts outlive the call.
    let result =
        unsafe { libc::mount(pointer(&source), target.as_ptr(), pointer(&kind), flags, pointer(&options).cast()) };
    check(result).map(drop)
}

const OPEN_TREE_CLONE: c_uint = 1;
const AT_RECURSIVE: c_uint = 0x8000;
const MOVE_MOUNT_F_EMPTY_PATH: c_uint = 4;
const MOUNT_ATTR_RDONLY: u64 = 1;
const MOUNT_ATTR_NOSUID: u64 = 2;
const MOUNT_ATTR_NODEV: u64 = 4;

#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// A copy of the tree of mounts at `path`, not attached anywhere yet.
pub fn clone_tree(path: &Path) -> io::Result<OwnedFd> {
    let path = text(path)?;
    let flags = OPEN_TREE_CLONE | AT_RECURSIVE | libc::O_CLOEXEC as c_uint;
    // SAFETY: the path outlives the call.
    let fd = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) };
    check_long(fd).map(owned)
}

/// Puts such a copy somewhere; the last component of `path` is not followed.
pub fn attach_tree(tree: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = text(path)?;
    // SAFETY: the paths outlive the call.
    check_long(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            path.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH,
        )
    })
    .map(drop)
}

/// No set-user-ID and (but for devices themselves) no devices below; also no writing where `is_read_only`.
pub fn set_tree_attributes(tree: BorrowedFd<'_>, is_read_only: bool, has_devices: bool) -> io::Result<()> {
    let read_only = if is_read_only { MOUNT_ATTR_RDONLY } else { 0 };
    let no_devices = if has_devices { 0 } else { MOUNT_ATTR_NODEV };
    let attributes =
        MountAttr { attr_set: MOUNT_ATTR_NOSUID | no_devices | read_only, attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: the structure is the kernel's and as long as said.
    check_long(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH as c_uint | AT_RECURSIVE,
            &raw const attributes,
            size_of::<MountAttr>(),
        )
    })
    .map(drop)
}
