//! The files that `*`, `?` and `[…]` in a word of a command may stand for. Never fewer than bash finds, sometimes more:
//! `?` and `[…]` are taken for `*`.

use std::path::Path;

use crate::permission::glob_matches;

/// More are not told apart.
const MAX_FOUND: usize = 1000;
/// Entries of folders that are looked at.
const MAX_LOOKED_AT: usize = 20_000;

/// Paths as the shell would write them, for a pattern that is absolute or starts in `folder`. `None`: too many to look at.
pub fn expand(folder: &Path, pattern: &str) -> Option<Vec<String>> {
    if pattern.starts_with('~') {
        return None;
    }
    let mut found = vec![if pattern.starts_with('/') { "/".to_owned() } else { String::new() }];
    let mut looked_at = 0;
    for component in pattern.split('/').filter(|component| !component.is_empty()) {
        let mut next = Vec::new();
        for base in &found {
            let joined = |name: &str| match base.as_str() {
                "" => name.to_owned(),
                base if base.ends_with('/') => format!("{base}{name}"),
                base => format!("{base}/{name}"),
            };
            if !component.contains(['*', '?', '[']) {
                next.push(joined(component));
                continue;
            }
            let mask = mask(component);
            for entry in std::fs::read_dir(folder.join(base)).into_iter().flatten().flatten() {
                looked_at += 1;
                let name = entry.file_name();
                let name = name.to_string_lossy();
                if name.starts_with('.') <= component.starts_with('.') && glob_matches(&mask, &name) {
                    next.push(joined(&name));
                }
                if looked_at > MAX_LOOKED_AT || next.len() > MAX_FOUND {
                    return None;
                }
            }
        }
        found = next;
    }
    found.retain(|path| folder.join(path).symlink_metadata().is_ok());
    Some(found)
}

/// With stars only.
fn mask(component: &str) -> String {
    let text = component.replace('?', "*");
    match (text.find('['), text.rfind(']')) {
        (Some(start), Some(end)) if start < end => format!("{}*{}", &text[..start], &text[end + 1..]),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_find_what_the_shell_finds() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a.py", "b.py", ".c.py", "sub/d.py", "sub/e[1].py"] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let expanded = |pattern: &str| {
            let mut found = expand(dir.path(), pattern).unwrap();
            found.sort();
            found.join(" ")
        };
        for (pattern, expected) in [
            ("*.py", "a.py b.py"),
            (".*.py", ".c.py"),
            ("?.py", "a.py b.py"),
            ("[a].py", "a.py b.py"),
            ("s*/d.py", "sub/d.py"),
            ("*/*", "sub/d.py sub/e[1].py"),
            ("./s*", "./sub"),
            ("x*", ""),
            ("s*/x.py", ""),
            ("sub/e[1].py", "sub/e[1].py"),
        ] {
            assert_eq!(expanded(pattern), expected, "{pattern}");
        }
        let absolute = format!("{}/*.py", dir.path().display());
        assert_eq!(expand(dir.path(), &absolute).unwrap().len(), 2);
        assert_eq!(expand(dir.path(), "~/*"), None);
    }
}
