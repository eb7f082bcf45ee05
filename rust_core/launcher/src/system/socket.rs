//! Sockets: descriptors that travel, and the loopback interface.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

use libc::{c_int, c_uint};

use super::{check, owned};

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

/// The other end of a socket was closed, and nothing is left to read.
pub fn is_at_end(socket: BorrowedFd<'_>) -> bool {
    let mut byte = 0u8;
    // SAFETY: the byte is ours.
    unsafe { libc::recv(socket.as_raw_fd(), (&raw mut byte).cast(), 1, libc::MSG_PEEK | libc::MSG_DONTWAIT) == 0 }
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
