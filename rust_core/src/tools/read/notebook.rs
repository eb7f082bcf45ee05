//! A notebook as its cells: sources as numbered lines, outputs as text behind `| `, figures as images. So nothing that a
//! cell holds can pass for the heading of another.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::super::{Context, Output, ToolError};
use super::lines::resolve;
use super::{MAX_CHARS, MAX_IMAGES, MAX_LINE_CHARS, MAX_OUTPUT_CHARS};
use crate::image;
use crate::notebook::{Cell, Notebook, joined, source_hash};

const IMAGE_TYPES: [&str; 4] = ["image/png", "image/jpeg", "image/gif", "image/webp"];

/// Cells from number `offset` (from 1; below zero from the end) on, as many as fit or as `limit` says.
pub fn read(
    path: &str,
    content: &[u8],
    offset: i64,
    limit: Option<u64>,
    context: &Context<'_>,
) -> Result<Output, ToolError> {
    let failed = |why: String| ToolError::failed(format!("{path} cannot be read as a notebook: {why}."));
    let text = std::str::from_utf8(content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content))
        .map_err(|_| failed("it is not UTF-8".into()))?;
    let notebook = Notebook::parse(text).map_err(failed)?;
    let total = notebook.len() as u64;
    if total == 0 {
        return Ok(Output::text(format!("{path} is a notebook without cells.")).detail("cells", 0));
    }
    let first = resolve(offset, total);
    if first > total {
        return Err(ToolError::failed(format!("{path} has only {total} cells; offset {first} is beyond its end.")));
    }
    let mut shown = String::new();
    let mut images = Vec::new();
    let mut chars = 0;
    let mut next = first;
    while next <= total && limit.is_none_or(|limit| next - first < limit) {
        if context.cancel.is_cancelled() {
            return Err(ToolError::Cancelled);
        }
        let index = usize::try_from(next - 1).unwrap_or(usize::MAX);
        let mut cell_images = Vec::new();
        let text = match notebook.cell(index) {
            Ok(cell) => show(&cell, index, MAX_IMAGES - images.len(), &mut cell_images),
            Err(why) => format!("[cell-{next}: {why}]\n"),
        };
        chars += text.chars().count();
        if chars > MAX_CHARS && next > first {
            break;
        }
        shown.push_str(&text);
        images.append(&mut cell_images);
        next += 1;
    }
    if first > 1 || next <= total {
        let more = if next <= total { format!("; go on with offset {next}") } else { String::new() };
        let _ = writeln!(shown, "[cells {first}-{} of {total}{more}; offset and limit count cells]", next - 1);
    }
    let mut output = Output::text(shown).detail("cells", next - first);
    output.content.extend(images);
    Ok(output)
}

fn show(cell: &Cell<'_>, index: usize, image_room: usize, images: &mut Vec<Value>) -> String {
    let source = cell.source();
    let id = cell.id().filter(|id| is_plain(id)).unwrap_or_else(|| format!("cell-{}", index + 1));
    let kind = cell.kind();
    let run = match (kind.as_str(), cell.run_number()) {
        ("code", Some(number)) => format!(" · run [{number}]"),
        ("code", None) => " · not run".to_owned(),
        _ => String::new(),
    };
    let kind = if is_plain(&kind) { kind.as_str() } else { "unknown type" };
    let mut text = format!("[cell {} · id {id} · {kind}{run} · hash {}]\n", index + 1, source_hash(&source));
    let room = MAX_CHARS - 2 * MAX_OUTPUT_CHARS;
    let mut used = 0;
    for (number, line) in source.lines().enumerate() {
        let line = cut(line, MAX_LINE_CHARS);
        used += line.chars().count() + 8;
        if used > room {
            let _ = writeln!(text, "[the source's other {} lines are left out]", source.lines().count() - number);
            break;
        }
        let _ = writeln!(text, "{}\t{line}", number + 1);
    }
    for (name, forms) in cell.attachments() {
        let image = image_of(&forms, image_room, images).unwrap_or_else(|| "no image".into());
        let _ = writeln!(text, "| [attachment {}: {image}]", cut(&strip_escapes(&name).replace('\n', " "), 60));
    }
    let mut room = MAX_OUTPUT_CHARS;
    let outputs = cell.outputs();
    for (number, output) in outputs.iter().enumerate() {
        if room == 0 {
            let _ = writeln!(text, "| [{} more outputs are left out]", outputs.len() - number);
            break;
        }
        let (label, body) = describe(output, image_room, images);
        let body = strip_escapes(&body);
        let body = head_and_tail(body.trim_end_matches('\n'), room);
        room = room.saturating_sub(body.chars().count());
        let _ = writeln!(text, "| [{label}]");
        for line in body.lines() {
            let _ = writeln!(text, "| {}", cut(line, MAX_LINE_CHARS));
        }
    }
    text
}

/// What an output is, and its text. Figures go to `images` while there is room.
fn describe(output: &Value, image_room: usize, images: &mut Vec<Value>) -> (String, String) {
    let field = |name: &str| output.get(name).map(joined).unwrap_or_default();
    match output.get("output_type").and_then(Value::as_str).unwrap_or_default() {
        "stream" => {
            let name = field(if output.get("name").is_some() { "name" } else { "stream" });
            (if name == "stderr" { "stderr" } else { "stdout" }.to_owned(), field("text"))
        }
        "error" | "pyerr" => {
            let traceback = match output.get("traceback") {
                Some(Value::Array(lines)) => lines.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n"),
                _ => String::new(),
            };
            let text = if traceback.trim().is_empty() {
                format!("{}: {}", field("ename"), field("evalue"))
            } else {
                traceback
            };
            ("error".to_owned(), text)
        }
        kind => {
            // Format 3 keeps the forms beside the type, under short names.
            let forms = output.get("data").or(Some(output)).and_then(Value::as_object);
            let form =
                |name: &str, old: &str| forms.and_then(|forms| forms.get(name).or_else(|| forms.get(old))).map(joined);
            let label = if matches!(kind, "execute_result" | "pyout") { "result" } else { "display" };
            let mut notes: Vec<String> =
                forms.and_then(|forms| image_of(forms, image_room, images)).into_iter().collect();
            let text = form("text/plain", "text").or_else(|| form("text/markdown", "markdown"));
            let others = forms.into_iter().flatten().filter(|(name, _)| name.contains('/'));
            if text.is_none() && notes.is_empty() {
                notes.extend(others.take(5).map(|(name, value)| {
                    format!(
                        "{}, {} bytes",
                        cut(&strip_escapes(name), 60),
                        joined(value).len().max(value.to_string().len().min(1 << 20))
                    )
                }));
            }
            let label = std::iter::once(label.to_owned()).chain(notes).collect::<Vec<_>>().join(": ");
            (label, text.unwrap_or_default())
        }
    }
}

/// What is said of the first image among the forms of a display; it goes to `images` while there is room.
fn image_of(forms: &Map<String, Value>, image_room: usize, images: &mut Vec<Value>) -> Option<String> {
    IMAGE_TYPES.into_iter().find_map(|media_type| {
        let short = media_type.rsplit('/').next().unwrap_or_default();
        let data = joined(forms.get(media_type).or_else(|| forms.get(short))?);
        if data.len() as u64 / 4 * 3 > image::MAX_BYTES {
            return Some(format!("{media_type} too large to be shown"));
        }
        if images.len() >= image_room {
            return Some(format!("{media_type} left out: read this cell alone to see it"));
        }
        images.push(json!({"type": "image", "media_type": media_type, "data": data}));
        Some(media_type.to_owned())
    })
}

/// Ids and types come from a file and stand in headings.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

fn cut(line: &str, limit: usize) -> String {
    match line.char_indices().nth(limit) {
        Some((at, _)) => format!("{} … [line cut]", &line[..at]),
        None => line.to_owned(),
    }
}

/// Both ends of a text that is too long.
fn head_and_tail(text: &str, limit: usize) -> String {
    let count = text.chars().count();
    if count <= limit {
        return text.to_owned();
    }
    let head: String = text.chars().take(limit / 2).collect();
    let tail: String = text.chars().skip(count - limit / 2).collect();
    format!("{head}\n[… {} characters left out …]\n{tail}", count - limit / 2 * 2)
}

/// Text without terminal escapes and other control characters; of a line that was drawn over only the last state stays.
fn strip_escapes(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    let mut line = 0; // where the current line begins
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' | '\u{9b}' => {
                let kind = if c == '\u{9b}' { Some('[') } else { chars.next() };
                match kind {
                    Some('[') => while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {},
                    // A string for the terminal: up to BEL or ESC \.
                    Some(']' | 'P' | 'X' | '^' | '_') => {
                        while let Some(c) = chars.next() {
                            if c == '\u{7}' || (c == '\u{1b}' && chars.next_if_eq(&'\\').is_some()) {
                                break;
                            }
                        }
                    }
                    Some('(' | ')' | '#' | '%') => drop(chars.next()),
                    _ => {}
                }
            }
            '\r' if chars.peek() != Some(&'\n') && chars.peek().is_some() => result.truncate(line),
            '\n' => {
                result.push('\n');
                line = result.len();
            }
            '\u{8}' => {
                if result.len() > line {
                    result.pop();
                }
            }
            c if c.is_control() && c != '\t' => {}
            c => result.push(c),
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant_for_a_terminal_is_gone() {
        assert_eq!(
            strip_escapes("\u{1b}[31mred\u{1b}[0m \u{1b}]8;;http://x\u{7}link\u{1b}]8;;\u{1b}\\\u{7}!"),
            "red link!"
        );
        assert_eq!(strip_escapes("10%\r50%\r100%\ndone\r\n"), "100%\ndone\n");
        assert_eq!(strip_escapes("ab\u{8}c\u{0}\u{1b}"), "ac");
        assert_eq!(strip_escapes("\u{1b}]0;never ends"), "");
    }

    #[test]
    fn long_texts_keep_both_ends() {
        assert_eq!(head_and_tail("abcdef", 6), "abcdef");
        assert_eq!(head_and_tail("äbcdefg", 4), "äb\n[… 3 characters left out …]\nfg");
    }
}
