//! What is kept for one session in one workspace: contents, tree, journal.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::journal::{Entry, Journal};
use super::pack::{Hash, Pack};
use super::state::{Content, path_text};
use super::tree::Tree;

/// Older checkpoints are forgotten.
const MAX_AGE: Duration = Duration::from_secs(30 * 24 * 3600);

/// Whose checkpoints lie in a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The session's id.
    pub session: String,
    /// The workspace.
    #[serde(with = "path_text")]
    pub workspace: PathBuf,
}

impl Owner {
    /// The folder's name. A session's id comes from a file that may be a stranger's, so it is no part of a path.
    fn folder_name(&self) -> String {
        let text = format!("{}\0{}", self.session, self.workspace.display());
        match serde_json::to_value(Hash::of(text.as_bytes())) {
            Ok(Value::String(hash)) => hash[..32].to_owned(),
            _ => String::new(),
        }
    }
}

/// Open checkpoints of one session.
pub struct Store {
    /// Whose.
    pub owner: Owner,
    /// Contents.
    pub pack: Pack,
    /// The workspace at the last look.
    pub tree: Tree,
    /// The checkpoints.
    pub journal: Journal,
    /// Shared by all processes that use the folder.
    lock: File,
}

impl Store {
    /// Opens or creates it below `checkpoints`; what is too old or too much of this session is forgotten.
    pub fn open(checkpoints: &Path, owner: Owner, max_bytes: u64) -> io::Result<Self> {
        let folder = checkpoints.join(owner.folder_name());
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(folder.join("lock"))?;
        let is_alone = flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok();
        let named = folder.join("session.json");
        if let Ok(mut file) = OpenOptions::new().write(true).create_new(true).mode(0o600).open(named) {
            file.write_all(&serde_json::to_vec(&owner)?)?;
        }
        let mut store = Self {
            owner,
            pack: Pack::open(&folder, max_bytes)?,
            tree: Tree::open(&folder.join("tree.jsonl"))?,
            journal: Journal::open(&folder.join("journal.jsonl"))?,
            lock,
        };
        if is_alone {
            store.prune(max_bytes)?;
            store.pack.clones.keep(&store.contents().filter_map(Content::clone_id).collect());
        }
        flock(&store.lock, FlockOperation::LockShared)?;
        Ok(store)
    }

    /// Adds a checkpoint, which then outlives a power failure with all that it needs.
    pub fn append(&mut self, entry: Entry) -> io::Result<&Entry> {
        self.pack.sync()?;
        self.pack.clones.sync(entry.contents().filter_map(Content::clone_id))?;
        self.journal.append(entry)
    }

    /// True where another process uses these checkpoints too: each goes on with what it has read.
    pub fn is_shared(&self) -> io::Result<bool> {
        let is_alone = flock(&self.lock, FlockOperation::NonBlockingLockExclusive).is_ok();
        // Asking for the one lock may have lost the other.
        flock(&self.lock, FlockOperation::LockShared)?;
        Ok(!is_alone)
    }

    /// What the tree and the checkpoints need.
    fn contents(&self) -> impl Iterator<Item = Content> {
        self.tree.contents().chain(self.journal.entries.iter().flat_map(Entry::contents))
    }

    /// Forgets entries that are too old, and the oldest where all of them take more than three quarters of the room.
    fn prune(&mut self, max_bytes: u64) -> io::Result<()> {
        let now = SystemTime::now();
        let is_young = |entry: &Entry| {
            let at = humantime::parse_rfc3339(&entry.at).ok();
            at.and_then(|at| now.duration_since(at).ok()).is_none_or(|age| age < MAX_AGE)
        };
        let entries = &self.journal.entries;
        let mut kept = entries.iter().rev().take_while(|entry| is_young(entry)).count();
        let room = max_bytes / 4 * 3;
        if self.pack.total() > room {
            let mut known: std::collections::HashSet<Hash> = self.tree.contents().filter_map(Content::hash).collect();
            let mut bytes: u64 = known.iter().map(|hash| self.pack.length(*hash)).sum();
            let affordable = entries.iter().rev().take_while(|entry| {
                bytes +=
                    entry.hashes().filter(|hash| known.insert(*hash)).map(|hash| self.pack.length(hash)).sum::<u64>();
                bytes <= room
            });
            kept = kept.min(affordable.count());
        } else if kept == entries.len() {
            return Ok(());
        }
        self.journal.keep(kept)?;
        let wanted: Vec<Hash> = self.contents().filter_map(Content::hash).collect();
        self.pack = self.pack.rewritten(wanted.into_iter())?;
        Ok(())
    }
}

/// Removes the checkpoints of sessions that have not been used for too long.
pub fn prune_sessions(checkpoints: &Path) {
    for folder in fs::read_dir(checkpoints).into_iter().flatten().flatten().map(|entry| entry.path()) {
        let used = fs::metadata(folder.join("journal.jsonl")).and_then(|metadata| metadata.modified()).ok();
        if used.and_then(|used| used.elapsed().ok()).is_none_or(|age| age < MAX_AGE) {
            continue;
        }
        let Ok(lock) = File::open(folder.join("lock")) else { continue };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = fs::remove_dir_all(&folder);
        }
    }
}

/// The sessions that have checkpoints of this workspace, the one used last first.
pub fn sessions(checkpoints: &Path, workspace: &Path) -> Vec<String> {
    let mut found: Vec<(SystemTime, String)> = fs::read_dir(checkpoints)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let owner: Owner = serde_json::from_slice(&fs::read(entry.path().join("session.json")).ok()?).ok()?;
            let used = fs::metadata(entry.path().join("journal.jsonl")).ok().filter(|file| file.len() > 0)?;
            (owner.workspace == workspace).then_some((used.modified().ok()?, owner.session))
        })
        .collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, session)| session).collect()
}
