//! Whether git, asked to show something of a repository, runs nothing but itself.
//!
//! A repository's configuration can name programs for many occasions, and its submodules have configurations of their own.
//! So it must hold only keys known to name none, have no submodules in its index, no hook for when the index is refreshed,
//! and no objects that lie elsewhere. The person's own configuration is theirs.

use std::fs;
use std::path::Path;

const MAX_BYTES: u64 = 64 << 20;

/// Keys of these sections name no program that is run for looking.
const KEYS: &[(&str, &[&str])] = &[
    (
        "core",
        &[
            "repositoryformatversion",
            "filemode",
            "bare",
            "logallrefupdates",
            "symlinks",
            "ignorecase",
            "precomposeunicode",
            "autocrlf",
            "safecrlf",
            "eol",
            "quotepath",
        ],
    ),
    ("remote", &["url", "pushurl", "fetch", "prune", "tagopt"]),
    ("branch", &["remote", "merge", "rebase", "vscode-merge-base", "gh-merge-base"]),
    ("user", &["name", "email"]),
    ("init", &["defaultbranch"]),
    ("pull", &["rebase", "ff"]),
    ("push", &["default", "autosetupremote"]),
    ("fetch", &["prune"]),
    ("color", &["ui"]),
];

/// Of the repository whose top is `folder` itself.
pub fn is_plain(folder: &Path) -> bool {
    let git = folder.join(".git");
    let is_own = git.symlink_metadata().is_ok_and(|found| found.is_dir());
    let exists = |name: &str| git.join(name).symlink_metadata().is_ok();
    // What git does not take for a repository it looks for elsewhere: in this folder itself, and above.
    let is_repository = read(&git.join("HEAD")).is_some_and(|head| is_head(&head))
        && ["objects", "refs"].iter().all(|name| git.join(name).symlink_metadata().is_ok_and(|found| found.is_dir()));
    is_own
        && is_repository
        && !["commondir", "config.worktree", "hooks/post-index-change", "objects/info/alternates"]
            .into_iter()
            .any(exists)
        && read(&git.join("config")).is_some_and(|config| is_plain_config(&String::from_utf8_lossy(&config)))
        && (!exists("index") || read(&git.join("index")).is_some_and(|index| has_no_submodules(&index) == Some(true)))
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let found = path.symlink_metadata().ok()?;
    (found.is_file() && found.len() <= MAX_BYTES).then(|| fs::read(path).ok()).flatten()
}

fn is_head(head: &[u8]) -> bool {
    let head = head.trim_ascii_end();
    head.starts_with(b"ref: refs/") || (matches!(head.len(), 40 | 64) && head.iter().all(u8::is_ascii_hexdigit))
}

fn is_plain_config(text: &str) -> bool {
    let mut known: &[&str] = &[];
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(header) = line.strip_prefix('[') {
            let Some(header) = header.strip_suffix(']') else { return false };
            let (section, name) = header.split_once(' ').unwrap_or((header, "\"\""));
            let name = name.strip_prefix('"').and_then(|name| name.strip_suffix('"'));
            let is_usual = name.is_some_and(|name| !name.contains(['"', '\\', ']']));
            match KEYS.iter().find(|(known, _)| is_usual && section.eq_ignore_ascii_case(known)) {
                Some((_, keys)) => known = keys,
                None => return false,
            }
            continue;
        }
        let key = line.split_once('=').map_or(line, |(key, _)| key).trim_end().to_lowercase();
        if !known.contains(&key.as_str()) || line.ends_with('\\') {
            return false;
        }
    }
    true
}

/// Of an index of version 2 or 3 that is whole in itself; `None` for what is not understood.
fn has_no_submodules(index: &[u8]) -> Option<bool> {
    const SUBMODULE: u32 = 0o160_000;
    let number = |at: usize| index.get(at..at + 4).and_then(|bytes| Some(u32::from_be_bytes(bytes.try_into().ok()?)));
    if index.get(..4)? != b"DIRC" || !matches!(number(4)?, 2 | 3) {
        return None;
    }
    let mut at = 12;
    for _ in 0..number(8)? {
        if number(at + 24)? & 0o170_000 == SUBMODULE {
            return Some(false);
        }
        // Ten numbers, a hash of 20 bytes and the flags, then the name, ended by one to eight NULs.
        let flags = u16::from_be_bytes(index.get(at + 60..at + 62)?.try_into().ok()?);
        let name = at + if flags & 0x4000 == 0 { 62 } else { 64 };
        let length = index.get(name..)?.iter().position(|byte| *byte == 0)?;
        at += (name + length - at) / 8 * 8 + 8;
    }
    // Extensions follow, then the checksum; one in small letters changes what was read.
    while index.len().checked_sub(at + 20)? > 0 {
        if !index.get(at)?.is_ascii_uppercase() {
            return None;
        }
        at = at.checked_add(8 + usize::try_from(number(at + 4)?).ok()?)?;
    }
    Some(true)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn git(folder: &Path, arguments: &[&str]) {
        let done = Command::new("git")
            .current_dir(folder)
            .args(["-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always"])
            .args(arguments)
            .output()
            .unwrap();
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    }

    #[test]
    fn what_runs_programs_is_not_plain() {
        let dir = tempfile::tempdir().unwrap();
        let work = dir.path().join("work");
        fs::create_dir(&work).unwrap();
        assert!(!is_plain(&work));
        git(&work, &["init", "-q"]);
        assert!(is_plain(&work));
        for name in ["a", "longer name.txt", "sub/b"] {
            fs::create_dir_all(work.join(name).parent().unwrap()).unwrap();
            fs::write(work.join(name), name).unwrap();
        }
        git(&work, &["add", "."]);
        git(&work, &["commit", "-qm", "x"]);
        git(&work, &["remote", "add", "origin", "https://example.org/x.git"]);
        assert!(is_plain(&work));
        let config = fs::read_to_string(work.join(".git/config")).unwrap();
        for evil in [
            "[core]\n\tfsmonitor = id",
            "[core]\n\tworktree = /",
            "[core] fsmonitor = id",
            "[diff \"x\"]\n\ttextconv = id",
            "[filter \"x\"]\n\tclean = id",
            "[include]\n\tpath = x",
            "[user]\n\tname = a\\\n[core]\n\tfsmonitor = id",
            "fsmonitor = id",
        ] {
            fs::write(work.join(".git/config"), format!("{config}{evil}\n")).unwrap();
            assert!(!is_plain(&work), "{evil}");
        }
        fs::write(work.join(".git/config"), config).unwrap();
        fs::write(work.join(".git/hooks/post-index-change"), "").unwrap();
        assert!(!is_plain(&work));
        fs::remove_file(work.join(".git/hooks/post-index-change")).unwrap();
        assert!(is_plain(&work));
        let head = fs::read(work.join(".git/HEAD")).unwrap();
        fs::write(work.join(".git/HEAD"), "x").unwrap();
        assert!(!is_plain(&work), "git would take another repository");
        fs::write(work.join(".git/HEAD"), head).unwrap();
        // A repository in the repository, as a submodule would be.
        git(&work, &["init", "-q", "inner"]);
        git(&work.join("inner"), &["commit", "-q", "--allow-empty", "-m", "x"]);
        assert!(is_plain(&work));
        git(&work, &["-c", "advice.addEmbeddedRepo=false", "add", "inner"]);
        assert!(!is_plain(&work));
    }
}
