//! Processes: made, started as programs, waited for, ended.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::ptr;

use libc::{c_int, c_long, pid_t};

use super::signals::{block, restore_signals};
use super::{check, check_long, text};
use crate::order::Run;

/// Leaves namespaces behind.
pub fn unshare(flags: c_int) -> io::Result<()> {
    // SAFETY: takes no pointers.
    check(unsafe { libc::unshare(flags) }).map(drop)
}

/// `None` in the child. There is one thread only, so the child may do what it likes.
pub fn fork() -> io::Result<Option<pid_t>> {
    // SAFETY: the launcher never starts a thread.
    let pid = check(unsafe { libc::fork() })?;
    Ok((pid != 0).then_some(pid))
}

/// The same into namespaces of its own.
pub fn clone_process(flags: c_int) -> io::Result<Option<pid_t>> {
    if flags == 0 {
        return fork();
    }
    // SAFETY: as `fork`; no stack and no places for ids are given.
    let pid = check_long(unsafe { libc::syscall(libc::SYS_clone, c_long::from(flags | libc::SIGCHLD), 0, 0, 0, 0) })?;
    Ok((pid != 0).then_some(pid))
}

/// Starts a program with these streams, in a process group of its own where it has a session of its own. The child borrows
/// this process's memory until then, so that nothing is copied; we wait meanwhile.
pub fn start_program(run: &Run, streams: &[OwnedFd; 3]) -> io::Result<pid_t> {
    const STACK_BYTES: usize = 64 << 10;
    struct Child<'a> {
        program: CString,
        arguments: Vec<*const libc::c_char>,
        environment: Vec<*const libc::c_char>,
        streams: &'a [OwnedFd; 3],
        new_group: bool,
        error: c_int,
    }
    extern "C" fn exec(child: *mut libc::c_void) -> c_int {
        // SAFETY: it is the `Child` below, which lives on while its thread waits for us; the arrays end with null. Nothing here
        // allocates, and signals are blocked until the program's own handlers are all that is left.
        unsafe {
            let child = &mut *child.cast::<Child<'_>>();
            if child.new_group {
                libc::setpgid(0, 0);
            }
            let is_placed =
                child.streams.iter().enumerate().all(|(at, fd)| libc::dup2(fd.as_raw_fd(), at as c_int) >= 0);
            if is_placed {
                restore_signals();
                block(None);
                libc::execve(child.program.as_ptr(), child.arguments.as_ptr(), child.environment.as_ptr());
            }
            child.error = *libc::__errno_location();
            127
        }
    }
    let strings = |texts: &[std::ffi::OsString]| texts.iter().map(text).collect::<io::Result<Vec<CString>>>();
    let pointers = |texts: &[CString]| -> Vec<*const libc::c_char> {
        texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
    };
    let (arguments, environment) = (strings(&run.arguments)?, strings(&run.environment)?);
    let mut child = Child {
        program: text(&run.program)?,
        arguments: pointers(&arguments),
        environment: pointers(&environment),
        streams,
        new_group: run.new_session,
        error: 0,
    };
    let mut stack = vec![0u128; STACK_BYTES / size_of::<u128>()];
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the stack grows downwards from its aligned end and is ours until the call returns, when the child has left it.
    let pid = check(unsafe { libc::clone(exec, stack.as_mut_ptr_range().end.cast(), flags, (&raw mut child).cast()) })?;
    if child.error == 0 {
        return Ok(pid);
    }
    wait(pid);
    Err(io::Error::from_raw_os_error(child.error))
}

/// Ends this process at once, without running anything.
pub fn exit(code: c_int) -> ! {
    // SAFETY: does not return.
    unsafe { libc::_exit(code) }
}

/// Waits for the end of one child.
pub fn wait(pid: pid_t) -> c_int {
    let mut status = 0;
    // SAFETY: the status is ours.
    while unsafe { libc::waitpid(pid, &raw mut status, 0) } < 0
        && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
    {}
    status
}

/// A child that has ended: its id and its status; `None`: none has.
pub fn reap() -> Option<(pid_t, c_int)> {
    let mut status = 0;
    // SAFETY: the status is ours.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
    (pid > 0).then_some((pid, status))
}

/// There is a process that was not waited for.
pub fn has_children() -> bool {
    // SAFETY: zero is a valid `siginfo_t`, and the kernel writes no more.
    unsafe {
        let mut ignored: libc::siginfo_t = std::mem::zeroed();
        libc::waitid(libc::P_ALL, 0, &raw mut ignored, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT) == 0
    }
}

/// Ends this process as a status of `wait` says its child ended.
pub fn end_like(status: c_int) -> ! {
    if libc::WIFSIGNALED(status) {
        let signal = libc::WTERMSIG(status);
        restore_signals();
        block(None);
        // SAFETY: takes no pointers.
        unsafe { libc::raise(signal) };
        exit(128 + signal)
    }
    exit(libc::WEXITSTATUS(status))
}

/// A session of its own, without a terminal.
pub fn new_session() {
    // SAFETY: takes nothing.
    unsafe { libc::setsid() };
}

/// This process's ids.
pub fn ids() -> (u32, u32) {
    // SAFETY: take nothing and cannot fail.
    unsafe { (libc::geteuid(), libc::getegid()) }
}

/// Where relative paths start.
pub fn change_folder(folder: &OsStr) -> io::Result<()> {
    let folder = text(folder)?;
    // SAFETY: the path outlives the call.
    check(unsafe { libc::chdir(folder.as_ptr()) }).map(drop)
}
