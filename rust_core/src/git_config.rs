//! Places outside of `.git` that git trusts because its configuration names them: the folder it runs hooks from
//! (`core.hooksPath`), and files of more configuration (`include.path`).
//!
//! Git itself is not asked: the configuration of a repository names programs for many occasions. The reading protects more
//! than git would run from: every value counts, not the last one alone, and what is included under a condition always.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::location::absolute;

const MAX_CONFIG_BYTES: u64 = 256 << 10;
/// Further entries of one folder are not looked at for repositories.
const MAX_BESIDE: usize = 1000;

/// What the configuration of the repository whose top is `top` names: absolute, as written and as it resolves now;
/// existing or not. A folder that holds the working tree itself is left out: all of it would be protected.
pub fn named_places(top: &Path) -> Vec<PathBuf> {
    let Some(repository) = repository(top) else { return Vec::new() };
    let named = read_all(&repository).into_iter().map(|place| absolute(top, &place));
    let both = named.flat_map(|place| [place.canonicalize().ok(), Some(place)]);
    let mut found: Vec<PathBuf> = both.flatten().filter(|place| !top.starts_with(place)).collect();
    found.sort();
    found.dedup();
    found
}

/// True for a place that a repository around it names, and what lies in one. Also one beside it: of the folders above that lie
/// in `root`, those directly below are looked at, too.
pub fn is_named(path: &Path, root: &Path) -> bool {
    let names = |top: &Path| named_places(top).iter().any(|place| path.starts_with(place));
    path.ancestors()
        .skip(1)
        .any(|above| names(above) || (above.starts_with(root) && subfolders(above).any(|beside| names(&beside))))
}

fn subfolders(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().take(MAX_BESIDE);
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path())
}

/// Where the repository of a working tree keeps its things; one without a working tree is its own top.
fn repository(top: &Path) -> Option<PathBuf> {
    let git = top.join(".git");
    if git.is_dir() {
        return Some(git);
    }
    if let Some(text) = read(&git) {
        return Some(absolute(top, Path::new(text.strip_prefix("gitdir:")?.trim())));
    }
    let is_bare = top.join("HEAD").is_file() && top.join("objects").is_dir() && top.join("refs").is_dir();
    is_bare.then(|| top.to_path_buf())
}

/// The places that all configurations name that git reads for a repository.
fn read_all(repository: &Path) -> Vec<PathBuf> {
    let common = read(&repository.join("commondir")).map(|text| absolute(repository, Path::new(text.trim())));
    let home = std::env::home_dir();
    let own = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let own = own.or_else(|| home.as_deref().map(|home| home.join(".config")));
    let files = [
        Some(PathBuf::from("/etc/gitconfig")),
        own.map(|folder| folder.join("git/config")),
        home.map(|home| home.join(".gitconfig")),
        Some(common.unwrap_or_else(|| repository.to_path_buf()).join("config")),
        Some(repository.join("config.worktree")),
    ];
    // Each file is read once, however often and under whatever spelling it is included.
    let (mut seen, mut found) = (HashSet::new(), Vec::new());
    let mut waiting: Vec<PathBuf> = files.into_iter().flatten().collect();
    while let Some(file) = waiting.pop() {
        let is_new = file.canonicalize().is_ok_and(|real| seen.insert(real));
        let Some(text) = is_new.then(|| read(&file)).flatten() else { continue };
        for (section, key, value) in entries(&text) {
            match (section.as_str(), key.as_str()) {
                ("core", "hookspath") => found.push(at_home(&value)),
                ("include" | "includeif", "path") => {
                    let included = absolute(file.parent().unwrap_or(Path::new("/")), &at_home(&value));
                    waiting.push(included.clone());
                    found.push(included);
                }
                _ => {}
            }
        }
    }
    found
}

/// Section and key in lower case, and the value.
fn entries(text: &str) -> Vec<(String, String, String)> {
    let text = text.trim_start_matches('\u{feff}').replace("\r\n", "\n").replace("\\\n", "");
    let (mut section, mut found) = (String::new(), Vec::new());
    for line in text.lines() {
        let mut line = line.trim();
        if let Some(header) = line.strip_prefix('[') {
            let Some((name, rest)) = header.rsplit_once(']') else { continue };
            section = name.split([' ', '\t', '"', '.']).next().unwrap_or_default().to_lowercase();
            line = rest.trim();
        }
        if let Some((key, value)) = line.split_once('=') {
            found.push((section.clone(), key.trim().to_lowercase(), unquote(value.trim())));
        }
    }
    found
}

/// A value without its quotes, escapes and comment.
fn unquote(value: &str) -> String {
    let (mut result, mut is_quoted, mut characters) = (String::new(), false, value.chars());
    // Blanks before a comment do not count, those in quotes do.
    let mut end = 0;
    while let Some(character) = characters.next() {
        match character {
            '"' => is_quoted = !is_quoted,
            '#' | ';' if !is_quoted => break,
            '\\' => result.extend(characters.next()),
            other => result.push(other),
        }
        if is_quoted || !result.ends_with([' ', '\t']) {
            end = result.len();
        }
    }
    result.truncate(end);
    result
}

fn at_home(value: &str) -> PathBuf {
    match (value.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(value),
    }
}

/// A plain file that is not large; never waits.
fn read(path: &Path) -> Option<String> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file: File = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    let mut bytes = Vec::new();
    file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    file.take(MAX_CONFIG_BYTES).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(config: &str) -> Vec<String> {
        entries(config).into_iter().filter(|(_, key, _)| key == "hookspath").map(|(_, _, value)| value).collect()
    }

    #[test]
    fn values_are_read_as_git_does() {
        for text in [
            "[core]\n\thooksPath = tools/hooks\n",
            "[CORE] hookspath=tools/hooks ; comment",
            "\u{feff}[core]\r\n  HooksPath = \"tools/hooks\" # comment\r\n",
            "[core]\nhooksPath = tools/\\\nhooks\n",
            "[includeIf \"gitdir:a]b\"]\npath = x\n[core]\nhooksPath = \"tools\"/hooks",
        ] {
            assert_eq!(named(text), ["tools/hooks"], "{text}");
        }
        assert_eq!(named("[core]\nhooksPath = \"a #b \\\"c\\\" \""), ["a #b \"c\" "]);
        assert_eq!(named("[core]\n# hooksPath = x\n"), Vec::<String>::new());
    }

    #[test]
    fn a_repository_beside_it_names_places_by_their_whole_path() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("one/.git")).unwrap();
        std::fs::create_dir_all(root.join("two/src")).unwrap();
        let config = format!("[core]\nhooksPath = {}/two/hooks\n", root.display());
        std::fs::write(root.join("one/.git/config"), config).unwrap();
        assert!(is_named(&root.join("two/hooks/pre-commit"), &root));
        assert!(!is_named(&root.join("two/src/a.py"), &root));
    }

    #[test]
    fn a_configuration_that_waits_never_ends_or_includes_itself_is_no_trouble() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        std::fs::create_dir(top.join(".git")).unwrap();
        let config = top.join(".git/config");
        let many = "path = config\npath = ../.git/config\n".repeat(100);
        std::fs::write(&config, format!("[include]\n{many}path = /dev/zero\npath = ../more\n")).unwrap();
        std::fs::write(top.join("more"), "[core]\nhooksPath = h\nhooksPath = .\nhooksPath =\n").unwrap();
        assert!(named_places(&top).contains(&top.join("h")));
        assert!(is_named(&top.join("h/pre-commit"), &top) && !is_named(&top.join("a/pre-commit"), &top));
        std::fs::remove_file(&config).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &config, rustix::fs::Mode::RUSR).unwrap();
        named_places(&top);
    }
}
