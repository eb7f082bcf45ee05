//! Bash: a command line in a shell of its own.

use serde_json::Value;

use super::command::{self, Arguments};
use super::{Call, Context, Limit, Output, Tool, ToolError, schema_of};
use crate::effect::Effect;
use crate::output::MAX_CHARS;
use crate::sandbox;
use crate::shell;

/// Runs commands.
pub struct Bash;

struct BashCall(Arguments);

impl Tool for Bash {
    fn name(&self) -> &'static str {
        "Bash"
    }

    fn description(&self) -> &'static str {
        "Run a command line with bash in the workspace. Each call starts a new shell there without input: cd, variables and \
         background processes do not last. Gives stdout and stderr in order, and the exit code where it is not 0. Long output is shortened in the \
         middle; the whole is kept in a file that Read can open. For files prefer Read, Write, Edit, Glob and Grep."
    }

    fn schema(&self) -> Value {
        schema_of::<Arguments>()
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn effect_kinds(&self) -> &'static [&'static str] {
        &["run"]
    }

    fn limits(&self) -> &'static [Limit] {
        command::LIMITS
    }

    fn max_chars(&self) -> usize {
        MAX_CHARS + 2_000 // what run keeps, and the notices it adds
    }

    fn parse(&self, arguments: &str) -> Result<Box<dyn Call>, String> {
        Ok(Box::new(BashCall(Arguments::parse("Bash", arguments)?)))
    }
}

impl Call for BashCall {
    fn title(&self) -> String {
        self.0.title("$")
    }

    fn effects(&self) -> Vec<Effect> {
        vec![Effect::Run { command: self.0.command.clone() }]
    }

    fn changes_nothing(&self) -> bool {
        !self.0.is_background() && shell::changes_nothing(&self.0.command)
    }

    fn escapes_sandbox(&self) -> bool {
        self.0.escapes_sandbox()
    }

    fn is_background(&self) -> bool {
        self.0.is_background()
    }

    fn preview(&self, context: &Context<'_>) -> Result<Value, ToolError> {
        Ok(self.0.preview(context))
    }

    fn run(&self, context: &Context<'_>) -> Result<Output, ToolError> {
        let bash = sandbox::bash().map_err(ToolError::Failed)?;
        self.0.run(context, bash, &["-c".into(), (&self.0.command).into()])
    }
}
