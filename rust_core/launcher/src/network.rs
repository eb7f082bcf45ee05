//! The network of the sandbox: a loopback interface and nothing else. Where hosts are granted, a listening socket in it is
//! handed to the core, which runs the proxy at its other end; there is no other way out.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd as _, BorrowedFd};

use crate::order::PROXY_VARIABLES;
use crate::system::{raise_loopback, send_fd};

/// Makes the network usable inside; the variables that name the way out, if there is one.
pub fn build(core: BorrowedFd<'_>, wants_proxy: bool) -> io::Result<Vec<std::ffi::OsString>> {
    raise_loopback()?;
    if !wants_proxy {
        return Ok(Vec::new());
    }
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    send_fd(core, listener.as_fd())?;
    Ok(PROXY_VARIABLES.iter().map(|name| format!("{name}=http://{address}").into()).collect())
}
