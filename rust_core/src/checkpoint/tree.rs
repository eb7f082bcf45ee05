//! The workspace as it was when it was last looked at: for each path its signature and state. Kept in memory and, line by
//! line as it changes, in a file, so that a fresh kernel goes on with it and a killed one's last call can be taken back.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ignore::gitignore::Gitignore;
use serde::{Deserialize, Serialize};

use super::family::Names;
use super::journal::Change;
use super::state::{Content, Signature, State, Unsaved, path_text};

/// Around what one look found.
const BEGIN: &[u8] = b"begin";
const END: &[u8] = b"end";

/// One path.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Node {
    /// As `stat` had it.
    pub signature: Signature,
    /// As it was.
    pub state: State,
    /// Must be looked at again although its signature is the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_due: bool,
}

/// What a look found different.
#[derive(Debug)]
pub struct Update {
    /// Relative to the workspace.
    pub folder: PathBuf,
    /// In that folder.
    pub name: OsString,
    /// `None`: gone.
    pub node: Option<Node>,
    /// Nothing was known of the folder before, so nothing can be said of a change.
    pub is_first_look: bool,
}

/// Rules of a `.gitignore` as it was with this signature.
pub type KnownRules = (Signature, Option<Arc<Gitignore>>);

/// All paths by folder.
#[derive(Default)]
pub struct Tree {
    folders: HashMap<PathBuf, HashMap<OsString, Node>>,
    /// Of the folders that have a `.gitignore`.
    pub rules: HashMap<PathBuf, KnownRules>,
    /// Of the files that have several names.
    pub names: Names,
    /// Every folder has been looked at.
    pub is_complete: bool,
    count: usize,
    file: Option<File>,
    lines: usize,
}

#[derive(Serialize, Deserialize)]
struct Line {
    #[serde(with = "path_text", rename = "p")]
    path: PathBuf,
    #[serde(rename = "n")]
    node: Option<Node>,
}

impl Tree {
    /// Reads the tree that was kept in `path`; where it cannot be read whole, it is begun anew.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut tree = Self::default();
        match File::open(path) {
            Ok(file) => {
                // What one look found is taken in whole or, where its writer was killed on the way, not at all: a file
                // that is missing here would pass for one that the next call made.
                let mut batch = Vec::new();
                for line in BufReader::new(file).split(b'\n') {
                    let line = line?;
                    tree.lines += 1;
                    if line == END {
                        tree.is_complete = true;
                        for Line { path, node } in batch.drain(..) {
                            let (folder, name) = (path.parent().unwrap_or(Path::new("")), path.file_name());
                            tree.put(folder, name.unwrap_or_default(), node);
                        }
                    } else if line == BEGIN {
                        batch.clear();
                    } else if let Ok(line) = serde_json::from_slice(&line) {
                        batch.push(line);
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        if tree.lines > 1000 && tree.lines > 3 * tree.count {
            let draft = path.with_extension("new");
            let mut file = io::BufWriter::new(
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?,
            );
            file.write_all(b"begin\n")?;
            for (folder, nodes) in &tree.folders {
                for (name, node) in nodes {
                    write_line(&mut file, folder.join(name), Some(node.clone()))?;
                }
            }
            file.write_all(b"end\n")?;
            file.into_inner()?;
            fs::rename(&draft, path)?;
        }
        tree.file = Some(OpenOptions::new().append(true).create(true).mode(0o600).open(path)?);
        Ok(tree)
    }

    /// What is known of a folder.
    pub fn folder(&self, folder: &Path) -> Option<&HashMap<OsString, Node>> {
        self.folders.get(folder)
    }

    /// Paths known.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Contents that must be kept for the next checkpoint.
    pub fn contents(&self) -> impl Iterator<Item = Content> {
        self.folders.values().flat_map(HashMap::values).filter_map(|node| node.state.content())
    }

    /// How many paths are not saved for this reason.
    pub fn unsaved(&self, why: Unsaved) -> usize {
        self.folders.values().flat_map(HashMap::values).filter(|node| node.state.unsaved() == Some(why)).count()
    }

    /// Takes in what a look found, writes it down, and says what that changes.
    pub fn apply(&mut self, updates: Vec<Update>) -> io::Result<Vec<Change>> {
        let mut changes = Vec::new();
        let mut lines = b"\nbegin\n".to_vec(); // the first ends a torn line
        let is_empty = updates.is_empty();
        for Update { folder, name, node, is_first_look } in updates {
            let path = folder.join(&name);
            let is_folder = node.as_ref().is_some_and(|node| matches!(node.state, State::Folder { .. }));
            let old = self.put(&folder, &name, node.clone());
            write_line(&mut lines, path.clone(), node.clone())?;
            if !is_folder && old.as_ref().is_some_and(|old| matches!(old.state, State::Folder { .. })) {
                // Gone with all below it, or only no longer looked into.
                let is_left_out = node.as_ref().is_some_and(|node| matches!(node.state, State::Skipped { .. }));
                self.forget_below(&path, (!is_left_out).then_some(&mut changes), &mut lines)?;
            }
            if is_first_look || is_same_look(old.as_ref(), node.as_ref()) {
                continue;
            }
            let state = |node: Option<Node>| node.map_or(State::Absent, |node| node.state);
            let (before, after) = (state(old), state(node));
            if !before.is_untouched(&after) {
                changes.push(Change { path, before, after });
            }
        }
        lines.extend_from_slice(b"end\n");
        if let (Some(file), false) = (&mut self.file, is_empty) {
            file.write_all(&lines)?;
        }
        Ok(changes)
    }

    fn forget_below(
        &mut self,
        path: &Path,
        mut changes: Option<&mut Vec<Change>>,
        lines: &mut Vec<u8>,
    ) -> io::Result<()> {
        let below: Vec<PathBuf> = self.folders.keys().filter(|folder| folder.starts_with(path)).cloned().collect();
        for folder in below {
            self.rules.remove(&folder);
            for (name, node) in self.folders.remove(&folder).unwrap_or_default() {
                self.count -= 1;
                let path = folder.join(name);
                self.names.remove(&node.state, || path.clone());
                write_line(lines, path.clone(), None)?;
                if let Some(changes) = &mut changes {
                    changes.push(Change { path, before: node.state, after: State::Absent });
                }
            }
        }
        Ok(())
    }

    fn put(&mut self, folder: &Path, name: &OsStr, node: Option<Node>) -> Option<Node> {
        let known = self.folders.get(folder).and_then(|nodes| nodes.get(name));
        if let Some(known) = known {
            self.names.remove(&known.state, || folder.join(name));
        }
        if let Some(node) = node {
            self.names.add(&node.state, || folder.join(name));
            if !self.folders.contains_key(folder) {
                self.folders.insert(folder.to_path_buf(), HashMap::new());
            }
            let old = self.folders.get_mut(folder).and_then(|nodes| nodes.insert(name.to_owned(), node));
            self.count += usize::from(old.is_none());
            return old;
        }
        let nodes = self.folders.get_mut(folder)?;
        let old = nodes.remove(name);
        if nodes.is_empty() {
            self.folders.remove(folder);
        }
        self.count -= usize::from(old.is_some());
        old
    }
}

/// The file was not touched, whatever was or was not saved of it.
fn is_same_look(old: Option<&Node>, new: Option<&Node>) -> bool {
    let (Some(old), Some(new)) = (old, new) else { return false };
    let (State::File(before), State::File(after)) = (&old.state, &new.state) else {
        return old.signature == new.signature;
    };
    let is_changed_unseen = match (before.content, after.content) {
        (Content::Saved(a), Content::Saved(b)) => a != b,
        _ => false,
    };
    old.signature == new.signature && !is_changed_unseen
}

fn write_line(to: &mut impl io::Write, path: PathBuf, node: Option<Node>) -> io::Result<()> {
    serde_json::to_writer(&mut *to, &Line { path, node })?;
    to.write_all(b"\n")
}
