//! From what a tool declares to what the policy judges: paths are located, command lines read.

use std::path::Path;

use crate::effect::Effect;
use crate::expansion::expand;
use crate::location::Location;
use crate::permission::{Reads, Subject};
use crate::plain_repository;
use crate::sandbox::{Environment, find_program};
use crate::shell::{self, Extent, Script, SimpleCommand};
use crate::workspace::Workspace;

/// Further arguments of a line are not looked at as paths.
const MAX_MENTIONS: usize = 500;

/// Effects with what the policy must know about them, and all effects with those found on the way (redirections).
/// `sandboxed`: the variables of a command that the whole sandbox will hold.
pub fn subjects(
    workspace: &Workspace,
    effects: &[Effect],
    sandboxed: Option<&Environment>,
) -> (Vec<Subject>, Vec<Effect>) {
    let (mut subjects, mut all) = (Vec::new(), effects.to_vec());
    for effect in effects {
        let subject = match effect {
            Effect::ReadPath { path } => Subject::Read { location: workspace.locate(path), is_shell: false },
            Effect::WritePath { path } => {
                Subject::Write { location: workspace.locate_for_writing(path), is_shell: false }
            }
            Effect::Run { command } => {
                let (subject, mentions) = run(workspace, command, sandboxed, &mut subjects, &mut all);
                subjects.push(subject);
                subjects.extend(mentions);
                continue;
            }
            Effect::Start { .. } => Subject::Start,
            Effect::Fetch { host } => Subject::Fetch { host: host.clone() },
            Effect::Namespace => Subject::Namespace,
            Effect::Inspect { .. } => Subject::Inspect,
            Effect::Mcp { .. } => Subject::Mcp,
        };
        subjects.push(subject);
    }
    (subjects, all)
}

/// The command line, and the paths it may mention.
fn run(
    workspace: &Workspace,
    command: &str,
    sandboxed: Option<&Environment>,
    subjects: &mut Vec<Subject>,
    all: &mut Vec<Effect>,
) -> (Subject, Vec<Subject>) {
    let script = shell::parse(command);
    let folders: Vec<Option<&str>> = script.commands.iter().map(cd_target).collect();
    for redirect in &script.redirects {
        // Where the line changes folders, the file may lie in any of them: each must be free to be written.
        let moved = folders.iter().flatten().map(|folder| format!("{folder}/{}", redirect.path));
        for path in
            std::iter::once(redirect.path.clone()).chain(moved.filter(|_| !redirect.path.starts_with(['/', '~'])))
        {
            if redirect.is_write {
                let location = workspace.locate_for_writing(&path);
                subjects.push(Subject::Write { location, is_shell: true });
                all.push(Effect::WritePath { path });
            } else {
                let location = workspace.locate(&path);
                subjects.push(Subject::Read { location, is_shell: true });
                all.push(Effect::ReadPath { path });
            }
        }
    }
    let mentions = mentions(workspace, &script, &folders);
    let reads = sandboxed
        .map(|environment| {
            script.commands.iter().map(|simple| reads(workspace, environment, simple, &folders)).collect()
        })
        .unwrap_or_default();
    let folders = folders.into_iter().map(|folder| folder.map(|folder| workspace.locate(folder))).collect();
    (Subject::Run { command: command.to_owned(), script, folders, reads }, mentions)
}

/// What a command reads, where it does nothing else on this machine either.
fn reads(
    workspace: &Workspace,
    environment: &Environment,
    simple: &SimpleCommand,
    folders: &[Option<&str>],
) -> Option<Reads> {
    let reading = shell::reading(simple)?;
    let program = &simple.words.first()?.text;
    if !shell::is_builtin(program) {
        // The first on the PATH is what runs, and it must not be a file that somebody put into the workspace.
        let found = find_program(program, environment, &[]).ok()?;
        let target = found.canonicalize().ok()?;
        let is_inside = |path: &Path| workspace.writable_roots().iter().any(|root| path.starts_with(root));
        if is_inside(&found) || is_inside(&target) {
            return None;
        }
    }
    if reading.extent == Extent::Repository && !plain_repository::is_plain(workspace.path()) {
        return None;
    }
    let mut paths: Vec<String> = Vec::new();
    for path in reading.paths {
        let has_pattern = simple.words.iter().any(|word| word.has_glob && word.text == path);
        for path in in_every_folder(&path, folders) {
            if has_pattern {
                let found = expand(workspace.path(), &path)?;
                // A name that the program would take for an option, or find for an operator.
                let is_odd = |name: &str| name.starts_with(['-', '+', '(', ')', '!', ',']);
                if found.iter().any(|path| path.split('/').any(is_odd)) {
                    return None;
                }
                paths.extend(found);
            }
            paths.push(path);
        }
    }
    let locations: Vec<_> = paths.iter().map(|path| workspace.locate(path)).collect();
    // A pipe or device may never end.
    let takes_folders = reading.extent != Extent::Contents;
    // What these names lead to in the command is not what they lead to here.
    let is_own = |location: &Location| ["/proc", "/dev"].iter().any(|place| location.requested.starts_with(place));
    if locations.iter().any(is_own) {
        return None;
    }
    let is_usual =
        |path: &Path| path.metadata().map_or(true, |found| found.is_file() || (found.is_dir() && takes_folders));
    locations.iter().all(|location| is_usual(&location.target)).then_some(Reads { extent: reading.extent, locations })
}

/// A path as written, and as it is where the line has changed folders before.
fn in_every_folder(path: &str, folders: &[Option<&str>]) -> Vec<String> {
    let moved = folders.iter().flatten().map(|folder| format!("{folder}/{path}"));
    moved.filter(|_| !path.starts_with(['/', '~'])).chain([path.to_owned()]).collect()
}

/// Every argument as the path it may be (`x`, `--file=x`, `-fx`, `@x`, `HEAD:x`), in every folder the line visits, patterns
/// expanded. What a program makes of its arguments nobody here knows: this finds paths that are written plainly.
fn mentions(workspace: &Workspace, script: &Script, folders: &[Option<&str>]) -> Vec<Subject> {
    let words = script.commands.iter().flat_map(|simple| simple.words.iter().skip(1)).take(MAX_MENTIONS);
    let mut paths: Vec<String> = Vec::new();
    let mut is_cut = false;
    for word in words {
        let whole = word.text.as_str();
        let value = whole.split_once('=').map_or(whole, |(_, value)| value).trim_start_matches('@');
        let attached = whole.strip_prefix('-').and_then(|rest| rest.get(1..)).unwrap_or_default();
        let inside = whole.rsplit_once(':').map_or("", |(_, path)| path);
        for path in [whole, value, attached, inside] {
            if path.is_empty() || path.starts_with('-') {
                continue;
            }
            for path in in_every_folder(path, folders) {
                if word.has_glob {
                    match expand(workspace.path(), &path) {
                        Some(found) => paths.extend(found),
                        None => is_cut = true,
                    }
                }
                paths.push(path);
            }
        }
    }
    paths.sort_unstable();
    paths.dedup();
    let found = paths.iter().map(|path| Subject::Mention { location: Some(workspace.locate(path)) });
    found.chain(is_cut.then_some(Subject::Mention { location: None })).collect()
}

/// Where a `cd` leads that names one plain folder.
fn cd_target(command: &SimpleCommand) -> Option<&str> {
    match command.words.as_slice() {
        [cd, to] if cd.text == "cd" && !to.has_glob && !to.text.starts_with('-') && !to.text.is_empty() => {
            Some(&to.text)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirections_count_in_every_folder_the_line_visits() {
        let dir = tempfile::tempdir().unwrap();
        let workspace = Workspace::new(dir.path(), &[], &[]).unwrap();
        let command = "cd .git && echo x > config".to_owned();
        let (subjects, effects) = subjects(&workspace, &[Effect::Run { command }], None);
        assert_eq!(effects.len(), 3);
        let is_protected =
            |subject: &Subject| matches!(subject, Subject::Write { location, .. } if location.is_protected);
        assert!(subjects.iter().any(is_protected));
    }
}
