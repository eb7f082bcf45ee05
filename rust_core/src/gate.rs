//! The gate `prepare · run · finish` that every tool call passes.

mod completion;
mod preparation;
mod processes;
mod rules;
mod undo;

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, Weak};

use serde_json::{Value, json};

use crate::audit::AuditLog;
use crate::cancel::CancelToken;
use crate::catalogue;
use crate::checkpoint::Checkpoints;
use crate::job::Jobs;
use crate::orphan::{Claim, end_orphans};
use crate::output::{SpillFolder, random_name};
use crate::permission::Policy;
use crate::process::kill_marked;
use crate::sandbox::{self, Confinement, Containment, Environment, Process, Sandbox};
use crate::secret::Secrets;
use crate::tools::{self, Context, LineIndexes, SeenFiles};
use crate::workspace::Workspace;

pub use preparation::{InputError, Prepared};
pub use processes::Start;

/// The core of one session.
pub struct Core {
    workspace: Workspace,
    policy: RwLock<Arc<Policy>>,
    secrets: RwLock<Arc<Secrets>>,
    seen: SeenFiles,
    indexes: LineIndexes,
    notebook: RwLock<Option<PathBuf>>,
    /// The interpreter that runs us: for readers of files that are processes of their own.
    pub python: Option<PathBuf>,
    /// Its folder.
    programs: Option<PathBuf>,
    spill: SpillFolder,
    audit: AuditLog,
    session: String,
    /// Begins the marker of every process of this core.
    marker: String,
    /// Calls that run now; `close` ends them.
    running: Mutex<Vec<Arc<CancelToken>>>,
    checkpoints: Checkpoints,
    /// Processes that tools of Python talk to; `close` ends them.
    processes: Mutex<Vec<Weak<Process>>>,
    /// Commands in the background.
    jobs: Jobs,
    /// Where cores say which processes are theirs.
    claims: PathBuf,
    /// Made with the first process. `None` inside: it cannot be made, and the core works without.
    claim: OnceLock<Option<Claim>>,
    containment: Containment,
}

/// What a core is made for.
#[derive(Default)]
pub struct Setup<'a> {
    /// Folders beside the workspace.
    pub extra_roots: &'a [PathBuf],
    /// By default below the user's own.
    pub state: Option<&'a Path>,
    /// For the audit log.
    pub session: &'a str,
    /// The folder of the interpreter that runs us.
    pub programs: Option<&'a Path>,
    /// Folders that what runs beside us is read from: the interpreter's environment and our own package.
    pub installed: &'a [PathBuf],
    /// Of the sandbox.
    pub sandbox: sandbox::Settings,
}

impl Core {
    /// Fails where a root is no directory or the state folder cannot be made.
    pub fn new(workspace: &Path, setup: Setup<'_>) -> io::Result<Self> {
        let state = setup.state.map_or_else(default_state_folder, Path::to_path_buf);
        let outputs = state.join("outputs");
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&outputs)
            .map_err(|error| io::Error::new(error.kind(), format!("{} cannot be made: {error}", outputs.display())))?;
        let workspace = Workspace::new(workspace, setup.extra_roots, std::slice::from_ref(&outputs))?;
        let sandbox =
            Sandbox::new(setup.sandbox, &workspace.writable_roots(), &state, setup.programs, setup.installed)?;
        let workspace = workspace.hiding(sandbox.secrets());
        let policy =
            Policy { workspace: workspace.path().to_path_buf(), home: std::env::home_dir(), ..Policy::default() };
        let spill = SpillFolder(outputs.canonicalize()?);
        spill.prune(7);
        SpillFolder(state.join("quarantine")).prune(30);
        let claims = state.join("running");
        end_orphans(&claims);
        let checkpoints = Checkpoints::new(&state, setup.session, &workspace)?;
        Ok(Self {
            checkpoints,
            policy: RwLock::new(Arc::new(policy)),
            secrets: RwLock::default(),
            seen: SeenFiles::default(),
            indexes: LineIndexes::default(),
            notebook: RwLock::default(),
            python: None,
            programs: setup.programs.map(Path::to_path_buf),
            spill,
            audit: AuditLog::new(state.join("audit.jsonl")),
            session: setup.session.to_owned(),
            marker: random_name(),
            running: Mutex::default(),
            processes: Mutex::default(),
            jobs: Jobs::default(),
            claims,
            claim: OnceLock::new(),
            containment: Containment::new(sandbox, &state),
            workspace,
        })
    }

    /// The first root.
    pub fn workspace(&self) -> &Path {
        self.workspace.path()
    }

    /// The Rust tools as the model sees them.
    pub fn specs() -> Value {
        tools::TOOLS
            .iter()
            .map(|tool| {
                json!({"name": tool.name(), "description": tool.description(), "input_schema": tool.schema(),
                       "is_read_only": tool.is_read_only(), "is_deferred": tool.is_deferred(),
                       "is_available": tool.is_available(), "aliases": catalogue::aliases(tool.name()),
                       "effects": tool.effect_kinds(), "limits": tool.limits()})
            })
            .collect()
    }

    /// A value to be redacted from now on.
    pub fn add_secret(&self, value: &str) {
        let mut secrets = self.secrets.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(more) = secrets.with(value) {
            *secrets = Arc::new(more);
        }
    }

    fn secrets(&self) -> Arc<Secrets> {
        self.secrets.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// `text` without secrets.
    pub fn redact(&self, text: &str) -> String {
        self.secrets().redact(text).into_owned()
    }

    /// The notebook this session lives in, `None` where it lives in none. It is open in an editor, so no file tool writes it:
    /// the editor's next save would lose the change, or the change what the person has typed.
    pub fn set_notebook(&self, path: Option<&Path>) {
        *self.notebook.write().unwrap_or_else(PoisonError::into_inner) = path.map(Path::to_path_buf);
    }

    fn context<'a>(
        &'a self,
        policy: &'a Arc<Policy>,
        cancel: &'a CancelToken,
        on_output: &'a (dyn Fn(&str) + Sync),
        environment: &'a Environment,
        confinement: &'a Confinement,
        secrets: &'a Arc<Secrets>,
    ) -> Context<'a> {
        Context {
            workspace: &self.workspace,
            seen: &self.seen,
            indexes: &self.indexes,
            python: self.python.as_deref(),
            policy,
            spill: &self.spill,
            cancel,
            on_output,
            environment,
            confinement,
            containment: &self.containment,
            marker: &self.marker,
            jobs: &self.jobs,
            secrets,
            intents: &self.checkpoints.intents,
        }
    }

    /// Ends what still runs, background processes of commands included.
    pub fn close(&self) {
        for token in self.running.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            token.cancel();
        }
        self.jobs.close();
        for process in self.processes.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            if let Some(process) = process.upgrade() {
                process.kill();
            }
        }
        self.containment.sandbox.close();
        let prefix = format!("{}-", self.marker);
        kill_marked(|marker| marker.starts_with(&prefix), None);
    }
}

/// `$XDG_STATE_HOME/claw`, by default `~/.local/state/claw`.
fn default_state_folder() -> PathBuf {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || std::env::home_dir().unwrap_or_else(std::env::temp_dir).join(".local/state");
    state.unwrap_or_else(home).join("claw")
}
