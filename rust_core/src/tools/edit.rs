//! Edit: one exact piece of text for another, all other bytes of the file untouched.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::change::{Current, MAX_BYTES, diff, preview, read_current, replace};
use super::encoding::{Encoding, is_crlf, positions, to_crlf};
use super::{Call, Context, Limit, Output, Tool, ToolError, parse_arguments, schema_of};
use crate::effect::Effect;
use crate::visible::visible;

/// Changes files.
pub struct Edit;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// The file.
    file_path: String,
    /// The text to replace, exactly as in the file, without line numbers.
    old_string: String,
    /// What to put in its place.
    new_string: String,
    /// Replace every occurrence; default false.
    replace_all: Option<bool>,
}

impl Tool for Edit {
    fn name(&self) -> &'static str {
        "Edit"
    }

    fn description(&self) -> &'static str {
        "Replace a piece of text in a file that was read before. old_string must occur exactly once (give enough lines around \
         it), or set replace_all. Encoding and line ends are kept."
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
        const { &[Limit::bytes("of a file", MAX_BYTES)] }
    }

    fn parse(&self, arguments: &str) -> Result<Box<dyn Call>, String> {
        let parsed: Arguments = parse_arguments("Edit", arguments)?;
        if parsed.old_string.is_empty() {
            return Err(
                "Edit was not run: old_string is empty. Give the text to replace, or use Write for a new file.".into(),
            );
        }
        if parsed.old_string == parsed.new_string {
            return Err("Edit was not run: old_string and new_string are the same.".into());
        }
        Ok(Box::new(parsed))
    }
}

impl Call for Arguments {
    fn title(&self) -> String {
        format!("Edit {}", visible(&self.file_path))
    }

    fn effects(&self) -> Vec<Effect> {
        vec![Effect::WritePath { path: self.file_path.clone() }]
    }

    fn preview(&self, context: &Context<'_>) -> Result<Value, ToolError> {
        let (current, after, _) = self.change(context)?;
        Ok(preview(&self.file_path, Some(&current.content), &after))
    }

    fn run(&self, context: &Context<'_>) -> Result<Output, ToolError> {
        let location = context.workspace.locate(&self.file_path);
        let (current, after, count) = self.change(context)?;
        replace(context, &location, Some(&current), &after)?;
        let times = if count == 1 { String::new() } else { format!(" in {count} places") };
        let note =
            if current.has_other_names { " It was a hard link; its other names keep the old content." } else { "" };
        Ok(Output::text(format!("Changed {}{times}.{note}", self.file_path))
            .detail("diff", diff(&self.file_path, &current.content, &after))
            .detail("path", location.target.to_string_lossy()))
    }
}

impl Arguments {
    /// The file as it is, as it would be, and in how many places they differ.
    fn change(&self, context: &Context<'_>) -> Result<(Current, Vec<u8>, usize), ToolError> {
        let location = context.workspace.locate(&self.file_path);
        let Some(current) = read_current(context, &location)? else {
            return Err(ToolError::failed(format!("{} does not exist. Use Write to create it.", self.file_path)));
        };
        let (after, count) =
            edit(&current.content, &self.old_string, &self.new_string, self.replace_all.unwrap_or(false))
                .map_err(|why| ToolError::failed(format!("{} was not changed: {why}", self.file_path)))?;
        Ok((current, after, count))
    }
}

/// `content` with `old` replaced by `new`, and how often. The error says why not and what to do.
fn edit(content: &[u8], old: &str, new: &str, is_all: bool) -> Result<(Vec<u8>, usize), String> {
    let encoding = Encoding::of(content);
    let text = encoding.decode(content);
    let has_crlf = is_crlf(&text);
    // Models write \n; where the file has CR LF and the text is not found as it is, it is looked for with CR LF.
    let mut attempts =
        vec![(old.to_owned(), if has_crlf && !old.contains('\n') { to_crlf(new) } else { new.to_owned() })];
    if old.contains('\n') && text.contains("\r\n") {
        attempts.push((to_crlf(old), to_crlf(new)));
    }
    for (old, new) in attempts {
        for (index, needle) in encoding.spellings(&old).iter().enumerate() {
            let found = positions(content, needle, encoding.unit());
            if found.is_empty() {
                continue;
            }
            if found.len() > 1 && !is_all {
                return Err(ambiguous(content, &found, encoding));
            }
            let spellings = encoding.spellings(&new);
            // The spelling in which the old text was found, if the new text has it.
            let replacement = match (encoding, spellings.len()) {
                (Encoding::Bytes, 1) if !new.is_ascii() && encoding.spellings(&old).len() > 1 && index == 0 => {
                    return Err("the file is not UTF-8, and new_string holds characters it cannot hold.".into());
                }
                _ => spellings.get(index).or_else(|| spellings.first()).cloned().unwrap_or_default(),
            };
            let mut after = Vec::with_capacity(content.len());
            let mut from = 0;
            for &at in &found {
                after.extend_from_slice(&content[from..at]);
                after.extend_from_slice(&replacement);
                from = at + needle.len();
            }
            after.extend_from_slice(&content[from..]);
            return Ok((after, found.len()));
        }
    }
    Err(not_found(&text, old))
}

fn ambiguous(content: &[u8], found: &[usize], encoding: Encoding) -> String {
    let lines: Vec<String> = found
        .iter()
        .take(20)
        .map(|&at| (encoding.decode(&content[..at]).matches('\n').count() + 1).to_string())
        .collect();
    let more = if found.len() > 20 { ", …" } else { "" };
    format!(
        "old_string occurs {} times (lines {}{more}). Add lines around it until it occurs once, or set replace_all.",
        found.len(),
        lines.join(", ")
    )
}

/// Says where the text nearly stands, if it does: that saves the model a guess.
fn not_found(text: &str, old: &str) -> String {
    let wanted: Vec<&str> = old.lines().map(str::trim).skip_while(|line| line.is_empty()).collect();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let near = wanted.first().and_then(|first| {
        let matches_all = |at: &usize| wanted.iter().enumerate().all(|(n, line)| lines.get(at + n) == Some(line));
        (0..lines.len()).filter(|at| lines[*at] == *first).find(matches_all)
    });
    match near {
        Some(at) => format!(
            "old_string was not found. Line {} and what follows differ from it only in white space; copy it exactly.",
            at + 1
        ),
        None => {
            "old_string was not found. Read the file again and copy the text exactly, without line numbers.".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_text_must_occur_once_or_all_are_meant() {
        assert_eq!(edit(b"a b a", "b", "c", false).unwrap(), (b"a c a".to_vec(), 1));
        assert_eq!(edit(b"a b a", "a", "c", true).unwrap(), (b"c b c".to_vec(), 2));
        let error = edit(b"x\na\nb\na", "a", "c", false).unwrap_err();
        assert!(error.contains("2 times (lines 2, 4)"), "{error}");
        assert!(edit(b"x", "y", "z", false).unwrap_err().contains("not found"));
        let error = edit(b"if x:\n    y()\n", "if x:\n  y()", "z", false).unwrap_err();
        assert!(error.contains("Line 1"), "{error}");
    }

    #[test]
    fn line_ends_stay_as_they_are() {
        assert_eq!(edit(b"a\r\nb\r\nc", "a\nb", "x\ny\nz", false).unwrap().0, b"x\r\ny\r\nz\r\nc");
        assert_eq!(edit(b"a\r\nb\r\n", "b", "x\ny", false).unwrap().0, b"a\r\nx\r\ny\r\n");
        assert_eq!(edit(b"a\nb", "b", "c", false).unwrap().0, b"a\nc");
        assert_eq!(edit(b"a\r\nb\nc\n", "b\nc", "x\ny", false).unwrap().0, b"a\r\nx\ny\n");
    }

    #[test]
    fn encodings_stay_as_they_are() {
        assert_eq!(edit(b"\xef\xbb\xbfa\xc3\xa9", "é", "ü", false).unwrap().0, "\u{feff}aü".as_bytes());
        assert_eq!(edit(b"caf\xe9 x", "café", "thé", false).unwrap().0, b"th\xe9 x");
        assert_eq!(edit(b"caf\xe9 x", "x", "y", false).unwrap().0, b"caf\xe9 y");
        assert!(edit(b"caf\xe9 x", "café", "日本", false).unwrap_err().contains("not UTF-8"));
        assert_eq!(
            edit(b"na\xc3\xafve \xe9", "naïve", "dümm", false).unwrap().0,
            "dümm ".bytes().chain([0xe9]).collect::<Vec<_>>()
        );
        let utf16: Vec<u8> = "\u{feff}a日b".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let expected: Vec<u8> = "\u{feff}a本b".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(edit(&utf16, "日", "本", false).unwrap().0, expected);
    }

    proptest! {
        /// An edit and its reverse give the same bytes again, in every encoding and with every line end.
        #[test]
        fn an_edit_and_its_reverse_round_trip(
            before in "[a-zäé\n ]{0,40}", after in "[a-zäé\n ]{0,40}", form in 0..5usize, is_windows in any::<bool>()
        ) {
            let whole = format!("{before}OLD{after}");
            let whole = if is_windows { to_crlf(&whole) } else { whole };
            let bytes: Vec<u8> = match form {
                0 => whole.into_bytes(),
                1 => format!("\u{feff}{whole}").into_bytes(),
                2 => format!("\u{feff}{whole}").encode_utf16().flat_map(u16::to_le_bytes).collect(),
                3 => format!("\u{feff}{whole}").encode_utf16().flat_map(u16::to_be_bytes).collect(),
                _ => whole.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect(),
            };
            let (changed, _) = edit(&bytes, "OLD", "NEW", false).unwrap();
            prop_assert_ne!(&changed, &bytes);
            prop_assert_eq!(edit(&changed, "NEW", "OLD", false).unwrap().0, bytes);
        }
    }
}
