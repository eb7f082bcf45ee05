//! Taking back protected places that a command has made or exchanged. What was there before cannot be written from inside;
//! for what was not there, no system call can be refused by name without leaving placeholders in the user's folders.
//!
//! The window that remains: from its creation to the end of the command (of a long one, to the next look at it), such a
//! place exists, and a program of the user's that looks just then may trust it. Places deeper than the walk goes, and those
//! in installed packages, are not found.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, renameat, unlinkat};

use super::protected::{Found, find};
use super::repository;
use crate::output::random_name;
use crate::workspace::Workspace;

/// What was there when a command began.
#[derive(Debug, Clone, Default)]
pub struct Before {
    /// Places and files.
    pub found: Found,
    /// Places this command may write, because a person or a rule said so.
    pub admitted: Vec<PathBuf>,
}

/// Moves new places below `roots` into a folder of `state`; one sentence for the model where there were any.
pub fn take_back(workspace: &Workspace, roots: &[PathBuf], before: &Before, state: &Path) -> Option<String> {
    let after = find(roots);
    let mut fresh: Vec<PathBuf> = after
        .iter()
        .filter(|(path, identity)| before.found.get(*path) != Some(identity))
        .flat_map(|(path, _)| not_admitted(path, &before.admitted))
        .filter(|path| !repository::is_harmless(path))
        .collect();
    if fresh.is_empty() {
        return None;
    }
    fresh.sort();
    let folder = state.join("quarantine").join(random_name());
    let (mut taken, mut left) = (Vec::new(), Vec::new());
    for path in fresh {
        match move_away(workspace, &path, &folder) {
            Ok(()) => taken.push(path.display().to_string()),
            Err(error) => left.push(format!("{} ({error})", path.display())),
        }
    }
    let mut notes = Vec::new();
    if !taken.is_empty() {
        notes.push(format!(
            "[taken back: {} - other programs run or trust what lies there, so a command may not make it; it is kept in {}. \
             Use Write or Edit, which ask, or ask for without_sandbox]",
            taken.join(", "),
            folder.display()
        ));
    }
    if !left.is_empty() {
        notes.push(format!("[NOT taken back, look at it: {}]", left.join(", ")));
    }
    Some(notes.join("\n"))
}

/// `path`, or of a folder that holds what was admitted only the rest.
pub fn not_admitted(path: &Path, admitted: &[PathBuf]) -> Vec<PathBuf> {
    if admitted.iter().any(|admitted| path.starts_with(admitted)) {
        return Vec::new();
    }
    if !admitted.iter().any(|admitted| admitted.starts_with(path)) || path.is_symlink() {
        return vec![path.to_path_buf()];
    }
    let inside = fs::read_dir(path).into_iter().flatten().flatten();
    inside.flat_map(|entry| not_admitted(&entry.path(), admitted)).collect()
}

/// The folder it lies in is opened beneath its root, without links: what a survivor of the command exchanges changes nothing.
fn move_away(workspace: &Workspace, path: &Path, folder: &Path) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::NotFound)?;
    let parent = path.parent().ok_or(io::ErrorKind::NotFound)?;
    let parent_fd = match workspace.open_folder(&workspace.place(parent)) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            fs::File::open(parent).map(Into::into) // a root of the settings, which file tools do not know
        }
        opened => opened,
    }?;
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let target = folder.join(path.to_string_lossy().replace('/', "%"));
    match renameat(&parent_fd, name, CWD, &target) {
        // Another disk: files are copied; a folder is moved aside where it is, under a name that nothing trusts.
        Err(rustix::io::Errno::XDEV) if path.symlink_metadata()?.is_file() => {
            fs::copy(path, &target)?;
            Ok(unlinkat(&parent_fd, name, AtFlags::empty())?)
        }
        Err(rustix::io::Errno::XDEV) => {
            let aside = format!("quarantined-{}-{}", random_name(), name.to_string_lossy().trim_start_matches('.'));
            Ok(renameat(&parent_fd, name, &parent_fd, aside)?)
        }
        other => Ok(other?),
    }
}
