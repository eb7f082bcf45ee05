//! Checkpoints: before a call that can write runs, what it may touch is saved; afterwards what it changed is noted. So it
//! can be taken back, commands included.
//!
//! File tools name the file they write: it alone is saved. A command or code may write anywhere, and once it has run the old
//! bytes are gone, so the workspace itself is looked through before and after (`walk`). Saved are files that git does not
//! ignore, up to 2 MiB each, the first time all of them, then only what changed since. What is not saved is named.
//!
//! Below the state folder: `checkpoints/<session and workspace>/` with the contents (`pack`), the last look (`tree`) and the
//! list of checkpoints (`journal`); `intents/` with what is under way.

mod git;
mod ignored;
mod journal;
mod pack;
mod plan;
mod preview;
mod restore;
mod state;
mod store;
#[cfg(test)]
mod tests;
mod tree;
mod walk;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::audit::now;
use crate::crash;
use crate::effect::Effect;
use crate::intent::{Intent, Intents};
use crate::workspace::Workspace;
use git::GitState;
use journal::{Change, Entry};
pub use plan::Target;

use restore::{Failure, Noted, Restorer};
use state::{Saving, State, Unsaved, capture_path, path_text};
use store::{Owner, Store};
use walk::Walk;

/// Larger files are not saved for a command.
const MAX_FILE_BYTES: u64 = 2 << 20;
/// Larger files are not saved for a tool that names them; the file tools do not change larger ones.
pub const MAX_EXPLICIT_BYTES: u64 = 32 << 20;
/// A restore of more is written to the disk as a whole, not file by file.
const BULK_STEPS: usize = 64;
/// Names of files in a call's details.
const MAX_NAMES: usize = 10;

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

/// What a call may write.
#[derive(Debug, PartialEq, Eq)]
pub struct Scope {
    /// Files it names.
    paths: Vec<String>,
    /// Anything in the workspace.
    is_workspace: bool,
}

impl Scope {
    /// From what a call that is not read-only declares; `None` where it writes no files.
    pub fn of(effects: &[Effect]) -> Option<Self> {
        let path = |effect: &Effect| match effect {
            Effect::WritePath { path } => Some(path.clone()),
            _ => None,
        };
        let paths: Vec<String> = effects.iter().filter_map(path).collect();
        let writes = |effect: &Effect| {
            matches!(effect, Effect::Run { .. } | Effect::Start { .. } | Effect::Namespace | Effect::Mcp { .. })
        };
        let is_workspace = effects.iter().any(writes);
        (is_workspace || !paths.is_empty()).then_some(Self { paths, is_workspace })
    }
}

/// A call that runs, with its checkpoint.
pub struct Open {
    noted: Noting,
    git: Option<GitState>,
    gap: String,
    /// Held as long as the call runs.
    intent: Option<Intent>,
}

/// The same as it is written down, should the kernel be killed meanwhile.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Noting {
    owner: Owner,
    turn: String,
    call: String,
    tool: String,
    title: String,
    paths: Vec<Explicit>,
    is_workspace: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Explicit {
    #[serde(with = "path_text")]
    path: PathBuf,
    before: State,
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
            let mut store = Store::open(&self.folder, owner.clone(), self.limits().megabytes << 20)?;
            for (_intent, noted) in self.intents.abandoned::<Noting>("call", |noted| noted.owner == owner) {
                let gap = if noted.is_workspace && !store.tree.is_complete {
                    "what the command changed is not known"
                } else {
                    ""
                };
                let open = Open { noted, git: None, gap: gap.to_owned(), intent: None };
                self.note_changes(&mut store, workspace, &open, true)?;
            }
            session.store = Some(store);
        }
        session.store.as_mut().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    /// Saves what a call in `scope` may touch. Never fails: what could not be saved is said in the call's details.
    pub fn begin(&self, workspace: &Workspace, scope: &Scope, call: &str, tool: &str, title: &str) -> Option<Open> {
        let mut session = self.lock();
        if self.limits().megabytes == 0 || session.id.is_empty() {
            return None;
        }
        let owner = Owner { session: session.id.clone(), workspace: workspace.path().to_path_buf() };
        let noted = Noting {
            owner,
            turn: session.turn.clone(),
            call: call.to_owned(),
            tool: tool.to_owned(),
            title: title.to_owned(),
            paths: Vec::new(),
            is_workspace: scope.is_workspace,
        };
        let mut open = Open { noted, git: None, gap: String::new(), intent: None };
        if let Err(error) = self.save(&mut session, workspace, scope, &mut open) {
            open.noted.is_workspace = false;
            open.gap = format!("no checkpoint could be written ({error})");
        }
        Some(open)
    }

    fn save(&self, session: &mut Session, workspace: &Workspace, scope: &Scope, open: &mut Open) -> io::Result<()> {
        let known_gap = session.gap;
        let store = self.store(session, workspace)?;
        let saving = Saving { pack: Some(&store.pack), max_bytes: MAX_EXPLICIT_BYTES, refusal: None };
        for path in &scope.paths {
            for path in touched(workspace, path) {
                let before = capture_path(workspace, &path, saving)?;
                if before.unsaved() == Some(Unsaved::Full) {
                    "the checkpoints' room is used up".clone_into(&mut open.gap);
                }
                open.noted.paths.push(Explicit { path, before });
            }
        }
        if scope.is_workspace {
            open.git = GitState::of(workspace.path());
            let gap = if known_gap.is_some() { known_gap } else { self.look(store, workspace)?.err() };
            if let Some(gap) = gap {
                open.noted.is_workspace = false;
                gap.clone_into(&mut open.gap);
            } else {
                let late = store.tree.unsaved(Unsaved::Late);
                let full = store.tree.unsaved(Unsaved::Full);
                if full > 0 {
                    open.gap = format!("{full} files are not saved: the checkpoints' room is used up");
                } else if late > 0 {
                    open.gap = format!("{late} files were not saved in time; the next call goes on with them");
                }
            }
            session.gap = gap;
        }
        open.intent = Some(self.intents.note("call", &open.noted, false)?);
        Ok(())
    }

    /// Looks through the workspace and takes in what is new: what changed since the last look, or why it could not be seen.
    fn look(&self, store: &mut Store, workspace: &Workspace) -> io::Result<Result<Vec<Change>, &'static str>> {
        let seconds = Duration::from_secs_f64(self.limits().seconds.clamp(0.0, 600.0));
        let walk = Walk {
            workspace,
            tree: &store.tree,
            pack: &store.pack,
            max_file_bytes: MAX_FILE_BYTES,
            save_until: Instant::now() + seconds,
            until: Instant::now() + seconds * 2,
            own_folder: &self.state_folder,
        };
        let look = walk.run();
        if let Some(gap) = look.gap {
            return Ok(Err(gap));
        }
        for (folder, rules) in look.rules {
            match rules {
                Some(rules) => store.tree.rules.insert(folder, rules),
                None => store.tree.rules.remove(&folder),
            };
        }
        let changes = store.tree.apply(look.updates)?;
        store.tree.is_complete = true;
        Ok(Ok(changes))
    }

    /// Notes what the call has changed. Gives what its details say of it.
    pub fn end(&self, workspace: &Workspace, mut open: Open) -> Map<String, Value> {
        let mut session = self.lock();
        let noted = match session.store.as_mut() {
            Some(store) if store.owner == open.noted.owner => self.note_changes(store, workspace, &open, false),
            // Another session was begun meanwhile.
            _ => Ok(None),
        };
        let mut details = Map::new();
        match noted {
            Ok(Some(entry)) => {
                let described = preview::describe(&entry);
                let count = described["paths"].as_array().map_or(0, Vec::len);
                details.insert("checkpoint".into(), json!({"id": described["id"], "changed": count}));
                let names: Vec<String> = entry
                    .changes
                    .iter()
                    .filter_map(|change| Some((change, change.before.unsaved()?)))
                    .map(|(change, why)| {
                        let size =
                            change.before.size().map(|size| format!("{}, ", shown_size(size))).unwrap_or_default();
                        format!("{} ({size}{})", change.path.display(), why.reason())
                    })
                    .collect();
                let gap = if entry.gap.is_empty() { shortened(&names) } else { entry.gap };
                if !gap.is_empty() {
                    details.insert("not_undoable".into(), json!(gap));
                }
            }
            Ok(None) if !open.gap.is_empty() => {
                details.insert("not_undoable".into(), json!(open.gap));
            }
            Ok(None) => {}
            Err(error) => {
                let gap = format!("the checkpoint could not be written ({error})");
                details.insert("not_undoable".into(), json!(gap));
                // The next start finds the note and tries again.
                if let Some(intent) = open.intent.take() {
                    intent.keep();
                }
            }
        }
        details
    }

    fn note_changes(
        &self,
        store: &mut Store,
        workspace: &Workspace,
        open: &Open,
        is_interrupted: bool,
    ) -> io::Result<Option<Entry>> {
        let mut gap = open.gap.clone();
        let mut changes = Vec::new();
        if open.noted.is_workspace && store.tree.is_complete {
            match self.look(store, workspace)? {
                Ok(seen) => changes = seen,
                Err(why) => {
                    // What lies where is no longer known; the next call begins anew.
                    store.tree.is_complete = false;
                    why.clone_into(&mut gap);
                }
            }
        }
        let saving = Saving { pack: Some(&store.pack), max_bytes: MAX_EXPLICIT_BYTES, refusal: None };
        for Explicit { path, before } in &open.noted.paths {
            let after = capture_path(workspace, path, saving)?;
            changes.retain(|change| change.path != *path);
            if !before.is_identical(&after) {
                changes.push(Change { path: path.clone(), before: before.clone(), after });
            }
        }
        let git = GitState::change(open.git.clone(), open.git.as_ref().and_then(|_| GitState::of(workspace.path())));
        if changes.is_empty() && git.is_none() {
            return Ok(None);
        }
        changes.sort_by(|a, b| a.path.cmp(&b.path));
        store.pack.sync()?;
        let entry = Entry {
            number: 0,
            at: now(),
            turn: open.noted.turn.clone(),
            call: open.noted.call.clone(),
            tool: open.noted.tool.clone(),
            title: open.noted.title.clone(),
            changes,
            restored_to: None,
            git,
            is_interrupted,
            gap,
        };
        store.journal.append(entry).map(|entry| Some(entry.clone()))
    }

    /// All checkpoints of the session, oldest first.
    pub fn list(&self, workspace: &Workspace) -> io::Result<Value> {
        let mut session = self.lock();
        let store = self.store(&mut session, workspace)?;
        Ok(store.journal.entries.iter().map(preview::describe).collect())
    }

    /// The sessions that have checkpoints of this workspace, the one used last first.
    pub fn sessions(&self, workspace: &Workspace) -> Vec<String> {
        store::sessions(&self.folder, workspace.path())
    }

    /// What a restore would do. The error is for a person.
    pub fn preview(&self, workspace: &Workspace, target: &Target) -> Result<Value, String> {
        let mut session = self.lock();
        let store = self.store(&mut session, workspace).map_err(unreadable)?;
        let at = target.resolve(&store.journal.entries)?;
        let steps = plan::steps(workspace, &store.journal.entries[at..], explicit(store)).map_err(unreadable)?;
        Ok(preview::preview(&store.journal.entries[at..], &steps, &store.pack))
    }

    /// Does it. With `is_forced` also where somebody else has changed a file since; else nothing at all is done then.
    pub fn restore(&self, workspace: &Workspace, target: &Target, is_forced: bool) -> Result<Value, String> {
        let mut session = self.lock();
        let store = self.store(&mut session, workspace).map_err(unreadable)?;
        let at = target.resolve(&store.journal.entries)?;
        let entries = &store.journal.entries[at..];
        let steps = plan::steps(workspace, entries, explicit(store)).map_err(unreadable)?;
        let mut shown = preview::preview(entries, &steps, &store.pack);
        let conflicts = steps.iter().filter(|step| step.is_conflict).count();
        if conflicts > 0 && !is_forced {
            return Err(format!(
                "Nothing was changed: {} been edited since by someone else. Use --force to overwrite.",
                if conflicts == 1 { "1 file has".to_owned() } else { format!("{conflicts} files have") }
            ));
        }
        let calls = entries.iter().filter(|entry| entry.restored_to.is_none()).count();
        let title = match entries {
            [only] if only.restored_to.is_some() => format!("take back c{}", only.number),
            _ => format!("take back {calls} call{} from c{}", if calls == 1 { "" } else { "s" }, entries[0].number),
        };
        let last = entries.last().map_or(0, |entry| entry.number);
        let noted = Noted { owner: store.owner.clone(), restored_to: entries[0].number, last, title, steps };
        store.pack.sync().map_err(unreadable)?;
        let intent = self.intents.note("restore", &noted, true).map_err(unreadable)?;
        crash::point("restore noted");
        let (entry, failures) = self.finish(store, workspace, noted).map_err(unreadable)?;
        drop(intent);
        crash::point("restore done");
        shown["id"] = json!(entry.map(|number| format!("c{number}")));
        shown["failures"] = failures
            .into_iter()
            .map(|(path, reason)| json!({"path": path.to_string_lossy(), "reason": reason}))
            .collect();
        Ok(shown)
    }

    fn finish(
        &self,
        store: &mut Store,
        workspace: &Workspace,
        noted: Noted,
    ) -> io::Result<(Option<u64>, Vec<Failure>)> {
        let restorer = Restorer {
            workspace,
            pack: &store.pack,
            tree: &store.tree,
            intents: &self.intents,
            is_bulk: noted.steps.len() > BULK_STEPS,
        };
        let (mut changes, failures) = restorer.apply(&noted.steps);
        crash::point("restore applied");
        if changes.is_empty() {
            return Ok((None, failures));
        }
        changes.sort_by(|a, b| a.path.cmp(&b.path));
        store.pack.sync()?;
        let entry = Entry {
            number: 0,
            at: now(),
            turn: String::new(),
            call: String::new(),
            tool: "undo".into(),
            title: noted.title,
            changes,
            restored_to: Some(noted.restored_to),
            git: None,
            is_interrupted: false,
            gap: String::new(),
        };
        let number = store.journal.append(entry)?.number;
        crash::point("restore journaled");
        Ok((Some(number), failures))
    }

    /// Finishes the restores that a killed process left half done.
    fn finish_restores(&self, workspace: &Workspace) {
        let is_ours = |noted: &Noted| noted.owner.workspace == workspace.path();
        for (intent, noted) in self.intents.abandoned::<Noted>("restore", is_ours) {
            let opened = Store::open(&self.folder, noted.owner.clone(), self.limits().megabytes << 20);
            let finished = opened.and_then(|mut store| {
                // Killed after its last word: done.
                let is_done = store.journal.entries.last().is_some_and(|entry| entry.number > noted.last);
                if is_done { Ok(()) } else { self.finish(&mut store, workspace, noted).map(|_| ()) }
            });
            if finished.is_err() {
                intent.keep(); // for the next start
            }
        }
    }
}

/// The paths a call writes when it writes `path`: the file itself, and folders that will be made for it.
fn touched(workspace: &Workspace, path: &str) -> Vec<PathBuf> {
    let location = workspace.locate(path);
    if !location.is_writable || location.relative.as_os_str().is_empty() {
        return Vec::new();
    }
    let shown = |path: &Path| path.strip_prefix(workspace.path()).unwrap_or(path).to_path_buf();
    let mut paths = vec![shown(&location.target)];
    let mut above = location.target.parent();
    while let Some(folder) = above.filter(|folder| !folder.exists()) {
        paths.push(shown(folder));
        above = folder.parent();
    }
    // Its folder's time changes with it.
    paths.extend(above.filter(|folder| workspace.place(folder).relative.components().next().is_some()).map(shown));
    paths
}

fn explicit(store: &Store) -> Saving<'_> {
    Saving { pack: Some(&store.pack), max_bytes: MAX_EXPLICIT_BYTES, refusal: None }
}

fn unreadable(error: io::Error) -> String {
    format!("The checkpoints cannot be used: {error}.")
}

fn shortened(names: &[String]) -> String {
    let more = names.len().saturating_sub(MAX_NAMES);
    let shown = names[..names.len() - more].join(", ");
    if more > 0 { format!("{shown}, and {more} more") } else { shown }
}

/// Bytes as a person reads them.
fn shown_size(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let bytes = bytes as f64;
    match bytes {
        _ if bytes < 1e3 => format!("{bytes} B"),
        _ if bytes < 1e6 => format!("{:.1} kB", bytes / 1e3),
        _ if bytes < 1e9 => format!("{:.1} MB", bytes / 1e6),
        _ => format!("{:.1} GB", bytes / 1e9),
    }
}
