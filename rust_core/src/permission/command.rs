//! The policy on command lines: rules that forbid see every command in them, rules that allow must cover each.

use super::decision::Judgement;
use super::{Behavior, CallView, Mode, Policy, Reads, Rule, Subject, Verdict, plan_denial};
use crate::location::Location;
use crate::shell::{self, Extent, Script, SimpleCommand};

impl Policy {
    pub(super) fn judge_run(
        &self,
        call: CallView<'_>,
        command: &str,
        script: &Script,
        folders: &[Option<Location>],
        reads: &[Option<Reads>],
    ) -> Judgement {
        let is_forbidden = |rule: &Rule| {
            rule.covers_call(call)
                || rule.is_exactly(call.tool, command)
                || script.commands.iter().any(|simple| rule.forbids_command(call.tool, simple))
        };
        if let Some(rule) = self.find(Behavior::Deny, is_forbidden) {
            return Judgement::by(rule, "this command");
        }
        // Of another language, no reader here knows what a line does.
        let reads = if call.tool == "Bash" { reads } else { &[] };
        let is_reading = self.only_reads(script, folders, reads);
        if self.mode == Mode::Plan && !is_reading {
            return plan_denial();
        }
        if let Some(rule) = self.find(Behavior::Ask, is_forbidden) {
            return Judgement::by(rule, "this command");
        }
        if self.mode == Mode::Plan {
            return reading();
        }
        let is_critical =
            |simple: &SimpleCommand| shell::is_critical_removal(&simple.words, &self.workspace, self.home.as_deref());
        if script.commands.iter().any(is_critical) || command.replace(' ', "").contains(":(){:|:&};:") {
            return Judgement::firm("It would remove a whole disk, home or workspace, so it is always asked.");
        }
        if let Some(doubt) = &script.doubt
            && self.find(Behavior::Allow, |rule| rule.covers_unread(call, command)).is_none()
        {
            return Judgement::new(
                Verdict::Ask,
                format!("The command line {doubt}, so no rule can be sure what it runs."),
            );
        }
        if let Some(rule) = self.find(Behavior::Allow, |rule| rule.covers_call(call)) {
            return Judgement::by(rule, "every command");
        }
        if let Some(rule) = self.find(Behavior::Allow, |rule| rule.is_exactly(call.tool, command)) {
            return Judgement::by(rule, "exactly this command");
        }
        if call.tool != "Bash" {
            // What a line of another language is made of, no reader here knows.
            return Judgement::new(Verdict::Ask, format!("No rule allows `{}`.", brief(command)));
        }
        let judgement = self.judge_commands(script, folders, reads);
        if is_reading && judgement.rule.is_none() { reading() } else { judgement }
    }

    /// Each command by its own rule.
    fn judge_commands(&self, script: &Script, folders: &[Option<Location>], reads: &[Option<Reads>]) -> Judgement {
        let writes = script.redirects.iter().any(|redirect| redirect.is_write);
        let mut found: Option<&Rule> = None;
        for (index, simple) in script.commands.iter().enumerate() {
            if let Some(folder) = folders.get(index).and_then(Option::as_ref) {
                if let Some(objection) = cd_objection(index, folder, script) {
                    return Judgement::new(Verdict::Ask, objection);
                }
                continue;
            }
            match self.find(Behavior::Allow, |rule| rule.allows_command(simple)) {
                Some(rule) => found = Some(rule),
                // Part of a pipe; what names files might name others once the commands before it have run.
                None if !writes && reads.get(index).and_then(Option::as_ref).is_some_and(is_filter) => {}
                None => return Judgement::new(Verdict::Ask, format!("No rule allows `{}`.", brief(&simple.source))),
            }
        }
        match found {
            Some(rule) => Judgement::by(rule, "this command"),
            None if script.commands.is_empty() => Judgement::new(Verdict::Ask, "No rule allows it."),
            None => Judgement::new(Verdict::Allow, "Changing to a folder of the workspace is allowed."),
        }
    }
    /// Whether the line does nothing but read what Read may read. It is held to the sandbox meanwhile.
    fn only_reads(&self, script: &Script, folders: &[Option<Location>], reads: &[Option<Reads>]) -> bool {
        let may_read = |reads: &Reads| {
            // Which files lie below a folder or in a repository, no rule is asked here.
            let is_whole = matches!(reads.extent, Extent::Tree | Extent::Repository);
            reads.locations.iter().all(|location| location.root.is_some()) && !(is_whole && self.restricts_reading())
        };
        let is_fine = |index: usize| match folders.get(index).and_then(Option::as_ref) {
            Some(folder) => cd_objection(index, folder, script).is_none(),
            None => reads.get(index).and_then(Option::as_ref).is_some_and(may_read),
        };
        script.doubt.is_none()
            && !script.redirects.iter().any(|redirect| redirect.is_write)
            && reads.iter().any(Option::is_some)
            && (0..script.commands.len()).all(is_fine)
    }

    /// An allow rule for all of Bash, or for exactly this line: it covers the redirections of a line that can be read.
    pub(super) fn whole_line_rule(&self, call: CallView<'_>, all: &[Subject]) -> Option<&Rule> {
        all.iter().find_map(|subject| match subject {
            Subject::Run { command, script, .. } => self.find(Behavior::Allow, |rule| {
                rule.covers_unread(call, command)
                    || (script.doubt.is_none() && (rule.covers_call(call) || rule.is_exactly(call.tool, command)))
            }),
            _ => None,
        })
    }
}

fn reading() -> Judgement {
    Judgement::new(Verdict::Allow, "It only reads in the workspace, and the sandbox holds it to that.")
}

/// Reads what another command writes, and names no file.
fn is_filter(reads: &Reads) -> bool {
    reads.extent == Extent::Input && reads.locations.is_empty()
}

/// `cd` needs no rule where it comes first, stays inside, and nothing after it depends on where it leads.
pub(super) fn cd_objection(index: usize, folder: &Location, script: &Script) -> Option<String> {
    let runs = |program: &str| {
        script
            .commands
            .iter()
            .any(|simple| shell::without_wrappers(&simple.words).first().is_some_and(|word| word.text == program))
    };
    if index != 0 {
        return Some("It changes the folder after its first command.".to_owned());
    }
    if folder.root.is_none() {
        return Some(format!("It changes to {}, outside the workspace.", folder.target.display()));
    }
    if runs("git") {
        return Some("It runs git in another folder, whose configuration may run programs.".to_owned());
    }
    (!script.redirects.is_empty()).then(|| "It redirects to a file after changing the folder.".to_owned())
}

fn brief(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() > 80 {
        format!("{}…", line.chars().take(80).collect::<String>())
    } else {
        line.to_owned()
    }
}
