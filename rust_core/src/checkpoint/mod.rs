//! Checkpoints: before a call that can write runs, what it may touch is saved; afterwards what it changed is noted. So it
//! can be taken back, commands included.
//!
//! File tools name the file they write: it alone is saved. A command or code may write anywhere, and once it has run the old
//! bytes are gone, so the workspace itself is looked through before and after (`walk`). Saved are files that git does not
//! ignore, up to 2 MiB each, the first time all of them, then only what changed since; larger ones where the file system can clone
//! them (`clones`). What is not saved is named.
//!
//! Below the state folder: `checkpoints/<session and workspace>/` with the contents (`pack`), the last look (`tree`) and the
//! list of checkpoints (`journal`); `intents/` with what is under way.

mod call;
mod clones;
mod family;
mod git;
mod ignored;
mod journal;
mod pack;
mod plan;
mod preview;
#[cfg(test)]
mod properties;
mod restore;
mod state;
mod store;
#[cfg(test)]
mod tests;
mod tree;
mod undo;
mod walk;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use serde_json::Value;

use crate::intent::Intents;
use crate::workspace::Workspace;
pub use call::{Open, Scope};
pub use clones::copy as copy_content;
pub use plan::Target;
use store::{Owner, Store};

/// Larger files are not saved for a command.
const MAX_FILE_BYTES: u64 = 2 << 20;
/// Larger files are not saved for a tool that names them; the file tools do not change larger ones.
pub const MAX_EXPLICIT_BYTES: u64 = 32 << 20;

/// How much may be saved.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Of a session's contents, in MiB; 0: no checkpoints.
    pub megabytes: u64,
    /// For saving before one call.
    pub seconds: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { megabytes: 512, seconds: 3.0 }
    }
}

#[derive(Default)]
struct Session {
    id: String,
    turn: String,
    store: Option<Store>,
    /// Why the workspace is not looked through any more.
    gap: Option<&'static str>,
}

/// The checkpoints of one core.
pub struct Checkpoints {
    state_folder: PathBuf,
    folder: PathBuf,
    limits: Mutex<Limits>,
    session: Mutex<Session>,
    /// What is under way; for all that writes files.
    pub intents: Intents,
}

impl Checkpoints {
    /// Cleans up what killed processes left half done in this workspace.
    pub fn new(state: &Path, session: &str, workspace: &Workspace) -> io::Result<Self> {
        let state_folder = state.canonicalize()?;
        let intents = Intents::new(&state_folder)?;
        let folder = state_folder.join("checkpoints");
        let session = Session { id: session.to_owned(), ..Session::default() };
        let checkpoints =
            Self { state_folder, folder, limits: Mutex::default(), session: Mutex::new(session), intents };
        crate::draft::remove_abandoned(&checkpoints.intents);
        checkpoints.finish_restores(workspace);
        store::prune_sessions(&checkpoints.folder);
        Ok(checkpoints)
    }

    /// How much may be saved from now on.
    pub fn set_limits(&self, limits: Limits) {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    fn limits(&self) -> Limits {
        *self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The calls to come belong to this turn.
    pub fn begin_turn(&self, session_id: &str, turn_id: &str) {
        let mut session = self.lock();
        if session.id != session_id {
            *session = Session { id: session_id.to_owned(), ..Session::default() };
        }
        turn_id.clone_into(&mut session.turn);
    }

    fn lock(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session's store, opened; a call that a killed kernel left is noted with what it has changed.
    fn store<'a>(&self, session: &'a mut Session, workspace: &Workspace) -> io::Result<&'a mut Store> {
        if session.store.is_none() {
            let owner = Owner { session: session.id.clone(), workspace: workspace.path().to_path_buf() };
            let mut store = Store::open(&self.folder, owner, self.limits().megabytes << 20)?;
            self.note_abandoned(&mut store, workspace)?;
            session.store = Some(store);
        }
        session.store.as_mut().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    /// All checkpoints of the session, oldest first.
    pub fn list(&self, workspace: &Workspace) -> io::Result<Value> {
        let mut session = self.lock();
        let store = self.store(&mut session, workspace)?;
        Ok(store.journal.entries.iter().map(preview::describe).collect())
    }

    /// Whether another process has this session open, such as a notebook's kernel.
    pub fn is_shared(&self, workspace: &Workspace) -> io::Result<bool> {
        self.store(&mut self.lock(), workspace)?.is_shared()
    }

    /// The sessions that have checkpoints of this workspace, the one used last first.
    pub fn sessions(&self, workspace: &Workspace) -> Vec<String> {
        store::sessions(&self.folder, workspace.path())
    }
}
