//! The checkpoints of a session: one JSON line for each call that changed something, and for each restore.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::family::Family;
use super::git::GitChange;
use super::pack::Hash;
use super::state::{Content, State, path_text};

/// One path before and after. Relative to the workspace, or absolute in another folder that may be written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Where.
    #[serde(with = "path_text")]
    pub path: PathBuf,
    /// As it was.
    pub before: State,
    /// As it was left.
    pub after: State,
}

/// One checkpoint.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Entry {
    /// Counts from 1; what a person calls `c1`.
    pub number: u64,
    /// RFC 3339 in UTC.
    pub at: String,
    /// The turn's id.
    pub turn: String,
    /// The call's id; empty for a restore.
    #[serde(default)]
    pub call: String,
    /// The tool's name; `undo` for a restore.
    pub tool: String,
    /// One line for the person.
    pub title: String,
    /// What changed.
    pub changes: Vec<Change>,
    /// Which of these paths, and of others, were names of one file before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub families: Vec<Family>,
    /// A restore: to how it was before the entry of this number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored_to: Option<u64>,
    /// What the call did to git's own files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<GitChange>,
    /// The kernel ended before the call did: changes of others since then are among these.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_interrupted: bool,
    /// What else may have changed, and cannot be undone.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub gap: String,
}

impl Entry {
    /// Contents it needs.
    pub fn contents(&self) -> impl Iterator<Item = Content> {
        self.changes.iter().flat_map(|change| [&change.before, &change.after]).filter_map(State::content)
    }

    /// Those of them that are in the pack.
    pub fn hashes(&self) -> impl Iterator<Item = Hash> {
        self.contents().filter_map(Content::hash)
    }
}

/// All entries, oldest first.
pub struct Journal {
    /// As they are in the file.
    pub entries: Vec<Entry>,
    path: PathBuf,
    file: File,
}

impl Journal {
    /// Reads the journal at `path`. A line that cannot be read (torn when its writer was killed) is left out.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut entries = Vec::new();
        match File::open(path) {
            Ok(file) => {
                for line in BufReader::new(file).split(b'\n') {
                    entries.extend(serde_json::from_slice(&line?));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(Self { entries, path: path.to_path_buf(), file: open_for_append(path)? })
    }

    /// Adds an entry, which then outlives a power failure too. Its number is given here.
    pub fn append(&mut self, mut entry: Entry) -> io::Result<&Entry> {
        entry.number = self.entries.last().map_or(1, |last| last.number + 1);
        let mut line = vec![b'\n']; // ends a line that a killed process left torn
        serde_json::to_writer(&mut line, &entry)?;
        line.push(b'\n');
        self.file.write_all(&line)?;
        self.file.sync_data()?;
        self.entries.push(entry);
        Ok(&self.entries[self.entries.len() - 1])
    }

    /// Keeps only the newest `count` entries.
    pub fn keep(&mut self, count: usize) -> io::Result<()> {
        let surplus = self.entries.len().saturating_sub(count);
        if surplus == 0 {
            return Ok(());
        }
        self.entries.drain(..surplus);
        let draft = self.path.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        let mut text = Vec::new();
        for entry in &self.entries {
            serde_json::to_writer(&mut text, entry)?;
            text.push(b'\n');
        }
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&draft, &self.path)?;
        self.file = open_for_append(&self.path)?;
        Ok(())
    }
}

fn open_for_append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}
