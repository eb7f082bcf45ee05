//! A notebook file as text with cells in it. Cells are found where they stand, so that a change touches the bytes of one
//! cell and no others: key order, indentation and numbers elsewhere stay as whoever wrote them left them.

mod change;

use std::collections::HashMap;
use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

pub use change::{CellType, Change, apply};

/// A notebook, borrowed from its text.
pub struct Notebook<'a> {
    text: &'a str,
    /// The format's version, `nbformat` and `nbformat_minor`.
    pub version: (u64, u64),
    /// The list of cells, brackets included.
    list: &'a RawValue,
    cells: Vec<&'a RawValue>,
}

/// A cell, its fields parsed where they are asked for.
pub struct Cell<'a> {
    fields: HashMap<String, &'a RawValue>,
    /// Format 3 called some fields otherwise.
    is_old: bool,
}

#[derive(Deserialize)]
struct Written<'a> {
    nbformat: Option<u64>,
    nbformat_minor: Option<u64>,
    #[serde(borrow)]
    cells: Option<&'a RawValue>,
    #[serde(borrow)]
    worksheets: Option<Vec<Worksheet<'a>>>,
}

#[derive(Deserialize)]
struct Worksheet<'a> {
    #[serde(borrow)]
    cells: Option<&'a RawValue>,
}

/// Whether a path names a notebook.
pub fn is_named_so(path: &str) -> bool {
    path.to_ascii_lowercase().ends_with(".ipynb")
}

impl<'a> Notebook<'a> {
    /// Reads formats 3 and 4. The error says what is wrong with the file.
    pub fn parse(text: &'a str) -> Result<Self, String> {
        let written: Written<'a> = serde_json::from_str(text).map_err(|error| {
            if error.is_data() {
                format!("it is no notebook: {error}")
            } else {
                format!("it is not valid JSON: {error}")
            }
        })?;
        let version = (written.nbformat.unwrap_or(0), written.nbformat_minor.unwrap_or(0));
        let list = match version.0 {
            4 => written.cells,
            3 => written.worksheets.as_ref().and_then(|sheets| sheets.first()?.cells),
            0 => return Err("it is no notebook: it has no nbformat".into()),
            other => return Err(format!("its notebook format {other} is not known; formats 3 and 4 are")),
        };
        let list = list.ok_or("it is no notebook: it has no list of cells")?;
        let cells =
            serde_json::from_str(list.get()).map_err(|_| "it is no notebook: its cells are not a list".to_owned())?;
        Ok(Self { text, version, list, cells })
    }

    /// How many cells there are.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// The cell at this index.
    pub fn cell(&self, index: usize) -> Result<Cell<'a>, String> {
        let fields = serde_json::from_str(self.cells[index].get())
            .map_err(|_| format!("cell {} is not a JSON object", index + 1))?;
        Ok(Cell { fields, is_old: self.version.0 == 3 })
    }

    /// The index of the cell with this id, or of `cell-N`, counted from 1, where no cell has such an id. The error says
    /// what to do.
    pub fn find(&self, id: &str) -> Result<usize, String> {
        let mut found =
            (0..self.len()).filter(|&index| self.cell(index).is_ok_and(|cell| cell.id().as_deref() == Some(id)));
        match (found.next(), found.next()) {
            (Some(index), None) => Ok(index),
            (Some(_), Some(_)) => {
                Err(format!("more than one cell has the id {id:?}; name it as cell-N, by its number"))
            }
            (None, _) => id
                .strip_prefix("cell-")
                .and_then(|number| number.parse::<usize>().ok())
                .filter(|number| (1..=self.len()).contains(number))
                .map(|number| number - 1)
                .ok_or_else(|| format!("it has no cell {id:?}; Read shows its {} cells", self.len())),
        }
    }

    /// True where cells have ids: from format 4.5 on.
    pub fn has_ids(&self) -> bool {
        self.version >= (4, 5)
    }

    /// Where `part`, borrowed from this notebook, stands in its text.
    fn span(&self, part: &str) -> Range<usize> {
        let start = part.as_ptr() as usize - self.text.as_ptr() as usize;
        start..start + part.len()
    }
}

impl Cell<'_> {
    /// A field as JSON; nothing where it is missing.
    pub fn get(&self, name: &str) -> Option<Value> {
        self.fields.get(name).and_then(|raw| serde_json::from_str(raw.get()).ok())
    }

    /// Its id, where it has one.
    pub fn id(&self) -> Option<String> {
        match self.get("id") {
            Some(Value::String(id)) => Some(id),
            _ => None,
        }
    }

    /// `code`, `markdown`, `raw`, or what an old format says.
    pub fn kind(&self) -> String {
        match self.get("cell_type") {
            Some(Value::String(kind)) => kind,
            _ => "unknown".into(),
        }
    }

    /// Its whole text, however it is divided in the file.
    pub fn source(&self) -> String {
        let name = if self.is_old && !self.fields.contains_key("source") { "input" } else { "source" };
        self.get(name).map(|value| joined(&value)).unwrap_or_default()
    }

    /// Number of its last run.
    pub fn run_number(&self) -> Option<i64> {
        self.get(if self.is_old { "prompt_number" } else { "execution_count" })?.as_i64()
    }

    /// Files that its text shows, each with its forms by type.
    pub fn attachments(&self) -> Vec<(String, Map<String, Value>)> {
        let Some(Value::Object(attachments)) = self.get("attachments") else { return Vec::new() };
        let forms = attachments.into_iter().filter_map(|(name, forms)| match forms {
            Value::Object(forms) => Some((name, forms)),
            _ => None,
        });
        forms.collect()
    }

    /// What it gave.
    pub fn outputs(&self) -> Vec<Value> {
        match self.get("outputs") {
            Some(Value::Array(outputs)) => outputs,
            _ => Vec::new(),
        }
    }
}

/// A text that may be a list of lines.
pub fn joined(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(lines) => lines.iter().filter_map(Value::as_str).collect(),
        _ => String::new(),
    }
}

/// By which a caller shows that it has seen this source: eight hexadecimal digits.
pub fn source_hash(source: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(source.as_bytes()).into();
    let [a, b, c, d, ..] = digest;
    format!("{a:02x}{b:02x}{c:02x}{d:02x}")
}
