//! The policy on files: of the file tools, of a command's redirections, and of what a command only names.

use super::decision::Judgement;
use super::{Behavior, CallView, Mode, Policy, READ, Rule, Subject, Verdict, plan_denial};
use crate::location::Location;

impl Policy {
    pub(super) fn judge_path(
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

    /// Of a word of a command that may be a path; `None`: of too many to look at.
    pub(super) fn judge_mention(&self, location: Option<&Location>) -> Judgement {
        let Some(location) = location else {
            if self.restricts_reading() {
                return Judgement::firm(
                    "A pattern in it stands for too many files to compare them with the rules about reading.",
                );
            }
            return Judgement::new(Verdict::Allow, "No rule forbids reading.");
        };
        let matches = |rule: &Rule| {
            rule.is_about_reading()
                && (rule.matches_path(READ, location, false, true) || rule.covers_folder(&location.target))
        };
        let doing = format!("reading {}", location.requested.display());
        let rule = self.find(Behavior::Deny, matches).or_else(|| self.find(Behavior::Ask, matches));
        rule.map_or_else(
            || Judgement::new(Verdict::Allow, "No rule forbids what the command names."),
            |rule| Judgement::by(rule, &doing),
        )
    }

    /// True where some rule denies reading a file, or asks before it.
    pub(super) fn restricts_reading(&self) -> bool {
        self.rules.iter().any(|rule| rule.behavior != Behavior::Allow && rule.is_about_reading())
    }
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
