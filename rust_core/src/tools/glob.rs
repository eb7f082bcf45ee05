//! Glob: files by name, newest first.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, Mode, OFlags, open, statat};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::search::{Found, Search, Visitor, shown};
use super::{Call, Context, Limit, Output, Tool, ToolError, parse_arguments, schema_of};
use crate::effect::Effect;
use crate::visible::visible;

const MAX_FILES: usize = 100;

/// Seconds and nanoseconds since 1970.
type Time = (i64, i64);
/// A file and when it was changed; of one moment the first by name counts as the newer.
type Dated = (Time, Reverse<PathBuf>);

/// Finds files by name.
pub struct Glob;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// Such as *.py or src/**/*.{ts,tsx}.
    pattern: String,
    /// Folder to search; default the workspace.
    path: Option<String>,
}

impl Tool for Glob {
    fn name(&self) -> &'static str {
        "Glob"
    }

    fn description(&self) -> &'static str {
        "Find files by name, newest first, at most 100. A pattern without a slash matches in every folder. Ignored and \
         hidden files are left out unless it names them."
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
        const { &[Limit::count("files named, the newest", MAX_FILES as u64)] }
    }

    fn parse(&self, arguments: &str) -> Result<Box<dyn Call>, String> {
        let parsed: Arguments = parse_arguments("Glob", arguments)?;
        if parsed.pattern.trim().is_empty() {
            return Err("Glob was not run: pattern is empty. Give one such as **/*.py.".into());
        }
        Ok(Box::new(parsed))
    }
}

impl Call for Arguments {
    fn title(&self) -> String {
        let place = self.path.as_ref().map_or(String::new(), |path| format!(" in {}", visible(path)));
        format!("Glob {}{place}", visible(&self.pattern))
    }

    fn effects(&self) -> Vec<Effect> {
        vec![Effect::ReadPath { path: self.path.clone().unwrap_or_else(|| ".".into()) }]
    }

    fn preview(&self, _context: &Context<'_>) -> Result<Value, ToolError> {
        Ok(json!({"kind": "path", "path": self.path.as_deref().unwrap_or(".")}))
    }

    fn run(&self, context: &Context<'_>) -> Result<Output, ToolError> {
        let location = context.workspace.locate(self.path.as_deref().unwrap_or("."));
        // A model may write the whole path into the pattern.
        let root = format!("{}/", location.target.display());
        let pattern = match self.pattern.strip_prefix(&root).or_else(|| self.pattern.strip_prefix("./")) {
            Some(rest) => format!("/{rest}"),
            None => self.pattern.clone(),
        };
        // Every file: as a glob it would name all that is hidden and ignored too.
        let is_every = ["*", "**", "**/*", "/*/**", "/**", "/**/*"].contains(&pattern.as_str());
        let globs = if is_every { Vec::new() } else { vec![pattern.as_str()] };
        let search = Search { location, globs, file_type: None, has_hidden: names_hidden(&pattern) };
        let enters_git = pattern.contains(".git/");
        let all: Mutex<Newest> = Mutex::default();
        search.run(context, || Collector { newest: Newest::default(), folder: None, all: &all, enters_git })?;
        let Newest { heap, total } = all.into_inner().unwrap_or_else(PoisonError::into_inner);
        // Ascending in `Reverse`: the newest first, files of one moment by name.
        let paths: Vec<String> =
            heap.into_sorted_vec().into_iter().map(|Reverse((_, Reverse(path)))| shown(&path, context)).collect();
        if paths.is_empty() {
            let is_elsewhere = self.pattern.starts_with('/') || self.pattern.split('/').any(|part| part == "..");
            let hint = if is_elsewhere { " A pattern stays below path; give the folder there." } else { "" };
            return Ok(Output::text(format!("No files match {}.{hint}", self.pattern)).detail("files", 0));
        }
        let mut text = paths.join("\n");
        if total > MAX_FILES {
            let _ = write!(text, "\n[the newest {MAX_FILES} of {total} files; narrow the pattern to see others]");
        }
        Ok(Output::text(text).detail("files", total))
    }
}

/// A part of the pattern begins with a dot: such as `.github/**` or `src/.*`.
fn names_hidden(pattern: &str) -> bool {
    pattern.split(['/', '{', ',']).any(|part| part.starts_with('.') && part != "." && part != "..")
}

/// The newest files so far: the oldest of them on top, so that memory does not grow with the tree.
#[derive(Default)]
struct Newest {
    heap: BinaryHeap<Reverse<Dated>>,
    total: usize,
}

impl Newest {
    fn add(&mut self, modified: Time, path: &Path) {
        self.total += 1;
        if self.heap.len() < MAX_FILES {
            self.heap.push(Reverse((modified, Reverse(path.to_path_buf()))));
        } else if let Some(mut oldest) = self.heap.peek_mut()
            && (modified, Reverse(path)) > (oldest.0.0, Reverse(oldest.0.1.0.as_path()))
        {
            *oldest = Reverse((modified, Reverse(path.to_path_buf())));
        }
    }
}

/// Each thread collects by itself, so that none waits for another before the end.
struct Collector<'a> {
    newest: Newest,
    /// Where the last file lay: files come folder by folder, and a short way to each is a quick one.
    folder: Option<(OsString, OwnedFd)>,
    all: &'a Mutex<Newest>,
    /// The pattern means git's own files.
    enters_git: bool,
}

impl Visitor for Collector<'_> {
    fn visit(&mut self, found: &Found<'_>) {
        let path = found.entry.path();
        let modified = self.modified(path).unwrap_or_default();
        self.newest.add(modified, path);
    }

    fn enters(&mut self, folder: &Path) -> bool {
        self.enters_git || folder.file_name() != Some(OsStr::new(".git"))
    }
}

impl Collector<'_> {
    fn modified(&mut self, path: &Path) -> Option<Time> {
        // Compared as bytes: a hundred thousand paths taken apart into components would be felt.
        let bytes = path.as_os_str().as_bytes();
        let (folder, name) = bytes.split_at(memchr::memrchr(b'/', bytes)? + 1);
        let (folder, name) = (OsStr::from_bytes(folder), OsStr::from_bytes(name));
        if self.folder.as_ref().is_none_or(|(last, _)| last != folder) {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            self.folder = Some((folder.to_owned(), open(folder, flags, Mode::empty()).ok()?));
        }
        let (_, folder) = self.folder.as_ref()?;
        let stat = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some((stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or_default()))
    }
}

impl Drop for Collector<'_> {
    fn drop(&mut self) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let total = all.total + self.newest.total;
        for Reverse((modified, Reverse(path))) in self.newest.heap.drain() {
            all.add(modified, &path);
        }
        all.total = total;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_whatever_the_order() {
        for step in [1, 7, 113] {
            let mut newest = Newest::default();
            for n in (0..300_i64).map(|n| n * step % 300) {
                newest.add((n / 2, 0), Path::new(&format!("{n:03}")));
            }
            let kept: Vec<String> =
                newest.heap.into_sorted_vec().iter().map(|one| one.0.1.0.display().to_string()).collect();
            assert_eq!((newest.total, kept.len()), (300, MAX_FILES));
            assert_eq!(kept[..3], ["298", "299", "296"], "{step}");
            assert_eq!(kept[99], "201", "{step}");
        }
    }
}
