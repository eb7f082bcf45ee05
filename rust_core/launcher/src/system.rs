//! The system calls that have no safe face in a crate, each as thin as can be. All `unsafe` of the launcher is in this file.
#![allow(unsafe_code)]

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::ptr;

use libc::{c_int, c_long, c_uint, c_ulong, pid_t};

use crate::order::{Layers, Run};

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

/// Sends one byte and, with it, a descriptor.
pub fn send_fd(socket: BorrowedFd<'_>, fd: BorrowedFd<'_>) -> io::Result<()> {
    #[repr(C)]
    struct Control {
        header: libc::cmsghdr,
        fd: c_int,
    }
    let mut byte = [0u8];
    let mut part = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    // SAFETY: zero is a valid value of both structures; the lengths are those of what is pointed to.
    unsafe {
        let mut control: Control = std::mem::zeroed();
        control.header.cmsg_len = libc::CMSG_LEN(size_of::<c_int>() as c_uint) as _;
        control.header.cmsg_level = libc::SOL_SOCKET;
        control.header.cmsg_type = libc::SCM_RIGHTS;
        control.fd = fd.as_raw_fd();
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = (&raw mut control).cast();
        message.msg_controllen = libc::CMSG_LEN(size_of::<c_int>() as c_uint) as _;
        if libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Switches the loopback interface on.
pub fn raise_loopback() -> io::Result<()> {
    // SAFETY: zero is a valid `ifreq`; the name is shorter than its field.
    unsafe {
        let socket = owned(check(libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0))?);
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
        check(libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request)).map(drop)
    }
}

/// A `prctl` that takes numbers.
pub fn prctl(option: c_int, value: c_ulong) -> io::Result<c_int> {
    // SAFETY: the options used take no pointers.
    check(unsafe { libc::prctl(option, value, 0, 0, 0) })
}

/// Gives up every capability but those in `kept` (a bit mask), for this process and all it starts.
pub fn keep_capabilities(kept: u64) -> io::Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    const SECURE_BITS: c_ulong = 0b1110_1111; // no rights from uid 0, none kept or raised by others; all locked
    #[repr(C)]
    struct Header {
        version: u32,
        pid: c_int,
    }
    for capability in 0..64 {
        // Numbers this kernel does not know are refused.
        if kept & (1 << capability) == 0 && prctl(libc::PR_CAPBSET_DROP, capability).is_err() && capability > 40 {
            break;
        }
    }
    let _ = prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as c_ulong);
    if kept == 0 {
        // May be refused where we never had the right to; then uid 0 is held by no-new-privileges alone.
        let _ = prctl(libc::PR_SET_SECUREBITS, SECURE_BITS);
    }
    let header = Header { version: VERSION_3, pid: 0 };
    let (low, high) = (kept as u32, (kept >> 32) as u32);
    let sets: [u32; 6] = [low, low, 0, high, high, 0];
    // SAFETY: version 3 takes two triples of 32 bits.
    check_long(unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) }).map(drop)
}

/// Sets both the soft and the hard limit of a resource, never above what is in force.
pub fn limit(resource: u32, value: u64) -> io::Result<()> {
    let mut old = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is the kernel's.
    check(unsafe { libc::getrlimit(resource as _, &raw mut old) })?;
    let value = value.min(old.rlim_max);
    let new = libc::rlimit { rlim_cur: value, rlim_max: value };
    // SAFETY: as above.
    check(unsafe { libc::setrlimit(resource as _, &raw const new) }).map(drop)
}

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

/// The other end of a socket was closed, and nothing is left to read.
pub fn is_at_end(socket: BorrowedFd<'_>) -> bool {
    let mut byte = 0u8;
    // SAFETY: the byte is ours.
    unsafe { libc::recv(socket.as_raw_fd(), (&raw mut byte).cast(), 1, libc::MSG_PEEK | libc::MSG_DONTWAIT) == 0 }
}

/// One byte with the four descriptors of a request; `None`: the other end was closed, or that was no request.
pub fn receive_request(socket: BorrowedFd<'_>) -> io::Result<Option<[OwnedFd; 4]>> {
    #[repr(C)]
    struct Control {
        header: libc::cmsghdr,
        fds: [c_int; 4],
    }
    let mut byte = 0u8;
    let mut part = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    // SAFETY: zero is a valid value of both structures; the lengths are those of what is pointed to.
    let (count, control) = unsafe {
        let mut control: Control = std::mem::zeroed();
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = (&raw mut control).cast();
        message.msg_controllen = size_of::<Control>() as _;
        (libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC), control)
    };
    if count < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: takes no pointers.
    let whole = unsafe { libc::CMSG_LEN(size_of::<[c_int; 4]>() as c_uint) };
    let is_request = control.header.cmsg_len == whole as _ && control.header.cmsg_type == libc::SCM_RIGHTS;
    Ok((count == 1 && is_request).then(|| control.fds.map(owned)))
}

/// There is a process that was not waited for.
pub fn has_children() -> bool {
    // SAFETY: zero is a valid `siginfo_t`, and the kernel writes no more.
    unsafe {
        let mut ignored: libc::siginfo_t = std::mem::zeroed();
        libc::waitid(libc::P_ALL, 0, &raw mut ignored, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT) == 0
    }
}

/// A child that has ended: its id and its status; `None`: none has.
pub fn reap() -> Option<(pid_t, c_int)> {
    let mut status = 0;
    // SAFETY: the status is ours.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
    (pid > 0).then_some((pid, status))
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

/// Sends a signal; below zero a process group.
pub fn kill(pid: pid_t, signal: c_int) {
    // SAFETY: takes no pointers.
    unsafe { libc::kill(pid, signal) };
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

/// The kernel's Landlock version; 0 where there is none.
pub fn landlock_version() -> u8 {
    // SAFETY: with these arguments it answers with a number only.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, ptr::null::<u8>(), 0usize, 1u32) };
    u8::try_from(version).unwrap_or(0)
}

/// A message of the operating system with what was being done.
pub fn context<T>(result: io::Result<T>, doing: impl FnOnce() -> String) -> Result<T, String> {
    result.map_err(|error| format!("{}: {error}", doing()))
}

/// Where relative paths start.
pub fn change_folder(folder: &OsStr) -> io::Result<()> {
    let folder = text(folder)?;
    // SAFETY: the path outlives the call.
    check(unsafe { libc::chdir(folder.as_ptr()) }).map(drop)
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
