//! PowerShell: a command line for `pwsh`, where it is installed. The policy does not read its language.

use serde_json::Value;

use super::command::{self, Arguments};
use super::{Call, Context, Limit, Output, Tool, ToolError, schema_of};
use crate::effect::Effect;
use crate::output::MAX_CHARS;
use crate::sandbox;

/// Runs commands in PowerShell.
pub struct PowerShell;

struct PowerShellCall(Arguments);

impl Tool for PowerShell {
    fn name(&self) -> &'static str {
        "PowerShell"
    }

    fn description(&self) -> &'static str {
        "Run a command line with PowerShell (pwsh) in the workspace, otherwise as Bash does."
    }

    fn schema(&self) -> Value {
        schema_of::<Arguments>()
    }

    fn is_read_only(&self) -> bool {
        false
    }

    /// A look along the PATH.
    fn is_available(&self) -> bool {
        sandbox::find_program("pwsh", &sandbox::environment(None), &[]).is_ok()
    }

    fn is_deferred(&self) -> bool {
        true
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
        Ok(Box::new(PowerShellCall(Arguments::parse("PowerShell", arguments)?)))
    }
}

impl Call for PowerShellCall {
    fn title(&self) -> String {
        self.0.title("PS>")
    }

    fn effects(&self) -> Vec<Effect> {
        vec![Effect::Run { command: self.0.command.clone() }]
    }

    fn escapes_sandbox(&self) -> bool {
        self.0.escapes_sandbox()
    }

    fn is_background(&self) -> bool {
        self.0.is_background()
    }

    fn preview(&self, context: &Context<'_>) -> Result<Value, ToolError> {
        if !PowerShell.is_available() {
            return Err(ToolError::failed("PowerShell (pwsh) is not installed on this machine; use Bash."));
        }
        Ok(self.0.preview(context))
    }

    fn run(&self, context: &Context<'_>) -> Result<Output, ToolError> {
        let outside_of = [context.workspace.path()];
        let pwsh = sandbox::find_program("pwsh", context.environment, &outside_of).map_err(ToolError::Failed)?;
        let arguments = ["-NoLogo", "-NoProfile", "-NonInteractive", "-Command", &self.0.command];
        self.0.run(context, &pwsh, &arguments.map(Into::into))
    }
}
