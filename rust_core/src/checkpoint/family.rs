//! Which paths are names of one file. Inode numbers are given away anew, so what a checkpoint keeps is paths.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::journal::{Change, Entry};
use super::state::{State, path_text};

/// A path in a list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Name(#[serde(with = "path_text")] pub PathBuf);

/// The names one file had at some moment: two or more.
pub type Family = Vec<Name>;

/// The names of files that have several, by inode.
#[derive(Debug, Clone, Default)]
pub struct Names {
    by_inode: HashMap<u64, BTreeSet<PathBuf>>,
}

impl Names {
    /// Takes in a path as it is now.
    pub fn add(&mut self, state: &State, path: impl FnOnce() -> PathBuf) {
        if let Some(inode) = shared_inode(state) {
            self.by_inode.entry(inode).or_default().insert(path());
        }
    }

    /// Forgets a path that was so.
    pub fn remove(&mut self, state: &State, path: impl FnOnce() -> PathBuf) {
        let Some(inode) = shared_inode(state) else { return };
        if let Some(names) = self.by_inode.get_mut(&inode) {
            names.remove(&path());
            if names.is_empty() {
                self.by_inode.remove(&inode);
            }
        }
    }

    /// The paths known to have this inode.
    pub fn of(&self, inode: u64) -> impl Iterator<Item = &Path> {
        self.by_inode.get(&inode).into_iter().flatten().map(PathBuf::as_path)
    }

    /// The families that lost or got a member by these changes, as they were before.
    pub fn families(&self, changes: &[Change]) -> Vec<Family> {
        let mut families: BTreeMap<u64, BTreeSet<&Path>> = BTreeMap::new();
        for change in changes {
            if let Some(inode) = shared_inode(&change.before) {
                families.entry(inode).or_insert_with(|| self.of(inode).collect()).insert(&change.path);
            }
        }
        let several = families.into_values().filter(|names| names.len() > 1);
        several.map(|names| names.into_iter().map(|path| Name(path.to_path_buf())).collect()).collect()
    }
}

fn shared_inode(state: &State) -> Option<u64> {
    match state {
        State::File(file) if file.has_other_names => Some(file.inode),
        _ => None,
    }
}

/// The families there were before the first of `entries`. `first_change` gives the index of the entry that first changed
/// a path.
pub fn families_before(entries: &[Entry], first_change: impl Fn(&Path) -> Option<usize>) -> Vec<Family> {
    let mut families: Vec<Family> = Vec::new();
    let mut index: HashMap<&Path, usize> = HashMap::new();
    for (at, entry) in entries.iter().enumerate() {
        for family in &entry.families {
            // What has changed earlier was another file then.
            let names = || family.iter().filter(|name| first_change(&name.0).is_none_or(|first| first >= at));
            if names().count() < 2 {
                continue;
            }
            let known = names().find_map(|name| index.get(name.0.as_path()).copied());
            let known = known.unwrap_or_else(|| {
                families.push(Family::new());
                families.len() - 1
            });
            for name in names() {
                index.entry(&name.0).or_insert_with(|| {
                    families[known].push(name.clone());
                    known
                });
            }
        }
    }
    families
}
