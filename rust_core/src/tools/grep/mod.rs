//! Grep: text in files, by ripgrep's own engine.

mod sink;

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use grep_regex::{RegexMatcher, RegexMatcherBuilder};
use grep_searcher::{BinaryDetection, Searcher, SearcherBuilder};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::hits::Hits;
use super::search::{Found, Search, Visitor, fault};
use super::{Call, Context, Limit, Output, Tool, ToolError, parse_arguments, schema_of};
use crate::cancel::CancelToken;
use crate::effect::Effect;
use crate::visible::visible;
use sink::{Asked, LineSink};

const DEFAULT_LIMIT: usize = 250;
/// What "all" means: memory must have a bound.
const MAX_LIMIT: usize = 100_000;
const MAX_LINE_CHARS: usize = 1_000;
const MAX_CONTEXT: usize = 1_000;
/// For a line, or a file searched across lines.
const MAX_HEAP_BYTES: usize = 256 << 20;
/// What a searcher holds at once, unless a line is longer.
const SEARCH_BUFFER: usize = 64 << 10;

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
        let hits = Hits::new(wanted);
        let unread = AtomicUsize::new(0);
        let search = Search {
            location: context.workspace.locate(self.path.as_deref().unwrap_or(".")),
            globs: self.glob.as_deref().map(split_globs).unwrap_or_default(),
            file_type: self.file_type.as_deref(),
            has_hidden: false,
        };
        search.run(context, || FileSearch {
            arguments: self,
            context,
            matcher: matcher.clone(), // threads that share one wait for each other's scratch memory
            searcher: self.searcher(),
            hits: &hits,
            unread: &unread,
        })?;
        Ok(Self::report(hits.into_lines(), skip, limit, unread.into_inner()))
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
            } else if why.contains("look-around") || why.contains("backreferences") {
                " Write the pattern without it and look through the matches, or use grep -P in Bash."
            } else {
                " Escape ( ) [ ] { } . * + ? | to search for them as they are."
            };
            ToolError::failed(format!("The pattern cannot be read: {}.{hint}", fault(&error)))
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
            .heap_limit(Some(MAX_HEAP_BYTES))
            .build()
    }

    fn report(lines: Vec<String>, skip: usize, limit: usize, unread: usize) -> Output {
        let count = lines.len();
        let shown: Vec<String> = lines.into_iter().skip(skip).take(limit).collect();
        let mut text = match (shown.is_empty(), count) {
            (true, 0) => "No matches.".to_owned(),
            (true, _) => format!("There are only {count} lines of results; offset {skip} is beyond them."),
            (false, _) => shown.join("\n"),
        };
        if count > skip + shown.len() {
            let _ = write!(text, "\n[there is more; go on with offset {}]", skip + shown.len());
        }
        if unread > 0 {
            let files = if unread == 1 { "1 file".to_owned() } else { format!("{unread} files") };
            let _ = write!(text, "\n[{files} could not be read to the end]");
        }
        Output::text(text).detail("lines", shown.len())
    }
}

/// What one thread needs to search in files, kept from file to file.
struct FileSearch<'a> {
    arguments: &'a Arguments,
    context: &'a Context<'a>,
    matcher: RegexMatcher,
    searcher: Searcher,
    hits: &'a Hits,
    /// Files that could not be opened or read to their end.
    unread: &'a AtomicUsize,
}

impl Visitor for FileSearch<'_> {
    fn visit(&mut self, found: &Found<'_>) {
        let path = found.entry.path();
        if !self.hits.needs_file(path) {
            return;
        }
        let Ok(file) = found.open() else {
            self.unread.fetch_add(1, Ordering::Relaxed);
            return;
        };
        // As ripgrep: a file somebody names is searched although it is binary, others up to their first NUL.
        let is_named = found.is_named();
        self.searcher.set_binary_detection(if is_named {
            BinaryDetection::convert(0)
        } else {
            BinaryDetection::quit(0)
        });
        let mut lines = LineSink::new(Asked {
            path,
            context: self.context,
            mode: self.arguments.mode(),
            has_numbers: self.arguments.has_line_numbers.unwrap_or(true),
            is_named,
            matcher: &self.matcher,
            wanted: self.hits.wanted,
        });
        // An error in mid-file (a line beyond the heap's limit, a cancel) leaves what was found before it.
        let mut reader = Watched { file, cancel: self.context.cancel, total: 0 };
        if self.searcher.search_reader(&self.matcher, &mut reader, &mut lines).is_err() {
            self.unread.fetch_add(1, Ordering::Relaxed);
        }
        if reader.total > SEARCH_BUFFER {
            // It may have grown for a long line, and how much of the next file it holds at once decides whether a NUL in
            // there is met before a match: results must not depend on which thread searched what.
            self.searcher = self.arguments.searcher();
        }
        let lines = lines.finish();
        if !lines.is_empty() {
            self.hits.add(path, lines);
        }
    }

    fn enters(&mut self, folder: &Path) -> bool {
        self.hits.needs_folder(folder)
    }
}

/// A reader that ends when the call is cancelled.
struct Watched<'a> {
    file: std::fs::File,
    cancel: &'a CancelToken,
    /// Bytes read.
    total: usize,
}

impl io::Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other("cancelled"));
        }
        let read = self.file.read(buffer)?;
        self.total += read;
        Ok(read)
    }
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
}
