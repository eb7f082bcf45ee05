//! Read: numbered lines of a text file, the pages of a PDF as text, a notebook as its cells, an image as an image.

mod lines;
mod notebook;
mod pdf;

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::unix::fs::FileTypeExt as _;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use self::lines::{Lines, count_lines, resolve, slice};
use self::pdf::Pages;
use super::change::{self, Fingerprint, open_error};
use super::encoding::Encoding;
use super::{Call, Context, Limit, Output, Status, Tool, ToolError, parse_arguments, schema_of};
use crate::effect::Effect;
use crate::image;
use crate::location::Location;
use crate::visible::visible;

const DEFAULT_LINES: u64 = 2_000;
const MAX_LINE_CHARS: usize = 2_000;
/// Characters of one result; the lines that fit are given, and where to go on.
const MAX_CHARS: usize = 50_000;
/// Images of one notebook.
const MAX_IMAGES: usize = 10;
/// Characters of the outputs of one cell of a notebook.
const MAX_OUTPUT_CHARS: usize = 5_000;
const MAX_NOTEBOOK_BYTES: u64 = 100 << 20;
const MAX_PDF_BYTES: u64 = 64 << 20;
/// Pages of one call.
const MAX_PAGES: u64 = 20;
const PDF_SECONDS: u64 = 20;

pub use self::lines::LineIndexes;

/// Reads files.
pub struct Read;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// The file, relative to the workspace or absolute.
    file_path: String,
    /// First line, counted from 1; below 0: from the end. Of a notebook: cell.
    offset: Option<i64>,
    /// Number of lines (default 2000) or cells.
    #[schemars(range(min = 1))]
    limit: Option<u64>,
    /// Of a PDF: "3" or "1-20".
    pages: Option<String>,
}

impl Tool for Read {
    fn name(&self) -> &'static str {
        "Read"
    }

    fn description(&self) -> &'static str {
        "Read a text file as lines, each after its number and a tab, a PDF as text, a notebook as its cells with outputs, or \
         look at a PNG, JPEG, GIF or WebP image. Long files come in parts: go on with offset. A file must be read before \
         it is changed."
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
                Limit::bytes("of an image", image::MAX_BYTES),
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
        if let Some(pages) = &parsed.pages {
            Pages::parse(pages).map_err(|why| format!("Read was not run: {why}."))?;
        }
        Ok(Box::new(parsed))
    }
}

impl Call for Arguments {
    fn title(&self) -> String {
        let from = self.offset.map_or(String::new(), |offset| format!(" from {offset}"));
        let pages = self.pages.as_ref().map_or(String::new(), |pages| format!(" pages {}", visible(pages)));
        format!("Read {}{from}{pages}", visible(&self.file_path))
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
        if image::media_type(&start).is_some() {
            return self.read_image(start, file, metadata.len(), &location);
        }
        if is_pdf(&start) {
            if self.offset.is_some() || self.limit.is_some() {
                return Err(ToolError::failed(format!(
                    "{} is a PDF; say which part with pages, not with offset and limit.",
                    self.file_path
                )));
            }
            let content = self.read_whole("PDF", MAX_PDF_BYTES, start, file, metadata.len(), &location)?;
            let pages = self.pages.as_deref().and_then(|pages| Pages::parse(pages).ok()).unwrap_or_default();
            return pdf::read(&self.file_path, &content, pages, context);
        }
        if self.pages.is_some() {
            return Err(ToolError::failed(format!("{} is no PDF; use offset and limit.", self.file_path)));
        }
        let offset = self.offset.unwrap_or(1);
        if crate::notebook::is_named_so(&self.file_path) {
            let seen = file.try_clone().map_err(failed)?;
            let content = self.read_whole("notebook", MAX_NOTEBOOK_BYTES, start, file, metadata.len(), &location)?;
            context.seen.remember(&location, Fingerprint::of(&seen, Some(&content)).map_err(failed)?);
            return notebook::read(&self.file_path, &content, offset, self.limit, context);
        }
        let is_utf32 = matches!(start.as_slice(), [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..]);
        let is_utf16 =
            matches!(start.as_slice(), [0xff, 0xfe, ..] | [0xfe, 0xff, ..]) && metadata.len().is_multiple_of(2);
        if is_utf32 {
            return Err(ToolError::failed(format!("{} is UTF-32; convert it to UTF-8 first (iconv).", self.file_path)));
        }
        if start.contains(&0) && !is_utf16 {
            return Err(ToolError::failed(format!(
                "{} is a binary file of {} bytes. Use Bash or Python with a program that understands it.",
                self.file_path,
                metadata.len()
            )));
        }
        let limit = self.limit.unwrap_or(DEFAULT_LINES);
        if metadata.len() <= change::MAX_BYTES {
            let mut content = start;
            file.read_to_end(&mut content).map_err(failed)?;
            context.seen.remember(&location, Fingerprint::of(&file, Some(&content)).map_err(failed)?);
            let encoding = Encoding::of(&content);
            if encoding.unit() == 2 {
                content = encoding.decode(&content).into_bytes();
            }
            let total = count_lines(&content);
            let lines = slice(content.as_slice(), 1, resolve(offset, total), limit, context)?;
            return Ok(self.report(lines, Some(total)));
        }
        if is_utf16 {
            return Err(ToolError::failed(format!(
                "{} is UTF-16 and too large to be read here; convert it first.",
                self.file_path
            )));
        }
        context.seen.remember(&location, Fingerprint::of(&file, None).map_err(failed)?);
        file.rewind().map_err(failed)?;
        let (lines, total) = context.indexes.slice(file, offset, limit, context)?;
        Ok(self.report(lines, total))
    }
}

impl Arguments {
    fn read_whole(
        &self,
        kind: &str,
        limit: u64,
        start: Vec<u8>,
        mut file: File,
        size: u64,
        location: &Location,
    ) -> Result<Vec<u8>, ToolError> {
        let mut content = start;
        if size <= limit {
            // One byte more than is allowed: the file may have grown since it was looked at.
            let room = limit.saturating_sub(content.len() as u64) + 1;
            (&mut file).take(room).read_to_end(&mut content).map_err(|error| open_error(location, &error))?;
        }
        if size > limit || content.len() as u64 > limit {
            return Err(ToolError::failed(format!(
                "{} is a {kind} of more than {} MiB, too large to be read.",
                self.file_path,
                limit >> 20
            )));
        }
        Ok(content)
    }

    fn report(&self, lines: Lines, total: Option<u64>) -> Output {
        if lines.count == 0 {
            let text = match lines.ended_at {
                Some(0) => format!("{} is empty.", self.file_path),
                Some(end) => {
                    let count = if end == 1 { "1 line".to_owned() } else { format!("{end} lines") };
                    format!("{} has only {count}; offset {} is beyond its end.", self.file_path, lines.first)
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
        mut content: Vec<u8>,
        mut file: File,
        size: u64,
        location: &Location,
    ) -> Result<Output, ToolError> {
        let failed =
            |why: String| ToolError::failed(format!("{} is an image that cannot be looked at: {why}.", self.file_path));
        if size > image::MAX_BYTES {
            return Err(failed(format!(
                "it has {size} bytes, of at most {}; make a smaller copy first",
                image::MAX_BYTES
            )));
        }
        file.read_to_end(&mut content).map_err(|error| open_error(location, &error))?;
        let seen = image::view(&content).map_err(failed)?;
        let (width, height) = seen.size;
        let part = if seen.bytes.len() < content.len() { ", the first picture of an animation" } else { "" };
        let mut output =
            Output::text(format!("{} ({}, {width} x {height} pixels{part})", self.file_path, seen.media_type));
        output.content.push(seen.block());
        Ok(output)
    }
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

/// Readers look for the mark in the first KiB.
fn is_pdf(start: &[u8]) -> bool {
    memchr::memmem::find(&start[..start.len().min(1024)], b"%PDF-").is_some()
}
