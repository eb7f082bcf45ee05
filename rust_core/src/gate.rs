//! The gate `prepare · run · finish` that every tool call passes.

mod processes;
mod rules;
mod undo;

use std::fmt;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, Weak};
use std::time::Instant;

use serde_json::{Map, Value, json};

use crate::audit::{AuditLog, Entry, now};
use crate::cancel::CancelToken;
use crate::catalogue;
use crate::checkpoint::Checkpoints;
use crate::effect::Effect;
use crate::job::Jobs;
use crate::orphan::{Claim, end_orphans};
use crate::output::{MAX_CHARS, SpillFolder, cap, random_name};
use crate::permission::{CallView, Decision, Policy, Verdict};
use crate::process::kill_marked;
use crate::sandbox::{self, Confinement, Containment, Environment, Process, Sandbox};
use crate::secret::{Redactor, Secrets};
use crate::subjects::subjects;
use crate::tools::{self, Call, Context, LineIndexes, Output, SeenFiles, Status, ToolError};
use crate::workspace::Workspace;

pub use processes::Start;
use processes::starts_processes;

/// The model's call cannot be understood; the sentence is for the model.
#[derive(Debug, PartialEq)]
pub struct InputError(pub String);

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A validated call with the policy's verdict.
pub struct Prepared {
    /// The tool's own name, whatever alias was called.
    pub name: String,
    /// One line for the person.
    pub title: String,
    /// The call changes nothing.
    pub is_read_only: bool,
    /// Allow, ask or deny, and why.
    pub decision: Decision,
    /// What the call would touch.
    pub effects: Vec<Effect>,
    /// What a person is shown.
    pub preview: Value,
    /// `None` for tools of Python.
    call: Option<Box<dyn Call>>,
    /// Why the call cannot succeed as things are; then it only says so.
    failure: Option<ToolError>,
    max_chars: usize,
    policy: Arc<Policy>,
    started: Instant,
    checkpoint: Mutex<undo::Slot>,
}

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

    /// Validates, computes effects, decides. `declared`: effects and preview of a tool of Python.
    pub fn prepare(
        &self,
        name: &str,
        arguments: &str,
        declared: Option<(&str, Option<&str>)>,
    ) -> Result<Prepared, InputError> {
        let started = Instant::now();
        let policy = self.policy_in_force();
        let name = catalogue::canonical(name).unwrap_or(name);
        if let Some((effects, preview)) = declared {
            let effects = parse_effects(name, effects)?;
            let preview = parse_preview(name, preview)?;
            let arguments = renamed(name, arguments);
            let call = CallView { tool: name, arguments: &arguments };
            let mut decision = policy.decide(call, &subjects(&self.workspace, &effects, None).0);
            if starts_processes(&effects) {
                self.containment.judge(&mut decision, policy.mode, false);
            }
            let is_read_only =
                effects.iter().all(|effect| matches!(effect, Effect::ReadPath { .. } | Effect::Inspect { .. }));
            return Ok(Prepared {
                name: name.to_owned(),
                title: name.to_owned(),
                is_read_only,
                decision,
                effects,
                preview,
                call: None,
                failure: None,
                max_chars: MAX_CHARS,
                policy,
                started,
                checkpoint: Mutex::default(),
            });
        }
        let tool = tools::find(name).ok_or_else(|| {
            let names: Vec<&str> = tools::TOOLS.iter().map(|tool| tool.name()).collect();
            InputError(format!("There is no tool {name:?}. The tools for files and commands are {}.", names.join(", ")))
        })?;
        let call = tool.parse(arguments).map_err(InputError)?;
        let declared = call.effects();
        if let Some(effect) = declared.iter().find(|effect| !tool.effect_kinds().contains(&effect.kind())) {
            return Err(InputError(format!("{name} was not run: it does not declare the effect {}.", effect.kind())));
        }
        // Where the sandbox does not hold it, a command that only reads is asked like any other.
        let is_held = starts_processes(&declared)
            && self.containment.is_whole()
            && !call.escapes_sandbox()
            && !call.is_background();
        let environment = is_held.then(|| sandbox::environment(self.programs.as_deref()));
        let (subjects, effects) = subjects(&self.workspace, &declared, environment.as_ref());
        let given = renamed(tool.name(), arguments);
        let mut decision = policy.decide(CallView { tool: tool.name(), arguments: &given }, &subjects);
        if starts_processes(&effects) {
            self.containment.judge(&mut decision, policy.mode, call.escapes_sandbox());
        }
        let mut failure = None;
        let mut preview = json!({"kind": "none"});
        if decision.verdict == Verdict::Deny {
            // Nothing is read for a call that will not run.
            if let Some(Effect::ReadPath { path } | Effect::WritePath { path }) = effects.first() {
                preview = json!({"kind": "path", "path": path});
            }
        }
        if decision.verdict != Verdict::Deny || tool.name() == "Bash" {
            let environment = Environment::new();
            let (cancel, secrets) = (CancelToken::default(), self.secrets());
            let context = self.context(&policy, &cancel, &|_| {}, &environment, &Confinement::Off, &secrets);
            match self.check_notebook(&declared).and_then(|()| call.preview(&context)) {
                Ok(shown) => preview = shown,
                Err(error) => {
                    // Nobody is asked about a call that can only fail. Running it gives this error and does nothing.
                    if let Some(Effect::ReadPath { path } | Effect::WritePath { path }) = effects.first() {
                        preview = json!({"kind": "path", "path": path});
                    }
                    if decision.verdict == Verdict::Ask {
                        decision.verdict = Verdict::Allow;
                        "It cannot succeed as things are, so it only says why.".clone_into(&mut decision.reason);
                        decision.suggested_rules.clear();
                    }
                    failure = Some(error);
                }
            }
        }
        Ok(Prepared {
            name: tool.name().to_owned(),
            title: call.title(),
            is_read_only: tool.is_read_only() || call.changes_nothing(),
            decision,
            effects,
            preview,
            call: Some(call),
            failure,
            max_chars: tool.max_chars(),
            policy,
            started,
            checkpoint: Mutex::default(),
        })
    }

    /// The notebook this session lives in, `None` where it lives in none. It is open in an editor, so no file tool writes it:
    /// the editor's next save would lose the change, or the change what the person has typed.
    pub fn set_notebook(&self, path: Option<&Path>) {
        *self.notebook.write().unwrap_or_else(PoisonError::into_inner) = path.map(Path::to_path_buf);
    }

    fn check_notebook(&self, effects: &[Effect]) -> Result<(), ToolError> {
        let notebook = self.notebook.read().unwrap_or_else(PoisonError::into_inner);
        let Some(notebook) = notebook.as_ref().and_then(|path| path.canonicalize().ok()) else { return Ok(()) };
        let is_it = |effect: &Effect| matches!(effect, Effect::WritePath { path } if self.workspace.locate(path).target == notebook);
        if effects.iter().any(is_it) {
            return Err(ToolError::failed(format!(
                "{} is the notebook of this very session. It is open in the user's editor, where a change of the file would be \
                 lost or would overwrite theirs, so it was not touched. Show the user the cell's new text in your answer \
                 instead, or write to another notebook.",
                notebook.display()
            )));
        }
        Ok(())
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

    /// Runs a call that was allowed. Never fails: what goes wrong is in the output.
    pub fn run(
        &self,
        prepared: &Prepared,
        cancel: &Arc<CancelToken>,
        on_output: &(dyn Fn(&str) + Sync),
        environment: &Environment,
        call_id: &str,
    ) -> Output {
        let Some(call) = &prepared.call else {
            let text = format!("{} is not run by the core.", prepared.name);
            return Output::with_status(text, Status::Error);
        };
        if prepared.decision.verdict == Verdict::Deny {
            return Output::with_status(format!("Not run: {}", prepared.decision.reason), Status::Error);
        }
        self.running.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(cancel));
        let secrets = self.secrets();
        let redactor = Mutex::new(Redactor::new(&secrets));
        let show = |text: &str| {
            if !text.is_empty() {
                on_output(text);
            }
        };
        let redacted = |text: &str| show(&redactor.lock().unwrap_or_else(PoisonError::into_inner).push(text));
        let result = if let Some(ToolError::Failed(why)) = &prepared.failure {
            Err(ToolError::Failed(why.clone()))
        } else {
            if prepared.effects.iter().any(|effect| matches!(effect, Effect::Run { .. })) {
                self.claim_processes();
            }
            let context = self.context(&prepared.policy, cancel, &redacted, environment, &Confinement::Off, &secrets);
            self.begin_checkpoint(prepared, call_id);
            // What is taken back is taken back before the checkpoint is closed: it is no change that stays.
            let result = self.run_contained(prepared, call.as_ref(), context);
            self.end_checkpoint(prepared);
            result
        };
        show(&redactor.lock().unwrap_or_else(PoisonError::into_inner).finish());
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = running.iter().position(|token| Arc::ptr_eq(token, cancel)) {
            running.swap_remove(at);
        }
        drop(running);
        result.unwrap_or_else(|error| match error {
            ToolError::Failed(why) => Output::with_status(why, Status::Error),
            ToolError::Cancelled => {
                Output::with_status("Cancelled by the user before it was done; nothing was changed.", Status::Cancelled)
            }
        })
    }

    /// Caps and spills, redacts, writes the audit entry.
    pub fn finish(&self, prepared: &Prepared, output: Output, answer: &str) -> Output {
        let secrets = self.secrets();
        let mut output = output;
        output.details.append(&mut prepared.checkpoint.lock().unwrap_or_else(PoisonError::into_inner).noted);
        if let Some(Value::String(path)) = output.details.get("spill_path")
            && Path::new(path).starts_with(&self.spill.0)
            && secrets.redact_file(Path::new(path)).is_err()
        {
            // Better no file than one with a secret in it.
            let _ = std::fs::remove_file(path);
        }
        let ended = self.jobs.untold_ends();
        let mut left = prepared.max_chars + ended.iter().map(|line| line.chars().count()).sum::<usize>();
        output.content.extend(ended.iter().map(|line| json!({"type": "text", "text": line})));
        for block in &mut output.content {
            let Some(Value::String(text)) = block.get_mut("text") else { continue };
            // First redact, so that what is spilled is clean and no secret is cut in two.
            *text = secrets.redact(text).into_owned();
            match cap(text, left, &self.spill) {
                None => left = left.saturating_sub(text.chars().count()),
                Some((capped, path)) => {
                    *text = capped;
                    left = 0;
                    if let Some(path) = path {
                        output.details.entry("spill_path").or_insert_with(|| json!(path.to_string_lossy()));
                    }
                }
            }
        }
        let mut details = Value::Object(std::mem::take(&mut output.details));
        secrets.redact_json(&mut details);
        output.details = match details {
            Value::Object(details) => details,
            _ => Map::new(),
        };
        let entry = Entry {
            time: now(),
            session: &self.session,
            tool: &prepared.name,
            title: &secrets.redact(&prepared.title),
            decision: prepared.decision.verdict.name(),
            rule: &secrets.redact(&prepared.decision.rule),
            rule_source: &prepared.decision.source,
            answer,
            status: output.status.name(),
            duration_seconds: (prepared.started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
        };
        if let Err(error) = self.audit.append(&entry) {
            output.details.insert("audit_error".into(), json!(format!("The audit log cannot be written: {error}")));
        }
        output
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

/// The arguments under their own names, for rules that speak of them; none where the text is no JSON object.
fn renamed(tool: &str, arguments: &str) -> Value {
    let mut given: Map<String, Value> = serde_json::from_str(arguments).unwrap_or_default();
    catalogue::rename_arguments(tool, &mut given);
    Value::Object(given)
}

fn parse_effects(name: &str, text: &str) -> Result<Vec<Effect>, InputError> {
    serde_json::from_str(text).map_err(|error| InputError(format!("The effects of {name} cannot be read: {error}.")))
}

fn parse_preview(name: &str, text: Option<&str>) -> Result<Value, InputError> {
    let Some(text) = text else { return Ok(json!({"kind": "none"})) };
    let preview: Value = serde_json::from_str(text)
        .map_err(|error| InputError(format!("The preview of {name} cannot be read: {error}.")))?;
    if preview.is_object() {
        Ok(preview)
    } else {
        Err(InputError(format!("The preview of {name} must be a JSON object.")))
    }
}

/// `$XDG_STATE_HOME/claw`, by default `~/.local/state/claw`.
fn default_state_folder() -> PathBuf {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || std::env::home_dir().unwrap_or_else(std::env::temp_dir).join(".local/state");
    state.unwrap_or_else(home).join("claw")
}
