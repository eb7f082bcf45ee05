//! What the command sees of the file system: everything read-only, the places of the order on top of it, a small `/dev`.
//!
//! Stops: writing, changing modes, owners, times and attributes anywhere but in the places; devices; set-user-ID programs;
//! sockets and secrets below hidden places. Does not stop reading what is not hidden.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use libc::{MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_PRIVATE, MS_RDONLY, MS_REC, MS_REMOUNT};

use crate::order::{Ground, Treatment};
use crate::system::{attach_tree, clone_tree, context, mount, open_path, set_tree_attributes};

/// Devices that do no harm and that programs need.
const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];
/// What is mounted over a hidden folder, and over a hidden file.
const VOID_FOLDER: &str = "/dev/.void";
const VOID_FILE: &str = "/dev/.void-file";

/// Builds the tree in this process's own mount namespace, but for what each command has of its own: see `own_proc` and
/// `own_terminals`.
pub fn build(ground: &Ground) -> Result<(), String> {
    let mounts = Mounts { has_api: ground.layers.mount_api };
    context(mount("", Path::new("/"), "", MS_REC | MS_PRIVATE, ""), || "mounts cannot be made private".into())?;

    // First a hold on all that will be shown elsewhere or otherwise than it is: later it may be covered.
    let mut held = Vec::new();
    for place in &ground.places {
        held.push(match place.treatment {
            Treatment::Write => Some(context(mounts.take(&place.source), || place.source.display().to_string())?),
            // What has gone since the order was written needs no protection.
            Treatment::Protect => mounts.take(&place.source).ok(),
            Treatment::Hide => None,
        });
    }
    let mut devices = Vec::new();
    let usual = DEVICES.iter().map(|name| Path::new("/dev").join(name));
    for path in usual.chain(ground.devices.iter().map(PathBuf::from)) {
        if path.starts_with("/dev") && path.exists() {
            devices.push((context(mounts.take(&path), || format!("{} cannot be held", path.display()))?, path));
        }
    }

    context(mounts.make_all_read_only(ground.layers.landlock == 0), || "the disk cannot be made read-only".into())?;
    context(own_dev(&mounts, devices), || "/dev cannot be made".into())?;
    for (place, tree) in ground.places.iter().zip(&held) {
        let put = || match (place.treatment, tree) {
            (Treatment::Write, Some(tree)) => {
                make_mount_point(&place.path, tree)?;
                mounts.put(tree, &place.path, Kind::Writable)
            }
            (Treatment::Protect, Some(tree)) if is_shown(&place.path) || is_temporary(&place.path) => {
                make_mount_point(&place.path, tree)?;
                mounts.put(tree, &place.path, Kind::ReadOnly)
            }
            (Treatment::Hide, _) if is_shown(&place.path) => {
                let void = if place.path.is_dir() { VOID_FOLDER } else { VOID_FILE };
                mounts.put(&mounts.take(Path::new(void))?, &place.path, Kind::ReadOnly)
            }
            // What lies below a place that is covered by now cannot be reached anyway.
            _ => Ok(()),
        };
        context(put(), || place.path.display().to_string())?;
    }
    let seal = || {
        fs::remove_dir(VOID_FOLDER)?;
        fs::remove_file(VOID_FILE)?;
        mount("", Path::new("/dev"), "", MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NOEXEC, "")
    };
    context(seal(), || "/dev cannot be sealed".into())
}

/// A `/proc` of this process namespace; must be called inside it. `processes`: how many it may hold at once, where
/// `has_own_pid_max`; 0: no limit.
pub fn own_proc(processes: u64) -> io::Result<()> {
    let (proc, flags) = (Path::new("/proc"), MS_NOSUID | MS_NODEV | MS_NOEXEC);
    if processes > 0 {
        mount("proc", proc, "proc", flags, "")?;
        fs::write("/proc/sys/kernel/pid_max", processes.max(301).to_string())?; // 301 is the least the kernel takes
        return mount("", proc, "", MS_REMOUNT | MS_BIND | MS_RDONLY | flags, "");
    }
    mount("proc", proc, "proc", flags | MS_RDONLY, "")
}

/// Terminals and shared memory that no other command sees.
pub fn own_terminals() -> io::Result<()> {
    let options = "newinstance,ptmxmode=0666,mode=620";
    mount("devpts", Path::new("/dev/pts"), "devpts", MS_NOSUID | MS_NOEXEC, options)?;
    mount("tmpfs", Path::new("/dev/shm"), "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
}

/// Since Linux 6.14 each process namespace has a highest process number of its own. It binds root too, whom `setrlimit`
/// does not; before, writing it would change the whole machine.
pub fn has_own_pid_max() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map(|part| part.trim().parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 14)
}

fn is_shown(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Below the session's own folders for temporary files mount points can be made without a trace on the machine.
fn is_temporary(path: &Path) -> bool {
    path.starts_with("/tmp") || path.starts_with("/var/tmp")
}

/// Something to mount `tree` on, where nothing is.
fn make_mount_point(path: &Path, tree: &OwnedFd) -> io::Result<()> {
    if is_shown(path) {
        return Ok(());
    }
    let is_folder = fs::File::from(tree.try_clone()?).metadata()?.is_dir();
    let folder = if is_folder { Some(path) } else { path.parent() };
    if let Some(folder) = folder {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    if is_folder { Ok(()) } else { fs::File::create_new(path).map(drop) }
}

fn own_dev(mounts: &Mounts, devices: Vec<(OwnedFd, PathBuf)>) -> io::Result<()> {
    mount("tmpfs", Path::new("/dev"), "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=0755,size=1m")?;
    for (tree, path) in devices {
        make_mount_point(&path, &tree)?;
        mounts.put(&tree, &path, Kind::Device)?;
    }
    for (name, target) in
        [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2"), ("ptmx", "pts/ptmx")]
    {
        symlink(target, Path::new("/dev").join(name))?;
    }
    fs::create_dir("/dev/pts")?;
    fs::create_dir("/dev/shm")?;
    fs::DirBuilder::new().mode(0o555).create(VOID_FOLDER)?;
    fs::OpenOptions::new().write(true).create_new(true).mode(0o000).open(VOID_FILE).map(drop)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Writable,
    ReadOnly,
    Device,
}

/// The two ways the kernel knows to copy and place mounts.
struct Mounts {
    has_api: bool,
}

impl Mounts {
    /// A hold on what lies at `path` now.
    fn take(&self, path: &Path) -> io::Result<OwnedFd> {
        if self.has_api { clone_tree(path) } else { open_path(path, true) }
    }

    /// Shows it at `path`.
    fn put(&self, tree: &OwnedFd, path: &Path, kind: Kind) -> io::Result<()> {
        if self.has_api {
            set_tree_attributes(tree.as_fd(), kind == Kind::ReadOnly, kind == Kind::Device)?;
            return attach_tree(tree.as_fd(), path);
        }
        mount(&format!("/proc/self/fd/{}", tree.as_raw_fd()), path, "", MS_BIND | MS_REC, "")?;
        let flags = match kind {
            Kind::Writable => MS_NODEV,
            Kind::ReadOnly => MS_NODEV | MS_RDONLY,
            Kind::Device => MS_NOEXEC,
        };
        // Flags a mount was given by somebody above us cannot be taken from it.
        let kept = mount_flags()?.into_iter().rev().find(|(other, _)| other == path).map_or(0, |(_, kept)| kept);
        let flags = flags | MS_NOSUID | (kept & !(MS_RDONLY | MS_NODEV));
        mount("", path, "", MS_REMOUNT | MS_BIND | flags, "")
    }

    /// Everything that is mounted now. `must`: nothing else would keep a mount that resists from being written.
    fn make_all_read_only(&self, must: bool) -> io::Result<()> {
        if self.has_api {
            return set_tree_attributes(open_path(Path::new("/"), true)?.as_fd(), true, false);
        }
        for (path, flags) in mount_flags()? {
            let flags = MS_REMOUNT | MS_BIND | flags | MS_RDONLY | MS_NOSUID | MS_NODEV;
            if let Err(error) = mount("", &path, "", flags, "")
                && must
                && path.exists()
            {
                return Err(error);
            }
        }
        Ok(())
    }
}

/// Every mount and the flags it has (`proc_pid_mountinfo(5)`).
fn mount_flags() -> io::Result<Vec<(PathBuf, libc::c_ulong)>> {
    let text = fs::read("/proc/self/mountinfo")?;
    let mut found = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let (Some(path), Some(options)) = (fields.get(4), fields.get(5)) else { continue };
        let flags = options.split(|byte| *byte == b',').fold(0, |flags, option| {
            flags
                | match option {
                    b"ro" => MS_RDONLY,
                    b"nosuid" => MS_NOSUID,
                    b"nodev" => MS_NODEV,
                    b"noexec" => MS_NOEXEC,
                    b"noatime" => libc::MS_NOATIME,
                    b"nodiratime" => libc::MS_NODIRATIME,
                    b"relatime" => libc::MS_RELATIME,
                    _ => 0,
                }
        });
        found.push((unescape(path), flags));
    }
    Ok(found)
}

/// `\040` and its like are bytes.
fn unescape(text: &[u8]) -> PathBuf {
    let (mut bytes, mut at) = (Vec::new(), 0);
    while let Some(byte) = text.get(at) {
        let octal = text
            .get(at + 1..at + 4)
            .filter(|_| *byte == b'\\')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(octal.unwrap_or(*byte));
        at += if octal.is_some() { 4 } else { 1 };
    }
    PathBuf::from(std::ffi::OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt as _;

    #[test]
    fn names_of_mounts_are_unescaped() {
        assert_eq!(unescape(b"/a\\040b\\134").as_os_str().as_bytes(), b"/a b\\");
        assert_eq!(unescape(b"/a\\0").as_os_str().as_bytes(), b"/a\\0");
    }
}
