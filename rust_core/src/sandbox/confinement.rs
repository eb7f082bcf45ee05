//! What holds for the processes of one call.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use super::order::{Layers, Place};
use crate::network::Hosts;

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
    pub layers: Layers,
    /// Sorted: what lies deeper comes later.
    pub places: Vec<Place>,
    /// Beside the usual ones.
    pub devices: Vec<OsString>,
    /// Without namespaces: what may be read.
    pub readable: Vec<OsString>,
    /// Who may be talked to; `None`: nobody.
    pub hosts: Option<Arc<Hosts>>,
    /// As `setrlimit` takes them.
    pub limits: Vec<(u32, u64)>,
    /// Processes at once.
    pub processes: u64,
    /// Replaced or added in the environment.
    pub variables: Vec<(OsString, OsString)>,
    /// Where the launcher may be put.
    pub state: PathBuf,
}
