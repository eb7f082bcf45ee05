//! Files too large to be copied, as clones: a second file that shares the blocks of the first until one of them is written
//! (`FICLONE`; btrfs, XFS, bcachefs and others). A clone takes no time and no room, but keeps the blocks of what is removed or
//! overwritten, so none is made on a file system that is nearly full. Elsewhere, and where the state folder lies on another file
//! system than the file, there are none: large files are then not saved. A file that was just written is written to the disk
//! before it is cloned.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Stat, fstat, fstatvfs, ioctl_ficlone};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::state::Signature;
use super::walk::nanoseconds_now;
use crate::output::random_name;

/// The name of a clone. It says nothing of the content: two clones may hold the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CloneId(u64);

/// The clones of one session.
pub struct Clones {
    folder: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Of files as they looked; not of those that may have changed unseen since.
    known: HashMap<Signature, CloneId>,
    /// File systems whose files cannot be cloned to here.
    unable: HashSet<u64>,
}

impl Clones {
    /// The clones below `folder`.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.join("clones"), inner: Mutex::default() }
    }

    /// Keeps what is in `file`, whose state is `stat`. `None` where it cannot be cloned.
    pub fn put(&self, file: &File, stat: &Stat) -> Option<CloneId> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let signature = Signature::of(stat);
        if inner.unable.contains(&stat.st_dev) {
            return None;
        }
        if let Some(known) = inner.known.get(&signature) {
            return Some(*known);
        }
        let id = match self.clone_of(file) {
            Ok(id) => id,
            Err(error) => {
                let is_for_all = [Errno::XDEV, Errno::OPNOTSUPP, Errno::NOTTY, Errno::NOSYS];
                if Errno::from_io_error(&error).is_some_and(|error| is_for_all.contains(&error)) {
                    inner.unable.insert(stat.st_dev);
                }
                return None;
            }
        };
        let is_settled = !signature.is_fresh(nanoseconds_now());
        if is_settled && fstat(file).is_ok_and(|now| Signature::of(&now) == signature) {
            inner.known.insert(signature, id);
        }
        Some(id)
    }

    fn clone_of(&self, file: &File) -> io::Result<CloneId> {
        fs::create_dir_all(&self.folder)?;
        let id = CloneId(u64::from_str_radix(&random_name(), 16).map_err(io::Error::other)?);
        let path = self.path(id);
        let clone = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let cloned = has_room(&clone).and_then(|()| Ok(ioctl_ficlone(&clone, file)?));
        if cloned.is_err() {
            let _ = fs::remove_file(path);
        }
        cloned.map(|()| id)
    }

    /// Puts what was kept into `file`, which is empty.
    pub fn get(&self, id: CloneId, file: &mut File) -> io::Result<()> {
        copy(&mut File::open(self.path(id))?, file)
    }

    /// These outlive a power failure.
    pub fn sync(&self, ids: impl Iterator<Item = CloneId>) -> io::Result<()> {
        for id in ids {
            File::open(self.path(id))?.sync_all()?;
        }
        Ok(())
    }

    /// Removes all others. Nobody else may be using them.
    pub fn keep(&self, wanted: &HashSet<CloneId>) {
        let kept: HashSet<PathBuf> = wanted.iter().map(|id| self.path(*id)).collect();
        for path in fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
            if !kept.contains(&path) {
                let _ = fs::remove_file(path);
            }
        }
    }

    fn path(&self, id: CloneId) -> PathBuf {
        self.folder.join(format!("{:016x}", id.0))
    }
}

/// Puts all of `from` into `to`, which is empty: sharing its blocks where the file system can, else byte by byte.
pub fn copy(from: &mut File, to: &mut File) -> io::Result<()> {
    ioctl_ficlone(&*to, &*from).or_else(|_| io::copy(from, to).map(|_| ()))
}

/// A tenth of the file system is free: what clones keep of removed files cannot fill it.
fn has_room(file: &File) -> io::Result<()> {
    let space = fstatvfs(file)?;
    if space.f_bavail >= space.f_blocks / 10 { Ok(()) } else { Err(io::Error::from(io::ErrorKind::StorageFull)) }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::super::tests::Place;
    use super::*;

    /// A file system that can clone, gone with the value.
    struct Mounted(tempfile::TempDir);

    impl Mounted {
        /// `None`, and the reason on standard error, where there can be none.
        fn new() -> Option<Self> {
            let dir = tempfile::tempdir().unwrap();
            let line = "truncate -s 400M image && mkdir on && (mkfs.btrfs -q image || mkfs.xfs -q image) && mount -o loop image on";
            let output = Command::new("sh").args(["-c", line]).current_dir(dir.path()).output().unwrap();
            if output.status.success() {
                return Some(Self(dir));
            }
            eprintln!(
                "skipped: no file system can be mounted here: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
            None
        }

        fn place(&self) -> Place {
            Place::within(tempfile::tempdir_in(self.0.path().join("on")).unwrap())
        }
    }

    impl Drop for Mounted {
        fn drop(&mut self) {
            let done = Command::new("umount").arg(self.0.path().join("on")).status();
            assert!(done.is_ok_and(|status| status.success()) || std::thread::panicking());
        }
    }

    fn stored(place: &Place, name: &str) -> Vec<PathBuf> {
        let folder = place.dir.path().join("state/checkpoints");
        fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path().join(name)).collect()
    }

    fn clones(place: &Place) -> usize {
        stored(place, "clones").into_iter().flat_map(fs::read_dir).flatten().count()
    }

    #[test]
    fn large_files_come_back_where_they_can_be_cloned() {
        let Some(mounted) = Mounted::new() else { return };
        let mut place = mounted.place();
        // Larger than what is copied for a command; one also than what is copied at all.
        for (name, mebibytes) in [("removed", 33), ("changed", 3), ("grown", 3), ("moved", 3), ("quiet", 3)] {
            place.write(name, vec![name.as_bytes()[0]; mebibytes << 20]);
        }
        let before = place.look();
        let said = place.bash(
            "rm removed; printf x | dd of=changed conv=notrunc status=none; printf x >> grown; mv moved elsewhere; chmod 600 quiet; \
             head -c 4000000 /dev/zero > new",
        );
        assert_eq!(said.get("not_undoable"), None);
        let after = place.look();
        place = place.restarted(); // only what is needed is kept
        let done = place.undo();
        assert_eq!(done["not_restored"], serde_json::json!([]));
        assert_eq!(place.look(), before);
        place.undo();
        assert_eq!(place.look(), after);
        place = place.restarted();
        place.undo();
        assert_eq!(place.look(), before);
    }

    #[test]
    fn a_clone_costs_no_room_and_goes_when_nothing_needs_it() {
        let Some(mounted) = Mounted::new() else { return };
        let mut place = mounted.place();
        // Copies of all their states would not fit.
        for n in 0..3 {
            place.write(&format!("{n}"), vec![n; 33 << 20]);
        }
        for _ in 0..3 {
            let said = place.bash("for n in 0 1 2; do printf y | dd of=$n conv=notrunc status=none; done");
            assert_eq!(said.get("not_undoable"), None);
        }
        assert!(clones(&place) >= 9);
        for path in stored(&place, "journal.jsonl") {
            fs::write(path, "").unwrap();
        }
        place = place.restarted();
        let _ = place.checkpoints.list(&place.workspace).unwrap();
        assert!(clones(&place) <= 3, "{}", clones(&place));
    }

    #[test]
    fn elsewhere_a_large_file_is_named_as_not_saved() {
        let Some(mounted) = Mounted::new() else { return };
        let work = tempfile::tempdir().unwrap();
        let file = work.path().join("large");
        fs::write(&file, vec![0; 3 << 20]).unwrap();
        let file = File::open(file).unwrap();
        let clones = Clones::new(&mounted.0.path().join("on"));
        assert_eq!(clones.put(&file, &fstat(&file).unwrap()), None);
        assert_eq!(fs::read_dir(mounted.0.path().join("on/clones")).unwrap().count(), 0);
    }
}
