//! The policy: what a call would touch goes in, a decision with its reason comes out. Pure; nothing here asks or runs.
//!
//! Over all effects of a call, and over all commands of a shell line, the strictest verdict wins. For one effect: a deny
//! rule, then what no mode permits, then ask rules and what is always asked, then allow rules, then the mode.

mod decision;
mod pattern;
mod rule;
mod suggest;

pub use decision::{Decision, Mode, Reads, Subject, Verdict};
pub use rule::{Behavior, CallView, Rule, RuleError};

use std::path::PathBuf;

use serde_json::Value;

use decision::Judgement;

use crate::location::Location;
use crate::network::{Host, Hosts};
use crate::shell::{self, Extent, Script, SimpleCommand};

/// Mode and rules in force.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// What the rules leave open.
    pub mode: Mode,
    /// In the order given; the order does not matter.
    pub rules: Vec<Rule>,
    /// Canonical; relative rules start here.
    pub workspace: PathBuf,
    /// For `~/` rules and for what counts as a critical removal.
    pub home: Option<PathBuf>,
}

/// Reading a file, whatever else is known of the call.
const READ: CallView<'_> = CallView { tool: "Read", arguments: &Value::Null };

impl Policy {
    /// The verdict on a call that would touch `subjects`. Total and pure.
    pub fn decide(&self, call: CallView<'_>, subjects: &[Subject]) -> Decision {
        let tool = call.tool;
        let judge = |subject: &Subject| self.settle(self.judge(call, subject, subjects));
        // The first of the strictest names the reason.
        let strictest =
            subjects.iter().map(judge).reduce(|worst, next| if next.verdict > worst.verdict { next } else { worst });
        let judgement = strictest.unwrap_or_else(|| self.settle(self.judge_bare(call)));
        let suggested_rules = if judgement.verdict == Verdict::Ask && !judgement.is_firm {
            suggest::rules(tool, subjects, self)
        } else {
            Vec::new()
        };
        let (rule, source) = judgement.rule.unwrap_or_default();
        Decision { verdict: judgement.verdict, reason: judgement.reason, rule, source, suggested_rules }
    }

    /// True where a deny rule keeps this file from being read; Glob and Grep leave such files out.
    pub fn is_read_denied(&self, location: &Location) -> bool {
        self.rules.iter().any(|rule| rule.behavior == Behavior::Deny && rule.matches_path(READ, location, false, true))
    }

    /// True where a rule denies all of this tool: the model need not see it.
    pub fn denies_tool(&self, tool: &str) -> bool {
        self.find(Behavior::Deny, |rule| rule.covers_tool(tool)).is_some()
    }

    /// True where some rule may deny reading a file.
    pub fn has_read_denies(&self) -> bool {
        self.rules.iter().any(|rule| rule.behavior == Behavior::Deny && rule.is_about_reading())
    }

    /// The hosts that sandboxed commands may talk to.
    pub fn hosts(&self) -> Hosts {
        let named = |behavior| {
            let rules = self.rules.iter().filter(move |rule| rule.behavior == behavior);
            rules.filter_map(Rule::network_host).cloned().collect()
        };
        if self.rules.iter().any(Rule::is_all_network) {
            return Hosts::default();
        }
        Hosts::new(named(Behavior::Allow), named(Behavior::Deny))
    }

    fn find(&self, behavior: Behavior, matches: impl Fn(&Rule) -> bool) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.behavior == behavior && matches(rule))
    }

    /// What the mode makes of a verdict.
    fn settle(&self, judgement: Judgement) -> Judgement {
        if judgement.verdict != Verdict::Ask {
            return judgement;
        }
        match self.mode {
            Mode::DontAsk => Judgement {
                verdict: Verdict::Deny,
                reason: format!("{} The mode dontAsk denies what would be asked.", judgement.reason),
                ..judgement
            },
            Mode::BypassPermissions if !judgement.is_firm => {
                Judgement::new(Verdict::Allow, "The mode bypassPermissions allows it.")
            }
            _ => judgement,
        }
    }

    fn judge(&self, call: CallView<'_>, subject: &Subject, all: &[Subject]) -> Judgement {
        match subject {
            Subject::Read { location, is_shell } => self.judge_path(call, location, false, *is_shell, all),
            Subject::Write { location, is_shell } => self.judge_path(call, location, true, *is_shell, all),
            Subject::Run { command, script, folders, reads } => self.judge_run(call, command, script, folders, reads),
            Subject::Fetch { host } => self.judge_fetch(call, host),
            Subject::Namespace => self.judge_other(
                |rule| rule.covers_call(call),
                "run code in the notebook's own namespace",
                "running code in the namespace",
            ),
            Subject::Start => self.judge_other(|rule| rule.covers_call(call), "start a program", "starting a program"),
            Subject::Mcp => {
                self.judge_other(|rule| rule.covers_call(call), "call a tool of an MCP server", "calling this tool")
            }
            Subject::Mention { location } => {
                let matches = |rule: &Rule| rule.is_about_reading() && rule.matches_path(READ, location, false, true);
                let doing = format!("reading {}", location.requested.display());
                let rule = self.find(Behavior::Deny, matches).or_else(|| self.find(Behavior::Ask, matches));
                rule.map_or_else(
                    || Judgement::new(Verdict::Allow, "No rule forbids what the command names."),
                    |rule| Judgement::by(rule, &doing),
                )
            }
            Subject::Inspect => {
                let matches = |rule: &Rule| rule.covers_call(call);
                if let Some(rule) = self.find(Behavior::Deny, matches).or_else(|| self.find(Behavior::Ask, matches)) {
                    return Judgement::by(rule, "looking at variables");
                }
                Judgement::new(Verdict::Allow, "Looking at variables runs no code.")
            }
        }
    }

    /// A call that declares no effect.
    fn judge_bare(&self, call: CallView<'_>) -> Judgement {
        let tool = call.tool;
        let matches = |rule: &Rule| rule.covers_call(call);
        let is_known = rule::is_known_tool(tool);
        if let Some(rule) = self.find(Behavior::Deny, matches) {
            return Judgement::by(rule, tool);
        }
        if self.mode == Mode::Plan && !is_known {
            return plan_denial();
        }
        if let Some(rule) = self.find(Behavior::Ask, matches).or_else(|| self.find(Behavior::Allow, matches)) {
            return Judgement::by(rule, tool);
        }
        if is_known {
            Judgement::new(Verdict::Allow, "It touches nothing outside the conversation.")
        } else {
            Judgement::new(Verdict::Ask, format!("{tool} is not a tool the policy knows."))
        }
    }

    fn judge_fetch(&self, call: CallView<'_>, host: &str) -> Judgement {
        let what = format!("talk to {}", crate::visible::visible(host));
        // Looking things up is what planning is for.
        let is_planned = matches!(call.tool, "WebFetch" | "WebSearch");
        match Host::parse(host) {
            Ok(host) => {
                let matches = |rule: &Rule| rule.covers_call(call) || rule.matches_host(call.tool, &host);
                self.judge_by_rules(matches, is_planned, &what, &format!("talking to {host}"))
            }
            // No rule can be sure where it leads, so none allows it.
            Err(why) => {
                let judgement = self.judge_by_rules(|rule| rule.covers_call(call), is_planned, &what, &what);
                if judgement.verdict == Verdict::Deny {
                    return judgement;
                }
                Judgement::firm(format!("{:?} is no host: it {why}.", crate::visible::visible(host)))
            }
        }
    }

    fn judge_other(&self, matches: impl Fn(&Rule) -> bool, what: &str, doing: &str) -> Judgement {
        self.judge_by_rules(matches, false, what, doing)
    }

    /// `is_planned`: it may also be done while planning.
    fn judge_by_rules(&self, matches: impl Fn(&Rule) -> bool, is_planned: bool, what: &str, doing: &str) -> Judgement {
        if let Some(rule) = self.find(Behavior::Deny, &matches) {
            return Judgement::by(rule, doing);
        }
        if self.mode == Mode::Plan && !is_planned {
            return plan_denial();
        }
        if let Some(rule) = self.find(Behavior::Ask, &matches).or_else(|| self.find(Behavior::Allow, &matches)) {
            return Judgement::by(rule, doing);
        }
        Judgement::new(Verdict::Ask, format!("No rule allows it to {what}."))
    }

    fn judge_path(
        &self,
        call: CallView<'_>,
        location: &Location,
        is_write: bool,
        is_shell: bool,
        all: &[Subject],
    ) -> Judgement {
        let doing = format!("{} {}", if is_write { "writing" } else { "reading" }, location.requested.display());
        let matches = |is_strict: bool| move |rule: &Rule| rule.matches_path(call, location, is_write, is_strict);
        if let Some(rule) = self.find(Behavior::Deny, matches(true)) {
            return Judgement::by(rule, &doing);
        }
        let is_inside = location.root.is_some();
        if !is_shell && !is_inside {
            return Judgement::new(Verdict::Deny, outside(location));
        }
        if !is_shell && is_write && !location.is_writable {
            let reason = format!("{} may only be read.", location.target.display());
            return Judgement::new(Verdict::Deny, reason);
        }
        if is_write && self.mode == Mode::Plan {
            return plan_denial();
        }
        if let Some(rule) = self.find(Behavior::Ask, matches(true)) {
            return Judgement::by(rule, &doing);
        }
        if is_write && location.is_protected {
            let reason = format!(
                "{} configures or is run by other programs, so writing it is always asked.",
                location.target.display()
            );
            return Judgement::firm(reason);
        }
        if let Some(rule) = self.find(Behavior::Allow, matches(false)) {
            return Judgement::by(rule, &doing);
        }
        if is_shell && let Some(rule) = self.whole_line_rule(call, all) {
            return Judgement::by(rule, "this command");
        }
        match (is_inside, is_write) {
            (true, false) => Judgement::new(Verdict::Allow, "Reading in the workspace is allowed."),
            (true, true) if self.mode == Mode::AcceptEdits && location.is_writable => {
                Judgement::new(Verdict::Allow, "The mode acceptEdits allows writing in the workspace.")
            }
            (true, true) => Judgement::new(Verdict::Ask, format!("No rule allows {doing}.")),
            (false, _) => Judgement::new(
                Verdict::Ask,
                format!("The command redirects to a place outside the workspace: {}.", location.target.display()),
            ),
        }
    }

    /// An allow rule for all of Bash, or for exactly this line: it covers the redirections of a line that can be read.
    fn whole_line_rule(&self, call: CallView<'_>, all: &[Subject]) -> Option<&Rule> {
        all.iter().find_map(|subject| match subject {
            Subject::Run { command, script, .. } => self.find(Behavior::Allow, |rule| {
                rule.covers_unread(call, command)
                    || (script.doubt.is_none() && (rule.covers_call(call) || rule.is_exactly(call.tool, command)))
            }),
            _ => None,
        })
    }

    fn judge_run(
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
        if judgement.verdict == Verdict::Ask && is_reading { reading() } else { judgement }
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

    fn restricts_reading(&self) -> bool {
        self.rules.iter().any(|rule| rule.behavior != Behavior::Allow && rule.is_about_reading())
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
fn cd_objection(index: usize, folder: &Location, script: &Script) -> Option<String> {
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

fn plan_denial() -> Judgement {
    Judgement::new(Verdict::Deny, "In plan mode only reading is allowed; present the plan instead.")
}

fn outside(location: &Location) -> String {
    if location.is_hidden {
        return format!("{} holds secrets, which no tool may read or write.", location.requested.display());
    }
    let link = if location.target == location.requested {
        String::new()
    } else {
        format!(" (it leads to {})", location.target.display())
    };
    format!(
        "{}{link} lies outside the workspace; use a path inside it, or let the user add that folder to the session.",
        location.requested.display()
    )
}

fn brief(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() > 80 {
        format!("{}…", line.chars().take(80).collect::<String>())
    } else {
        line.to_owned()
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
