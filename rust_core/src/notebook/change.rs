//! Changing one cell of a notebook's text.

use std::fmt::Write as _;
use std::ops::Range;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::{Cell, Notebook};
use crate::output::random_name;

/// What a cell can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CellType {
    /// Runs in the kernel.
    Code,
    /// Text.
    Markdown,
    /// Neither; for converters.
    Raw,
}

impl CellType {
    /// As the format spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Markdown => "markdown",
            Self::Raw => "raw",
        }
    }
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change<'a> {
    /// Another source; code loses the outputs of the old one. `cell_type`: also another type.
    Replace {
        /// Which.
        index: usize,
        /// The new text.
        source: &'a str,
        /// The new type, where it changes.
        cell_type: Option<CellType>,
    },
    /// A new cell, which gets this index.
    Insert {
        /// From 0 to the number of cells.
        index: usize,
        /// Its text.
        source: &'a str,
        /// Its type.
        cell_type: CellType,
    },
    /// Away with it.
    Delete {
        /// Which.
        index: usize,
    },
}

/// The notebook's text after a change. The error says why it cannot be made.
pub fn apply(notebook: &Notebook<'_>, change: &Change<'_>) -> Result<String, String> {
    if notebook.version.0 != 4 {
        return Err(format!(
            "its format is {}.{}; convert it first: jupyter nbconvert --to notebook --inplace",
            notebook.version.0, notebook.version.1
        ));
    }
    let style = Style::of(notebook);
    let mut edits: Vec<(Range<usize>, String)> = Vec::new();
    match *change {
        Change::Replace { index, source, cell_type } => {
            let cell = notebook.cell(index)?;
            match cell_type.filter(|kind| kind.name() != cell.kind()) {
                None => replace_source(notebook, &cell, source, &style, &mut edits)?,
                Some(kind) => {
                    let id = cell.id().filter(|_| notebook.has_ids());
                    let metadata = cell.fields.get("metadata").map_or("{}", |raw| raw.get());
                    let attachments = cell.fields.get("attachments").filter(|_| kind != CellType::Code);
                    let written = style.cell(kind, id.as_deref(), metadata, attachments.map(|raw| raw.get()), source);
                    edits.push((notebook.span(notebook.cells[index].get()), written));
                }
            }
        }
        Change::Insert { index, source, cell_type } => {
            let id = notebook.has_ids().then(|| fresh_id(notebook));
            let cell = style.cell(cell_type, id.as_deref(), "{}", None, source);
            let (line, last) = (style.line(2), style.line(1));
            if notebook.len() == 0 {
                edits.push((notebook.span(notebook.list.get()), format!("[{line}{cell}{last}]")));
            } else if index == 0 {
                let start = notebook.span(notebook.cells[0].get()).start;
                edits.push((start..start, format!("{cell},{line}")));
            } else {
                let end = notebook.span(notebook.cells[index - 1].get()).end;
                edits.push((end..end, format!(",{line}{cell}")));
            }
        }
        Change::Delete { index } => {
            let span = |index: usize| notebook.span(notebook.cells[index].get());
            let range = if notebook.len() == 1 {
                let list = notebook.span(notebook.list.get());
                list.start + 1..list.end - 1
            } else if index == 0 {
                span(0).start..span(1).start
            } else {
                span(index - 1).end..span(index).end
            };
            edits.push((range, String::new()));
        }
    }
    edits.sort_by_key(|(range, _)| range.start);
    let mut text = notebook.text.to_owned();
    for (range, replacement) in edits.into_iter().rev() {
        text.replace_range(range, &replacement);
    }
    Ok(text)
}

/// The fields that a new source changes, and no others.
fn replace_source(
    notebook: &Notebook<'_>,
    cell: &Cell<'_>,
    source: &str,
    style: &Style,
    edits: &mut Vec<(Range<usize>, String)>,
) -> Result<(), String> {
    let old = cell.fields.get("source").ok_or("the cell has no source")?;
    let is_list = !old.get().starts_with('"');
    edits.push((notebook.span(old.get()), style.source(source, is_list)));
    if cell.kind() == "code" {
        for (name, empty) in [("outputs", "[]"), ("execution_count", "null")] {
            let old = cell.fields.get(name).ok_or_else(|| format!("the code cell has no {name}"))?;
            if old.get() != empty {
                edits.push((notebook.span(old.get()), empty.into()));
            }
        }
    }
    Ok(())
}

/// An id no other cell has.
fn fresh_id(notebook: &Notebook<'_>) -> String {
    let taken: Vec<String> =
        (0..notebook.len()).filter_map(|index| notebook.cell(index).ok().and_then(|cell| cell.id())).collect();
    loop {
        let id = random_name()[..8].to_owned();
        if !taken.contains(&id) {
            return id;
        }
    }
}

/// How whoever wrote the notebook lays JSON out.
struct Style {
    /// Of one level; nothing where all stands on one line.
    indent: Option<String>,
    newline: &'static str,
    /// After a key.
    colon: &'static str,
    is_ascii: bool,
}

impl Style {
    fn of(notebook: &Notebook<'_>) -> Self {
        let text = notebook.text;
        let body = text.trim_start_matches('\u{feff}').trim_start();
        let newline = if text.contains("\r\n") { "\r\n" } else { "\n" };
        // The white space before the first key is one level.
        let inner = body.strip_prefix('{').unwrap_or_default();
        let space = &inner[..inner.len() - inner.trim_start().len()];
        let indent = space.rsplit_once('\n').map(|(_, indent)| indent.to_owned());
        let is_tight = notebook.cells.first().is_some_and(|cell| cell.get().contains("\"cell_type\":\""))
            || (indent.is_none() && !body.contains("\": "));
        Self {
            indent,
            newline,
            colon: if is_tight { ":" } else { ": " },
            is_ascii: text.is_ascii() && text.contains("\\u"),
        }
    }

    /// A line end and the white space before what stands on this level.
    fn line(&self, level: usize) -> String {
        self.indent.as_ref().map_or_else(String::new, |indent| format!("{}{}", self.newline, indent.repeat(level)))
    }

    fn string(&self, text: &str) -> String {
        let written = Value::String(text.to_owned()).to_string();
        if !self.is_ascii {
            return written;
        }
        let mut ascii = String::with_capacity(written.len());
        for c in written.chars() {
            if c.is_ascii() {
                ascii.push(c);
            } else {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(ascii, "\\u{unit:04x}");
                }
            }
        }
        ascii
    }

    /// A source as it stands in a cell, at the fourth level.
    fn source(&self, source: &str, is_list: bool) -> String {
        if !is_list {
            return self.string(source);
        }
        if source.is_empty() {
            return "[]".into();
        }
        let lines: Vec<String> =
            source.split_inclusive('\n').map(|line| format!("{}{}", self.line(4), self.string(line))).collect();
        format!("[{}{}]", lines.join(","), self.line(3))
    }

    /// A whole cell, its keys in the order in which Jupyter writes them.
    fn cell(
        &self,
        kind: CellType,
        id: Option<&str>,
        metadata: &str,
        attachments: Option<&str>,
        source: &str,
    ) -> String {
        let is_code = kind == CellType::Code;
        let fields = [
            ("attachments", attachments.map(str::to_owned)),
            ("cell_type", Some(self.string(kind.name()))),
            ("execution_count", is_code.then(|| "null".to_owned())),
            ("id", id.map(|id| self.string(id))),
            ("metadata", Some(metadata.to_owned())),
            ("outputs", is_code.then(|| "[]".to_owned())),
            ("source", Some(self.source(source, true))),
        ];
        let written: Vec<String> = fields
            .into_iter()
            .filter_map(|(name, value)| Some(format!("{}\"{name}\"{}{}", self.line(3), self.colon, value?)))
            .collect();
        format!("{{{}{}}}", written.join(","), self.line(2))
    }
}

#[cfg(test)]
mod tests;
