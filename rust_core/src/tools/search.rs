//! Walking a tree by ripgrep's rules, for Glob and Grep.

use std::borrow::Cow;
use std::fs::File;
use std::path::Path;

use ignore::overrides::{Override, OverrideBuilder};
use ignore::types::TypesBuilder;
use ignore::{DirEntry, WalkBuilder, WalkState};

use super::change::open_error;
use super::{Context, ToolError};
use crate::location::Location;
use crate::visible::visible;

/// Where to search and which files.
pub struct Search<'a> {
    /// The folder or file.
    pub location: Location,
    /// As the `--glob` of ripgrep.
    pub globs: Vec<&'a str>,
    /// As the `--type` of ripgrep.
    pub file_type: Option<&'a str>,
    /// As the `--hidden` of ripgrep.
    pub has_hidden: bool,
}

/// A file that was found, opened only through the workspace.
pub struct Found<'a> {
    /// Where it is.
    pub entry: &'a DirEntry,
    location: &'a Location,
    context: &'a Context<'a>,
}

impl Found<'_> {
    /// Opens it for reading, never through a link and never outside.
    pub fn open(&self) -> std::io::Result<File> {
        self.context.workspace.open_beneath(self.location, self.entry.path())
    }

    /// It was named itself, not found below a folder.
    pub fn is_named(&self) -> bool {
        self.entry.depth() == 0
    }
}

/// How one thread of a search looks at what is found.
pub trait Visitor {
    /// A file.
    fn visit(&mut self, found: &Found<'_>);
    /// Whether files below this folder can still matter.
    fn enters(&mut self, _folder: &Path) -> bool {
        true
    }
}

/// As a path is shown: relative to the workspace where it is inside, on one line whatever its name holds.
pub fn shown(path: &Path, context: &Context<'_>) -> String {
    let text = path.strip_prefix(context.workspace.path()).unwrap_or(path).to_string_lossy();
    let text = if text.contains(char::is_control) { Cow::Owned(visible(&text).replace('\n', "\\n")) } else { text };
    text.into_owned()
}

/// What is wrong with a regular expression: of the several lines that are said of it the one with the reason.
pub fn fault(error: &dyn std::fmt::Display) -> String {
    let text = error.to_string();
    let reason = text.lines().last().unwrap_or_default();
    reason.strip_prefix("error: ").unwrap_or(reason).trim_end_matches('.').to_owned()
}

/// A path found below a location, which is resolved already.
fn beneath(root: &Location, path: &Path) -> Location {
    let below = path.strip_prefix(&root.target).unwrap_or(Path::new(""));
    let relative = if below.as_os_str().is_empty() { root.relative.clone() } else { root.relative.join(below) };
    Location { requested: path.to_path_buf(), target: path.to_path_buf(), relative, ..root.clone() }
}

impl Search<'_> {
    /// Shows every file to one of the visitors: each thread makes its own, and drops it when the walk has ended.
    pub fn run<V: Visitor + Send>(
        &self,
        context: &Context<'_>,
        new_visitor: impl Fn() -> V + Sync,
    ) -> Result<(), ToolError> {
        // Opened once for the sake of its error; the walk itself skips what it cannot read.
        let metadata = context.workspace.open_file(&self.location).and_then(|file| file.metadata());
        let metadata = metadata.map_err(|error| open_error(&self.location, &error))?;
        if !metadata.is_dir() && !metadata.is_file() {
            let shown = self.location.requested.display();
            return Err(ToolError::failed(format!("{shown} is neither a folder nor a plain file.")));
        }
        let root = &self.location.target;
        let mut builder = WalkBuilder::new(root);
        // Threads as ripgrep has them: one for each processor, at most 12.
        builder
            .threads(0)
            .follow_links(false)
            .hidden(!self.has_hidden)
            .add_custom_ignore_filename(".rgignore")
            .overrides(self.overrides(if metadata.is_dir() { root } else { root.parent().unwrap_or(root) })?);
        if let Some(name) = self.file_type {
            let mut types = TypesBuilder::new();
            types.add_defaults().select(name);
            let types = types.build().map_err(|_| {
                ToolError::failed(format!(
                    "There is no file type {name:?}; types are named as in ripgrep (py, rust, js, md …). Or use glob."
                ))
            })?;
            builder.types(types);
        }
        let has_denies = context.policy.has_read_denies();
        builder.build_parallel().run(|| {
            let mut visitor = new_visitor();
            Box::new(move |entry| {
                if context.cancel.is_cancelled() {
                    return WalkState::Quit;
                }
                // What cannot be read is left out, as one would expect of a search.
                let Ok(entry) = entry else { return WalkState::Continue };
                let Some(kind) = entry.file_type() else { return WalkState::Continue };
                if kind.is_dir() && !visitor.enters(entry.path()) {
                    return WalkState::Skip;
                }
                if !kind.is_file() {
                    return WalkState::Continue;
                }
                if has_denies && context.policy.is_read_denied(&beneath(&self.location, entry.path())) {
                    return WalkState::Continue;
                }
                visitor.visit(&Found { entry: &entry, location: &self.location, context });
                WalkState::Continue
            })
        });
        if context.cancel.is_cancelled() { Err(ToolError::Cancelled) } else { Ok(()) }
    }

    fn overrides(&self, root: &Path) -> Result<Override, ToolError> {
        let mut builder = OverrideBuilder::new(root);
        for glob in &self.globs {
            builder
                .add(glob)
                .map_err(|error| ToolError::failed(format!("The glob {glob:?} cannot be read: {error}.")))?;
        }
        builder.build().map_err(|error| ToolError::failed(format!("The glob cannot be read: {error}.")))
    }
}
