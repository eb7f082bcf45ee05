//! What a call did to git's own files. They are not restored: git keeps the old commits itself, and half of them put back
//! would be a broken repository. It is said, so that nobody takes an undo for more than it is.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

const MAX_BYTES: u64 = 8 << 20;

/// The state of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitState {
    head: String,
    commit: String,
    index: Option<(u64, u64, i64, i64)>,
}

/// How it changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitChange {
    /// Branch or commit, and the commit it was at.
    pub before: (String, String),
    /// The same afterwards.
    pub after: (String, String),
    /// What is staged may differ.
    pub is_index_changed: bool,
}

impl GitState {
    /// Of the repository the workspace lies in, if it does.
    pub fn of(workspace: &Path) -> Option<Self> {
        let folder = workspace.ancestors().map(|folder| folder.join(".git")).find(|path| path.exists())?;
        let folder = if folder.is_dir() { folder } else { linked(&folder)? };
        let head = read(&folder.join("HEAD"))?;
        let (head, commit) = match head.strip_prefix("ref: ") {
            None => (head.clone(), head),
            Some(reference) => {
                let common = read(&folder.join("commondir")).map_or_else(|| folder.clone(), |to| folder.join(to));
                let commit = read(&common.join(reference)).or_else(|| packed(&common, reference)).unwrap_or_default();
                (reference.trim_start_matches("refs/heads/").to_owned(), commit)
            }
        };
        let index = fs::metadata(folder.join("index")).ok();
        let index = index.map(|index| (index.ino(), index.size(), index.mtime(), index.mtime_nsec()));
        Some(Self { head, commit, index })
    }

    /// The change from `before` to `after`.
    pub fn change(before: Option<Self>, after: Option<Self>) -> Option<GitChange> {
        let (before, after) = (before?, after?);
        // `git status` writes the index anew; only a commit or checkout moves the head. An index alone is not worth a word
        // unless it changed in size, as by `git add` of a new file.
        let is_index_changed = before.index.map(|index| index.1) != after.index.map(|index| index.1);
        let is_moved = (&before.head, &before.commit) != (&after.head, &after.commit);
        (is_moved || is_index_changed).then_some(GitChange {
            before: (before.head, before.commit),
            after: (after.head, after.commit),
            is_index_changed,
        })
    }
}

fn read(path: &Path) -> Option<String> {
    let metadata = fs::metadata(path).ok()?;
    let is_usual = metadata.is_file() && metadata.len() <= MAX_BYTES;
    is_usual.then(|| fs::read_to_string(path).ok()).flatten().map(|text| text.trim().to_owned())
}

fn linked(file: &Path) -> Option<PathBuf> {
    let text = read(file)?;
    Some(file.parent()?.join(text.strip_prefix("gitdir: ")?))
}

fn packed(folder: &Path, reference: &str) -> Option<String> {
    let text = read(&folder.join("packed-refs"))?;
    text.lines().find_map(|line| line.strip_suffix(reference)?.strip_suffix(' ').map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_moves_the_head_and_a_status_does_not() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(GitState::of(dir.path()), None);
        let git = dir.path().join(".git");
        fs::create_dir_all(git.join("refs/heads")).unwrap();
        fs::write(git.join("HEAD"), "ref: refs/heads/main\n").unwrap();
        fs::write(git.join("packed-refs"), "# pack-refs\n1111 refs/heads/main\n").unwrap();
        fs::write(git.join("index"), "x").unwrap();
        let before = GitState::of(dir.path());
        assert_eq!(before.as_ref().unwrap().commit, "1111");
        fs::write(git.join("index"), "y").unwrap();
        assert_eq!(GitState::change(before.clone(), GitState::of(dir.path())), None);
        fs::write(git.join("refs/heads/main"), "2222\n").unwrap();
        let change = GitState::change(before, GitState::of(dir.path())).unwrap();
        assert_eq!(change.after, ("main".into(), "2222".into()));
        assert!(!change.is_index_changed);
    }
}
