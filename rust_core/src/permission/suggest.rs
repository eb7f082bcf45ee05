//! The rules that "allow always" would add: never broader than what is shown, and none where a lasting grant is unwise.

use std::path::Path;

use super::{Policy, Subject};
use crate::location::Location;
use crate::network::Host;
use crate::shell::{self, Script, SimpleCommand};

/// More are not offered.
const MAX_RULES: usize = 5;
/// Programs whose second word says what they do.
const WITH_SUBCOMMAND: &[&str] = &[
    "git",
    "npm",
    "pnpm",
    "yarn",
    "cargo",
    "go",
    "pip",
    "pip3",
    "conda",
    "mamba",
    "poetry",
    "hatch",
    "dvc",
    "gh",
    "glab",
    "apt",
    "brew",
    "systemctl",
    "terraform",
    "helm",
    "aws",
    "gcloud",
    "az",
    "jupyter",
    "make",
    "just",
    "rustup",
    "dotnet",
    "mvn",
    "gradle",
];

/// Rules that together would allow these subjects; empty where that cannot be offered.
pub fn rules(tool: &str, subjects: &[Subject], policy: &Policy) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for subject in subjects {
        let more = match subject {
            Subject::Read { .. } | Subject::Mention { .. } | Subject::Inspect => Some(Vec::new()),
            Subject::Write { location, is_shell } => (!location.is_protected && location.root.is_some() && !is_shell)
                .then(|| edit_rule(&location.target, policy))
                .flatten()
                .map(|rule| vec![rule]),
            Subject::Run { command, .. } if tool == "PowerShell" => {
                let is_plain = !command.contains(['\n', '*']) && !command.chars().any(crate::visible::is_hidden);
                is_plain.then(|| vec![format!("PowerShell({})", command.trim())])
            }
            Subject::Run { .. } if tool != "Bash" => Some(vec![tool.to_owned()]),
            Subject::Run { command, script, folders, .. } => command_rules(command, script, folders, policy),
            Subject::Fetch { host } if tool == "WebFetch" => {
                Host::parse(host).ok().map(|host| vec![format!("WebFetch(domain:{host})")])
            }
            Subject::Fetch { .. } | Subject::Start | Subject::Namespace | Subject::Mcp => Some(vec![tool.to_owned()]),
        };
        match more {
            Some(more) => found.extend(more),
            None => return Vec::new(),
        }
    }
    let mut unique: Vec<String> = Vec::new();
    for rule in found {
        if !unique.contains(&rule) {
            unique.push(rule);
        }
    }
    if unique.len() > MAX_RULES { Vec::new() } else { unique }
}

fn edit_rule(target: &Path, policy: &Policy) -> Option<String> {
    let is_plain =
        |text: &str| !text.is_empty() && !text.contains(['*', '?', '[', ']', '(', ')', '!', '\\', '\n', '{', '}', ' ']);
    let folder = target.parent()?;
    let rule = match folder.strip_prefix(&policy.workspace) {
        // The file alone: a rule for the whole workspace is what acceptEdits is for.
        Ok(relative) if relative.as_os_str().is_empty() => format!("Edit(./{})", target.file_name()?.to_str()?),
        Ok(relative) => format!("Edit({}/**)", relative.to_str()?),
        Err(_) => format!("Edit(/{}/**)", folder.to_str()?),
    };
    let spec = rule.strip_prefix("Edit(")?.strip_suffix(')')?.trim_end_matches("/**");
    is_plain(spec).then_some(rule)
}

fn command_rules(command: &str, script: &Script, folders: &[Option<Location>], policy: &Policy) -> Option<Vec<String>> {
    if script.doubt.is_some() || !script.redirects.is_empty() {
        return None;
    }
    // A `cd` needs no rule or cannot be covered by one.
    let moved = |index: usize| folders.get(index).and_then(Option::as_ref);
    let may_move =
        |index: usize| moved(index).is_none_or(|to| super::command::cd_objection(index, to, script).is_none());
    if !(0..script.commands.len()).all(may_move) {
        return None;
    }
    let is_critical =
        |simple: &SimpleCommand| shell::is_critical_removal(&simple.words, &policy.workspace, policy.home.as_deref());
    if script.commands.iter().any(is_critical) || command.contains('\n') {
        return None;
    }
    let ruled = script.commands.iter().enumerate().filter(|(index, _)| moved(*index).is_none());
    ruled.map(|(_, simple)| command_rule(simple, policy)).collect()
}

fn command_rule(simple: &SimpleCommand, policy: &Policy) -> Option<String> {
    let words = shell::without_wrappers(&simple.words);
    let program = words.first()?.text.as_str();
    let is_plain = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-./+@".contains(&b))
            && !text.starts_with('-')
    };
    let needs_exact = simple.has_assignment
        || shell::runs_code(program)
        || shell::needs_exact_rule(words, 0)
        || (words.iter().any(|word| word.has_glob && !shell::is_anchored(program, word))
            && !shell::takes_globs(program));
    let rule = if needs_exact || !is_plain(program) {
        format!("Bash({})", simple.source.trim())
    } else if WITH_SUBCOMMAND.contains(&program) {
        match words.get(1) {
            Some(second)
                if is_plain(&second.text)
                    && matches!((program, second.text.as_str(), words.get(2)), ("npm" | "pnpm" | "yarn", "run", Some(third)) if is_plain(&third.text)) =>
            {
                format!("Bash({program} run {}:*)", words[2].text)
            }
            Some(second) if is_plain(&second.text) => format!("Bash({program} {}:*)", second.text),
            _ => format!("Bash({})", simple.source.trim()),
        }
    } else {
        format!("Bash({program}:*)")
    };
    // A rule is offered only where it reads back as itself and covers exactly what it was made for.
    let read = super::Rule::parse(super::Behavior::Allow, &rule, "", &policy.workspace, policy.home.as_deref()).ok()?;
    let is_faithful = read.allows_command(simple) && (!needs_exact || read.is_exactly("Bash", &simple.source));
    is_faithful.then_some(rule)
}
