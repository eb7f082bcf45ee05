//! How a path looked at some moment.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat};
use serde::{Deserialize, Serialize};

use super::clones::CloneId;
use super::pack::{Hash, Pack};
use crate::attribute::{Attributes, changed, modified, read_xattrs};
use crate::workspace::Workspace;

/// What stood at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum State {
    /// Nothing.
    Absent,
    /// A plain file.
    File(FileState),
    /// A symbolic link.
    Link {
        /// Where it points.
        #[serde(with = "path_text")]
        target: PathBuf,
    },
    /// A folder; what lies in it has paths of its own.
    Folder {
        /// Its mode, owner, times.
        attributes: Attributes,
        /// Tells it from another of that name.
        inode: u64,
    },
    /// A folder that is not looked into.
    Skipped {
        /// The reason.
        why: Unsaved,
        /// Tells it from another of that name, together with the time.
        inode: u64,
        /// Nanoseconds since 1970.
        modified: i64,
    },
    /// A device, pipe or socket.
    Other,
}

/// A plain file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileState {
    /// Its content, or why there is none.
    pub content: Content,
    /// Bytes.
    pub size: u64,
    /// Mode, owner, times.
    pub attributes: Attributes,
    /// Tells it from another of that name, and names of one file from copies.
    pub inode: u64,
    /// Other names of the file exist.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_other_names: bool,
}

/// The content of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// In the store under this hash.
    Saved(Hash),
    /// In the store as a clone.
    Cloned(CloneId),
    /// Not in the store.
    Unsaved(Unsaved),
}

impl Content {
    /// In the pack.
    pub fn hash(self) -> Option<Hash> {
        match self {
            Self::Saved(hash) => Some(hash),
            Self::Cloned(_) | Self::Unsaved(_) => None,
        }
    }

    /// As a clone.
    pub fn clone_id(self) -> Option<CloneId> {
        match self {
            Self::Cloned(id) => Some(id),
            Self::Saved(_) | Self::Unsaved(_) => None,
        }
    }
}

/// Why something is not in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unsaved {
    /// Larger than what is saved of such a call.
    Large,
    /// Left out by an ignore rule.
    Ignored,
    /// The time for this checkpoint was up.
    Late,
    /// The store is as large as it may be.
    Full,
    /// It cannot be read by this user.
    Unreadable,
    /// It lies on another file system.
    Mounted,
    /// It is a pipe, socket or device.
    Special,
}

impl Unsaved {
    /// For a person, behind the path.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Large => "too large",
            Self::Ignored => "ignored",
            Self::Late => "not saved in time",
            Self::Full => "the store is full",
            Self::Unreadable => "unreadable",
            Self::Mounted => "on another file system",
            Self::Special => "no plain file",
        }
    }
}

impl State {
    /// The same for the person who looks: type, content, mode. Times and owners do not count.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(a), Self::File(b)) => a.has_content_of(b) && a.attributes.mode == b.attributes.mode,
            (Self::Folder { attributes: a, .. }, Self::Folder { attributes: b, .. }) => a.mode == b.mode,
            // An ignore rule may have come or gone meanwhile.
            (Self::Folder { .. }, Self::Skipped { .. }) | (Self::Skipped { .. }, Self::Folder { .. }) => true,
            (Self::Skipped { inode: a, .. }, Self::Skipped { inode: b, .. }) => a == b,
            _ => self == other,
        }
    }

    /// The same in all that is restored.
    pub fn is_identical(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(a), Self::File(b)) => a.has_content_of(b) && a.attributes == b.attributes,
            (Self::Folder { attributes: a, .. }, Self::Folder { attributes: b, .. }) => a == b,
            _ => self.is_same(other),
        }
    }

    /// Nothing was done to it: identical, and still the same file where files with several names come into it.
    pub fn is_untouched(&self, other: &Self) -> bool {
        let is_relinked = matches!((self, other), (Self::File(a), Self::File(b))
            if a.inode != b.inode && (a.has_other_names || b.has_other_names));
        self.is_identical(other) && !is_relinked
    }

    /// Why it could not be put back, where it could not.
    pub fn unsaved(&self) -> Option<Unsaved> {
        match self {
            Self::File(FileState { content: Content::Unsaved(why), .. }) | Self::Skipped { why, .. } => Some(*why),
            Self::Other => Some(Unsaved::Special),
            _ => None,
        }
    }

    /// What is in it, where it is a file.
    pub fn content(&self) -> Option<Content> {
        match self {
            Self::File(file) => Some(file.content),
            _ => None,
        }
    }

    /// Bytes, where it is a file.
    pub fn size(&self) -> Option<u64> {
        match self {
            Self::File(file) => Some(file.size),
            _ => None,
        }
    }

    /// The thing itself, wherever it is called: what was not saved can still be moved back.
    pub fn identity(&self) -> Option<(u64, u64, i64)> {
        match self {
            Self::File(file) => Some((file.inode, file.size, file.attributes.modified)),
            Self::Skipped { inode, modified, .. } => Some((*inode, 0, *modified)),
            Self::Folder { inode, attributes } => Some((*inode, 0, attributes.modified)),
            _ => None,
        }
    }
}

impl FileState {
    /// What cannot be compared by its hash is the same where file, size and time are.
    pub fn has_content_of(&self, other: &Self) -> bool {
        let is_cloned = |file: &Self| matches!(file.content, Content::Cloned(_));
        match (self.content, other.content) {
            (Content::Saved(a), Content::Saved(b)) => a == b,
            (Content::Cloned(a), Content::Cloned(b)) if a == b => true,
            _ => {
                // A clone that was put back is another file. Two files of one size and nanosecond are copies of each other;
                // of one second they may be two editions out of an archive.
                let is_exact = self.attributes.modified % 1_000_000_000 != 0;
                let is_copy = (is_cloned(self) || is_cloned(other)) && is_exact;
                (self.size, self.attributes.modified) == (other.size, other.attributes.modified)
                    && (self.inode == other.inode || is_copy)
            }
        }
    }
}

/// What changes when a file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Signature {
    inode: u64,
    size: i64,
    modified: i64,
    changed: i64,
    mode: u32,
}

impl Signature {
    /// From what `stat` gave.
    pub fn of(stat: &Stat) -> Self {
        Self {
            inode: stat.st_ino,
            size: stat.st_size,
            modified: modified(stat),
            changed: changed(stat),
            mode: stat.st_mode,
        }
    }

    /// Changed so shortly before `at` that a further change might not show in it.
    pub fn is_fresh(&self, at: i64) -> bool {
        // The clock of a file system ticks every 10 ms at worst.
        self.changed.saturating_add(20_000_000) >= at
    }

    /// The same file, whatever happened to it.
    pub fn is_same_file(&self, other: &Self) -> bool {
        self.inode == other.inode
    }
}

/// Into which store, and how much.
#[derive(Clone, Copy)]
pub struct Saving<'a> {
    /// Where contents go; `None`: they are only hashed.
    pub pack: Option<&'a Pack>,
    /// Larger files are not read, only cloned.
    pub max_bytes: u64,
    /// Why a plain file is not to be read at all.
    pub refusal: Option<Unsaved>,
}

/// How `path` (see `Workspace::place`) looks now. Behind a link nothing is. Fails where that cannot be said.
pub fn capture_path(workspace: &Workspace, path: &Path, saving: Saving<'_>) -> io::Result<State> {
    let place = workspace.place(path);
    let (Some(parent), Some(name)) = (place.requested.parent(), place.relative.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::PermissionDenied)); // a root itself, or no place of ours
    };
    match workspace.open_folder(&workspace.place(parent)) {
        Ok(folder) => Ok(capture(folder.as_fd(), name, saving)?.0),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Ok(State::Absent),
            _ if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => Ok(State::Absent),
            _ => Err(error),
        },
    }
}

/// How `name` in `folder` looks now. Fails only where that cannot be said.
pub fn capture(folder: BorrowedFd<'_>, name: &OsStr, saving: Saving<'_>) -> io::Result<(State, Option<Signature>)> {
    match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => capture_known(folder, name, &stat, saving),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok((State::Absent, None)),
        Err(error) => Err(error.into()),
    }
}

/// The same where `stat` is known already.
pub fn capture_known(
    folder: BorrowedFd<'_>,
    name: &OsStr,
    stat: &Stat,
    saving: Saving<'_>,
) -> io::Result<(State, Option<Signature>)> {
    let signature = Some(Signature::of(stat));
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => return capture_file(folder, name, stat, saving),
        FileType::Symlink => {
            let target = readlinkat(folder, name, Vec::new())?.into_bytes();
            (State::Link { target: PathBuf::from(std::ffi::OsString::from_vec(target)) }, signature)
        }
        FileType::Directory => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let xattrs =
                openat(folder, name, flags, Mode::empty()).map_or_else(|_| Vec::new(), |fd| read_xattrs(fd.as_fd()));
            (State::Folder { attributes: Attributes::from_stat(stat, xattrs), inode: stat.st_ino }, signature)
        }
        _ => (State::Other, signature),
    })
}

fn capture_file(
    folder: BorrowedFd<'_>,
    name: &OsStr,
    stat: &Stat,
    saving: Saving<'_>,
) -> io::Result<(State, Option<Signature>)> {
    let state = |stat: &Stat, content, xattrs| {
        State::File(FileState {
            content,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            attributes: Attributes::from_stat(stat, xattrs),
            inode: stat.st_ino,
            has_other_names: stat.st_nlink > 1,
        })
    };
    let too_large = |stat: &Stat| u64::try_from(stat.st_size).unwrap_or(0) > saving.max_bytes;
    // Without a store it would be opened for nothing.
    let refusal = saving.refusal.or((too_large(stat) && saving.pack.is_none()).then_some(Unsaved::Large));
    if let Some(why) = refusal {
        return Ok((state(stat, Content::Unsaved(why), Vec::new()), Some(Signature::of(stat))));
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let Ok(fd) = openat(folder, name, flags, Mode::empty()) else {
        let content = Content::Unsaved(Unsaved::Unreadable);
        return Ok((state(stat, content, Vec::new()), Some(Signature::of(stat))));
    };
    // From here on the open file counts: a change while it is read shows in the next signature.
    let stat = fstat(&fd)?;
    let xattrs = read_xattrs(fd.as_fd());
    let mut file = File::from(fd);
    if too_large(&stat) {
        let clone = saving.pack.and_then(|pack| pack.clones.put(&file, &stat));
        let content = clone.map_or(Content::Unsaved(Unsaved::Large), Content::Cloned);
        return Ok((state(&stat, content, xattrs), Some(Signature::of(&stat))));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(stat.st_size).unwrap_or(0).min(64 << 20) + 1);
    let content = match (&mut file).take(saving.max_bytes + 1).read_to_end(&mut bytes) {
        Err(_) => Content::Unsaved(Unsaved::Unreadable),
        Ok(read) if read as u64 > saving.max_bytes => Content::Unsaved(Unsaved::Large),
        Ok(_) => match saving.pack {
            None => Content::Saved(Hash::of(&bytes)),
            Some(pack) => pack.put(&bytes).map_or(Content::Unsaved(Unsaved::Full), Content::Saved),
        },
    };
    Ok((state(&stat, content, xattrs), Some(Signature::of(&stat))))
}

/// Paths in JSON: a text, or a list of bytes where they are no UTF-8.
pub mod path_text {
    use std::ffi::OsString;
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
    use std::path::{Path, PathBuf};

    use serde::{Deserialize, Deserializer, Serialize as _, Serializer};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Text(String),
        Bytes(Vec<u8>),
    }

    /// See the module.
    pub fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        match path.to_str() {
            Some(text) => text.serialize(serializer),
            None => path.as_os_str().as_bytes().serialize(serializer),
        }
    }

    /// See the module.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
        Ok(match Written::deserialize(deserializer)? {
            Written::Text(text) => text.into(),
            Written::Bytes(bytes) => OsString::from_vec(bytes).into(),
        })
    }
}
