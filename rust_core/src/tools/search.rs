//! Walking a tree by ripgrep's rules, for Glob and Grep.

use std::fs::File;
use std::path::{Path, PathBuf};

use ignore::overrides::{Override, OverrideBuilder};
use ignore::types::TypesBuilder;
use ignore::{DirEntry, WalkBuilder, WalkState};

use super::change::open_error;
use super::{Context, ToolError};
use crate::location::Location;

/// Two are enough to keep a disk busy; more take the machine from the user's own computation.
const MAX_THREADS: usize = 4;

/// Where to search and which files.
pub struct Search<'a> {
    /// The folder or file.
    pub location: Location,
    /// As the `--glob` of ripgrep.
    pub globs: Vec<&'a str>,
    /// As the `--type` of ripgrep.
    pub file_type: Option<&'a str>,
}

/// A file that was found, opened only through the workspace.
pub struct Found<'a> {
    /// Where it is.
    pub entry: &'a DirEntry,
    location: &'a Location,
    context: &'a Context<'a>,
}

impl Found<'_> {
    /// As it is shown: relative to the workspace where it is inside.
    pub fn shown(&self) -> PathBuf {
        shown(self.entry.path(), self.context)
    }

    /// Opens it for reading, never through a link and never outside.
    pub fn open(&self) -> std::io::Result<File> {
        self.context.workspace.open_file(&beneath(self.location, self.entry.path()))
    }
}

/// A path relative to the workspace, or absolute where it is elsewhere.
fn shown(path: &Path, context: &Context<'_>) -> PathBuf {
    path.strip_prefix(context.workspace.path()).unwrap_or(path).to_path_buf()
}

/// A path found below a location, which is resolved already.
fn beneath(root: &Location, path: &Path) -> Location {
    let below = path.strip_prefix(&root.target).unwrap_or(Path::new(""));
    let relative = if below.as_os_str().is_empty() { root.relative.clone() } else { root.relative.join(below) };
    Location { requested: path.to_path_buf(), target: path.to_path_buf(), relative, ..root.clone() }
}

impl Search<'_> {
    /// Calls `visit` for every file, from several threads; false ends the walk.
    pub fn run(&self, context: &Context<'_>, visit: &(dyn Fn(&Found<'_>) -> bool + Sync)) -> Result<(), ToolError> {
        // Opened once for the sake of its error; the walk itself skips what it cannot read.
        let metadata = context.workspace.open_file(&self.location).and_then(|file| file.metadata());
        let metadata = metadata.map_err(|error| open_error(&self.location, &error))?;
        if !metadata.is_dir() && !metadata.is_file() {
            let shown = self.location.requested.display();
            return Err(ToolError::failed(format!("{shown} is neither a folder nor a plain file.")));
        }
        let root = &self.location.target;
        let mut builder = WalkBuilder::new(root);
        builder.threads(threads()).follow_links(false).overrides(self.overrides(if metadata.is_dir() {
            root
        } else {
            root.parent().unwrap_or(root)
        })?);
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
            Box::new(|entry| {
                if context.cancel.is_cancelled() {
                    return WalkState::Quit;
                }
                // What cannot be read is left out, as one would expect of a search.
                let Ok(entry) = entry else { return WalkState::Continue };
                if !entry.file_type().is_some_and(|kind| kind.is_file()) {
                    return WalkState::Continue;
                }
                if has_denies && context.policy.is_read_denied(&beneath(&self.location, entry.path())) {
                    return WalkState::Continue;
                }
                let found = Found { entry: &entry, location: &self.location, context };
                if visit(&found) { WalkState::Continue } else { WalkState::Quit }
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

fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from).clamp(2, MAX_THREADS)
}
