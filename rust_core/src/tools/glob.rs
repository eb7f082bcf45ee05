//! Glob: files by name, newest first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::search::Search;
use super::{Call, Context, Limit, Output, Tool, ToolError, parse_arguments, schema_of};
use crate::effect::Effect;
use crate::visible::visible;

const MAX_FILES: usize = 100;

/// A file and when it was changed; of one moment the first by name counts as the newer.
type Dated = (SystemTime, Reverse<PathBuf>);

/// Finds files by name.
pub struct Glob;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// Such as *.py or src/**/*.{ts,tsx}.
    pattern: String,
    /// Folder to search; default the workspace.
    path: Option<String>,
}

impl Tool for Glob {
    fn name(&self) -> &'static str {
        "Glob"
    }

    fn description(&self) -> &'static str {
        "Find files by name, newest first, at most 100. A pattern without a slash matches in every folder. Ignored and \
         hidden files are left out."
    }

    fn schema(&self) -> Value {
        schema_of::<Arguments>()
    }

    fn is_read_only(&self) -> bool {
        true
    }

    fn effect_kinds(&self) -> &'static [&'static str] {
        &["read_path"]
    }

    fn limits(&self) -> &'static [Limit] {
        const { &[Limit::count("files named, the newest", MAX_FILES as u64)] }
    }

    fn parse(&self, arguments: &str) -> Result<Box<dyn Call>, String> {
        let parsed: Arguments = parse_arguments("Glob", arguments)?;
        if parsed.pattern.trim().is_empty() {
            return Err("Glob was not run: pattern is empty. Give one such as **/*.py.".into());
        }
        Ok(Box::new(parsed))
    }
}

impl Call for Arguments {
    fn title(&self) -> String {
        let place = self.path.as_ref().map_or(String::new(), |path| format!(" in {}", visible(path)));
        format!("Glob {}{place}", visible(&self.pattern))
    }

    fn effects(&self) -> Vec<Effect> {
        vec![Effect::ReadPath { path: self.path.clone().unwrap_or_else(|| ".".into()) }]
    }

    fn preview(&self, _context: &Context<'_>) -> Result<Value, ToolError> {
        Ok(json!({"kind": "path", "path": self.path.as_deref().unwrap_or(".")}))
    }

    fn run(&self, context: &Context<'_>) -> Result<Output, ToolError> {
        let location = context.workspace.locate(self.path.as_deref().unwrap_or("."));
        // A model may write the whole path into the pattern.
        let root = format!("{}/", location.target.display());
        let pattern = self.pattern.strip_prefix(&root).map_or_else(|| self.pattern.clone(), |rest| format!("/{rest}"));
        let pattern = pattern.strip_prefix("./").map_or(pattern.clone(), |rest| format!("/{rest}"));
        let search = Search { location, globs: vec![&pattern], file_type: None };
        // The oldest of the kept ones on top, so that memory does not grow with the tree.
        let kept: Mutex<(BinaryHeap<Reverse<Dated>>, usize)> = Mutex::default();
        search.run(context, &|found| {
            let modified = found
                .entry
                .metadata()
                .ok()
                .and_then(|metadata| metadata.modified().ok())
                .unwrap_or(SystemTime::UNIX_EPOCH);
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.0.push(Reverse((modified, Reverse(found.shown()))));
            kept.1 += 1;
            if kept.0.len() > MAX_FILES {
                kept.0.pop();
            }
            true
        })?;
        let (heap, total) = kept.into_inner().unwrap_or_else(PoisonError::into_inner);
        // Ascending in `Reverse`: the newest first, files of one moment by name.
        let paths: Vec<String> = heap
            .into_sorted_vec()
            .into_iter()
            .map(|Reverse((_, Reverse(path)))| path.to_string_lossy().into_owned())
            .collect();
        if paths.is_empty() {
            return Ok(Output::text(format!("No files match {}.", self.pattern)).detail("files", 0));
        }
        let mut text = paths.join("\n");
        if total > MAX_FILES {
            let _ = write!(text, "\n[the newest {MAX_FILES} of {total} files; narrow the pattern to see others]");
        }
        Ok(Output::text(text).detail("files", total))
    }
}
