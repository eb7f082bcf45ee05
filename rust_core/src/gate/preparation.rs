//! Before a call: its arguments are validated, its effects computed, and the policy decides.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde_json::{Value, json};

use super::{Core, undo};
use crate::cancel::CancelToken;
use crate::catalogue;
use crate::effect::Effect;
use crate::output::MAX_CHARS;
use crate::permission::{CallView, Decision, Policy, Verdict};
use crate::sandbox::{self, Confinement, Environment};
use crate::subjects::subjects;
use crate::tools::{self, Call, ToolError};

use super::processes::starts_processes;

/// The model's call cannot be understood; the sentence is for the model.
#[derive(Debug, PartialEq)]
pub struct InputError(pub String);

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A validated call with the policy's verdict.
pub struct Prepared {
    /// The tool's own name, whatever alias was called.
    pub name: String,
    /// One line for the person.
    pub title: String,
    /// The call changes nothing.
    pub is_read_only: bool,
    /// Allow, ask or deny, and why.
    pub decision: Decision,
    /// What the call would touch.
    pub effects: Vec<Effect>,
    /// What a person is shown.
    pub preview: Value,
    /// `None` for tools of Python.
    pub(super) call: Option<Box<dyn Call>>,
    /// Why the call cannot succeed as things are; then it only says so.
    pub(super) failure: Option<ToolError>,
    pub(super) max_chars: usize,
    pub(super) policy: Arc<Policy>,
    pub(super) started: Instant,
    pub(super) checkpoint: Mutex<undo::Slot>,
}

impl Core {
    /// Validates, computes effects, decides. `declared`: effects and preview of a tool of Python.
    pub fn prepare(
        &self,
        name: &str,
        arguments: &str,
        declared: Option<(&str, Option<&str>)>,
    ) -> Result<Prepared, InputError> {
        let started = Instant::now();
        let policy = self.policy_in_force();
        let name = catalogue::canonical(name).unwrap_or(name);
        if let Some((effects, preview)) = declared {
            let effects = parse_effects(name, effects)?;
            let preview = parse_preview(name, preview)?;
            let given = serde_json::from_str(arguments).unwrap_or_else(|_| json!({}));
            let call = CallView { tool: name, arguments: &given };
            let mut decision = policy.decide(call, &subjects(&self.workspace, &effects, None).0);
            if starts_processes(&effects) {
                self.containment.judge(&mut decision, policy.mode, false);
            }
            let is_read_only =
                effects.iter().all(|effect| matches!(effect, Effect::ReadPath { .. } | Effect::Inspect { .. }));
            return Ok(Prepared {
                name: name.to_owned(),
                title: name.to_owned(),
                is_read_only,
                decision,
                effects,
                preview,
                call: None,
                failure: None,
                max_chars: MAX_CHARS,
                policy,
                started,
                checkpoint: Mutex::default(),
            });
        }
        let tool = tools::find(name).ok_or_else(|| {
            let names: Vec<&str> = tools::TOOLS.iter().map(|tool| tool.name()).collect();
            InputError(format!("There is no tool {name:?}. The tools for files and commands are {}.", names.join(", ")))
        })?;
        let (call, given) = tools::parse(tool, arguments).map_err(InputError)?;
        let declared = call.effects();
        if let Some(effect) = declared.iter().find(|effect| !tool.effect_kinds().contains(&effect.kind())) {
            return Err(InputError(format!("{name} was not run: it does not declare the effect {}.", effect.kind())));
        }
        // Where the sandbox does not hold it, a command that only reads is asked like any other.
        let is_held = starts_processes(&declared)
            && self.containment.is_whole()
            && !call.escapes_sandbox()
            && !call.is_background();
        let environment = is_held.then(|| sandbox::environment(self.programs.as_deref()));
        let (subjects, effects) = subjects(&self.workspace, &declared, environment.as_ref());
        let mut decision = policy.decide(CallView { tool: tool.name(), arguments: &given }, &subjects);
        if starts_processes(&effects) {
            self.containment.judge(&mut decision, policy.mode, call.escapes_sandbox());
        }
        let mut failure = None;
        let mut preview = json!({"kind": "none"});
        if decision.verdict == Verdict::Deny {
            // Nothing is read for a call that will not run.
            if let Some(Effect::ReadPath { path } | Effect::WritePath { path }) = effects.first() {
                preview = json!({"kind": "path", "path": path});
            }
        }
        if decision.verdict != Verdict::Deny || tool.name() == "Bash" {
            let environment = Environment::new();
            let (cancel, secrets) = (CancelToken::default(), self.secrets());
            let context = self.context(&policy, &cancel, &|_| {}, &environment, &Confinement::Off, &secrets);
            match self.check_notebook(&declared).and_then(|()| call.preview(&context)) {
                Ok(shown) => preview = shown,
                Err(error) => {
                    // Nobody is asked about a call that can only fail. Running it gives this error and does nothing.
                    if let Some(Effect::ReadPath { path } | Effect::WritePath { path }) = effects.first() {
                        preview = json!({"kind": "path", "path": path});
                    }
                    if decision.verdict == Verdict::Ask {
                        decision.verdict = Verdict::Allow;
                        "It cannot succeed as things are, so it only says why.".clone_into(&mut decision.reason);
                        decision.suggested_rules.clear();
                    }
                    failure = Some(error);
                }
            }
        }
        Ok(Prepared {
            name: tool.name().to_owned(),
            title: call.title(),
            is_read_only: tool.is_read_only() || call.changes_nothing(),
            decision,
            effects,
            preview,
            call: Some(call),
            failure,
            max_chars: tool.max_chars(),
            policy,
            started,
            checkpoint: Mutex::default(),
        })
    }

    fn check_notebook(&self, effects: &[Effect]) -> Result<(), ToolError> {
        let notebook = self.notebook.read().unwrap_or_else(PoisonError::into_inner);
        let Some(notebook) = notebook.as_ref().and_then(|path| path.canonicalize().ok()) else { return Ok(()) };
        let is_it = |effect: &Effect| matches!(effect, Effect::WritePath { path } if self.workspace.locate(path).target == notebook);
        if effects.iter().any(is_it) {
            return Err(ToolError::failed(format!(
                "{} is the notebook of this very session. It is open in the user's editor, where a change of the file would be \
                 lost or would overwrite theirs, so it was not touched. Show the user the cell's new text in your answer \
                 instead, or write to another notebook.",
                notebook.display()
            )));
        }
        Ok(())
    }
}

fn parse_effects(name: &str, text: &str) -> Result<Vec<Effect>, InputError> {
    serde_json::from_str(text).map_err(|error| InputError(format!("The effects of {name} cannot be read: {error}.")))
}

fn parse_preview(name: &str, text: Option<&str>) -> Result<Value, InputError> {
    let Some(text) = text else { return Ok(json!({"kind": "none"})) };
    let preview: Value = serde_json::from_str(text)
        .map_err(|error| InputError(format!("The preview of {name} cannot be read: {error}.")))?;
    if preview.is_object() {
        Ok(preview)
    } else {
        Err(InputError(format!("The preview of {name} must be a JSON object.")))
    }
}
