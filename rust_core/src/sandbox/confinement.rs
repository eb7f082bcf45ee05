//! What holds for the processes of one call.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::keeper::Keepers;
use super::order::{Ground, Place, Treatment};
use crate::network::{Hosts, WayOut};

/// Computed by `Sandbox::confinement` for each call.
#[derive(Debug, Clone, Default)]
pub enum Confinement {
    /// The user's own rights.
    #[default]
    Off,
    /// The sandbox.
    On(Box<Enclosure>),
}

/// The sandbox of one call.
#[derive(Debug, Clone, Default)]
pub struct Enclosure {
    /// What is put up.
    pub ground: Ground,
    /// By the sandbox of macOS, instead of the launcher.
    pub is_seatbelt: bool,
    /// Who may be talked to; `None`: nobody.
    pub hosts: Option<Arc<Hosts>>,
    /// And how they are reached.
    pub way: Arc<WayOut>,
    /// Replaced or added in the environment.
    pub variables: Vec<(OsString, OsString)>,
    /// Where the launcher may be put.
    pub state: PathBuf,
    /// Of the session; `None`: the process gets a keeper of its own.
    pub keepers: Option<Arc<Keepers>>,
}

impl Enclosure {
    /// Files of the machine's folder for temporary files that a tool of ours names: a command sees a folder of its own there.
    pub fn show<'a>(&mut self, paths: impl Iterator<Item = &'a Path>) {
        let is_temporary = |path: &&Path| path.starts_with("/tmp") || path.starts_with("/var/tmp");
        for path in paths.filter(is_temporary).filter_map(|path| path.canonicalize().ok()) {
            let is_own = |place: &Place| place.source != place.path; // the command's own folder for temporary files
            if path.is_file() && !self.ground.places.iter().any(|place| !is_own(place) && path.starts_with(&place.path))
            {
                let (path, source) = (path.clone(), path);
                self.ground.places.push(Place { treatment: Treatment::Protect, path, source });
            }
        }
        self.sort();
    }

    /// What lies deeper comes later.
    fn sort(&mut self) {
        self.ground.places.sort_by_cached_key(|place| (place.path.components().count(), place.treatment));
    }
}
