//! The sandbox of one session: from settings, workspace and what a call was allowed, to what holds for its processes.

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use serde::Deserialize;

use super::confinement::{Confinement, Enclosure};
use super::keeper::Keepers;
use super::order::{Ground, Place, Treatment};
use super::probe::{Machine, machine};
use super::secret_places;
use crate::network::{Host, Hosts, WayOut};
use crate::output::random_name;

/// May commands run in a sandbox, must they?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// In the whole sandbox; where the machine cannot give it, each command asks.
    #[default]
    On,
    /// As much as the machine gives, without asking.
    WeakerOk,
    /// With the user's own rights.
    Off,
}

/// May a command ask to run without the sandbox?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Escalation {
    /// A person is asked each time.
    #[default]
    Ask,
    /// Denied outright.
    Never,
}

/// Limits of one process, but for `processes`, which counts all of a sandbox.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Data and heap, in MiB; by default three quarters of the machine's memory.
    memory_mb: Option<u64>,
    /// The longest file it may write, in MiB; by default 16 GiB.
    file_mb: Option<u64>,
    /// By default 2048.
    processes: Option<u64>,
    /// Seconds of computing; by default without limit.
    cpu_seconds: Option<u64>,
}

/// As it crosses from Python.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How much of the sandbox.
    pub mode: Mode,
    /// Beside the workspace.
    pub writable: Vec<PathBuf>,
    /// Beside the usual secrets.
    pub hidden: Vec<PathBuf>,
    /// Beside the usual devices, below `/dev`.
    pub devices: Vec<PathBuf>,
    /// Of every process.
    pub limits: Limits,
    /// Out of the sandbox.
    pub escalation: Escalation,
    /// The proxy of this machine, through which granted hosts are reached; empty: directly.
    pub proxy: String,
    /// Hosts that are reached directly all the same, as in `NO_PROXY`.
    pub no_proxy: String,
    /// Whose secrets are hidden; by default this user's home.
    pub home: Option<PathBuf>,
}

/// Of one core.
pub struct Sandbox {
    settings: Settings,
    /// May be written: the workspace, other roots, and `settings.writable`.
    roots: Vec<PathBuf>,
    /// Never written by a command, though below a root: our own state.
    state: PathBuf,
    /// `/tmp` and `/var/tmp` of the session's commands; removed with it.
    temporary: PathBuf,
    /// The environment of the interpreter we run in: its programs start outside the sandbox.
    programs: Option<PathBuf>,
    /// The same, and our own package: seen by commands also where they lie below a folder for temporary files, of which a
    /// command has one of its own.
    installed: Vec<PathBuf>,
    /// To granted hosts.
    way: Arc<WayOut>,
    /// Ready for the next command.
    keepers: Arc<Keepers>,
}

impl Sandbox {
    /// Fails where the folder for temporary files cannot be made, or a place of the settings is none.
    pub fn new(
        settings: Settings,
        roots: &[PathBuf],
        state: &Path,
        programs: Option<&Path>,
        installed: &[PathBuf],
    ) -> io::Result<Self> {
        let state = state.canonicalize()?;
        let home = settings.home.clone().or_else(std::env::home_dir);
        let mut all = roots.to_vec();
        for path in &settings.writable {
            let path = match (path.strip_prefix("~"), &home) {
                (Ok(rest), Some(home)) => home.join(rest),
                _ => path.clone(),
            };
            let wrong = |error| io::Error::new(error, format!("sandbox.writable: {} is not there", path.display()));
            all.push(path.canonicalize().map_err(|error| wrong(error.kind()))?);
        }
        if let Some(path) = settings.devices.iter().find(|path| !path.starts_with("/dev")) {
            let why = format!("sandbox.devices: {} does not lie below /dev", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let programs = programs.and_then(|folder| folder.parent()?.canonicalize().ok());
        // A workspace inside the environment could not be written at all.
        let programs = programs.filter(|prefix| !all.iter().any(|root| root.starts_with(prefix)));
        let temporary = state.join("tmp").join(random_name());
        let is_apart = |path: &PathBuf| !all.iter().any(|root| root.starts_with(path) || path.starts_with(root));
        let installed = installed.iter().filter_map(|path| path.canonicalize().ok()).filter(is_apart).collect();
        let way = Arc::new(WayOut::parse(&settings.proxy, &settings.no_proxy));
        let settings = Settings { home, ..settings };
        Ok(Self { settings, roots: all, state, temporary, programs, installed, way, keepers: Arc::default() })
    }

    /// What the settings ask for.
    pub fn mode(&self) -> Mode {
        self.settings.mode
    }

    /// A command may ask for the user's own rights.
    pub fn may_escalate(&self) -> bool {
        self.settings.escalation == Escalation::Ask
    }

    /// What the machine gives.
    pub fn machine(&self) -> &'static Machine {
        machine(&self.state)
    }

    /// Ends what is ready for commands to come; another that comes starts it again.
    pub fn close(&self) {
        self.keepers.clear();
    }

    /// Why a command would run with less than the settings ask for.
    pub fn weakness(&self) -> Option<String> {
        if self.settings.mode != Mode::On {
            return None;
        }
        let missing = &self.machine().missing;
        (!missing.is_empty()).then(|| format!("This machine cannot give the whole sandbox. {}", missing.join(" ")))
    }

    /// Secrets of the person that exist now.
    pub fn secrets(&self) -> Vec<PathBuf> {
        secret_places::of_person(self.settings.home.as_deref(), &self.settings.hidden)
    }

    /// What may be written, but for protected places.
    pub fn roots(&self) -> &[PathBuf] {
        &self.roots
    }

    /// What holds for one call. `protected`: places below the roots that exist; `hosts`: whom rules let it talk to.
    pub fn confinement(&self, protected: &[PathBuf], hosts: Hosts) -> io::Result<Confinement> {
        if self.settings.mode == Mode::Off {
            return Ok(Confinement::Off);
        }
        let (layers, is_seatbelt) = (self.machine().layers, self.machine().has_seatbelt);
        let mut places: Vec<Place> = Vec::new();
        let mut add = |treatment, path: &Path, source: &Path| {
            places.push(Place { treatment, path: path.to_path_buf(), source: source.to_path_buf() });
        };
        for root in &self.roots {
            add(Treatment::Write, root, root);
        }
        for (path, name) in [("/tmp", "tmp"), ("/var/tmp", "var-tmp")] {
            let (path, source) = (Path::new(path), self.temporary.join(name));
            if !layers.namespaces || path.symlink_metadata().is_ok_and(|entry| entry.is_dir()) {
                DirBuilder::new().recursive(true).mode(0o700).create(&source)?;
                let shown = if layers.namespaces { path } else { &source };
                add(Treatment::Write, shown, &source);
            }
        }
        let is_inside = |path: &Path| self.roots.iter().any(|root| path.starts_with(root));
        for path in protected.iter().chain([&self.state]).filter(|path| is_inside(path)) {
            add(Treatment::Protect, path, path);
        }
        // Also where it lies below /tmp, which the command sees another of.
        let is_temporary = |path: &Path| path.starts_with("/tmp") || path.starts_with("/var/tmp");
        let outputs = self.state.join("outputs"); // what a model is told to read on
        let mut shown: Vec<&PathBuf> =
            self.programs.iter().chain([&outputs]).filter(|path| is_inside(path) || is_temporary(path)).collect();
        shown.extend(self.installed.iter().filter(|path| is_temporary(path)));
        shown.sort_unstable();
        shown.dedup();
        for path in shown {
            add(Treatment::Protect, path, path);
        }
        let mut hidden = self.secrets();
        hidden.extend(secret_places::of_machine());
        // In a folder of which the command has one of its own there is nothing to hide but in what it is shown all the same.
        // Servers make their sockets there all the time, and each would ask for another keeper.
        let (own, shown): (Vec<&Place>, Vec<&Place>) = places.iter().partition(|place| place.path != place.source);
        let is_below = |path: &Path, places: &[&Place]| {
            places.iter().any(|place| path.starts_with(&place.path) && path != place.path)
        };
        hidden.retain(|path| !is_below(path, &own) || is_below(path, &shown));
        hidden.sort_unstable(); // by component: what lies below a place follows it, and is hidden with it
        hidden.dedup_by(|path, above| path.starts_with(above));
        places.extend(hidden.iter().map(|path| Place {
            treatment: Treatment::Hide,
            path: path.clone(),
            source: path.clone(),
        }));
        places.sort_by_cached_key(|place| (place.path.components().count(), place.treatment));
        let readable = if layers.namespaces || is_seatbelt { Vec::new() } else { all_but(&hidden) };
        let temporary = if layers.namespaces { PathBuf::from("/tmp") } else { self.temporary.join("tmp") };
        let mut variables: Vec<(OsString, OsString)> = vec![("TMPDIR".into(), temporary.into())];
        let hosts = ((layers.namespaces || is_seatbelt) && !hosts.is_empty()).then(|| Arc::new(hosts));
        if let Some(hosts) = &hosts {
            // The sandbox has a loopback of its own, for test servers; a granted one is the machine's.
            let is_own = |name: &str| Host::parse(name).is_ok_and(|host| hosts.names(&host));
            let own = if is_own("localhost") || is_own("127.0.0.1") { "" } else { "localhost,127.0.0.1,::1" };
            variables.extend(["NO_PROXY", "no_proxy"].map(|name| (name.into(), own.into())));
        }
        let ground = Ground {
            layers,
            places,
            devices: self.settings.devices.iter().map(|path| path.clone().into()).collect(),
            readable,
            limits: self.limits(),
            processes: self.settings.limits.processes.unwrap_or(2048),
            ..Ground::default()
        };
        let (way, state, keepers) = (Arc::clone(&self.way), self.state.clone(), Some(Arc::clone(&self.keepers)));
        Ok(Confinement::On(Box::new(Enclosure { ground, is_seatbelt, hosts, way, variables, state, keepers })))
    }

    fn limits(&self) -> Vec<(u32, u64)> {
        const MIB: u64 = 1 << 20;
        let limits = &self.settings.limits;
        let memory =
            limits.memory_mb.map(|mib| mib.saturating_mul(MIB)).or_else(|| memory_bytes().map(|bytes| bytes / 4 * 3));
        let file = limits.file_mb.map_or(16 << 30, |mib| mib.saturating_mul(MIB));
        // As Linux numbers them.
        let (cpu, file_size, data, core) = (0, 1, 2, 4);
        let mut all = vec![(core, 0), (file_size, file)];
        all.extend(memory.map(|bytes| (data, bytes)));
        all.extend(limits.cpu_seconds.map(|seconds| (cpu, seconds)));
        all
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.temporary);
    }
}

/// Of the machine.
fn memory_bytes() -> Option<u64> {
    static BYTES: OnceLock<Option<u64>> = OnceLock::new();
    *BYTES.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/meminfo").ok()?;
        text.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
    })
}

/// Everything readable that leads to none of `hidden`: Landlock can only allow.
fn all_but(hidden: &[PathBuf]) -> Vec<OsString> {
    fn walk(folder: &Path, hidden: &[PathBuf], found: &mut Vec<OsString>) {
        for path in std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
            if hidden.contains(&path) {
                continue;
            }
            if hidden.iter().any(|place| place.starts_with(&path)) {
                walk(&path, hidden, found);
            } else {
                found.push(path.into());
            }
        }
    }
    let mut found = Vec::new();
    walk(Path::new("/"), hidden, &mut found);
    found
}
