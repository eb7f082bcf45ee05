//! `KillShell`: ends a job with everything it has started.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Call, Context, Limit, Output, Tool, ToolError, parse_arguments, schema_of};
use crate::effect::Effect;
use crate::job::{End, MAX_RUNNING};
use crate::visible::visible;

/// Ends jobs.
pub struct KillShell;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// The job.
    shell_id: String,
}

impl Tool for KillShell {
    fn name(&self) -> &'static str {
        "KillShell"
    }

    fn description(&self) -> &'static str {
        "End a background job with all it has started."
    }

    fn schema(&self) -> Value {
        schema_of::<Arguments>()
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn is_deferred(&self) -> bool {
        true
    }

    fn effect_kinds(&self) -> &'static [&'static str] {
        &[]
    }

    fn limits(&self) -> &'static [Limit] {
        const { &[Limit::count("jobs that run at once", MAX_RUNNING as u64)] }
    }

    fn parse(&self, arguments: &str) -> Result<Box<dyn Call>, String> {
        Ok(Box::new(parse_arguments::<Arguments>("KillShell", arguments)?))
    }
}

impl Call for Arguments {
    fn title(&self) -> String {
        format!("End job {}", visible(&self.shell_id))
    }

    fn effects(&self) -> Vec<Effect> {
        Vec::new()
    }

    fn preview(&self, _context: &Context<'_>) -> Result<Value, ToolError> {
        Ok(json!({"kind": "none"}))
    }

    fn run(&self, context: &Context<'_>) -> Result<Output, ToolError> {
        let job = context.jobs.find(&self.shell_id).map_err(ToolError::Failed)?;
        let text = if job.kill(End::Killed) {
            format!("Job {} was killed with all it had started.", job.id)
        } else {
            format!("There was nothing to end: job {} {}.", job.id, job.status())
        };
        Ok(Output::text(text).detail("job", job.id.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_must_be_named() {
        assert!(KillShell.parse("{}").err().unwrap().contains("missing field `shell_id`"));
        assert!(KillShell.parse(r#"{"shell_id": "b1"}"#).is_ok());
    }
}
