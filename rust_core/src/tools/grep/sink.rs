//! What Grep keeps of one file: its lines, their number, or that there are any.

use std::io;
use std::path::Path;

use grep_matcher::Matcher as _;
use grep_regex::RegexMatcher;
use grep_searcher::{Searcher, Sink, SinkContext, SinkContextKind, SinkMatch};

use super::super::Context;
use super::super::search::shown;
use super::{MAX_LINE_CHARS, OutputMode};

/// A file that is searched, and what is wanted of it.
pub struct Asked<'a> {
    /// Where it is.
    pub path: &'a Path,
    /// For the path in words.
    pub context: &'a Context<'a>,
    /// What is kept.
    pub mode: OutputMode,
    /// Of the lines also their numbers.
    pub has_numbers: bool,
    /// It was named itself, so it is searched although it is binary.
    pub is_named: bool,
    /// For what is searched.
    pub matcher: &'a RegexMatcher,
    /// So many lines are enough.
    pub wanted: usize,
}

/// What is kept of one file.
pub struct LineSink<'a> {
    asked: Asked<'a>,
    /// The path in words, once there is something to say.
    shown: String,
    lines: Vec<String>,
    matches: u64,
    /// Where a NUL byte was met.
    binary_at: Option<u64>,
}

impl<'a> LineSink<'a> {
    /// Nothing kept yet.
    pub fn new(asked: Asked<'a>) -> Self {
        Self { asked, shown: String::new(), lines: Vec::new(), matches: 0, binary_at: None }
    }

    fn shown(&mut self) -> &str {
        if self.shown.is_empty() {
            self.shown = shown(self.asked.path, self.asked.context);
        }
        &self.shown
    }

    fn add(&mut self, bytes: &[u8], first: Option<u64>, mark: char) {
        let has_numbers = self.asked.has_numbers;
        for (number, line) in (first.unwrap_or(0)..).zip(lines_of(bytes)) {
            let text = shortened(line);
            let path = self.shown();
            let line =
                if has_numbers { format!("{path}{mark}{number}{mark}{text}") } else { format!("{path}{mark}{text}") };
            self.lines.push(line);
        }
    }

    /// The lines to show.
    pub fn finish(mut self) -> Vec<String> {
        if self.matches == 0 {
            return Vec::new();
        }
        match (self.asked.mode, self.binary_at) {
            (OutputMode::Content, None) => {}
            (OutputMode::Content, Some(at)) => {
                let rest =
                    if self.asked.is_named { "binary file matches" } else { "binary from here on, not searched" };
                let note = format!("{}: [{rest}; NUL at byte {at}]", self.shown());
                self.lines.push(note);
            }
            // What was found before a file proved binary is no text.
            (_, Some(_)) if !self.asked.is_named => return Vec::new(),
            (OutputMode::FilesWithMatches, _) => self.lines = vec![self.shown().to_owned()],
            (OutputMode::Count, _) => {
                let matches = self.matches;
                self.lines = vec![format!("{}:{matches}", self.shown())];
            }
        }
        self.lines
    }
}

/// A line for people: at most `MAX_LINE_CHARS`, however long it is.
fn shortened(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(&line[..line.len().min(4 * MAX_LINE_CHARS)]);
    match text.char_indices().nth(MAX_LINE_CHARS) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.into_owned(),
    }
}

fn lines_of(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split_inclusive(|byte| *byte == b'\n').map(|line| {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        line.strip_suffix(b"\r").unwrap_or(line)
    })
}

impl Sink for LineSink<'_> {
    type Error = io::Error;

    fn matched(&mut self, searcher: &Searcher, found: &SinkMatch<'_>) -> Result<bool, io::Error> {
        match self.asked.mode {
            OutputMode::FilesWithMatches => {
                self.matches = 1;
                Ok(false)
            }
            OutputMode::Count => {
                // As ripgrep: lines, unless a match may run across their ends.
                let is_across = searcher.multi_line_with_matcher(self.asked.matcher);
                self.matches += if is_across { count_matches(self.asked.matcher, found) } else { 1 };
                Ok(true)
            }
            OutputMode::Content => {
                self.matches += 1;
                if self.asked.is_named && self.binary_at.is_some() {
                    return Ok(false);
                }
                self.add(found.bytes(), found.line_number(), ':');
                Ok(self.lines.len() < self.asked.wanted)
            }
        }
    }

    fn context(&mut self, _searcher: &Searcher, context: &SinkContext<'_>) -> Result<bool, io::Error> {
        if self.asked.is_named && self.binary_at.is_some() {
            return Ok(false);
        }
        if *context.kind() != SinkContextKind::Other {
            self.add(context.bytes(), context.line_number(), '-');
        }
        Ok(true)
    }

    fn context_break(&mut self, _searcher: &Searcher) -> Result<bool, io::Error> {
        self.lines.push("--".to_owned());
        Ok(true)
    }

    fn binary_data(&mut self, _searcher: &Searcher, offset: u64) -> Result<bool, io::Error> {
        self.binary_at = Some(offset);
        Ok(true)
    }
}

/// The matches that begin in `found`; its surroundings decide about what looks around.
fn count_matches(matcher: &RegexMatcher, found: &SinkMatch<'_>) -> u64 {
    let range = found.bytes_range_in_buffer();
    let mut count = 0;
    let _ = matcher.find_iter_at(found.buffer(), range.start, |at| {
        let is_inside = at.start() < range.end;
        count += u64::from(is_inside);
        is_inside
    });
    count.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_cut_at_a_character() {
        assert_eq!(shortened("ä".repeat(5000).as_bytes()), "ä".repeat(MAX_LINE_CHARS) + "…");
        assert_eq!(shortened(&[b'a'; MAX_LINE_CHARS]).len(), MAX_LINE_CHARS);
        assert_eq!(shortened(b"a\xff"), "a\u{fffd}");
    }
}
