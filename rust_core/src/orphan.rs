//! Processes that a killed kernel has left behind. A core that starts processes holds a lock on a file named after its
//! marker; the operating system lets go of the lock however the kernel dies. The next core that can take it ends what
//! carries that marker.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock, fstat};

use crate::process::kill_marked;

/// Held as long as processes of a marker may run; dropped when they have been ended.
pub struct Claim {
    path: PathBuf,
    _lock: File,
}

impl Claim {
    /// Says that processes whose marker begins with `marker` belong to this kernel.
    pub fn new(folder: &Path, marker: &str) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let path = folder.join(marker);
        for _ in 0..10 {
            let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path)?;
            // Between making the file and locking it, another core may have taken it for an orphan's and removed it.
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() && fstat(&file)?.st_nlink > 0 {
                return Ok(Self { path, _lock: file });
            }
            std::thread::yield_now();
        }
        Err(io::Error::other("its lock is held by another process"))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Ends the processes of kernels that are gone. Costs a look into a folder that is usually empty.
pub fn end_orphans(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let Some(marker) = entry.file_name().to_str().filter(|name| is_marker(name)).map(str::to_owned) else {
            continue;
        };
        let Ok(file) = File::open(entry.path()) else { continue };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let prefix = format!("{marker}-");
            kill_marked(|other| other.starts_with(&prefix), None);
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// As `random_name` makes them: nothing shorter may decide what is killed.
fn is_marker(name: &str) -> bool {
    name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::random_name;

    #[test]
    fn a_claim_that_is_held_is_left_alone_and_one_that_is_not_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let held = Claim::new(dir.path(), &random_name()).unwrap();
        let left = dir.path().join(random_name());
        std::fs::write(&left, "").unwrap();
        std::fs::write(dir.path().join("no-marker"), "").unwrap();
        end_orphans(dir.path());
        assert!(held.path.exists() && !left.exists() && dir.path().join("no-marker").exists());
        let path = held.path.clone();
        drop(held);
        assert!(!path.exists());
        end_orphans(&dir.path().join("missing"));
    }
}
