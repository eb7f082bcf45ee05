//! The checkpoint of one call: what it may touch is saved before, what it has changed is noted after.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::git::GitState;
use super::journal::{Change, Entry};
use super::state::{Saving, State, Unsaved, capture_path, path_text};
use super::store::{Owner, Store};
use super::walk::Walk;
use super::{Checkpoints, MAX_EXPLICIT_BYTES, MAX_FILE_BYTES, Session, preview};
use crate::audit::now;
use crate::effect::Effect;
use crate::intent::Intent;
use crate::workspace::Workspace;

/// Names of files in a call's details.
const MAX_NAMES: usize = 10;

/// What a call may write.
#[derive(Debug, PartialEq, Eq)]
pub struct Scope {
    /// Files it names.
    pub(super) paths: Vec<String>,
    /// Anything in the workspace.
    pub(super) is_workspace: bool,
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
    /// It may have changed what nobody has looked at: it is noted even where nothing is seen, or an undo would take back
    /// the call before it in its place.
    is_unknown: bool,
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

impl Open {
    /// The call runs with the user's own rights: what it changes elsewhere is in no checkpoint.
    pub fn reaches_beyond(&mut self) {
        let beyond = "what it changed outside the workspace (it ran without the sandbox)";
        self.is_unknown = true;
        self.gap = if self.gap.is_empty() { beyond.to_owned() } else { format!("{}; {beyond}", self.gap) };
    }
}

impl Checkpoints {
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
        let mut open = Open { noted, git: None, gap: String::new(), is_unknown: false, intent: None };
        if let Err(error) = self.save(&mut session, workspace, scope, &mut open) {
            open.noted.is_workspace = false;
            open.is_unknown = true;
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
                open.is_unknown = true;
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
    pub(super) fn look(
        &self,
        store: &mut Store,
        workspace: &Workspace,
    ) -> io::Result<Result<Vec<Change>, &'static str>> {
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
                let parts: Vec<String> =
                    [entry.gap, shortened(&names)].into_iter().filter(|part| !part.is_empty()).collect();
                if !parts.is_empty() {
                    details.insert("not_undoable".into(), json!(parts.join("; ")));
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

    /// Notes the calls during which a kernel was killed.
    pub(super) fn note_abandoned(&self, store: &mut Store, workspace: &Workspace) -> io::Result<()> {
        for (_intent, noted) in self.intents.abandoned::<Noting>("call", |noted| noted.owner == store.owner) {
            let is_unknown = noted.is_workspace && !store.tree.is_complete;
            let gap = if is_unknown { "what the command changed is not known" } else { "" };
            let open = Open { noted, git: None, gap: gap.to_owned(), is_unknown, intent: None };
            self.note_changes(store, workspace, &open, true)?;
        }
        Ok(())
    }

    fn note_changes(
        &self,
        store: &mut Store,
        workspace: &Workspace,
        open: &Open,
        is_interrupted: bool,
    ) -> io::Result<Option<Entry>> {
        let (mut gap, mut is_unknown) = (open.gap.clone(), open.is_unknown);
        let mut changes = Vec::new();
        let names = store.tree.names.clone();
        if open.noted.is_workspace && store.tree.is_complete {
            match self.look(store, workspace)? {
                Ok(seen) => changes = seen,
                Err(why) => {
                    // What lies where is no longer known; the next call begins anew.
                    store.tree.is_complete = false;
                    is_unknown = true;
                    why.clone_into(&mut gap);
                }
            }
        }
        let saving = Saving { pack: Some(&store.pack), max_bytes: MAX_EXPLICIT_BYTES, refusal: None };
        for Explicit { path, before } in &open.noted.paths {
            let after = capture_path(workspace, path, saving)?;
            let is_left_out = |change: &Change| matches!(change.before, State::Skipped { .. }) && change.path == *path;
            if matches!(before, State::Folder { .. }) && changes.iter().any(is_left_out) {
                continue; // as a folder it would come back empty, without a word about what was in it
            }
            changes.retain(|change| change.path != *path);
            if !before.is_untouched(&after) {
                changes.push(Change { path: path.clone(), before: before.clone(), after });
            }
        }
        let git = GitState::change(open.git.clone(), open.git.as_ref().and_then(|_| GitState::of(workspace.path())));
        if changes.is_empty() && git.is_none() && !is_unknown {
            return Ok(None);
        }
        changes.sort_by(|a, b| a.path.cmp(&b.path));
        let entry = Entry {
            number: 0,
            at: now(),
            turn: open.noted.turn.clone(),
            call: open.noted.call.clone(),
            tool: open.noted.tool.clone(),
            title: open.noted.title.clone(),
            families: names.families(&changes),
            changes,
            restored_to: None,
            git,
            is_interrupted,
            gap,
        };
        store.append(entry).map(|entry| Some(entry.clone()))
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
