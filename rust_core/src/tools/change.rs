//! What changing a file takes: knowing how it looked when the model read it, and replacing it in one step.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{AtFlags, statat};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use similar::TextDiff;

use super::encoding::Encoding;
use super::{Context, ToolError};
use crate::attribute::Attributes;
use crate::draft::Draft;
use crate::location::Location;
use crate::visible::visible;

/// Larger files are neither edited nor hashed.
pub const MAX_BYTES: u64 = 32 << 20;
const MAX_DIFF_CHARS: usize = 30_000;
const DIFF_TIME: Duration = Duration::from_millis(300);

/// How a file looked at some moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    /// Of the whole content, where the file is small enough.
    hash: Option<[u8; 32]>,
}

impl Fingerprint {
    /// Of an open file with this content; `None`: it was not read whole.
    pub fn of(file: &File, content: Option<&[u8]>) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            hash: content.map(|content| Sha256::digest(content).into()),
        })
    }

    /// Two looks at a file that did not change in between; a touched file with the same content counts as unchanged.
    fn is_same(&self, other: &Self) -> bool {
        match (self.hash, other.hash) {
            (Some(a), Some(b)) => a == b,
            _ => {
                (self.device, self.inode, self.size, self.modified)
                    == (other.device, other.inode, other.size, other.modified)
            }
        }
    }
}

/// The files the model has seen, by where they are.
#[derive(Default)]
pub struct SeenFiles(Mutex<HashMap<PathBuf, Fingerprint>>);

impl SeenFiles {
    /// The model has seen the file, or written it.
    pub fn remember(&self, location: &Location, fingerprint: Fingerprint) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(location.target.clone(), fingerprint);
    }

    /// The model has seen this very state of the file.
    pub fn has(&self, location: &Location, current: &Current) -> bool {
        self.get(location).is_some_and(|seen| seen.is_same(&current.fingerprint))
    }

    /// The model does not know the file as it is now.
    pub fn forget(&self, location: &Location) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&location.target);
    }

    fn get(&self, location: &Location) -> Option<Fingerprint> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&location.target).cloned()
    }
}

/// A file as it is now.
pub struct Current {
    /// All of it.
    pub content: Vec<u8>,
    fingerprint: Fingerprint,
    attributes: Attributes,
    /// Other names of the same file; they keep the old content.
    pub has_other_names: bool,
}

/// Reads the file to be changed; `None` where there is none. Fails where it is no plain file or too large, where the
/// model has not read it, or where it changed since.
pub fn read_current(context: &Context<'_>, location: &Location) -> Result<Option<Current>, ToolError> {
    let Some(current) = read_unseen(context, location)? else { return Ok(None) };
    let shown = location.requested.display();
    match context.seen.get(location) {
        None => Err(ToolError::failed(format!("{shown} has not been read yet. Read it first, then change it."))),
        Some(seen) if !seen.is_same(&current.fingerprint) => {
            Err(ToolError::failed(format!("{shown} has changed since it was read. Read it again, then change it.")))
        }
        Some(_) => Ok(Some(current)),
    }
}

/// The same for a caller that knows by other means what the model has seen.
pub fn read_unseen(context: &Context<'_>, location: &Location) -> Result<Option<Current>, ToolError> {
    let shown = location.requested.display();
    let mut file = match context.workspace.open_file(location) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(open_error(location, &error)),
    };
    let metadata = file.metadata().map_err(|error| open_error(location, &error))?;
    if metadata.is_dir() {
        return Err(ToolError::failed(format!("{shown} is a folder; name a file in it.")));
    }
    if !metadata.is_file() {
        return Err(ToolError::failed(format!("{shown} is a device or pipe; only plain files are changed.")));
    }
    if metadata.size() > MAX_BYTES {
        return Err(ToolError::failed(format!("{shown} is larger than {} MiB; change it with Bash.", MAX_BYTES >> 20)));
    }
    let mut content = Vec::new();
    file.read_to_end(&mut content).map_err(|error| open_error(location, &error))?;
    let fingerprint = Fingerprint::of(&file, Some(&content)).map_err(|error| open_error(location, &error))?;
    Ok(Some(Current {
        content,
        fingerprint,
        attributes: Attributes::of(file.as_fd()).map_err(|error| open_error(location, &error))?,
        has_other_names: metadata.nlink() > 1,
    }))
}

/// An error of the file system as a sentence with what to do.
pub fn open_error(location: &Location, error: &io::Error) -> ToolError {
    let shown = location.requested.display();
    let sentence = match error.kind() {
        io::ErrorKind::NotFound => format!("{shown} does not exist. Glob finds files by name."),
        io::ErrorKind::PermissionDenied if location.root.is_none() => format!("{shown} lies outside the workspace."),
        io::ErrorKind::PermissionDenied => format!("{shown} may not be accessed: permission denied."),
        io::ErrorKind::NotADirectory => format!("A part of {shown} is a file where a folder should be."),
        io::ErrorKind::CrossesDevices => format!("{shown} leads outside the workspace."),
        _ if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            format!("{shown} was replaced by a link while it was opened; try again.")
        }
        _ if error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) => {
            format!("{shown} is a socket or a device without anybody behind it, not a plain file.")
        }
        _ if location.requested.as_os_str().as_encoded_bytes().contains(&0) => {
            format!("{} is no path: it holds a NUL character.", visible(&shown.to_string()))
        }
        _ => format!("{shown} cannot be opened: {error}."),
    };
    ToolError::failed(sentence)
}

/// Puts `content` in the place of `current` (or of nothing) in one step: whoever looks sees the old file or the new one.
/// Mode, extended attributes and, where allowed, owner stay. Folders that are missing are created.
pub fn replace(
    context: &Context<'_>,
    location: &Location,
    current: Option<&Current>,
    content: &[u8],
) -> Result<(), ToolError> {
    let failed = |error: &io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => changed_meanwhile(location),
        _ => ToolError::failed(format!("{} cannot be written: {error}.", location.requested.display())),
    };
    let folder = context.workspace.open_parent(location).map_err(|error| open_error(location, &error))?;
    let name = location.relative.file_name().ok_or_else(|| ToolError::failed("The path names no file."))?;
    let mode = if current.is_some() { 0o600 } else { 0o666 };
    let mut draft = Draft::new(&folder, context.intents, mode).map_err(|error| failed(&error))?;
    let written = draft.file.write_all(content).and_then(|()| {
        if let Some(current) = current {
            current.attributes.apply(draft.file.as_fd())?;
        }
        draft.file.sync_all()
    });
    written.map_err(|error| failed(&error))?;
    if context.cancel.is_cancelled() {
        return Err(ToolError::Cancelled);
    }
    let placed = match current {
        // Nobody may have put a file there meanwhile: the system call itself refuses.
        None => draft.place_new(name).map(Some),
        Some(current) => draft.place_over(name, || {
            let now = statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let seen = &current.fingerprint;
            #[expect(clippy::cast_sign_loss, reason = "sizes are not negative")]
            let is_same_file = (now.st_dev, now.st_ino, now.st_size as u64) == (seen.device, seen.inode, seen.size);
            Ok(is_same_file && (now.st_mtime, i64::try_from(now.st_mtime_nsec).unwrap_or(0)) == seen.modified)
        }),
    };
    let file = placed.map_err(|error| failed(&error))?.ok_or_else(|| changed_meanwhile(location))?;
    let fingerprint = Fingerprint::of(&file, Some(content)).map_err(|error| failed(&error))?;
    context.seen.remember(location, fingerprint);
    Ok(())
}

fn changed_meanwhile(location: &Location) -> ToolError {
    ToolError::failed(format!(
        "{} was changed by someone else just now. Read it again, then change it.",
        location.requested.display()
    ))
}

/// The diff between two contents of a file, as the person sees it.
pub fn diff(path: &str, before: &[u8], after: &[u8]) -> String {
    let (before, after) = (Encoding::of(before).decode(before), Encoding::of(after).decode(after));
    let diff = TextDiff::configure().timeout(DIFF_TIME).diff_lines(before.as_str(), after.as_str());
    let text = diff.unified_diff().context_radius(3).header(&format!("a/{path}"), &format!("b/{path}")).to_string();
    if text.len() <= MAX_DIFF_CHARS {
        return text;
    }
    let mut end = MAX_DIFF_CHARS;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let end = text[..end].rfind('\n').unwrap_or(end);
    format!("{}\n… {} more lines of diff\n", &text[..end], text[end..].lines().count().saturating_sub(1))
}

/// The preview of a change.
pub fn preview(path: &str, before: Option<&[u8]>, after: &[u8]) -> Value {
    json!({"kind": "diff", "path": path, "diff": diff(path, before.unwrap_or_default(), after), "is_new": before.is_none()})
}
