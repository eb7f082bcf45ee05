//! The policy: what a call would touch goes in, a decision with its reason comes out. Pure; nothing here asks or runs.
//!
//! Over all effects of a call, and over all commands of a shell line, the strictest verdict wins. For one effect: a deny
//! rule, then what no mode permits, then ask rules and what is always asked, then allow rules, then the mode.

mod command;
mod decision;
mod path;
mod pattern;
mod rule;
mod suggest;

pub use decision::{Decision, Mode, Reads, Subject, Verdict};
pub use pattern::glob_matches;
pub use rule::{Behavior, CallView, Rule, RuleError};

use std::path::PathBuf;

use serde_json::Value;

use decision::Judgement;

use crate::location::Location;
use crate::network::{Host, Hosts};

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
            Subject::Mention { location } => self.judge_mention(location.as_ref()),
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
}

fn plan_denial() -> Judgement {
    Judgement::new(Verdict::Deny, "In plan mode only reading is allowed; present the plan instead.")
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
