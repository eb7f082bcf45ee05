//! Between the gate and the sandbox: what a call is told before it runs, what holds while it does, what is looked at after.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::confinement::Confinement;
use super::order::Treatment;
use super::protected;
use super::quarantine::{Before, not_admitted, take_back};
use super::session::{Mode, Sandbox};
use crate::effect::Effect;
use crate::network::Hosts;
use crate::permission::{self, Decision, Verdict};
use crate::workspace::Workspace;

/// The sandbox of a core and what its commands in the background began with.
pub struct Containment {
    /// Of this core.
    pub sandbox: Sandbox,
    state: PathBuf,
    background: Mutex<Option<Before>>,
}

impl Containment {
    /// `state`: where what is taken back goes.
    pub fn new(sandbox: Sandbox, state: &Path) -> Self {
        Self { sandbox, state: state.to_path_buf(), background: Mutex::default() }
    }

    /// Every layer of the sandbox stands.
    pub fn is_whole(&self) -> bool {
        self.sandbox.mode() == Mode::On && self.sandbox.weakness().is_none()
    }

    /// What the sandbox adds to the policy's decision on a call that starts processes. `escapes`: it wants the user's own
    /// rights.
    pub fn judge(&self, decision: &mut Decision, mode: permission::Mode, escapes: bool) {
        let is_bypassed = mode == permission::Mode::BypassPermissions;
        if escapes && !self.sandbox.may_escalate() && self.sandbox.mode() != Mode::Off {
            decision.verdict = Verdict::Deny;
            "The setting sandbox.escalation forbids running without the sandbox.".clone_into(&mut decision.reason);
            decision.suggested_rules.clear();
            return;
        }
        let objection = if escapes && self.sandbox.mode() != Mode::Off {
            let asked = "It asks to run without the sandbox, with all of your own rights: every file, every secret, the network. \
                         What it changes outside the workspace cannot be undone.";
            Some(asked.to_owned())
        } else if escapes || is_bypassed || decision.verdict == Verdict::Deny {
            None
        } else {
            self.sandbox.weakness()
        };
        let Some(objection) = objection.filter(|_| !is_bypassed && decision.verdict != Verdict::Deny) else { return };
        decision.suggested_rules.clear();
        decision.verdict = if mode == permission::Mode::DontAsk { Verdict::Deny } else { Verdict::Ask };
        decision.reason = if decision.reason.is_empty() || decision.rule.is_empty() {
            objection
        } else {
            format!("{objection} ({})", decision.reason)
        };
    }

    /// What holds for a call with these effects, all of which it was allowed, and what is there before it.
    pub fn begin(&self, workspace: &Workspace, effects: &[Effect], hosts: Hosts) -> io::Result<(Confinement, Before)> {
        if self.sandbox.mode() == Mode::Off {
            return Ok((Confinement::Off, Before::default()));
        }
        let admitted: Vec<PathBuf> = effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::WritePath { path } => Some(workspace.locate_for_writing(path)),
                _ => None,
            })
            .filter(|location| location.is_protected && location.is_writable)
            .map(|location| location.target)
            .collect();
        let found = protected::find(self.sandbox.roots());
        let existing: Vec<PathBuf> = found.keys().flat_map(|path| not_admitted(path, &admitted)).collect();
        let confinement = self.sandbox.confinement(&existing, hosts)?;
        Ok((confinement, Before { found, admitted }))
    }

    /// For a program of ours that looks at what somebody else has written (git, the reader of PDF files): the sandbox without
    /// anything in the workspace to write, and without hosts.
    pub fn reading(&self) -> io::Result<Confinement> {
        let mut confinement = self.sandbox.confinement(&[], Hosts::default())?;
        if let Confinement::On(enclosure) = &mut confinement {
            let is_root = |path: &PathBuf| self.sandbox.roots().contains(path);
            for place in enclosure.ground.places.iter_mut().filter(|place| is_root(&place.path)) {
                place.treatment = Treatment::Protect;
            }
            // Without namespaces it must be said what can be read.
            if !enclosure.ground.readable.is_empty() {
                enclosure.ground.readable.extend(self.sandbox.roots().iter().map(|root| root.clone().into()));
            }
        }
        Ok(confinement)
    }

    /// The same for a command that has nothing to write; `None` where nothing would keep it from writing all the same.
    pub fn without_writing(&self) -> io::Result<Option<Confinement>> {
        let machine = self.sandbox.machine();
        let is_held = machine.layers.namespaces || machine.layers.landlock > 0 || machine.has_seatbelt;
        if self.sandbox.mode() == Mode::Off || !is_held {
            return Ok(None);
        }
        self.reading().map(Some)
    }

    /// After a command: takes back what it may not have made.
    pub fn end(&self, workspace: &Workspace, before: &Before) -> Option<String> {
        if self.sandbox.mode() == Mode::Off {
            return None;
        }
        take_back(workspace, self.sandbox.roots(), before, &self.state)
    }

    /// Remembers what was there before a process that outlives its call.
    pub fn remember(&self, before: Before) {
        let mut background = self.background.lock().unwrap_or_else(PoisonError::into_inner);
        match background.as_mut() {
            None => *background = Some(before),
            Some(first) => first.admitted.extend(before.admitted),
        }
    }

    /// A place that a tool of ours has written, allowed: no command has made it.
    pub fn admit(&self, path: &Path) {
        if let Some(before) = self.background.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            before.admitted.push(path.to_path_buf());
        }
    }

    /// Looks at what commands in the background have made meanwhile; `is_over`: for the last time.
    pub fn look(&self, workspace: &Workspace, is_over: bool) -> Option<String> {
        let mut background = self.background.lock().unwrap_or_else(PoisonError::into_inner);
        let note = background.as_ref().and_then(|before| self.end(workspace, before));
        if is_over {
            *background = None;
        }
        note
    }

    /// Why a command that printed this may have failed, where the sandbox is the likely reason.
    pub fn explain(&self, printed: &str) -> Option<String> {
        const NETWORK: &[&str] = &[
            "network is unreachable",
            "could not resolve host",
            "temporary failure in name resolution",
            "name or service not known",
            "no address associated with hostname",
            "getaddrinfo",
            "no route to host",
            "failed to establish a new connection",
        ];
        let text = printed.to_lowercase();
        let is_outside = |line: &str| {
            let mut words = line.split(|c: char| c.is_whitespace() || matches!(c, '\'' | '"' | ':' | '`' | '(' | ')'));
            words.any(|word| {
                word.starts_with('/') && !self.sandbox.roots().iter().any(|root| Path::new(word).starts_with(root))
            })
        };
        let is_refused = printed.lines().any(|line| {
            let low = line.to_lowercase();
            low.contains("read-only file system")
                || (low.contains("device or resource busy") && low.contains(".git"))
                || ((low.contains("permission denied") || low.contains("operation not permitted")) && is_outside(line))
        });
        let what = if NETWORK.iter().any(|phrase| text.contains(phrase)) {
            "has no network but to hosts that a Network rule allows"
        } else if is_refused {
            "writes only in the workspace and in /tmp, not in protected places, and reads no secrets"
        } else {
            return None;
        };
        let way =
            if self.sandbox.may_escalate() { "; if this needs more, without_sandbox asks the user for it" } else { "" };
        Some(format!("[a command in the sandbox {what}{way}]"))
    }
}
