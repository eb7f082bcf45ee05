//! The tools that touch files and processes. Each is one file: arguments (the JSON schema is derived from them), effects,
//! behaviour, limits, tests. To add one, write its file and add it to `TOOLS`.

mod arguments;
mod bash;
mod bash_output;
mod change;
mod command;
mod edit;
mod encoding;
mod git;
mod glob;
mod grep;
mod hits;
mod kill_shell;
mod notebook_edit;
mod powershell;
mod read;
mod search;
mod sleep;
mod watcher;
mod write;

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::argument;
use crate::cancel::CancelToken;
use crate::catalogue;
use crate::effect::Effect;
use crate::intent::Intents;
use crate::job::Jobs;
use crate::output::SpillFolder;
use crate::permission::Policy;
use crate::sandbox::{Confinement, Containment, Environment};
use crate::secret::Secrets;
use crate::workspace::Workspace;

use arguments::{parse_arguments, schema_of};
pub use change::SeenFiles;
pub use read::LineIndexes;

/// In the order the model sees them.
pub const TOOLS: &[&dyn Tool] = &[
    &bash::Bash,
    &bash_output::BashOutput,
    &kill_shell::KillShell,
    &powershell::PowerShell,
    &read::Read,
    &write::Write,
    &edit::Edit,
    &notebook_edit::NotebookEdit,
    &glob::Glob,
    &grep::Grep,
    &sleep::Sleep,
    &git::Git,
];

/// What a tool is, apart from any call of it.
pub trait Tool: Sync {
    /// As the model calls it.
    fn name(&self) -> &'static str;
    /// For the model.
    fn description(&self) -> &'static str;
    /// The JSON schema of its arguments.
    fn schema(&self) -> Value;
    /// No call of it changes anything.
    fn is_read_only(&self) -> bool;
    /// What it needs is on this machine; otherwise it is not offered.
    fn is_available(&self) -> bool {
        true
    }
    /// The kinds of effect its calls may have (`Effect::kind`); a call with any other is refused.
    fn effect_kinds(&self) -> &'static [&'static str];
    /// The bounds it keeps, for the table of tools.
    fn limits(&self) -> &'static [Limit];
    /// Where there are many tools, its schema is sent only once the model has found or called it.
    fn is_deferred(&self) -> bool {
        false
    }
    /// Characters of a result the model gets.
    fn max_chars(&self) -> usize {
        crate::output::MAX_CHARS
    }
    /// Reads the arguments of a call.
    fn parse(&self, arguments: &str) -> Result<Box<dyn Call>, String>;
}

/// A bound that a tool keeps. It is made of the very constant that enforces it.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Limit {
    /// Of what, and when.
    pub what: &'static str,
    /// How much.
    pub amount: u64,
    /// `bytes`, `seconds` …, or nothing where `what` says what is counted.
    pub unit: &'static str,
}

impl Limit {
    /// A bound on a number of things.
    pub const fn count(what: &'static str, amount: u64) -> Self {
        Self { what, amount, unit: "" }
    }

    /// A bound on a size.
    pub const fn bytes(what: &'static str, amount: u64) -> Self {
        Self { what, amount, unit: "bytes" }
    }

    /// A bound on a time.
    pub const fn seconds(what: &'static str, amount: u64) -> Self {
        Self { what, amount, unit: "seconds" }
    }
}

/// One call with arguments that fit.
pub trait Call: Send + Sync {
    /// One line for the person.
    fn title(&self) -> String;
    /// What it would touch.
    fn effects(&self) -> Vec<Effect>;
    /// This call changes nothing although others of its tool may: it can run beside others.
    fn changes_nothing(&self) -> bool {
        false
    }
    /// It asks to run with the user's own rights instead of in the sandbox.
    fn escapes_sandbox(&self) -> bool {
        false
    }
    /// Its process goes on when the call has returned.
    fn is_background(&self) -> bool {
        false
    }
    /// What the person is shown before; an error says why the call cannot succeed as things are.
    fn preview(&self, context: &Context<'_>) -> Result<Value, ToolError>;
    /// Does it.
    fn run(&self, context: &Context<'_>) -> Result<Output, ToolError>;
}

/// What a call may use.
pub struct Context<'a> {
    /// Where files are opened.
    pub workspace: &'a Workspace,
    /// What was read, and how it looked then.
    pub seen: &'a SeenFiles,
    /// Where the lines of large files stand.
    pub indexes: &'a LineIndexes,
    /// In force when the call was prepared.
    pub policy: &'a Arc<Policy>,
    /// For long outputs.
    pub spill: &'a SpillFolder,
    /// Watched while running.
    pub cancel: &'a CancelToken,
    /// Gets output as it appears.
    pub on_output: &'a (dyn Fn(&str) + Sync),
    /// The interpreter that runs us, where there is one.
    pub python: Option<&'a Path>,
    /// For processes.
    pub environment: &'a Environment,
    /// What the processes of a call that runs commands may touch.
    pub confinement: &'a Confinement,
    /// For processes that only read, whatever the call: see `Containment::reading`.
    pub containment: &'a Containment,
    /// Marks the processes of this core.
    pub marker: &'a str,
    /// Commands in the background.
    pub jobs: &'a Jobs,
    /// For what is written before `finish` sees it.
    pub secrets: &'a Arc<Secrets>,
    /// Notes of what is half done, for the next start.
    pub intents: &'a Intents,
}

/// Why a call gave no result.
#[derive(Debug, PartialEq)]
pub enum ToolError {
    /// For the model: what is wrong and what to do.
    Failed(String),
    /// The cancel token was set.
    Cancelled,
}

impl ToolError {
    /// A failure with a sentence for the model.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// As wanted.
    Ok,
    /// It failed, or what it ran did.
    Error,
    /// Stopped by the cancel token.
    Cancelled,
    /// Stopped by its time limit.
    TimedOut,
}

impl Status {
    /// As Python spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timed_out",
        }
    }

    /// The reverse of `name`.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Ok, Self::Error, Self::Cancelled, Self::TimedOut].into_iter().find(|status| status.name() == name)
    }
}

/// What a call gave.
#[derive(Debug, Clone)]
pub struct Output {
    /// Content blocks for the model.
    pub content: Vec<Value>,
    /// How it ended.
    pub status: Status,
    /// For screen and record.
    pub details: Map<String, Value>,
}

impl Output {
    /// A text result.
    pub fn text(text: impl Into<String>) -> Self {
        Self::with_status(text, Status::Ok)
    }

    /// A text result that ended so.
    pub fn with_status(text: impl Into<String>, status: Status) -> Self {
        Self { content: vec![json!({"type": "text", "text": text.into()})], status, details: Map::new() }
    }

    /// Adds a line to the text.
    pub fn append(&mut self, line: &str) {
        let Some(Value::String(text)) = self.content.iter_mut().rev().find_map(|block| block.get_mut("text")) else {
            self.content.push(json!({"type": "text", "text": line}));
            return;
        };
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(line);
    }

    /// Adds a detail.
    #[must_use]
    pub fn detail(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }
}

/// The tool of this name or alias.
pub fn find(name: &str) -> Option<&'static dyn Tool> {
    let name = catalogue::canonical(name)?;
    TOOLS.iter().copied().find(|tool| tool.name() == name)
}

/// Reads the arguments of a call, as they are or made to fit; also gives them as they were taken, for rules that speak of them.
pub fn parse(tool: &dyn Tool, arguments: &str) -> Result<(Box<dyn Call>, Value), String> {
    let mut given: Map<String, Value> = serde_json::from_str(arguments).unwrap_or_default();
    match tool.parse(arguments) {
        Ok(call) => Ok((call, Value::Object(given))),
        Err(_) if argument::fit(tool.name(), &tool.schema(), &mut given) => {
            let given = Value::Object(given);
            Ok((tool.parse(&given.to_string())?, given))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_are_found_by_all_their_names_and_state_their_bounds() {
        assert_eq!(find("read_file").unwrap().name(), "Read");
        assert!(find("nothing").is_none());
        for tool in TOOLS {
            assert_eq!(catalogue::canonical(tool.name()), Some(tool.name()));
            assert!(!tool.limits().is_empty(), "{}", tool.name());
        }
    }

    #[test]
    fn arguments_in_another_form_are_understood_where_the_call_would_not_fit() {
        let read = |tool: &str, arguments: &str| parse(find(tool).unwrap(), arguments).map(|(_, given)| given);
        assert_eq!(read("Bash", r#"{"cmd": "ls", "timeout": "5000"}"#), Ok(json!({"command": "ls", "timeout": 5000})));
        assert_eq!(read("Read", r#"{"path": "a"}"#), Ok(json!({"file_path": "a"})));
        assert_eq!(read("KillShell", r#"{"bash_id": "b1"}"#), Ok(json!({"shell_id": "b1"})));
        let error = read("Read", r#"{"path": "a", "file_path": "b"}"#).unwrap_err();
        assert!(error.contains("unknown field `path`"), "{error}");
    }
}
