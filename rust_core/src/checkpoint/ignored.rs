//! What of a workspace is left out of checkpoints: what git ignores, and folders whose content can be made again.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

/// Left out wherever they stand. `.git` is no file of the user's: half of it put back would be worse than nothing
/// (see `git`).
const FOLDERS: &[&str] = &[
    ".git",
    ".hg",
    ".svn",
    "node_modules",
    ".venv",
    "__pycache__",
    ".ipynb_checkpoints",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".tox",
    ".nox",
    ".cache",
];

const MAX_RULES_BYTES: u64 = 1 << 20;

/// The rules that hold in one folder: its own, then those of the folders above.
#[derive(Debug)]
pub struct Rules {
    own: Option<Arc<Gitignore>>,
    above: Option<Arc<Rules>>,
}

impl Rules {
    /// Those that hold in the workspace from outside it: git's global ones, the repository's own, and those of the folders
    /// above it in the same repository.
    pub fn of_workspace(workspace: &Path) -> Arc<Self> {
        let mut rules = Arc::new(Self { own: Some(Arc::new(Gitignore::global().0)), above: None });
        let repository = workspace.ancestors().find(|folder| folder.join(".git").exists());
        let Some(repository) = repository else { return rules };
        rules = rules.with(read_rules(repository, &repository.join(".git/info/exclude")));
        let mut above: Vec<&Path> =
            workspace.ancestors().skip(1).take_while(|folder| folder.starts_with(repository)).collect();
        above.reverse();
        for folder in above {
            rules = rules.with(read_rules(folder, &folder.join(".gitignore")));
        }
        rules
    }

    /// These and the rules of a folder below.
    pub fn with(self: &Arc<Self>, own: Option<Arc<Gitignore>>) -> Arc<Self> {
        match own {
            None => Arc::clone(self),
            own => Arc::new(Self { own, above: Some(Arc::clone(self)) }),
        }
    }

    /// `path` is absolute; the folder it lies in is not ignored.
    pub fn is_ignored(&self, path: &Path, name: &OsStr, is_folder: bool) -> bool {
        if is_folder && FOLDERS.iter().any(|folder| name == *folder) {
            return true;
        }
        let mut rules = Some(self);
        while let Some(these) = rules {
            match these.own.as_ref().map_or(Match::None, |own| own.matched(path, is_folder)) {
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
                Match::None => {}
            }
            rules = these.above.as_deref();
        }
        false
    }
}

/// The rules in `file`, for paths below `folder`; `None` where there are none.
pub fn read_rules(folder: &Path, file: &Path) -> Option<Arc<Gitignore>> {
    // A pipe or an endless device under that name must not hold us up.
    let is_usual =
        std::fs::metadata(file).is_ok_and(|metadata| metadata.is_file() && metadata.len() <= MAX_RULES_BYTES);
    if !is_usual {
        return None;
    }
    let mut builder = GitignoreBuilder::new(folder);
    let _ = builder.add(file); // an unreadable line is no rule
    let rules = builder.build().ok()?;
    (!rules.is_empty()).then(|| Arc::new(rules))
}

/// A folder that says itself that it can be made again: a virtual environment, a cache.
pub fn is_remade(folder: &Path) -> bool {
    folder.join("pyvenv.cfg").exists() || folder.join("CACHEDIR.TAG").exists()
}

/// The absolute path of `name` in `folder`, which is relative to `root`.
pub fn join(root: &Path, folder: &Path, name: &OsStr) -> PathBuf {
    let mut path = root.join(folder);
    path.push(name);
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deeper_rules_win_and_some_folders_never_count() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        std::fs::create_dir_all(root.join("project/sub")).unwrap();
        std::fs::create_dir(root.join(".git")).unwrap();
        std::fs::write(root.join(".gitignore"), "*.bin\n/project/out/\n").unwrap();
        std::fs::write(root.join("project/sub/.gitignore"), "!keep.bin\n").unwrap();
        let work = root.join("project");
        let rules = Rules::of_workspace(&work);
        let ignored = |rules: &Rules, path: &str, is_folder| {
            let path = work.join(path);
            rules.is_ignored(&path, path.file_name().unwrap(), is_folder)
        };
        assert!(ignored(&rules, "a.bin", false));
        assert!(ignored(&rules, "out", true));
        assert!(!ignored(&rules, "out", false));
        assert!(ignored(&rules, "node_modules", true));
        assert!(!ignored(&rules, "a.txt", false));
        let below = rules.with(read_rules(&work.join("sub"), &work.join("sub/.gitignore")));
        assert!(!ignored(&below, "sub/keep.bin", false));
        assert!(ignored(&below, "sub/other.bin", false));
    }
}
