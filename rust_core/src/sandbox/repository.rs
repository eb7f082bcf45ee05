//! What of a git repository makes git run programs: hooks, and settings that name one.

use std::fs;
use std::path::{Path, PathBuf};

/// Sections whose settings name no program and read no other file. `core` is looked at by key.
const HARMLESS_SECTIONS: &[&str] = &[
    "branch",
    "user",
    "init",
    "pull",
    "push",
    "fetch",
    "merge",
    "rebase",
    "color",
    "extensions",
    "gc",
    "pack",
    "index",
    "lfs",
];
const HARMLESS_CORE: &[&str] = &[
    "repositoryformatversion",
    "filemode",
    "bare",
    "logallrefupdates",
    "ignorecase",
    "precomposeunicode",
    "symlinks",
    "autocrlf",
    "eol",
    "safecrlf",
    "quotepath",
    "compression",
    "abbrev",
    "sparsecheckout",
    "untrackedcache",
    "preloadindex",
    "longpaths",
];
const HARMLESS_REMOTE: &[&str] = &["url", "fetch", "push", "pushurl", "tagopt", "prune", "mirror"];
const MAX_CONFIG_BYTES: u64 = 256 << 10;
/// Submodules and work trees have hooks and settings of their own.
const MAX_NESTED: usize = 200;

/// The places in `repository` (a `.git` folder, a `.git` file, or a bare repository) that a command may not write.
pub fn dangers(repository: &Path) -> Vec<PathBuf> {
    let Ok(entry) = repository.symlink_metadata() else { return Vec::new() };
    if !entry.is_dir() {
        // A file or a link that says where the repository lies; changed, git looks elsewhere.
        return vec![repository.to_path_buf()];
    }
    let mut found = Vec::new();
    let mut folders = vec![repository.to_path_buf()];
    let mut looked_at = 0;
    while let Some(folder) = folders.pop() {
        looked_at += 1;
        if looked_at > MAX_NESTED {
            break;
        }
        for name in ["config", "config.worktree", "hooks", "commondir", "info/attributes"] {
            let path = folder.join(name);
            if path.symlink_metadata().is_ok() {
                found.push(path);
            }
        }
        for nested in ["modules", "worktrees"] {
            folders.extend(subfolders(&folder.join(nested)));
        }
        if folder.ancestors().any(|above| above.ends_with("modules")) && !folder.join("HEAD").exists() {
            folders.extend(subfolders(&folder)); // a submodule whose name has slashes
        }
    }
    found
}

fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}

/// True for what `git init`, `clone` and `worktree add` make: sample hooks, and settings that run nothing.
pub fn is_harmless(path: &Path) -> bool {
    let is_in_repository = |name: &str| path.file_name().is_some_and(|own| own == name);
    let Ok(entry) = path.symlink_metadata() else { return true };
    if is_in_repository("hooks") && entry.is_dir() {
        return fs::read_dir(path).is_ok_and(|mut hooks| {
            hooks.all(|hook| hook.is_ok_and(|hook| hook.file_name().to_string_lossy().ends_with(".sample")))
        });
    }
    if !entry.is_file() || entry.len() > MAX_CONFIG_BYTES {
        return false;
    }
    if is_in_repository("commondir") {
        return fs::read(path).is_ok_and(|text| text.trim_ascii() == b"../..");
    }
    if is_in_repository(".git") {
        let Some(folder) = path.parent() else { return false };
        let target = fs::read_to_string(path).ok();
        let target = target.as_deref().and_then(|text| text.strip_prefix("gitdir:")).map(str::trim);
        // Where the repository belongs to the same tree it is looked at by itself.
        return target.is_some_and(|target| {
            let joined = folder.join(target);
            joined.components().any(|part| matches!(part.as_os_str().to_str(), Some("worktrees" | "modules")))
        });
    }
    (is_in_repository("config") || is_in_repository("config.worktree"))
        && fs::read_to_string(path).is_ok_and(|text| is_harmless_config(&text))
}

/// Every line must be understood; the reading is stricter than git's.
fn is_harmless_config(text: &str) -> bool {
    let mut section = String::new();
    text.lines().map(str::trim).all(|line| {
        if line.is_empty() || line.starts_with(['#', ';']) {
            return true;
        }
        if let Some(header) = line.strip_prefix('[') {
            let Some((name, rest)) = header.split_once(']') else { return false };
            section = name.split_whitespace().next().unwrap_or_default().to_lowercase();
            return rest.trim().is_empty() && !name.contains('\\');
        }
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        let (key, value) = (key.trim().to_lowercase(), value.trim());
        if line.ends_with('\\') {
            return false;
        }
        match section.as_str() {
            "core" => HARMLESS_CORE.contains(&key.as_str()),
            // `ext::` and other helpers run programs; so does an address that begins like an option.
            "remote" | "submodule" => {
                let is_plain = !value.contains("::") && !value.starts_with('-');
                let is_known = HARMLESS_REMOTE.contains(&key.as_str()) || matches!(key.as_str(), "active" | "branch");
                is_known && is_plain
            }
            other => HARMLESS_SECTIONS.contains(&other) && !key.ends_with("driver"),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_run_something_are_told_from_those_that_do_not() {
        let plain = "[core]\n\trepositoryformatversion = 0\n\tbare = false\n[remote \"origin\"]\n\turl = https://x/y\n\
                     [branch \"main\"]\n\tremote = origin\n[user]\n\tname = A B\n";
        assert!(is_harmless_config(plain));
        for line in [
            "[core]\nfsmonitor = x",
            "[core]\nhooksPath = /tmp",
            "[CORE]\npager=x",
            "[alias]\nst = !x",
            "[filter \"x\"]\nclean = y",
            "[diff \"x\"]\ncommand = y",
            "[include]\npath = x",
            "[remote \"o\"]\nurl = ext::sh -c x",
            "[core] fsmonitor = x",
            "[user]\nname = a\\\n[core]\nfsmonitor=x",
            "[merge \"x\"]\ndriver = y",
            "[credential]\nhelper = !x",
        ] {
            assert!(!is_harmless_config(line), "{line}");
        }
    }
}
