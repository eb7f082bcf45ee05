//! The gate's checkpoints: taken around every call that can write, listed and restored for a person.

use std::io;
use std::sync::PoisonError;

use serde_json::{Map, Value};

use super::{Core, Prepared};
use crate::checkpoint::{Limits, Open, Scope, Target};

/// The checkpoint of one call.
#[derive(Default)]
pub(super) struct Slot {
    open: Option<Open>,
    /// For the call's details.
    pub(super) noted: Map<String, Value>,
}

impl Core {
    /// The calls to come belong to this turn of this session; their checkpoints are found under them.
    pub fn begin_turn(&self, session_id: &str, turn_id: &str) {
        self.checkpoints.begin_turn(session_id, turn_id);
    }

    /// How much checkpoints may save; the error is for a developer.
    pub fn set_checkpoint_limits(&self, text: &str) -> Result<(), String> {
        let limits: Limits = serde_json::from_str(text).map_err(|error| error.to_string())?;
        self.checkpoints.set_limits(limits);
        Ok(())
    }

    /// Saves what the call may write, before it runs. Nothing for a call that writes nothing.
    pub fn begin_checkpoint(&self, prepared: &Prepared, call_id: &str) {
        if prepared.is_read_only || prepared.failure.is_some() {
            return;
        }
        let Some(scope) = Scope::of(&prepared.effects) else { return };
        let title = self.redact(&prepared.title);
        let mut open = self.checkpoints.begin(&self.workspace, &scope, call_id, &prepared.name, &title);
        if let Some(open) = open.as_mut()
            && prepared.call.as_ref().is_some_and(|call| call.escapes_sandbox())
        {
            open.reaches_beyond();
        }
        prepared.checkpoint.lock().unwrap_or_else(PoisonError::into_inner).open = open;
    }

    /// Notes what the call has changed; `finish` adds that to its details.
    pub fn end_checkpoint(&self, prepared: &Prepared) {
        let mut slot = prepared.checkpoint.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = slot.open.take() {
            slot.noted = self.checkpoints.end(&self.workspace, open);
        }
    }

    /// The checkpoints of the session, oldest first.
    pub fn checkpoints(&self) -> io::Result<Value> {
        self.checkpoints.list(&self.workspace)
    }

    /// The sessions that have checkpoints of this workspace, the one used last first.
    pub fn checkpoint_sessions(&self) -> Vec<String> {
        self.checkpoints.sessions(&self.workspace)
    }

    /// Whether another process has the session open.
    pub fn is_session_shared(&self) -> io::Result<bool> {
        self.checkpoints.is_shared(&self.workspace)
    }

    /// What a restore would do; the error is for a person.
    pub fn preview_restore(&self, target: &str) -> Result<Value, String> {
        self.checkpoints.preview(&self.workspace, &parse(target)?)
    }

    /// Puts files back; the error is for a person, and then nothing was changed.
    pub fn restore(&self, target: &str, is_forced: bool) -> Result<Value, String> {
        self.checkpoints.restore(&self.workspace, &parse(target)?, is_forced)
    }
}

fn parse(target: &str) -> Result<Target, String> {
    serde_json::from_str(target).map_err(|error| format!("What to restore cannot be read: {error}."))
}
