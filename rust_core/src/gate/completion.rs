//! A call that was allowed: it runs, and what it gives is capped, redacted and noted in the audit log.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value, json};

use super::{Core, Prepared};
use crate::audit::{Entry, now};
use crate::cancel::CancelToken;
use crate::effect::Effect;
use crate::image;
use crate::output::cap;
use crate::permission::Verdict;
use crate::sandbox::{Confinement, Environment};
use crate::secret::Redactor;
use crate::tools::{Output, Status, ToolError};

impl Core {
    /// Runs a call that was allowed. Never fails: what goes wrong is in the output.
    pub fn run(
        &self,
        prepared: &Prepared,
        cancel: &Arc<CancelToken>,
        on_output: &(dyn Fn(&str) + Sync),
        environment: &Environment,
        call_id: &str,
    ) -> Output {
        let Some(call) = &prepared.call else {
            let text = format!("{} is not run by the core.", prepared.name);
            return Output::with_status(text, Status::Error);
        };
        if prepared.decision.verdict == Verdict::Deny {
            return Output::with_status(format!("Not run: {}", prepared.decision.reason), Status::Error);
        }
        self.running.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(cancel));
        let secrets = self.secrets();
        let redactor = Mutex::new(Redactor::new(&secrets));
        let show = |text: &str| {
            if !text.is_empty() {
                on_output(text);
            }
        };
        let redacted = |text: &str| show(&redactor.lock().unwrap_or_else(PoisonError::into_inner).push(text));
        let result = if let Some(ToolError::Failed(why)) = &prepared.failure {
            Err(ToolError::Failed(why.clone()))
        } else {
            if prepared.effects.iter().any(|effect| matches!(effect, Effect::Run { .. })) {
                self.claim_processes();
            }
            let context = self.context(&prepared.policy, cancel, &redacted, environment, &Confinement::Off, &secrets);
            self.begin_checkpoint(prepared, call_id);
            // What is taken back is taken back before the checkpoint is closed: it is no change that stays.
            let result = self.run_contained(prepared, call.as_ref(), context);
            self.end_checkpoint(prepared);
            result
        };
        show(&redactor.lock().unwrap_or_else(PoisonError::into_inner).finish());
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = running.iter().position(|token| Arc::ptr_eq(token, cancel)) {
            running.swap_remove(at);
        }
        drop(running);
        result.unwrap_or_else(|error| match error {
            ToolError::Failed(why) => Output::with_status(why, Status::Error),
            ToolError::Cancelled => {
                Output::with_status("Cancelled by the user before it was done; nothing was changed.", Status::Cancelled)
            }
        })
    }

    /// Caps and spills, redacts, writes the audit entry.
    pub fn finish(&self, prepared: &Prepared, output: Output, answer: &str) -> Output {
        let secrets = self.secrets();
        let mut output = output;
        output.details.append(&mut prepared.checkpoint.lock().unwrap_or_else(PoisonError::into_inner).noted);
        if let Some(Value::String(path)) = output.details.get("spill_path")
            && Path::new(path).starts_with(&self.spill.0)
            && secrets.redact_file(Path::new(path)).is_err()
        {
            // Better no file than one with a secret in it.
            let _ = std::fs::remove_file(path);
        }
        let ended = self.jobs.untold_ends();
        let mut left = prepared.max_chars + ended.iter().map(|line| line.chars().count()).sum::<usize>();
        output.content.extend(ended.iter().map(|line| json!({"type": "text", "text": line})));
        for block in &mut output.content {
            image::mend(block);
            let Some(Value::String(text)) = block.get_mut("text") else { continue };
            // First redact, so that what is spilled is clean and no secret is cut in two.
            *text = secrets.redact(text).into_owned();
            match cap(text, left, &self.spill) {
                None => left = left.saturating_sub(text.chars().count()),
                Some((capped, path)) => {
                    *text = capped;
                    left = 0;
                    if let Some(path) = path {
                        output.details.entry("spill_path").or_insert_with(|| json!(path.to_string_lossy()));
                    }
                }
            }
        }
        let mut details = Value::Object(std::mem::take(&mut output.details));
        secrets.redact_json(&mut details);
        output.details = match details {
            Value::Object(details) => details,
            _ => Map::new(),
        };
        let entry = Entry {
            time: now(),
            session: &self.session,
            tool: &prepared.name,
            title: &secrets.redact(&prepared.title),
            decision: prepared.decision.verdict.name(),
            rule: &secrets.redact(&prepared.decision.rule),
            rule_source: &prepared.decision.source,
            answer,
            status: output.status.name(),
            duration_seconds: (prepared.started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
        };
        if let Err(error) = self.audit.append(&entry) {
            output.details.insert("audit_error".into(), json!(format!("The audit log cannot be written: {error}")));
        }
        output
    }
}
