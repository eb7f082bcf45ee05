//! Grep: text in files, by ripgrep's own engine.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use grep_matcher::Matcher as _;
use grep_regex::{RegexMatcher, RegexMatcherBuilder};
use grep_searcher::{BinaryDetection, Searcher, SearcherBuilder, Sink, SinkContext, SinkContextKind, SinkMatch};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::search::{Found, Search};
use super::{Call, Context, Limit, Output, Tool, ToolError, parse_arguments, schema_of};
use crate::cancel::CancelToken;
use crate::effect::Effect;
use crate::visible::visible;

const DEFAULT_LIMIT: usize = 250;
/// What "all" means: memory must have a bound.
const MAX_LIMIT: usize = 100_000;
const MAX_LINE_CHARS: usize = 1_000;
const MAX_CONTEXT: usize = 1_000;
/// For a line, or a file searched across lines.
const MAX_HEAP_BYTES: usize = 256 << 20;

/// Searches in files.
pub struct Grep;

#[derive(Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum OutputMode {
    FilesWithMatches,
    Content,
    Count,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// A regular expression in Rust's syntax.
    pattern: String,
    /// File or folder; default the workspace.
    path: Option<String>,
    /// Only files like this, such as *.py.
    glob: Option<String>,
    /// Only files of this type, as ripgrep names it.
    #[serde(rename = "type")]
    file_type: Option<String>,
    /// Default `files_with_matches`.
    output_mode: Option<OutputMode>,
    /// Ignore case.
    #[serde(rename = "-i")]
    is_case_insensitive: Option<bool>,
    /// Line numbers in content; default true.
    #[serde(rename = "-n")]
    has_line_numbers: Option<bool>,
    /// Lines after a match.
    #[serde(rename = "-A")]
    after: Option<usize>,
    /// Lines before.
    #[serde(rename = "-B")]
    before: Option<usize>,
    /// Lines around.
    #[serde(rename = "-C", alias = "context")]
    around: Option<usize>,
    /// Let . and the pattern span lines.
    multiline: Option<bool>,
    /// Lines given; default 250, 0 for all.
    head_limit: Option<usize>,
    /// Lines left out first.
    offset: Option<usize>,
}

impl Tool for Grep {
    fn name(&self) -> &'static str {
        "Grep"
    }

    fn description(&self) -> &'static str {
        "Search file contents with a regular expression. Gives the files that match, their lines, or counts. Ignored, hidden \
         and binary files are left out."
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
                Limit::count("lines or files given, unless head_limit says otherwise", DEFAULT_LIMIT as u64),
                Limit::count("lines or files given at most", MAX_LIMIT as u64),
                Limit::count("lines of context on each side", MAX_CONTEXT as u64),
                Limit::count("characters of a line", MAX_LINE_CHARS as u64),
                Limit::bytes("of a line, or of a file searched across lines", MAX_HEAP_BYTES as u64),
            ]
        }
    }

    fn parse(&self, arguments: &str) -> Result<Box<dyn Call>, String> {
        let parsed: Arguments = parse_arguments("Grep", arguments)?;
        if parsed.pattern.is_empty() {
            return Err("Grep was not run: pattern is empty. Give a regular expression.".into());
        }
        Ok(Box::new(parsed))
    }
}

impl Call for Arguments {
    fn title(&self) -> String {
        let place = self.path.as_ref().map_or(String::new(), |path| format!(" in {}", visible(path)));
        format!("Grep {}{place}", visible(&self.pattern))
    }

    fn effects(&self) -> Vec<Effect> {
        vec![Effect::ReadPath { path: self.path.clone().unwrap_or_else(|| ".".into()) }]
    }

    fn preview(&self, _context: &Context<'_>) -> Result<Value, ToolError> {
        Ok(json!({"kind": "path", "path": self.path.as_deref().unwrap_or(".")}))
    }

    fn run(&self, context: &Context<'_>) -> Result<Output, ToolError> {
        let matcher = self.matcher()?;
        let skip = self.offset.unwrap_or(0);
        let limit = self.head_limit.filter(|limit| *limit > 0).unwrap_or(if self.head_limit.is_some() {
            MAX_LIMIT
        } else {
            DEFAULT_LIMIT
        });
        // One more than shown tells whether there are more.
        let wanted = skip.saturating_add(limit).saturating_add(1);
        let hits = Hits { wanted, kept: Mutex::default() };
        let search = Search {
            location: context.workspace.locate(self.path.as_deref().unwrap_or(".")),
            globs: self.glob.as_deref().map(split_globs).unwrap_or_default(),
            file_type: self.file_type.as_deref(),
        };
        search.run(context, &|found| {
            let lines = self.search_file(&matcher, found, wanted, context.cancel);
            if !lines.is_empty() {
                hits.add(found.shown(), lines);
            }
            true
        })?;
        Ok(Self::report(hits.into_lines(), skip, limit))
    }
}

/// Commas and blanks between globs, but not inside braces.
fn split_globs(text: &str) -> Vec<&str> {
    let mut depth = 0usize;
    text.split(|c: char| {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && (c == ',' || c.is_whitespace())
    })
    .filter(|glob| !glob.is_empty())
    .collect()
}

impl Arguments {
    fn mode(&self) -> OutputMode {
        self.output_mode.unwrap_or(OutputMode::FilesWithMatches)
    }

    fn matcher(&self) -> Result<RegexMatcher, ToolError> {
        let is_multiline = self.multiline.unwrap_or(false);
        let mut builder = RegexMatcherBuilder::new();
        builder.case_insensitive(self.is_case_insensitive.unwrap_or(false)).multi_line(true);
        if is_multiline {
            builder.dot_matches_new_line(true);
        } else {
            builder.line_terminator(Some(b'\n'));
        }
        builder.build(&self.pattern).map_err(|error| {
            let why = error.to_string();
            let hint = if !is_multiline && self.pattern.contains("\\n") {
                " Set multiline for a pattern with \\n."
            } else {
                " Escape ( ) [ ] { } . * + ? | to search for them as they are."
            };
            ToolError::failed(format!("The pattern cannot be read: {}.{hint}", why.trim_end_matches('.')))
        })
    }

    fn searcher(&self) -> Searcher {
        let context = |own: Option<usize>| own.or(self.around).unwrap_or(0).min(MAX_CONTEXT);
        let is_content = self.mode() == OutputMode::Content;
        SearcherBuilder::new()
            .line_number(is_content)
            .multi_line(self.multiline.unwrap_or(false))
            .before_context(if is_content { context(self.before) } else { 0 })
            .after_context(if is_content { context(self.after) } else { 0 })
            .binary_detection(BinaryDetection::quit(0))
            .heap_limit(Some(MAX_HEAP_BYTES))
            .build()
    }

    /// The output lines of one file; empty where nothing matches or it cannot be read.
    fn search_file(
        &self,
        matcher: &RegexMatcher,
        found: &Found<'_>,
        wanted: usize,
        cancel: &CancelToken,
    ) -> Vec<String> {
        let Ok(file) = found.open() else { return Vec::new() };
        let path = found.shown();
        let mut lines = LineSink {
            path: &path,
            mode: self.mode(),
            has_numbers: self.has_line_numbers.unwrap_or(true),
            is_multiline: self.multiline.unwrap_or(false),
            matcher,
            wanted,
            lines: Vec::new(),
            matches: 0,
            is_binary: false,
        };
        // An error in mid-file (a line beyond the heap's limit, a cancel) leaves what was found before it.
        let _ = self.searcher().search_reader(matcher, Watched { file, cancel }, &mut lines);
        lines.finish()
    }

    fn report(lines: Vec<String>, skip: usize, limit: usize) -> Output {
        let count = lines.len();
        let shown: Vec<String> = lines.into_iter().skip(skip).take(limit).collect();
        if shown.is_empty() {
            let text = if count > 0 {
                format!("There are only {count} lines of results; offset {skip} is beyond them.")
            } else {
                "No matches.".to_owned()
            };
            return Output::text(text).detail("lines", 0);
        }
        let mut text = shown.join("\n");
        if count > skip + shown.len() {
            let _ = write!(text, "\n[there is more; go on with offset {}]", skip + shown.len());
        }
        Output::text(text).detail("lines", shown.len())
    }
}

/// A reader that ends when the call is cancelled.
struct Watched<'a> {
    file: std::fs::File,
    cancel: &'a CancelToken,
}

impl io::Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other("cancelled"));
        }
        self.file.read(buffer)
    }
}

/// The first lines of the result in the order of paths, however the threads find them.
struct Hits {
    wanted: usize,
    kept: Mutex<(BTreeMap<PathBuf, Vec<String>>, usize)>,
}

impl Hits {
    fn add(&self, path: PathBuf, lines: Vec<String>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (files, count) = &mut *kept;
        *count += lines.len();
        files.insert(path, lines);
        // Files that come after enough lines of others are not needed any more.
        while let Some(last) = files.last_entry() {
            if *count - last.get().len() < self.wanted {
                break;
            }
            *count -= last.get().len();
            last.remove();
        }
    }

    fn into_lines(self) -> Vec<String> {
        let (files, _) = self.kept.into_inner().unwrap_or_else(PoisonError::into_inner);
        files.into_values().flatten().collect()
    }
}

struct LineSink<'a> {
    path: &'a Path,
    mode: OutputMode,
    has_numbers: bool,
    is_multiline: bool,
    matcher: &'a RegexMatcher,
    wanted: usize,
    lines: Vec<String>,
    matches: u64,
    is_binary: bool,
}

impl LineSink<'_> {
    fn add(&mut self, bytes: &[u8], first: Option<u64>, mark: char) {
        for (number, line) in (first.unwrap_or(0)..).zip(lines_of(bytes)) {
            let mut text = String::from_utf8_lossy(line).into_owned();
            if let Some((at, _)) = text.char_indices().nth(MAX_LINE_CHARS) {
                text.truncate(at);
                text.push('…');
            }
            let path = self.path.display();
            self.lines.push(if self.has_numbers {
                format!("{path}{mark}{number}{mark}{text}")
            } else {
                format!("{path}{mark}{text}")
            });
        }
    }

    fn finish(self) -> Vec<String> {
        match self.mode {
            _ if self.matches == 0 => Vec::new(),
            // What was found before the file proved binary is no text to show.
            _ if self.is_binary => Vec::new(),
            OutputMode::Content => self.lines,
            OutputMode::FilesWithMatches => vec![self.path.display().to_string()],
            OutputMode::Count => vec![format!("{}:{}", self.path.display(), self.matches)],
        }
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

    fn matched(&mut self, _searcher: &Searcher, found: &SinkMatch<'_>) -> Result<bool, io::Error> {
        match self.mode {
            OutputMode::FilesWithMatches => {
                self.matches = 1;
                Ok(false)
            }
            OutputMode::Count => {
                self.matches += if self.is_multiline { count_matches(self.matcher, found.bytes()) } else { 1 };
                Ok(true)
            }
            OutputMode::Content => {
                self.matches += 1;
                self.add(found.bytes(), found.line_number(), ':');
                Ok(self.lines.len() < self.wanted)
            }
        }
    }

    fn context(&mut self, _searcher: &Searcher, context: &SinkContext<'_>) -> Result<bool, io::Error> {
        if *context.kind() != SinkContextKind::Other {
            self.add(context.bytes(), context.line_number(), '-');
        }
        Ok(true)
    }

    fn context_break(&mut self, _searcher: &Searcher) -> Result<bool, io::Error> {
        self.lines.push("--".to_owned());
        Ok(true)
    }

    fn binary_data(&mut self, _searcher: &Searcher, _offset: u64) -> Result<bool, io::Error> {
        self.is_binary = true;
        Ok(false)
    }
}

fn count_matches(matcher: &RegexMatcher, bytes: &[u8]) -> u64 {
    let mut count = 0;
    let _ = matcher.find_iter(bytes, |_| {
        count += 1;
        true
    });
    count.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_are_split_outside_braces() {
        assert_eq!(split_globs("*.py, *.{ts,tsx} a"), ["*.py", "*.{ts,tsx}", "a"]);
    }

    #[test]
    fn bad_patterns_say_what_to_do() {
        let error = |arguments: &str| {
            let parsed: Arguments = parse_arguments("Grep", arguments).unwrap();
            match parsed.matcher() {
                Err(ToolError::Failed(why)) => why,
                _ => panic!("accepted"),
            }
        };
        assert!(error(r#"{"pattern": "("}"#).contains("Escape"));
        assert!(error(r#"{"pattern": "a\\nb"}"#).contains("Set multiline"));
    }

    #[test]
    fn only_the_first_lines_by_path_are_kept() {
        let hits = Hits { wanted: 3, kept: Mutex::default() };
        for name in ["c", "a", "d", "b"] {
            hits.add(PathBuf::from(name), vec![format!("{name}1"), format!("{name}2")]);
        }
        assert_eq!(hits.into_lines(), ["a1", "a2", "b1", "b2"]);
    }
}
