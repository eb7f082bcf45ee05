//! Putting a file in its place in one step: whoever looks sees the old file or the new one, whole, also when this process
//! is killed at any moment.
//!
//! The new content is written into a file without a name (`O_TMPFILE`), of which a killed process leaves nothing. To take
//! an existing file's place it must have a name for a moment; that name is noted in the state folder first, so that the
//! next start removes what a process left that was killed in that moment.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, RenameFlags, ResolveFlags, accessat, linkat, openat, openat2, renameat, renameat_with,
    statat, symlinkat, unlinkat,
};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::crash;
use crate::intent::{Intent, Intents};
use crate::output::random_name;

const PREFIX: &str = ".claw-";
const SUFFIX: &str = ".tmp";

/// Where a draft has its name for a moment.
#[derive(Serialize, Deserialize)]
struct Noted {
    folder: PathBuf,
    name: String,
}

/// A file that is written but not yet in its place; it goes away unless it took it.
pub struct Draft<'a> {
    /// Write here.
    pub file: File,
    folder: &'a OwnedFd,
    name: Option<Name<'a>>,
    intents: &'a Intents,
}

impl<'a> Draft<'a> {
    /// A draft for a place in `folder`. `mode` is what the file creation mask is applied to.
    pub fn new(folder: &'a OwnedFd, intents: &'a Intents, mode: u32) -> io::Result<Self> {
        let mode = Mode::from_raw_mode(mode);
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        if let Ok(fd) = openat(folder, ".", flags | OFlags::TMPFILE, mode) {
            let file = File::from(fd);
            // Without /proc it could not be given a name later.
            if accessat(CWD, link_of(&file), rustix::fs::Access::EXISTS, AtFlags::empty()).is_ok() {
                return Ok(Self { file, folder, name: None, intents });
            }
        }
        let name = Name::note(folder, intents)?;
        let fd = openat(folder, &name.text, flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW, mode)?;
        Ok(Self { file: File::from(fd), folder, name: Some(name), intents })
    }

    /// Takes the place `name`, where nothing may be: `AlreadyExists` otherwise.
    pub fn place_new(mut self, name: &OsStr) -> io::Result<File> {
        crash::point("draft written");
        match self.name.take() {
            None => {
                linkat(CWD, link_of(&self.file), self.folder, name, AtFlags::SYMLINK_FOLLOW)?;
            }
            Some(mut draft) => {
                rename_new(self.folder, &draft.text, name)?;
                draft.is_gone = true;
            }
        }
        crash::point("draft placed");
        Ok(self.file)
    }

    /// Takes the place `name` of whatever file or link is there. `is_expected` is asked last of all.
    pub fn place_over(mut self, name: &OsStr, is_expected: impl Fn() -> io::Result<bool>) -> io::Result<Option<File>> {
        crash::point("draft written");
        let mut draft = if let Some(draft) = self.name.take() {
            draft
        } else {
            let draft = Name::note(self.folder, self.intents)?;
            crash::point("draft noted");
            linkat(CWD, link_of(&self.file), self.folder, &draft.text, AtFlags::SYMLINK_FOLLOW)?;
            draft
        };
        crash::point("draft named");
        if !is_expected()? {
            return Ok(None);
        }
        renameat(self.folder, &draft.text, self.folder, name)?;
        draft.is_gone = true;
        crash::point("draft placed");
        Ok(Some(self.file))
    }
}

/// Puts a symbolic link in the place `name` in one step, whatever file or link is there.
pub fn place_link(folder: &OwnedFd, intents: &Intents, target: &OsStr, name: &OsStr) -> io::Result<()> {
    let mut draft = Name::note(folder, intents)?;
    symlinkat(target, folder, &draft.text)?;
    crash::point("link named");
    renameat(folder, &draft.text, folder, name)?;
    draft.is_gone = true;
    Ok(())
}

/// Makes `name` another name of the file `other` (in `other_folder`) in one step.
pub fn place_hard_link(
    (other_folder, other): (&OwnedFd, &OsStr),
    (folder, name): (&OwnedFd, &OsStr),
    intents: &Intents,
) -> io::Result<()> {
    let draft = Name::note(folder, intents)?;
    linkat(other_folder, other, folder, &draft.text, AtFlags::empty())?;
    renameat(folder, &draft.text, folder, name)?;
    // A rename onto another name of the same file does nothing and leaves both: the draft removes its own.
    Ok(())
}

fn rename_new(folder: &OwnedFd, from: &str, to: &OsStr) -> io::Result<()> {
    match renameat_with(folder, from, folder, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => {
            if statat(folder, to, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
                return Err(Errno::EXIST.into());
            }
            Ok(renameat(folder, from, folder, to)?)
        }
        other => Ok(other?),
    }
}

/// A name of ours in a folder of the user's, noted as long as it may be there.
struct Name<'a> {
    text: String,
    folder: &'a OwnedFd,
    is_gone: bool,
    _intent: Intent,
}

impl<'a> Name<'a> {
    fn note(folder: &'a OwnedFd, intents: &Intents) -> io::Result<Self> {
        let text = format!("{PREFIX}{}{SUFFIX}", random_name());
        let noted = Noted { folder: std::fs::read_link(link_of(folder)).unwrap_or_default(), name: text.clone() };
        Ok(Self { text, folder, is_gone: false, _intent: intents.note("draft", &noted, false)? })
    }
}

impl Drop for Name<'_> {
    fn drop(&mut self) {
        if !self.is_gone {
            let _ = unlinkat(self.folder, &self.text, AtFlags::empty());
        }
    }
}

fn link_of(fd: &impl std::os::fd::AsFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()))
}

/// Removes the drafts that killed processes left.
pub fn remove_abandoned(intents: &Intents) {
    for (_intent, noted) in intents.abandoned::<Noted>("draft", |_| true) {
        let random = noted.name.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(SUFFIX));
        let is_ours =
            random.is_some_and(|random| random.len() == 16 && random.bytes().all(|byte| byte.is_ascii_hexdigit()));
        if !is_ours || !noted.folder.is_absolute() {
            continue;
        }
        if let Ok(folder) = open_without_links(&noted.folder) {
            let _ = unlinkat(folder.as_fd(), &noted.name, AtFlags::empty());
        }
    }
}

fn open_without_links(folder: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match openat2(CWD, folder, flags, Mode::empty(), resolve) {
        Err(Errno::NOSYS | Errno::PERM) => Ok(openat(CWD, folder, flags | OFlags::NOFOLLOW, Mode::empty())?),
        other => Ok(other?),
    }
}
