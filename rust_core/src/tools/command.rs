//! What the tools that run command lines share: arguments, limits, running in front and in the background.

use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::watcher::Watcher;
use super::{Context, Limit, Output, ToolError, parse_arguments};
use crate::job::MAX_RUNNING;
use crate::output::{MAX_CHARS, MAX_OUTPUT_BYTES, MAX_SPILL_BYTES, random_name};
use crate::sandbox;
use crate::visible::visible;

const DEFAULT_TIMEOUT_MS: u64 = 120_000;
/// The longest time limit.
pub const MAX_TIMEOUT_SECONDS: u64 = 600;
/// One argument of a program, with the NUL at its end, has at most 128 KiB on Linux (`MAX_ARG_STRLEN`).
const MAX_COMMAND_BYTES: usize = (128 << 10) - 1;

/// For the table of tools.
pub const LIMITS: &[Limit] = &[
    Limit::bytes("of a command line", MAX_COMMAND_BYTES as u64),
    Limit::seconds("for a command, unless timeout says otherwise", DEFAULT_TIMEOUT_MS / 1000),
    Limit::seconds("for a command at most", MAX_TIMEOUT_SECONDS),
    Limit::count("characters of output given, half from each end", MAX_CHARS as u64),
    Limit::bytes("of output kept in a file", MAX_SPILL_BYTES),
    Limit::bytes("of output, then the command is ended", MAX_OUTPUT_BYTES),
    Limit::count("commands in the background at once", MAX_RUNNING as u64),
];

/// Of a call that runs a command line.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Arguments {
    /// The command line.
    pub command: String,
    /// Milliseconds until it is killed; default 120000, at most 600000; in the background by default none.
    #[schemars(range(min = 1, max = 600_000))]
    timeout: Option<u64>,
    /// What it does, in a few words.
    description: Option<String>,
    /// Return at once; read its output with `BashOutput`.
    run_in_background: Option<bool>,
    /// Run with the user's own rights; always asks.
    without_sandbox: Option<bool>,
}

impl Arguments {
    /// Reads the arguments of a call of `tool`.
    pub fn parse(tool: &str, arguments: &str) -> Result<Self, String> {
        let parsed: Self = parse_arguments(tool, arguments)?;
        if parsed.command.trim().is_empty() {
            return Err(format!("{tool} was not run: command is empty. Give the command line to run."));
        }
        if parsed.command.contains('\0') {
            return Err(format!("{tool} was not run: command holds a NUL character, which no shell takes. Remove it."));
        }
        if parsed.command.len() > MAX_COMMAND_BYTES {
            return Err(format!(
                "{tool} was not run: command is longer than {MAX_COMMAND_BYTES} bytes, more than one argument may have. Write it \
                 to a file and run that."
            ));
        }
        let max_ms = MAX_TIMEOUT_SECONDS * 1000;
        if parsed.timeout.is_some_and(|timeout| timeout == 0 || timeout > max_ms) {
            return Err(format!("{tool} was not run: timeout is in milliseconds, from 1 to {max_ms}."));
        }
        Ok(parsed)
    }

    /// It returns at once.
    pub fn is_background(&self) -> bool {
        self.run_in_background.unwrap_or(false)
    }

    /// It wants the user's own rights.
    pub fn escapes_sandbox(&self) -> bool {
        self.without_sandbox.unwrap_or(false)
    }

    /// One line for the person, behind the prompt of its shell.
    pub fn title(&self, prompt: &str) -> String {
        let mut lines = self.command.trim().lines();
        let first = visible(lines.next().unwrap_or_default());
        let rest = if lines.next().is_some() { " …" } else { "" };
        let place = if self.is_background() { " (in the background)" } else { "" };
        let rights = if self.escapes_sandbox() { " (WITHOUT the sandbox)" } else { "" };
        format!("{prompt} {first}{rest}{place}{rights}")
    }

    /// What the person is shown before.
    pub fn preview(&self, context: &Context<'_>) -> Value {
        let mut preview = json!({
            "kind": "command",
            "command": self.command,
            "visible": visible(&self.command),
            "cwd": context.workspace.path().to_string_lossy(),
        });
        if self.escapes_sandbox() {
            preview["without_sandbox"] = json!(true);
        }
        if let Some(description) = &self.description {
            preview["description"] = json!(visible(description));
        }
        preview
    }

    /// Runs `program`, a shell that gets the command line with `arguments`.
    pub fn run(&self, context: &Context<'_>, program: &Path, arguments: &[OsString]) -> Result<Output, ToolError> {
        if context.cancel.is_cancelled() {
            return Err(ToolError::Cancelled);
        }
        let marker = format!("{}-{}", context.marker, random_name());
        let request = sandbox::Request {
            program,
            arguments,
            folder: context.workspace.path(),
            environment: context.environment,
            marker: &marker,
            input: sandbox::Input::Null,
            output: sandbox::Output::Merged,
            confinement: context.confinement,
        };
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        let not_started = |error: std::io::Error| ToolError::failed(format!("{name} could not be started: {error}."));
        if self.is_background() {
            let limit = self.timeout.map(Duration::from_millis);
            let job = context
                .jobs
                .start(self.command.trim(), &request, limit, context.spill, context.secrets)
                .map_err(not_started)?;
            let text = format!(
                "Started as job {0}. Read its output with BashOutput (bash_id {0}), end it with KillShell. All it prints \
                 is kept in {1}.",
                job.id,
                job.path.display()
            );
            return Ok(Output::text(text).detail("job", job.id.as_str()));
        }
        let timeout = Duration::from_millis(self.timeout.unwrap_or(DEFAULT_TIMEOUT_MS));
        let running = sandbox::spawn(&request).map_err(not_started)?;
        let mut watcher = Watcher::new(context, running, &marker, Instant::now() + timeout)
            .map_err(|error| ToolError::failed(format!("The command could not be watched and was killed: {error}.")))?;
        let end = watcher.wait();
        Ok(watcher.report(&end, timeout))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_said() {
        let parse = |arguments: &str| Arguments::parse("Bash", arguments).err();
        assert!(parse(r#"{"command": " "}"#).unwrap().contains("empty"));
        assert!(parse(r#"{"command": "x", "timeout": 0}"#).unwrap().contains("from 1 to 600000"));
        assert!(parse(r#"{"command": "x", "timeout": 600001}"#).is_some());
        assert!(parse(r#"{"command": "x\u0000y"}"#).unwrap().contains("NUL"));
        assert!(parse(r#"{"command": "x", "timeout": null}"#).is_none());
    }

    #[test]
    fn a_title_is_one_visible_line() {
        let title = |command: &str, run_in_background| {
            let without_sandbox = None;
            Arguments { command: command.into(), timeout: None, description: None, run_in_background, without_sandbox }
                .title("$")
        };
        assert_eq!(title("git status", None), "$ git status");
        assert_eq!(title("a\u{202e}b\nc", Some(false)), "$ a\\u{202e}b …");
        assert_eq!(title("make", Some(true)), "$ make (in the background)");
    }
}
