//! Doing the steps of a restore. Each is done in one system call that replaces, or can be done again, so that a restore
//! that was killed on the way is finished by the next start.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, mkdirat, openat, renameat_with, syncfs, unlinkat};
use serde::{Deserialize, Serialize};

use super::family::Names;
use super::journal::Change;
use super::pack::Pack;
use super::plan::{Plan, Step, Way, has_strangers};
use super::state::{Content, FileState, Saving, State, capture, capture_path};
use super::store::Owner;
use crate::crash;
use crate::draft::{Draft, place_hard_link, place_link};
use crate::intent::Intents;
use crate::workspace::Workspace;

/// A restore that is under way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Noted {
    /// Whose checkpoints.
    pub owner: Owner,
    /// The number of the first entry that is taken back.
    pub restored_to: u64,
    /// The number of the last entry before the restore's own.
    pub last: u64,
    /// One line for the person.
    pub title: String,
    /// What is done.
    pub plan: Plan,
}

/// A path that could not be put back, and why.
pub type Failure = (PathBuf, String);

/// Puts files back.
pub struct Restorer<'a> {
    /// Where.
    pub workspace: &'a Workspace,
    /// From what.
    pub pack: &'a Pack,
    /// What is done.
    pub plan: &'a Plan,
    /// Of the last look and of what the plan found.
    pub names: Names,
    /// For what has a name for a moment only.
    pub intents: &'a Intents,
    /// So many files that they are written to the disk together at the end, before the note of the restore goes.
    pub is_bulk: bool,
}

impl Restorer<'_> {
    /// Does the steps and says what has changed, and what could not be done.
    pub fn apply(&self) -> (Vec<Change>, Vec<Failure>) {
        let steps = &self.plan.steps;
        let mut failures: Vec<Failure> = Vec::new();
        let mut run = |steps: &mut dyn Iterator<Item = &Step>, act: &mut dyn FnMut(&Step) -> io::Result<()>| {
            for step in steps {
                if failures.iter().any(|(path, _)| *path == step.path) {
                    continue;
                }
                crash::point("restore step");
                if let Err(error) = act(step) {
                    failures.push((step.path.clone(), explain(&error)));
                }
            }
        };
        let is_folder = |state: &State| matches!(state, State::Folder { .. });
        let restored = || steps.iter().filter(|step| step.way == Way::Restore);
        run(
            &mut restored().filter(|step| !is_folder(&step.from) && (step.to == State::Absent || is_folder(&step.to))),
            &mut |step| self.remove(step),
        );
        run(&mut restored().filter(|step| is_folder(&step.to)), &mut |step| self.make_folder(step));
        run(&mut steps.iter(), &mut |step| match &step.way {
            Way::Move(from) => self.move_back(from, step),
            _ => Ok(()),
        });
        // Deepest first: paths are sorted, so a folder stands before what lies in it.
        run(&mut restored().rev().filter(|step| is_folder(&step.from) && !is_folder(&step.to)), &mut |step| {
            self.remove_folder(step)
        });
        let mut put: Vec<&Step> =
            restored().filter(|step| matches!(step.to, State::File(_) | State::Link { .. })).collect();
        put.sort_by_key(|step| putting_order(step));
        let mut to_come: HashSet<&Path> = put.iter().map(|step| step.path.as_path()).collect();
        run(&mut put.into_iter(), &mut |step| {
            self.put(step, &to_come)?;
            to_come.remove(step.path.as_path());
            Ok(())
        });
        run(&mut restored().rev().filter(|step| is_folder(&step.to)), &mut |step| self.finish_folder(step));
        if self.is_bulk
            && let Ok(root) = self.workspace.open_folder(&self.workspace.place(self.workspace.path()))
        {
            let _ = syncfs(root);
        }
        let mut changes = Vec::new();
        let places = steps.iter().flat_map(|step| match &step.way {
            Way::Move(from) => vec![(from, &step.to), (&step.path, &step.from)],
            _ => vec![(&step.path, &step.from)],
        });
        for (path, before) in places {
            let saving = Saving { pack: Some(self.pack), max_bytes: super::MAX_EXPLICIT_BYTES, refusal: None };
            if let Ok(after) = capture_path(self.workspace, path, saving)
                && !after.is_untouched(before)
            {
                changes.push(Change { path: path.clone(), before: before.clone(), after });
            }
        }
        (changes, failures)
    }

    fn remove(&self, step: &Step) -> io::Result<()> {
        let (folder, name) = self.parent(&step.path)?;
        if is_at(&folder, &name, step)? {
            unlinkat(&folder, &name, AtFlags::empty())?;
        }
        Ok(())
    }

    fn make_folder(&self, step: &Step) -> io::Result<()> {
        let (folder, name) = self.parent(&step.path)?;
        match mkdirat(&folder, &name, Mode::from_raw_mode(0o700)) {
            Err(rustix::io::Errno::EXIST) if matches!(step.from, State::Folder { .. }) => Ok(()),
            Err(rustix::io::Errno::EXIST) => {
                let is_folder = matches!(capture(folder.as_fd(), &name, look())?.0, State::Folder { .. });
                if is_folder { Ok(()) } else { Err(changed_meanwhile()) }
            }
            other => Ok(other?),
        }
    }

    fn move_back(&self, from: &Path, step: &Step) -> io::Result<()> {
        let (folder, name) = self.parent(&step.path)?;
        let (source, source_name) = self.parent(from)?;
        let is_there = |folder: &OwnedFd, name: &OsStr| {
            capture(folder.as_fd(), name, look()).is_ok_and(|(state, _)| state.identity() == step.to.identity())
        };
        if is_there(&folder, &name) {
            return Ok(());
        }
        if !is_there(&source, &source_name) {
            return Err(changed_meanwhile());
        }
        Ok(renameat_with(&source, &source_name, &folder, &name, RenameFlags::NOREPLACE)?)
    }

    fn remove_folder(&self, step: &Step) -> io::Result<()> {
        let (folder, name) = self.parent(&step.path)?;
        match unlinkat(&folder, &name, AtFlags::REMOVEDIR) {
            Err(rustix::io::Errno::NOENT) => Ok(()),
            // Done before a restore was interrupted: something else is in its place already.
            Err(rustix::io::Errno::NOTDIR) if step.to != State::Absent => Ok(()),
            other => Ok(other?),
        }
    }

    /// `to_come` are the paths that are put after this one, or could not be.
    fn put(&self, step: &Step, to_come: &HashSet<&Path>) -> io::Result<()> {
        let (folder, name) = self.parent(&step.path)?;
        let (now, _) = capture(folder.as_fd(), &name, look())?;
        let is_done = now.is_identical(&step.to);
        let is_same_kind = std::mem::discriminant(&step.from) == std::mem::discriminant(&step.to);
        // Of a restore of many files that a power failure cut off: in its place, but its content never reached the disk.
        let is_empty_of_ours = matches!((&now, &step.to), (State::File(now), State::File(to))
            if now.size == 0 && now.attributes.modified == to.attributes.modified);
        let is_expected = now.is_same(&step.from) || (now == State::Absent && !is_same_kind) || is_empty_of_ours;
        if !is_done && !is_expected {
            return Err(changed_meanwhile());
        }
        match &step.to {
            State::Link { target } if !is_done => place_link(&folder, self.intents, target.as_os_str(), &name),
            State::File(file) => {
                if self.relink(&folder, &name, step, &now, to_come)? {
                    return Ok(());
                }
                let is_alone = match &now {
                    State::File(now) => {
                        !has_strangers(self.workspace, &step.path, now, &self.plan.families, &self.names)
                    }
                    _ => false,
                };
                if is_done && is_alone { Ok(()) } else { self.put_file(&folder, &name, &now, file, is_alone) }
            }
            _ => Ok(()),
        }
    }

    /// `is_alone`: what lies there may be changed in place.
    fn put_file(
        &self,
        folder: &OwnedFd,
        name: &OsStr,
        now: &State,
        file: &FileState,
        is_alone: bool,
    ) -> io::Result<()> {
        let is_content_there = match now {
            State::File(now) => match (now.content, file.content) {
                (Content::Saved(a), Content::Saved(b)) => a == b,
                (_, Content::Cloned(_)) => now.has_content_of(file),
                _ => (now.inode, now.size) == (file.inode, file.size),
            },
            _ => false,
        };
        if is_content_there && is_alone {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
            if let Ok(fd) = openat(folder, name, flags, Mode::empty()) {
                file.attributes.apply(fd.as_fd())?;
                return file.attributes.apply_time(fd.as_fd());
            }
        }
        let mut draft = Draft::new(folder, self.intents, 0o600)?;
        match file.content {
            Content::Saved(hash) => draft.file.write_all(&self.pack.get(hash)?)?,
            Content::Cloned(id) => self.pack.clones.get(id, &mut draft.file)?,
            Content::Unsaved(_) => return Err(io::Error::from(io::ErrorKind::NotFound)),
        }
        file.attributes.apply(draft.file.as_fd())?;
        file.attributes.apply_time(draft.file.as_fd())?;
        if !self.is_bulk {
            draft.file.sync_all()?;
        }
        if *now == State::Absent {
            draft.place_new(name)?;
            return Ok(());
        }
        // Asked again at the last moment: nobody's change is lost that came while this was written.
        let is_expected = || Ok(capture(folder.as_fd(), name, look())?.0.is_identical(now));
        draft.place_over(name, is_expected)?.map(|_| ()).ok_or_else(changed_meanwhile)
    }

    /// Makes the path another name of the file it shall share with other paths, where one of them is in its place.
    fn relink(
        &self,
        folder: &OwnedFd,
        name: &OsStr,
        step: &Step,
        now: &State,
        to_come: &HashSet<&Path>,
    ) -> io::Result<bool> {
        for other in self.plan.other_names(&step.path).filter(|other| !to_come.contains(other)) {
            let place = self.workspace.place(other);
            let folder_of_other =
                place.requested.parent().map(|folder| self.workspace.open_folder(&self.workspace.place(folder)));
            let (Some(Ok(other_folder)), Some(other_name)) = (folder_of_other, place.relative.file_name()) else {
                continue; // gone with its folder
            };
            let (there, _) = capture(other_folder.as_fd(), other_name, look())?;
            let State::File(file) = &there else { continue };
            // Whatever became of it since: only what is the same in every respect is taken for it.
            if !there.is_identical(&step.to) {
                continue;
            }
            if !matches!(now, State::File(now) if now.inode == file.inode) {
                place_hard_link((&other_folder, other_name), (folder, name), self.intents)?;
            }
            return Ok(true);
        }
        Ok(false)
    }

    fn finish_folder(&self, step: &Step) -> io::Result<()> {
        let State::Folder { attributes, .. } = &step.to else { return Ok(()) };
        let folder = self.workspace.open_folder(&self.workspace.place(&step.path))?;
        attributes.apply(folder.as_fd())?;
        attributes.apply_time(folder.as_fd())
    }

    /// The folder a path lies in, created where it is missing; never through a link.
    fn parent(&self, path: &Path) -> io::Result<(OwnedFd, OsString)> {
        let place = self.workspace.place(path);
        let name = place.relative.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        Ok((self.workspace.open_parent(&place)?, name))
    }
}

/// What was not saved is changed in place, so after everything that shares its file by mistake; and linked after that.
fn putting_order(step: &Step) -> u8 {
    match (&step.from, &step.to) {
        (State::File(from), State::File(to)) if matches!(to.content, Content::Unsaved(_)) => {
            if from.inode == to.inode {
                1
            } else {
                2
            }
        }
        (_, State::File(to)) if matches!(to.content, Content::Unsaved(_)) => 2,
        _ => 0,
    }
}

/// Whether the path is still as it was when the restore was planned; false where it is gone already.
fn is_at(folder: &OwnedFd, name: &OsStr, step: &Step) -> io::Result<bool> {
    let (now, _) = capture(folder.as_fd(), name, look())?;
    if now == State::Absent || matches!((&now, &step.to), (State::Folder { .. }, State::Folder { .. })) {
        return Ok(false);
    }
    if now.is_same(&step.from) { Ok(true) } else { Err(changed_meanwhile()) }
}

/// Looking without keeping.
fn look() -> Saving<'static> {
    Saving { pack: None, max_bytes: super::MAX_EXPLICIT_BYTES, refusal: None }
}

fn changed_meanwhile() -> io::Error {
    io::Error::other("it was changed by someone else just now")
}

fn explain(error: &io::Error) -> String {
    if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) {
        return "a folder on its path is a link now".into();
    }
    if error.raw_os_error() == Some(rustix::io::Errno::NOTEMPTY.raw_os_error()) {
        return "the folder holds something else".into();
    }
    error.to_string()
}
