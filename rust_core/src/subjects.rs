//! From what a tool declares to what the policy judges: paths are located, command lines read.

use crate::effect::Effect;
use crate::permission::Subject;
use crate::shell::{self, SimpleCommand};
use crate::workspace::Workspace;

/// Effects with what the policy must know about them, and all effects with those found on the way (redirections).
pub fn subjects(workspace: &Workspace, effects: &[Effect]) -> (Vec<Subject>, Vec<Effect>) {
    let (mut subjects, mut all) = (Vec::new(), effects.to_vec());
    for effect in effects {
        let subject = match effect {
            Effect::ReadPath { path } => Subject::Read { location: workspace.locate(path), is_shell: false },
            Effect::WritePath { path } => Subject::Write { location: workspace.locate(path), is_shell: false },
            Effect::Run { command } => run(workspace, command, &mut subjects, &mut all),
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

fn run(workspace: &Workspace, command: &str, subjects: &mut Vec<Subject>, all: &mut Vec<Effect>) -> Subject {
    let script = shell::parse(command);
    let folders: Vec<Option<&str>> = script.commands.iter().map(cd_target).collect();
    for redirect in &script.redirects {
        // Where the line changes folders, the file may lie in any of them: each must be free to be written.
        let moved = folders.iter().flatten().map(|folder| format!("{folder}/{}", redirect.path));
        for path in
            std::iter::once(redirect.path.clone()).chain(moved.filter(|_| !redirect.path.starts_with(['/', '~'])))
        {
            let location = workspace.locate(&path);
            if redirect.is_write {
                subjects.push(Subject::Write { location, is_shell: true });
                all.push(Effect::WritePath { path });
            } else {
                subjects.push(Subject::Read { location, is_shell: true });
                all.push(Effect::ReadPath { path });
            }
        }
    }
    let folders = folders.into_iter().map(|folder| folder.map(|folder| workspace.locate(folder))).collect();
    Subject::Run { command: command.to_owned(), script, folders }
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
        let (subjects, effects) = subjects(&workspace, &[Effect::Run { command }]);
        assert_eq!(effects.len(), 3);
        let is_protected =
            |subject: &Subject| matches!(subject, Subject::Write { location, .. } if location.is_protected);
        assert!(subjects.iter().any(is_protected));
    }
}
