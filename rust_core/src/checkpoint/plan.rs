//! What a restore would do: from the checkpoints since some moment to one step per path.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::family::{Family, Name, Names, families_before};
use super::journal::Entry;
use super::state::{FileState, Saving, State, Unsaved, capture_path};
use crate::workspace::Workspace;

/// To which moment.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Target {
    /// Before the last turns that changed files and are still in effect; without a number the last restore is itself
    /// taken back, where nothing came after it.
    Undo {
        /// How many turns.
        #[serde(default)]
        count: Option<usize>,
    },
    /// Before the first of these turns that changed files.
    Turns {
        /// Their ids.
        ids: Vec<String>,
    },
    /// Before one call.
    Checkpoint {
        /// Its number.
        number: u64,
    },
}

impl Target {
    /// The index of the first entry to be taken back. The error is for a person.
    pub fn resolve(&self, entries: &[Entry]) -> Result<usize, String> {
        match self {
            Self::Undo { count: None } if entries.last().is_some_and(|last| last.restored_to.is_some()) => {
                Ok(entries.len() - 1)
            }
            Self::Undo { count } => {
                let turns = turns_in_effect(entries);
                let count = count.unwrap_or(1);
                match turns.len() {
                    _ if count == 0 => Err("Nothing to undo: give how many turns, from 1.".into()),
                    0 => Err("Nothing to undo: no turn of this session has changed files.".into()),
                    known if count > known => {
                        let turns = if known == 1 { "1 turn" } else { &format!("{known} turns") };
                        Err(format!("Only {turns} of this session with changed files can be undone, not {count}."))
                    }
                    known => Ok(turns[known - count]),
                }
            }
            Self::Turns { ids } => ids
                .iter()
                .find_map(|id| entries.iter().position(|entry| entry.turn == *id))
                .ok_or_else(|| "Nothing to undo: neither that turn nor a later one has changed files.".into()),
            Self::Checkpoint { number } => entries
                .iter()
                .position(|entry| entry.number == *number)
                .ok_or_else(|| format!("There is no checkpoint c{number}. %claw checkpoints lists them.")),
        }
    }
}

/// The index of the first entry of each turn whose changes are in effect, oldest first.
fn turns_in_effect(entries: &[Entry]) -> Vec<usize> {
    let mut before: Vec<Vec<usize>> = Vec::with_capacity(entries.len());
    let mut turns: Vec<usize> = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        before.push(turns.clone());
        match entry.restored_to {
            // As it was before that entry.
            Some(number) => {
                let at = entries[..index].iter().position(|earlier| earlier.number == number);
                turns = at.map(|at| before[at].clone()).unwrap_or_default();
            }
            None if turns.last().is_some_and(|last| entries[*last].turn == entry.turn) => {}
            None => turns.push(index),
        }
    }
    turns
}

/// What is done with one path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Where.
    #[serde(with = "super::state::path_text")]
    pub path: PathBuf,
    /// As it is.
    pub from: State,
    /// As it shall be.
    pub to: State,
    /// The way.
    pub way: Way,
    /// Somebody else has changed it since.
    pub is_conflict: bool,
}

/// How a path gets to where it shall be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// From what was saved.
    Restore,
    /// What was not saved has only been moved: it is moved back from there.
    Move(#[serde(with = "super::state::path_text")] PathBuf),
    /// It was created and not saved, so removing it could not be undone: it stays.
    Leave(Unsaved),
    /// It was not saved and is gone or changed.
    Lose(Unsaved),
}

/// All of a restore.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// One for each path, sorted.
    pub steps: Vec<Step>,
    /// Which paths shall be names of one file, among them some that no step is about.
    pub families: Vec<Family>,
}

impl Plan {
    /// The other paths that shall be names of the same file.
    pub fn other_names(&self, path: &Path) -> impl Iterator<Item = &Path> {
        other_names(&self.families, path)
    }
}

fn other_names<'a>(families: &'a [Family], path: &Path) -> impl Iterator<Item = &'a Path> {
    let family = families.iter().find(|family| family.iter().any(|name| name.0 == path));
    let path = path.to_path_buf();
    family.into_iter().flatten().map(|Name(name)| name.as_path()).filter(move |name| *name != path)
}

struct Wanted {
    to: State,
    expected: State,
    is_broken: bool,
    first_change: usize,
}

/// What takes back `entries` (oldest first, up to the last there is). `names` are those of the last look.
pub fn plan(workspace: &Workspace, entries: &[Entry], names: &Names, saving: Saving<'_>) -> io::Result<Plan> {
    let mut wanted: BTreeMap<&Path, Wanted> = BTreeMap::new();
    let changes =
        entries.iter().enumerate().flat_map(|(at, entry)| entry.changes.iter().map(move |change| (at, change)));
    for (at, change) in changes {
        let known = wanted.entry(&change.path).or_insert_with(|| Wanted {
            to: change.before.clone(),
            expected: change.before.clone(),
            is_broken: false,
            first_change: at,
        });
        // Not as the call before had left it: somebody else was there in between.
        known.is_broken |= !known.expected.is_same(&change.before);
        known.expected = change.after.clone();
    }
    let families = families_before(entries, |path| wanted.get(path).map(|wanted| wanted.first_change));
    let mut names = names.clone();
    let mut present = Vec::with_capacity(wanted.len());
    for (path, Wanted { expected, .. }) in &wanted {
        let mut from = capture_path(workspace, path, saving)?;
        if matches!((&from, expected), (State::Folder { .. }, State::Skipped { .. })) {
            from = expected.clone(); // still not looked into
        }
        names.add(&from, || path.to_path_buf());
        present.push(from);
    }
    let mut steps = Vec::new();
    for ((path, Wanted { to, expected, is_broken, .. }), from) in wanted.into_iter().zip(present) {
        let is_in_place = match &from {
            State::File(file) => is_linked_so(workspace, path, file, &families, &names),
            _ => true,
        };
        if from.is_identical(&to) && is_in_place {
            continue;
        }
        let is_conflict = (is_broken || !from.is_same(&expected)) && !from.is_same(&to);
        steps.push(Step { path: path.to_path_buf(), from, to, way: Way::Restore, is_conflict });
    }
    let places: Vec<(PathBuf, State)> = steps.iter().map(|step| (step.path.clone(), step.from.clone())).collect();
    for step in &mut steps {
        step.way = way(step, &places);
    }
    // What was not saved may still be there under another of its names.
    let is_there = |path: &Path, to: &State| match steps.iter().find(|step| step.path == path) {
        Some(step) => matches!(step.way, Way::Restore | Way::Move(_)),
        None => capture_path(workspace, path, saving).is_ok_and(|there| there.is_identical(to)),
    };
    let linked: Vec<bool> = steps
        .iter()
        .map(|step| {
            matches!(step.way, Way::Lose(_))
                && step.from.unsaved().is_none()
                && other_names(&families, &step.path).any(|name| is_there(name, &step.to))
        })
        .collect();
    for (step, _) in steps.iter_mut().zip(linked).filter(|(_, is_linked)| *is_linked) {
        step.way = Way::Restore;
    }
    let sources: Vec<PathBuf> = steps
        .iter()
        .filter_map(|step| match &step.way {
            Way::Move(from) => Some(from.clone()),
            _ => None,
        })
        .collect();
    // What is moved goes with all that lies in it.
    steps.retain(|step| !sources.iter().any(|source| step.path.starts_with(source)));
    // A folder in which something is left stays too, without a word.
    let left: Vec<PathBuf> = steps
        .iter()
        .filter(|step| matches!(step.way, Way::Leave(_)))
        .flat_map(|step| step.path.ancestors().map(Path::to_path_buf).collect::<Vec<_>>())
        .collect();
    steps.retain(|step| {
        let is_removed_folder = matches!((&step.from, &step.to), (State::Folder { .. }, State::Absent));
        !(is_removed_folder && left.contains(&step.path))
    });
    keep_times(workspace, &mut steps)?;
    Ok(Plan { steps, families })
}

/// Whether the path is a name of the same file as the paths it shall share one with, and of no other.
fn is_linked_so(workspace: &Workspace, path: &Path, file: &FileState, families: &[Family], names: &Names) -> bool {
    let is_together = |name: &Path| inode_at(workspace, name) == Some(file.inode);
    other_names(families, path).all(is_together) && !has_strangers(workspace, path, file, families, names)
}

/// Whether the file at `path` has a name that it shall not have.
pub fn has_strangers(workspace: &Workspace, path: &Path, file: &FileState, families: &[Family], names: &Names) -> bool {
    let is_stranger = |name: &&Path| *name != path && !other_names(families, path).any(|other| other == *name);
    file.has_other_names
        && names.of(file.inode).filter(is_stranger).any(|name| inode_at(workspace, name) == Some(file.inode))
}

fn inode_at(workspace: &Workspace, path: &Path) -> Option<u64> {
    let unread = Saving { pack: None, max_bytes: 0, refusal: Some(Unsaved::Large) };
    match capture_path(workspace, path, unread) {
        Ok(State::File(file)) => Some(file.inode),
        _ => None,
    }
}

/// A folder's time changes when a file in it is put back; one that the calls left alone gets its time again.
fn keep_times(workspace: &Workspace, steps: &mut Vec<Step>) -> io::Result<()> {
    let known: BTreeSet<&Path> = steps.iter().map(|step| step.path.as_path()).collect();
    let moved_from = |step: &Step| match &step.way {
        Way::Move(from) => from.parent().map(Path::to_path_buf),
        _ => None,
    };
    let parents: BTreeSet<PathBuf> = steps
        .iter()
        .filter(|step| matches!(step.way, Way::Restore | Way::Move(_)))
        .flat_map(|step| [step.path.parent().map(Path::to_path_buf), moved_from(step)])
        .flatten()
        .filter(|parent| !known.contains(parent.as_path()))
        .filter(|parent| workspace.place(parent).relative.components().next().is_some())
        .collect();
    for path in parents {
        let from = capture_path(workspace, &path, Saving { pack: None, max_bytes: 0, refusal: None })?;
        if matches!(from, State::Folder { .. }) {
            steps.push(Step { path, to: from.clone(), from, way: Way::Restore, is_conflict: false });
        }
    }
    steps.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(())
}

fn way(step: &Step, places: &[(PathBuf, State)]) -> Way {
    if let Some(why) = step.to.unsaved() {
        let Some(identity) = step.to.identity() else { return Way::Lose(why) };
        if step.from.identity() == Some(identity) {
            return Way::Restore; // the thing is there; only its mode or the like differs
        }
        let is_moved = |(path, now): &&(PathBuf, State)| now.identity() == Some(identity) && *path != step.path;
        return match places.iter().find(is_moved) {
            Some((path, _)) if step.from == State::Absent => Way::Move(path.clone()),
            _ => Way::Lose(why),
        };
    }
    match (step.from.unsaved(), &step.to) {
        (Some(why), State::Absent) => Way::Leave(why),
        (Some(why), _) if matches!(step.from, State::Skipped { .. }) => Way::Leave(why),
        _ => Way::Restore,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u64, turn: &str, restored_to: Option<u64>) -> Entry {
        Entry {
            number,
            at: String::new(),
            turn: turn.into(),
            families: Vec::new(),
            call: String::new(),
            tool: String::new(),
            title: String::new(),
            changes: Vec::new(),
            restored_to,
            git: None,
            is_interrupted: false,
            gap: String::new(),
        }
    }

    #[test]
    fn undo_counts_turns_in_effect_and_without_a_number_takes_back_an_undo() {
        let undo = |count| Target::Undo { count };
        let mut entries = vec![entry(1, "a", None), entry(2, "b", None), entry(3, "b", None), entry(4, "c", None)];
        assert_eq!(undo(None).resolve(&entries), Ok(3));
        assert_eq!(undo(Some(2)).resolve(&entries), Ok(1));
        assert_eq!(undo(Some(3)).resolve(&entries), Ok(0));
        assert!(undo(Some(4)).resolve(&entries).unwrap_err().contains("Only 3 turns"));
        assert!(undo(Some(0)).resolve(&entries).is_err());
        entries.push(entry(5, "", Some(2))); // b and c taken back
        assert_eq!(undo(None).resolve(&entries), Ok(4));
        assert_eq!(undo(Some(1)).resolve(&entries), Ok(0));
        entries.push(entry(6, "", Some(5))); // and brought again
        assert_eq!(undo(Some(1)).resolve(&entries), Ok(3));
        assert_eq!(Target::Turns { ids: vec!["x".into(), "b".into()] }.resolve(&entries), Ok(1));
        assert_eq!(Target::Checkpoint { number: 3 }.resolve(&entries), Ok(2));
        assert!(undo(None).resolve(&[]).is_err());
    }
}
