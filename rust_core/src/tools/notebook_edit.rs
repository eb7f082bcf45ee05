//! `NotebookEdit`: one cell of a notebook file replaced, inserted or deleted, all other bytes of the file untouched.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::change::{Current, MAX_BYTES, diff, read_unseen, replace};
use super::{Call, Context, Limit, Output, Tool, ToolError, parse_arguments, schema_of};
use crate::effect::Effect;
use crate::notebook::{self, CellType, Change, Notebook, apply, source_hash};
use crate::visible::visible;

/// Changes notebooks.
pub struct NotebookEdit;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum EditMode {
    Replace,
    Insert,
    Delete,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// The .ipynb file.
    notebook_path: String,
    /// The cell's id as Read shows it. To insert: the cell before the new one; left out: at the start.
    cell_id: Option<String>,
    /// The cell's hash as Read shows it; not for insert.
    source_hash: Option<String>,
    /// The cell's whole new text; not for delete.
    new_source: Option<String>,
    /// For insert; to replace: only to change it.
    cell_type: Option<CellType>,
    /// Default replace.
    edit_mode: Option<EditMode>,
}

/// What a call would make of a notebook.
struct Draft {
    current: Current,
    after: String,
    /// Of the cell, for people.
    diff: String,
    /// What the model is told.
    text: String,
}

impl Tool for NotebookEdit {
    fn name(&self) -> &'static str {
        "NotebookEdit"
    }

    fn description(&self) -> &'static str {
        "Replace, insert or delete one cell of a notebook file that Read has shown. The outputs of a changed code cell are \
         cleared. Nothing is run."
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
        &["write_path"]
    }

    fn limits(&self) -> &'static [Limit] {
        const { &[Limit::bytes("of a notebook", MAX_BYTES)] }
    }

    fn parse(&self, arguments: &str) -> Result<Box<dyn Call>, String> {
        let parsed: Arguments = parse_arguments("NotebookEdit", arguments)?;
        let refuse = |why: &str| Err(format!("NotebookEdit was not run: {why}"));
        if !notebook::is_named_so(&parsed.notebook_path) {
            return refuse("notebook_path must name an .ipynb file; other files are changed with Edit.");
        }
        if parsed.new_source.as_ref().is_some_and(|source| source.len() as u64 > MAX_BYTES) {
            return refuse(&format!("new_source is larger than {} MiB.", MAX_BYTES >> 20));
        }
        match parsed.mode() {
            EditMode::Insert if parsed.new_source.is_none() || parsed.cell_type.is_none() => {
                return refuse("insert needs new_source and cell_type.");
            }
            EditMode::Replace if parsed.new_source.is_none() => return refuse("replace needs new_source."),
            EditMode::Delete if parsed.new_source.is_some() => return refuse("delete takes no new_source."),
            EditMode::Replace | EditMode::Delete if parsed.cell_id.is_none() || parsed.source_hash.is_none() => {
                return refuse("cell_id and source_hash say which cell is meant; Read shows both.");
            }
            _ => {}
        }
        Ok(Box::new(parsed))
    }
}

impl Call for Arguments {
    fn title(&self) -> String {
        let cell = self.cell_id.as_deref().unwrap_or("start");
        let what = match self.mode() {
            EditMode::Replace => "cell",
            EditMode::Insert => "insert after",
            EditMode::Delete => "delete cell",
        };
        format!("NotebookEdit {} {what} {}", visible(&self.notebook_path), visible(cell))
    }

    fn effects(&self) -> Vec<Effect> {
        vec![Effect::WritePath { path: self.notebook_path.clone() }]
    }

    fn preview(&self, context: &Context<'_>) -> Result<Value, ToolError> {
        let draft = self.draft(context)?;
        Ok(json!({"kind": "diff", "path": self.notebook_path, "diff": draft.diff, "is_new": false}))
    }

    fn run(&self, context: &Context<'_>) -> Result<Output, ToolError> {
        let location = context.workspace.locate(&self.notebook_path);
        let draft = self.draft(context)?;
        let has_seen_all = context.seen.has(&location, &draft.current);
        replace(context, &location, Some(&draft.current), draft.after.as_bytes())?;
        if !has_seen_all {
            context.seen.forget(&location); // other cells may have changed: writing over all of them needs a new look
        }
        Ok(Output::text(draft.text).detail("diff", draft.diff).detail("path", location.target.to_string_lossy()))
    }
}

impl Arguments {
    fn mode(&self) -> EditMode {
        self.edit_mode.unwrap_or(EditMode::Replace)
    }

    fn draft(&self, context: &Context<'_>) -> Result<Draft, ToolError> {
        let path = &self.notebook_path;
        let failed = |why: String| ToolError::failed(format!("{path} was not changed: {why}."));
        let location = context.workspace.locate(path);
        // The hash shows that the cell is as the model saw it; others may have changed the rest meanwhile.
        let Some(current) = read_unseen(context, &location)? else {
            return Err(ToolError::failed(format!("{path} does not exist. Write creates a notebook.")));
        };
        let content = std::str::from_utf8(&current.content).map_err(|_| failed("it is not UTF-8".into()))?;
        let text = content.strip_prefix('\u{feff}').unwrap_or(content);
        let notebook = Notebook::parse(text).map_err(failed)?;
        let index = self.cell_id.as_deref().map(|id| notebook.find(id)).transpose().map_err(failed)?;
        let source = self.new_source.as_deref().unwrap_or_default();
        let mut old = String::new();
        if let (Some(index), EditMode::Replace | EditMode::Delete) = (index, self.mode()) {
            let cell = notebook.cell(index).map_err(failed)?;
            old = cell.source();
            if self.source_hash.as_deref() != Some(source_hash(&old).as_str()) {
                return Err(failed("the cell is not as it was when you read it; read the notebook again".into()));
            }
            if self.mode() == EditMode::Replace
                && old == source
                && self.cell_type.is_none_or(|kind| kind.name() == cell.kind())
            {
                return Err(failed("the cell holds exactly this already".into()));
            }
        }
        let change = match (self.mode(), index) {
            (EditMode::Insert, _) => Change::Insert {
                index: index.map_or(0, |index| index + 1),
                source,
                cell_type: self.cell_type.unwrap_or(CellType::Code),
            },
            (EditMode::Replace, Some(index)) => Change::Replace { index, source, cell_type: self.cell_type },
            (EditMode::Delete, Some(index)) => Change::Delete { index },
            (_, None) => return Err(failed("no cell is named".into())),
        };
        let changed = apply(&notebook, &change).map_err(failed)?;
        let (cell, said) = match change {
            Change::Replace { index, .. } => (index, "Changed"),
            Change::Insert { index, .. } => (index, "Inserted"),
            Change::Delete { index } => (index, "Deleted"),
        };
        // What is written is read once more: a notebook that no program can open must never be left behind.
        let after = Notebook::parse(&changed).map_err(|why| failed(format!("the result would be broken: {why}")))?;
        let named = if self.mode() == EditMode::Delete { &notebook } else { &after };
        let id = named.cell(cell).map_err(failed)?.id().unwrap_or_else(|| format!("cell-{}", cell + 1));
        let hash =
            if self.mode() == EditMode::Delete { String::new() } else { format!(", hash {}", source_hash(source)) };
        let text = format!("{said} cell {} (id {id}{hash}) of {path}; it has {} cells.", cell + 1, after.len());
        let shown = format!("{path} [{}]", visible(&id));
        let diff = diff(&shown, old.as_bytes(), source.as_bytes());
        let after = format!("{}{changed}", &content[..content.len() - text_length(content)]);
        Ok(Draft { current, after, diff, text })
    }
}

/// Without the byte order mark.
fn text_length(content: &str) -> usize {
    content.strip_prefix('\u{feff}').unwrap_or(content).len()
}
