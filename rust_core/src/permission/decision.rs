//! What is judged, and what comes out.

use serde::{Deserialize, Serialize};

use super::rule::{Behavior, Rule};
use crate::location::Location;
use crate::shell::{Extent, Script};

/// Ordered by strictness: over several, the maximum counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Goes ahead.
    Allow,
    /// A person is asked.
    Ask,
    /// Does not go ahead, whatever a person says.
    Deny,
}

impl Verdict {
    /// As Python and the audit log spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Ask => "ask",
            Self::Deny => "deny",
        }
    }
}

/// What the rules leave open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Mode {
    /// Reads in the workspace go ahead, everything else is asked.
    #[default]
    #[serde(rename = "default")]
    Default,
    /// Writes in the workspace go ahead as well.
    #[serde(rename = "acceptEdits")]
    AcceptEdits,
    /// Only reads.
    #[serde(rename = "plan")]
    Plan,
    /// What would be asked is denied.
    #[serde(rename = "dontAsk")]
    DontAsk,
    /// What would be asked goes ahead; what is always asked is still asked.
    #[serde(rename = "bypassPermissions")]
    BypassPermissions,
}

/// The verdict on a call and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Allow, ask or deny.
    pub verdict: Verdict,
    /// One plain sentence.
    pub reason: String,
    /// The rule that decided, as written; empty where none did.
    pub rule: String,
    /// Where that rule comes from.
    pub source: String,
    /// Rules that would allow this from now on; at most five.
    pub suggested_rules: Vec<String>,
}

/// What a command reads that does nothing else.
#[derive(Debug, Clone)]
pub struct Reads {
    /// How far.
    pub extent: Extent,
    /// Where its paths lead, from every folder the line visits.
    pub locations: Vec<Location>,
}

/// An effect with everything the policy needs to know about it.
#[derive(Debug, Clone)]
pub enum Subject {
    /// Reads below a path. `is_shell`: by a redirection.
    Read {
        /// Where it leads.
        location: Location,
        /// By a redirection of a shell, which no root confines yet.
        is_shell: bool,
    },
    /// Writes a path.
    Write {
        /// Where it leads.
        location: Location,
        /// By a redirection of a shell.
        is_shell: bool,
    },
    /// Runs a command line.
    Run {
        /// As the shell gets it.
        command: String,
        /// As it was read.
        script: Script,
        /// Where each `cd` with a plain target leads, in order of `script.commands`.
        folders: Vec<Option<Location>>,
        /// What each command reads that only reads; in the same order, empty where the sandbox is not to be relied on.
        reads: Vec<Option<Reads>>,
    },
    /// Starts a program that the tool chose: a rule for the whole tool decides, never one for commands.
    Start,
    /// A word of a command that may be a path: only rules that forbid reading speak of it.
    Mention {
        /// Where it would lead; `None`: it stands for more files than were looked at.
        location: Option<Location>,
    },
    /// Talks to a host.
    Fetch {
        /// Its name.
        host: String,
    },
    /// Runs code in the user's namespace.
    Namespace,
    /// Looks at variables.
    Inspect,
    /// Calls an MCP tool.
    Mcp,
}

/// One effect's verdict before it is worded for the whole call.
pub struct Judgement {
    /// Before the mode is applied.
    pub verdict: Verdict,
    /// One plain sentence.
    pub reason: String,
    /// Text and source of the rule that decided.
    pub rule: Option<(String, String)>,
    /// Asked in every mode.
    pub is_firm: bool,
}

impl Judgement {
    /// A verdict that no rule gave.
    pub fn new(verdict: Verdict, reason: impl Into<String>) -> Self {
        Self { verdict, reason: reason.into(), rule: None, is_firm: false }
    }

    /// Asked in every mode.
    pub fn firm(reason: impl Into<String>) -> Self {
        Self { is_firm: true, ..Self::new(Verdict::Ask, reason) }
    }

    /// What this rule says.
    pub fn by(rule: &Rule, what: &str) -> Self {
        let (verdict, verb) = match rule.behavior {
            Behavior::Allow => (Verdict::Allow, "allows"),
            Behavior::Ask => (Verdict::Ask, "asks before"),
            Behavior::Deny => (Verdict::Deny, "denies"),
        };
        let origin = if rule.source.is_empty() { String::new() } else { format!(" ({})", rule.source) };
        Self {
            verdict,
            reason: format!("The rule {}{origin} {verb} {what}.", rule.text),
            rule: Some((rule.text.clone(), rule.source.clone())),
            is_firm: rule.behavior == Behavior::Ask,
        }
    }
}
