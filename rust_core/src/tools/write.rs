//! Write: a whole file.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::change::{self, diff, read_current, replace};
use super::{Call, Context, Limit, Output, Tool, ToolError, parse_arguments, schema_of};
use crate::effect::Effect;
use crate::notebook::{self, Notebook};
use crate::visible::visible;

/// Creates and overwrites files.
pub struct Write;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// The file; missing folders are created.
    file_path: String,
    /// All of its new content.
    content: String,
}

impl Tool for Write {
    fn name(&self) -> &'static str {
        "Write"
    }

    fn description(&self) -> &'static str {
        "Create a file, or replace all of one that was read before. To change a part of a file use Edit."
    }

    fn schema(&self) -> Value {
        schema_of::<Arguments>()
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn effect_kinds(&self) -> &'static [&'static str] {
        &["write_path"]
    }

    fn limits(&self) -> &'static [Limit] {
        const { &[Limit::bytes("of a file", change::MAX_BYTES)] }
    }

    fn parse(&self, arguments: &str) -> Result<Box<dyn Call>, String> {
        let parsed: Arguments = parse_arguments("Write", arguments)?;
        if parsed.file_path.is_empty() || parsed.file_path.ends_with('/') {
            return Err("Write was not run: file_path must name a file.".into());
        }
        if parsed.content.len() as u64 > change::MAX_BYTES {
            return Err(format!("Write was not run: content is larger than {} MiB.", change::MAX_BYTES >> 20));
        }
        if notebook::is_named_so(&parsed.file_path) {
            let whole = Notebook::parse(&parsed.content);
            whole.map_err(|why| {
                format!("Write was not run: {} could not be opened: {why}.", visible(&parsed.file_path))
            })?;
        }
        Ok(Box::new(parsed))
    }
}

impl Call for Arguments {
    fn title(&self) -> String {
        format!("Write {}", visible(&self.file_path))
    }

    fn effects(&self) -> Vec<Effect> {
        vec![Effect::WritePath { path: self.file_path.clone() }]
    }

    fn preview(&self, context: &Context<'_>) -> Result<Value, ToolError> {
        let location = context.workspace.locate(&self.file_path);
        let current = read_current(context, &location)?;
        let before = current.as_ref().map(|current| current.content.as_slice());
        Ok(change::preview(&self.file_path, before, self.content.as_bytes()))
    }

    fn run(&self, context: &Context<'_>) -> Result<Output, ToolError> {
        let location = context.workspace.locate(&self.file_path);
        let current = read_current(context, &location)?;
        replace(context, &location, current.as_ref(), self.content.as_bytes())?;
        let lines = match self.content.lines().count() {
            1 => "1 line".to_owned(),
            count => format!("{count} lines"),
        };
        let verb = if current.is_some() { "Replaced" } else { "Created" };
        let note = match &current {
            Some(current) if current.has_other_names => " It was a hard link; its other names keep the old content.",
            _ => "",
        };
        let before = current.as_ref().map_or(&[][..], |current| &current.content);
        Ok(Output::text(format!("{verb} {} ({lines}).{note}", self.file_path))
            .detail("diff", diff(&self.file_path, before, self.content.as_bytes()))
            .detail("path", location.target.to_string_lossy())
            .detail("is_new", current.is_none()))
    }
}
