//! Removals that nobody means: of a disk, a home, the workspace.

use std::path::Path;

use super::Word;
use super::wrapper::views;
use crate::location::absolute;

/// True for removals of a root, a home, the workspace or what is above it, and for the erasing of disks.
pub fn is_critical_removal(words: &[Word], workspace: &Path, home: Option<&Path>) -> bool {
    views(words).any(|view| {
        let Some((program, arguments)) = view.split_first() else { return false };
        let is_critical = |word: &Word| is_critical_target(&word.text, workspace, home);
        let has = |test: &dyn Fn(&str) -> bool| arguments.iter().any(|word| test(&word.text));
        match program.text.rsplit('/').next().unwrap_or_default() {
            "rm" => {
                let is_recursive = |text: &str| {
                    text.strip_prefix("--").map_or_else(
                        || text.strip_prefix('-').is_some_and(|flags| flags.contains(['r', 'R'])),
                        |long| long.len() >= 3 && "recursive".starts_with(long),
                    )
                };
                has(&is_recursive) && arguments.iter().any(is_critical)
            }
            "rmdir" | "shred" => arguments.iter().any(is_critical),
            "find" => {
                // Without a path: where it stands.
                let has_path = arguments.first().is_some_and(|word| !word.text.starts_with(['-', '(', '!']));
                has(&|text| text == "-delete") && (!has_path || arguments.iter().any(is_critical))
            }
            "dd" => has(&|text| text.starts_with("of=/dev/") && text != "of=/dev/null"),
            "wipefs" | "blkdiscard" => has(&|text| text.starts_with("/dev/")),
            name => name.starts_with("mkfs"),
        }
    })
}

fn is_critical_target(text: &str, workspace: &Path, home: Option<&Path>) -> bool {
    if text.is_empty() || text.starts_with('-') {
        return false;
    }
    let trimmed = text.trim_end_matches('*').trim_end_matches('/');
    // "$X"/* with X empty is /*; a bare variable may be anything.
    if trimmed.starts_with('$') {
        return !trimmed.contains('/');
    }
    if trimmed.is_empty() {
        return true; // "/", "/*", "*"
    }
    let path = match (trimmed.strip_prefix('~'), home) {
        (Some(rest), Some(home)) => home.join(rest.trim_start_matches('/')),
        (Some(rest), None) => return rest.is_empty(),
        _ => absolute(workspace, Path::new(trimmed)),
    };
    let is_above = |place: &Path| place.starts_with(&path);
    is_above(workspace) || home.is_some_and(is_above) || path.components().count() <= 2
}
