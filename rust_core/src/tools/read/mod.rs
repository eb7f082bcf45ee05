//! Read: numbered lines of a text file, or an image as an image.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::FileTypeExt as _;

use base64::Engine as _;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::change::{self, Fingerprint, open_error};
use super::encoding::{Encoding, decode_line};
use super::{Call, Context, Limit, Output, Status, Tool, ToolError, parse_arguments, schema_of};
use crate::effect::Effect;
use crate::location::Location;
use crate::visible::visible;

const DEFAULT_LINES: u64 = 2_000;
const MAX_LINE_CHARS: usize = 2_000;
/// Characters of one result; the lines that fit are given, and where to go on.
const MAX_CHARS: usize = 50_000;
/// In base64 that is 5 MB, the most that providers take of one image.
const MAX_IMAGE_BYTES: u64 = 3_750_000;

/// Reads files.
pub struct Read;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// The file, relative to the workspace or absolute.
    file_path: String,
    /// First line, counted from 1.
    #[schemars(range(min = 1))]
    offset: Option<u64>,
    /// Number of lines; default 2000.
    #[schemars(range(min = 1))]
    limit: Option<u64>,
}

impl Tool for Read {
    fn name(&self) -> &'static str {
        "Read"
    }

    fn description(&self) -> &'static str {
        "Read a text file as lines, each after its number and a tab, or look at a PNG, JPEG, GIF or WebP image. Long files \
         come in parts: go on with offset. A file must be read before it is changed."
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
        const {
            &[
                Limit::count("lines of one call, unless limit says otherwise", DEFAULT_LINES),
                Limit::count("characters of one call", MAX_CHARS as u64),
                Limit::count("characters of a line", MAX_LINE_CHARS as u64),
                Limit::bytes("of an image", MAX_IMAGE_BYTES),
            ]
        }
    }

    fn max_chars(&self) -> usize {
        MAX_CHARS + 5_000 // run keeps to MAX_CHARS itself; this is room for its notices
    }

    fn parse(&self, arguments: &str) -> Result<Box<dyn Call>, String> {
        let parsed: Arguments = parse_arguments("Read", arguments)?;
        if parsed.file_path.is_empty() {
            return Err("Read was not run: file_path is empty. Name a file.".into());
        }
        if parsed.limit == Some(0) {
            return Err("Read was not run: limit is the number of lines, at least 1.".into());
        }
        Ok(Box::new(parsed))
    }
}

impl Call for Arguments {
    fn title(&self) -> String {
        let from = self.offset.map_or(String::new(), |offset| format!(" from line {offset}"));
        format!("Read {}{from}", visible(&self.file_path))
    }

    fn effects(&self) -> Vec<Effect> {
        vec![Effect::ReadPath { path: self.file_path.clone() }]
    }

    fn preview(&self, _context: &Context<'_>) -> Result<Value, ToolError> {
        Ok(json!({"kind": "path", "path": self.file_path}))
    }

    fn run(&self, context: &Context<'_>) -> Result<Output, ToolError> {
        let location = context.workspace.locate(&self.file_path);
        let mut file = context.workspace.open_file(&location).map_err(|error| open_error(&location, &error))?;
        let failed = |error: std::io::Error| open_error(&location, &error);
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(ToolError::failed(format!(
                "{} is a folder. Use Glob to list the files in it.",
                self.file_path
            )));
        }
        if !metadata.is_file() {
            let kind = metadata.file_type();
            let what = if kind.is_fifo() {
                "a pipe"
            } else if kind.is_socket() {
                "a socket"
            } else {
                "a device"
            };
            return Err(ToolError::failed(format!("{} is {what}; only plain files can be read.", self.file_path)));
        }
        let mut start = vec![0; 8 << 10];
        let count = read_full(&mut file, &mut start).map_err(failed)?;
        start.truncate(count);
        if let Some(media_type) = image_type(&start) {
            return self.read_image(media_type, start, file, metadata.len(), &location);
        }
        let is_utf16 = matches!(start.as_slice(), [0xff, 0xfe, ..] | [0xfe, 0xff, ..]);
        if start.contains(&0) && !is_utf16 {
            return Err(ToolError::failed(format!(
                "{} is a binary file of {} bytes. Use Bash or Python with a program that understands it.",
                self.file_path,
                metadata.len()
            )));
        }
        if metadata.len() <= change::MAX_BYTES {
            let mut content = start;
            file.read_to_end(&mut content).map_err(failed)?;
            context.seen.remember(&location, Fingerprint::of(&file, Some(&content)).map_err(failed)?);
            let encoding = Encoding::of(&content);
            if encoding.unit() == 2 {
                content = encoding.decode(&content).into_bytes();
            }
            let total = count_lines(&content);
            let lines = self.lines(content.as_slice(), context)?;
            return Ok(self.report(lines, Some(total)));
        }
        if is_utf16 {
            return Err(ToolError::failed(format!(
                "{} is UTF-16 and too large to be read here; convert it first.",
                self.file_path
            )));
        }
        context.seen.remember(&location, Fingerprint::of(&file, None).map_err(failed)?);
        let lines = self.lines(start.as_slice().chain(file), context)?;
        Ok(self.report(lines, None))
    }
}

/// The part of a file that was asked for.
struct Lines {
    text: String,
    /// Number of the first line given, from 1.
    first: u64,
    /// Lines given.
    count: u64,
    has_more: bool,
    has_cut: bool,
    /// Lines before the part, where the file ended before it.
    ended_at: Option<u64>,
}

impl Arguments {
    /// Reads only as far as needed, and holds no more than the result.
    fn lines(&self, source: impl std::io::Read, context: &Context<'_>) -> Result<Lines, ToolError> {
        let first = self.offset.unwrap_or(1).max(1);
        let limit = self.limit.unwrap_or(DEFAULT_LINES);
        let mut reader = BufReader::with_capacity(256 << 10, source);
        let mut found = Lines { text: String::new(), first, count: 0, has_more: false, has_cut: false, ended_at: None };
        let mut number = 1;
        let mut chars = 0;
        let mut line = Vec::new();
        loop {
            if found.count == limit || chars >= MAX_CHARS {
                // What follows may be without end; that there is something is enough to know.
                found.has_more = reader.fill_buf().is_ok_and(|buffer| !buffer.is_empty());
                return Ok(found);
            }
            line.clear();
            // A line cut here is cut again below, at a character: four bytes are the longest.
            let keep = if number >= first { 4 * MAX_LINE_CHARS + 4 } else { 0 };
            match read_line(&mut reader, &mut line, keep, context)? {
                Part::End => {
                    found.ended_at = (number <= first && first > 1 || found.count == 0).then_some(number - 1);
                    return Ok(found);
                }
                Part::Line => {}
            }
            if number >= first {
                if number == 1 && line.starts_with(b"\xef\xbb\xbf") {
                    line.drain(..3);
                }
                let mut text = decode_line(line.strip_suffix(b"\r").unwrap_or(&line));
                if let Some((at, _)) = text.char_indices().nth(MAX_LINE_CHARS) {
                    text.truncate(at);
                    text.push_str(" … [line cut]");
                    found.has_cut = true;
                }
                let numbered = format!("{number}\t{text}\n");
                chars += numbered.len();
                if chars > MAX_CHARS && found.count > 0 {
                    found.has_more = true;
                    return Ok(found);
                }
                found.text.push_str(&numbered);
                found.count += 1;
            }
            number += 1;
        }
    }

    fn report(&self, lines: Lines, total: Option<u64>) -> Output {
        if lines.count == 0 {
            let text = match lines.ended_at {
                Some(0) => format!("{} is empty.", self.file_path),
                Some(end) => {
                    format!("{} has only {end} lines; offset {} is beyond its end.", self.file_path, lines.first)
                }
                None => "Nothing to show.".to_owned(),
            };
            let status = if lines.ended_at == Some(0) { Status::Ok } else { Status::Error };
            return Output::with_status(text, status).detail("lines", 0);
        }
        let mut text = lines.text;
        let last = lines.first + lines.count - 1;
        if lines.has_cut {
            text.push_str("[lines longer than 2000 characters are cut; Grep or Bash shows more of them]\n");
        }
        if lines.has_more {
            let of = total.map_or(String::new(), |total| format!(" of {total}"));
            let _ = writeln!(text, "[lines {}-{last}{of}; go on with offset {}]", lines.first, last + 1);
        }
        Output::text(text).detail("lines", lines.count)
    }

    fn read_image(
        &self,
        media_type: &str,
        mut content: Vec<u8>,
        mut file: File,
        size: u64,
        location: &Location,
    ) -> Result<Output, ToolError> {
        if size > MAX_IMAGE_BYTES {
            return Err(ToolError::failed(format!(
                "{} is an image of {size} bytes; at most {MAX_IMAGE_BYTES} can be looked at. Make a smaller copy first.",
                self.file_path
            )));
        }
        file.read_to_end(&mut content).map_err(|error| open_error(location, &error))?;
        let data = base64::engine::general_purpose::STANDARD.encode(&content);
        let mut output = Output::text(format!("{} ({media_type}, {} bytes)", self.file_path, content.len()));
        output.content.push(json!({"type": "image", "media_type": media_type, "data": data}));
        Ok(output)
    }
}

enum Part {
    Line,
    End,
}

/// One line without its end, at most `keep` bytes of it kept.
fn read_line(
    reader: &mut impl std::io::BufRead,
    line: &mut Vec<u8>,
    keep: usize,
    context: &Context<'_>,
) -> Result<Part, ToolError> {
    let mut has_any = false;
    loop {
        if context.cancel.is_cancelled() {
            return Err(ToolError::Cancelled);
        }
        let buffer = match reader.fill_buf() {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(ToolError::failed(format!("The file cannot be read: {error}."))),
            Ok(buffer) => buffer,
        };
        if buffer.is_empty() {
            return Ok(if has_any { Part::Line } else { Part::End });
        }
        has_any = true;
        let end = memchr::memchr(b'\n', buffer);
        let part = &buffer[..end.unwrap_or(buffer.len())];
        line.extend_from_slice(&part[..part.len().min(keep.saturating_sub(line.len()))]);
        let used = part.len() + usize::from(end.is_some());
        reader.consume(used);
        if end.is_some() {
            return Ok(Part::Line);
        }
    }
}

fn count_lines(content: &[u8]) -> u64 {
    let ends = memchr::memchr_iter(b'\n', content).count() as u64;
    ends + u64::from(content.last().is_some_and(|byte| *byte != b'\n'))
}

fn read_full(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn image_type(start: &[u8]) -> Option<&'static str> {
    match start {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_known_by_their_first_bytes() {
        assert_eq!(image_type(b"\x89PNG\r\n\x1a\n..."), Some("image/png"));
        assert_eq!(image_type(b"RIFF....WEBPVP8 "), Some("image/webp"));
        assert_eq!(image_type(b"RIFF....WAVE"), None);
        assert_eq!(image_type(b"GIF89a"), Some("image/gif"));
    }

    #[test]
    fn lines_are_counted_as_editors_count() {
        assert_eq!([count_lines(b""), count_lines(b"a"), count_lines(b"a\n"), count_lines(b"a\nb")], [0, 1, 1, 2]);
    }
}
