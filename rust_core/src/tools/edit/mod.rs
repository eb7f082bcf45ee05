//! Edit: pieces of text for others, all other bytes of the file untouched. Several edits of one call are all made or none.

mod matching;

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use self::matching::{Level, apply};
use super::change::{Current, MAX_BYTES, diff, preview, read_current, replace};
use super::{Call, Context, Limit, Output, Tool, ToolError, parse_arguments, schema_of};
use crate::effect::Effect;
use crate::notebook;
use crate::visible::visible;

/// Changes files.
pub struct Edit;

/// Edits of one call.
const MAX_EDITS: usize = 100;
/// Characters of the diff that the model gets where the text was not found exactly.
const MAX_SHOWN_DIFF: usize = 4_000;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// The file.
    file_path: String,
    /// The text to replace, exactly as in the file, without line numbers.
    old_string: Option<String>,
    /// What to put in its place.
    new_string: Option<String>,
    /// Replace every occurrence; default false.
    replace_all: Option<bool>,
    /// Instead of these three: several edits, made in this order, all or none.
    edits: Option<Vec<Replacement>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Replacement {
    old_string: String,
    new_string: String,
    replace_all: Option<bool>,
}

/// One file and what is to be done to it.
struct Edits {
    file_path: String,
    replacements: Vec<Replacement>,
}

/// What a change would make of a file.
struct Change {
    current: Current,
    after: Vec<u8>,
    /// Places replaced.
    count: usize,
    /// The loosest way in which a text was found.
    level: Level,
}

impl Tool for Edit {
    fn name(&self) -> &'static str {
        "Edit"
    }

    fn description(&self) -> &'static str {
        "Replace text in a file that was read before. old_string must occur exactly once (give enough lines around it), or \
         set replace_all. Encoding and line ends are kept."
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
        const { &[Limit::bytes("of a file", MAX_BYTES), Limit::count("edits of one call", MAX_EDITS as u64)] }
    }

    fn parse(&self, arguments: &str) -> Result<Box<dyn Call>, String> {
        let parsed: Arguments = parse_arguments("Edit", arguments)?;
        let refuse = |why: &str| Err(format!("Edit was not run: {why}"));
        let replacements = match (parsed.old_string, parsed.new_string, parsed.edits) {
            (Some(old_string), Some(new_string), None) => {
                vec![Replacement { old_string, new_string, replace_all: parsed.replace_all }]
            }
            (None, None, Some(edits)) if parsed.replace_all.is_none() => edits,
            (None, None, None) => return refuse("give old_string and new_string, or edits."),
            (_, _, None) => return refuse("old_string and new_string go together."),
            _ => return refuse("give either edits or old_string, new_string and replace_all, not both."),
        };
        if replacements.is_empty() || replacements.len() > MAX_EDITS {
            return refuse(&format!("edits takes from 1 to {MAX_EDITS} edits."));
        }
        for (index, edit) in replacements.iter().enumerate() {
            let which = which(index, replacements.len());
            if edit.old_string.is_empty() {
                return refuse(&format!(
                    "{which}old_string is empty. Give the text to replace, or use Write for a new file."
                ));
            }
            if edit.old_string == edit.new_string {
                return refuse(&format!("{which}old_string and new_string are the same."));
            }
        }
        Ok(Box::new(Edits { file_path: parsed.file_path, replacements }))
    }
}

impl Call for Edits {
    fn title(&self) -> String {
        let times =
            if self.replacements.len() > 1 { format!(" ({} edits)", self.replacements.len()) } else { String::new() };
        format!("Edit {}{times}", visible(&self.file_path))
    }

    fn effects(&self) -> Vec<Effect> {
        vec![Effect::WritePath { path: self.file_path.clone() }]
    }

    fn preview(&self, context: &Context<'_>) -> Result<Value, ToolError> {
        let change = self.change(context)?;
        Ok(preview(&self.file_path, Some(&change.current.content), &change.after))
    }

    fn run(&self, context: &Context<'_>) -> Result<Output, ToolError> {
        let location = context.workspace.locate(&self.file_path);
        let Change { current, after, count, level } = self.change(context)?;
        replace(context, &location, Some(&current), &after)?;
        let times = if count == 1 { String::new() } else { format!(" in {count} places") };
        let note =
            if current.has_other_names { " It was a hard link; its other names keep the old content." } else { "" };
        let diff = diff(&self.file_path, &current.content, &after);
        let mut text = format!("Changed {}{times}.{note}", self.file_path);
        if let Some(difference) = level.difference() {
            let end = diff.char_indices().nth(MAX_SHOWN_DIFF).map_or(diff.len(), |(at, _)| at);
            let more = if end < diff.len() { "\n…" } else { "" };
            let _ = write!(
                text,
                " old_string was found only apart from {difference}; check what was done:\n{}{more}",
                &diff[..end]
            );
        }
        Ok(Output::text(text).detail("diff", diff).detail("path", location.target.to_string_lossy()))
    }
}

impl Edits {
    /// All edits in turn, each on what the one before it gave. Nothing is written here.
    fn change(&self, context: &Context<'_>) -> Result<Change, ToolError> {
        if notebook::is_named_so(&self.file_path) {
            return Err(ToolError::failed("A notebook is changed cell by cell: use NotebookEdit."));
        }
        let location = context.workspace.locate(&self.file_path);
        let Some(current) = read_current(context, &location)? else {
            return Err(ToolError::failed(format!("{} does not exist. Use Write to create it.", self.file_path)));
        };
        let (mut after, mut count, mut level) = (current.content.clone(), 0, Level::Exact);
        let total = self.replacements.len();
        for (index, edit) in self.replacements.iter().enumerate() {
            let done = apply(&after, &edit.old_string, &edit.new_string, edit.replace_all.unwrap_or(false)).map_err(
                |why| {
                    let nothing = if total > 1 { " Nothing was written, the other edits neither." } else { "" };
                    ToolError::failed(format!(
                        "{} was not changed: {}{why}{nothing}",
                        self.file_path,
                        which(index, total)
                    ))
                },
            )?;
            if done.content.len() as u64 > MAX_BYTES {
                return Err(ToolError::failed(format!(
                    "{} would be larger than {} MiB.",
                    self.file_path,
                    MAX_BYTES >> 20
                )));
            }
            after = done.content;
            count += done.count;
            level = level.max(done.level);
        }
        if after == current.content {
            return Err(ToolError::failed(format!("{} was not changed: the edits undo one another.", self.file_path)));
        }
        Ok(Change { current, after, count, level })
    }
}

/// Names an edit among several.
fn which(index: usize, total: usize) -> String {
    if total > 1 { format!("edit {} of {total}: ", index + 1) } else { String::new() }
}
