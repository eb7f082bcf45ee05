//! What a file has beside its content: mode, owner, times, extended attributes (access control lists among them).

use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::{
    Gid, Mode, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, fchmod, fchown, fgetxattr, flistxattr,
    fremovexattr, fsetxattr, fstat, futimens,
};
use serde::{Deserialize, Serialize};

/// An extended attribute: name and value.
pub type Xattr = (Vec<u8>, Vec<u8>);

const MAX_XATTR_BYTES: usize = 64 << 10; // the limit of Linux for a value and for the list of names

/// Mode, owner, time of change and extended attributes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// Permission bits, set-id and sticky bits.
    pub mode: u32,
    /// Nanoseconds since 1970.
    pub modified: i64,
    /// User and group.
    pub owner: (u32, u32),
    /// Those that can be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub xattrs: Vec<Xattr>,
}

impl Attributes {
    /// Of an open file or folder.
    pub fn of(fd: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(Self::from_stat(&fstat(fd)?, read_xattrs(fd)))
    }

    /// From what `stat` gave.
    pub fn from_stat(stat: &Stat, xattrs: Vec<Xattr>) -> Self {
        Self { mode: stat.st_mode & 0o7777, modified: modified(stat), owner: (stat.st_uid, stat.st_gid), xattrs }
    }

    /// Mode, owner and extended attributes as far as this user may set them. Fails only where the mode cannot be set.
    pub fn apply(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let now = fstat(fd)?;
        if self.owner != (now.st_uid, now.st_gid) {
            let (user, group) = self.owner;
            // Only root may give a file away; its owner may still choose among their groups.
            if fchown(fd, Some(Uid::from_raw(user)), Some(Gid::from_raw(group))).is_err() {
                let _ = fchown(fd, None, Some(Gid::from_raw(group)));
            }
        }
        fchmod(fd, Mode::from_raw_mode(self.mode))?;
        let present = read_xattrs(fd);
        for (name, _) in present.iter().filter(|(name, _)| !self.xattrs.iter().any(|(other, _)| other == name)) {
            let _ = fremovexattr(fd, name.as_slice());
        }
        for (name, value) in self.xattrs.iter().filter(|xattr| !present.contains(xattr)) {
            let _ = fsetxattr(fd, name.as_slice(), value, XattrFlags::empty());
        }
        Ok(())
    }

    /// The time of change; the time of access is left alone.
    pub fn apply_time(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        Ok(futimens(fd, &self.times())?)
    }

    fn times(&self) -> Timestamps {
        let last_access = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        let (seconds, nanoseconds) = (self.modified.div_euclid(1_000_000_000), self.modified.rem_euclid(1_000_000_000));
        Timestamps { last_access, last_modification: Timespec { tv_sec: seconds, tv_nsec: nanoseconds } }
    }
}

/// All extended attributes that can be read, in the order of their names; none where the file system has none.
pub fn read_xattrs(fd: BorrowedFd<'_>) -> Vec<Xattr> {
    let mut names = [0_u8; 4096];
    let mut long = Vec::new();
    let names = match flistxattr(fd, &mut names[..]) {
        Ok(0) => return Vec::new(),
        Ok(length) => &names[..length],
        Err(rustix::io::Errno::RANGE) => {
            long.resize(MAX_XATTR_BYTES, 0);
            match flistxattr(fd, &mut long[..]) {
                Ok(length) => &long[..length],
                Err(_) => return Vec::new(),
            }
        }
        Err(_) => return Vec::new(),
    };
    let mut value = vec![0; MAX_XATTR_BYTES];
    let mut found: Vec<Xattr> = names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .filter_map(|name| {
            let length = fgetxattr(fd, name, &mut value[..]).ok()?;
            Some((name.to_vec(), value[..length].to_vec()))
        })
        .collect();
    found.sort();
    found
}

/// Nanoseconds since 1970 of the last change of content.
pub fn modified(stat: &Stat) -> i64 {
    nanoseconds(stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or(0))
}

/// Nanoseconds since 1970 of the last change of anything.
pub fn changed(stat: &Stat) -> i64 {
    nanoseconds(stat.st_ctime, i64::try_from(stat.st_ctime_nsec).unwrap_or(0))
}

fn nanoseconds(seconds: i64, rest: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}
