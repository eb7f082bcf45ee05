//! The launcher program, embedded, and how to start it: from sealed memory, so that nobody can exchange it, or where the
//! machine forbids that, from a file that only the user can write.

use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/claw-sandbox"));

/// The same for all sessions of this process: it is only ever read.
static IN_MEMORY: OnceLock<Option<OwnedFd>> = OnceLock::new();

/// A path that can be started. `state`: where the file goes, if there must be one.
pub fn path(state: &Path) -> io::Result<PathBuf> {
    if PROGRAM.is_empty() {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "there is no sandbox for this system"));
    }
    if let Some(fd) = IN_MEMORY.get_or_init(|| in_memory().ok()) {
        return Ok(PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd())));
    }
    let path = state.join(format!("claw-sandbox-{}", env!("CARGO_PKG_VERSION")));
    if std::fs::read(&path).is_ok_and(|content| content == PROGRAM) {
        return Ok(path);
    }
    let fresh = state.join(format!("claw-sandbox-{}", crate::output::random_name()));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o700).open(&fresh)?;
    file.write_all(PROGRAM)?;
    drop(file);
    std::fs::rename(fresh, &path)?;
    Ok(path)
}

fn in_memory() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let fd = memfd_create("claw-sandbox", flags | MemfdFlags::EXEC).or_else(|_| memfd_create("claw-sandbox", flags))?;
    let mut file = std::fs::File::from(fd);
    file.write_all(PROGRAM)?;
    fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(file.into())
}
