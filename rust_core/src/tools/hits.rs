//! The first lines of a search in the order of paths, however its threads find them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

/// Keeps what is wanted and no more: memory is bounded by the output, and once there are lines enough, files that come
/// after them are not even opened.
pub struct Hits {
    /// Lines that may be needed.
    pub wanted: usize,
    kept: Mutex<(BTreeMap<PathBuf, Vec<String>>, usize)>,
    /// `last` holds something.
    is_full: AtomicBool,
    /// There are lines enough up to here.
    last: RwLock<PathBuf>,
}

impl Hits {
    /// For the first `wanted` lines, and those that come with them.
    pub fn new(wanted: usize) -> Self {
        Self { wanted, kept: Mutex::default(), is_full: AtomicBool::new(false), last: RwLock::default() }
    }

    /// False where the lines of this file would come after enough others.
    pub fn needs_file(&self, path: &Path) -> bool {
        !self.is_full.load(Ordering::Acquire)
            || path < self.last.read().unwrap_or_else(PoisonError::into_inner).as_path()
    }

    /// False where this holds for all files below a folder.
    pub fn needs_folder(&self, folder: &Path) -> bool {
        if !self.is_full.load(Ordering::Acquire) {
            return true;
        }
        let last = self.last.read().unwrap_or_else(PoisonError::into_inner);
        folder < last.as_path() || last.starts_with(folder)
    }

    /// The lines of one file.
    pub fn add(&self, path: &Path, lines: Vec<String>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (files, count) = &mut *kept;
        *count += lines.len();
        files.insert(path.to_path_buf(), lines);
        while let Some(last) = files.last_entry() {
            if *count - last.get().len() < self.wanted {
                break;
            }
            *count -= last.get().len();
            last.remove();
        }
        if *count >= self.wanted
            && let Some((last, _)) = files.last_key_value()
        {
            self.last.write().unwrap_or_else(PoisonError::into_inner).clone_from(last);
            self.is_full.store(true, Ordering::Release);
        }
    }

    /// At least the first `wanted`, if there are so many.
    pub fn into_lines(self) -> Vec<String> {
        let (files, _) = self.kept.into_inner().unwrap_or_else(PoisonError::into_inner);
        files.into_values().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_lines_by_path_are_kept() {
        let hits = Hits::new(3);
        for name in ["c", "a", "d", "b"] {
            hits.add(Path::new(name), vec![format!("{name}1"), format!("{name}2")]);
        }
        assert!(hits.needs_file(Path::new("aa")) && !hits.needs_file(Path::new("b1")));
        assert_eq!(hits.into_lines(), ["a1", "a2", "b1", "b2"]);
    }

    #[test]
    fn folders_that_come_after_enough_lines_are_not_entered() {
        let hits = Hits::new(1);
        assert!(hits.needs_folder(Path::new("/w/z")));
        hits.add(Path::new("/w/m/file"), vec!["x".into()]);
        for (folder, is_needed) in [("/w", true), ("/w/a", true), ("/w/m", true), ("/w/m/n", false), ("/w/n", false)] {
            assert_eq!(hits.needs_folder(Path::new(folder)), is_needed, "{folder}");
        }
        assert!(hits.needs_file(Path::new("/w/m/a")));
    }
}
