//! Protected places below the roots: those there are before a command (they are made read-only for it), and those there are
//! after it (the new ones are taken back, see `quarantine`).
//!
//! A walk that reads folders and nothing else, nearest first: the nearer a place lies to the root, the likelier something
//! trusts it. It ends after `MAX_FOLDERS`; what lies beyond is not looked at, and neither are installed packages.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::repository;
use crate::git_config;
use crate::location::is_held;

/// Some 20 ms on a slow machine.
const MAX_FOLDERS: usize = 3000;
/// Nobody opens these as a project.
const SKIPPED: &[&str] = &["node_modules", "__pycache__", ".mypy_cache", ".ruff_cache", ".tox", ".nox"];

/// Which file it is, whatever its name: another one in its place is another place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    device: u64,
    inode: u64,
}

/// Places and which files they are.
pub type Found = HashMap<PathBuf, Identity>;

/// Protected places below `roots`.
pub fn find(roots: &[PathBuf]) -> Found {
    let mut found = Found::new();
    let mut folders: VecDeque<PathBuf> = roots.iter().cloned().collect();
    let is_below = |path: &PathBuf| roots.iter().any(|root| path.starts_with(root) && path != root);
    for top in roots.iter().flat_map(|root| root.ancestors().skip(1)) {
        add_all(&mut found, git_config::named_places(top).into_iter().filter(is_below));
    }
    let mut looked_at = 0;
    while let Some(folder) = folders.pop_front() {
        looked_at += 1;
        if looked_at > MAX_FOLDERS {
            break;
        }
        let parent = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut names = Vec::new();
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let (name, Ok(kind)) = (entry.file_name(), entry.file_type()) else { continue };
            let name = name.to_string_lossy().into_owned();
            if is_held(&parent, &name) {
                add(&mut found, entry.path());
            } else if name.eq_ignore_ascii_case(".git") {
                add_all(&mut found, repository::dangers(&entry.path()));
                add_all(&mut found, git_config::named_places(&folder).into_iter().filter(is_below));
            } else if kind.is_dir() && !SKIPPED.contains(&name.as_str()) {
                folders.push_back(entry.path());
            }
            if matches!(name.as_str(), "HEAD" | "objects" | "refs") {
                names.push(name);
            }
        }
        if names.len() == 3 {
            // A repository without a work tree: git runs what its configuration says, too.
            add_all(&mut found, repository::dangers(&folder));
            add_all(&mut found, git_config::named_places(&folder).into_iter().filter(is_below));
        }
    }
    found
}

fn add_all(found: &mut Found, paths: impl IntoIterator<Item = PathBuf>) {
    for path in paths {
        add(found, path);
    }
}

fn add(found: &mut Found, path: PathBuf) {
    if let Some(identity) = identity(&path) {
        found.insert(path, identity);
    }
}

/// The file at `path` itself, not what a link leads to.
pub fn identity(path: &Path) -> Option<Identity> {
    let entry = path.symlink_metadata().ok()?;
    Some(Identity { device: entry.dev(), inode: entry.ino() })
}
