//! The gate `prepare · run · finish` that every tool call passes.

mod undo;

use std::ffi::OsString;
use std::fmt;
use std::fs::DirBuilder;
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, Weak};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::audit::{AuditLog, Entry, now};
use crate::cancel::CancelToken;
use crate::catalogue;
use crate::checkpoint::Checkpoints;
use crate::effect::Effect;
use crate::example;
use crate::job::Jobs;
use crate::network::Host;
use crate::orphan::{Claim, end_orphans};
use crate::output::{MAX_CHARS, SpillFolder, cap, random_name};
use crate::permission::{Behavior, CallView, Decision, Mode, Policy, Rule, RuleError, Verdict};
use crate::process::kill_marked;
use crate::sandbox::{self, Confinement, Containment, Environment, Process, Sandbox};
use crate::secret::{Redactor, Secrets};
use crate::subjects::subjects;
use crate::tools::{self, Call, Context, LineIndexes, Output, SeenFiles, Status, ToolError};
use crate::visible::visible;
use crate::workspace::Workspace;

/// The model's call cannot be understood; the sentence is for the model.
#[derive(Debug, PartialEq)]
pub struct InputError(pub String);

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One rule as it crosses to Python.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRule {
    behavior: Behavior,
    rule: String,
    #[serde(default)]
    source: String,
    /// Examples it must match, and must not; checked here and then forgotten.
    #[serde(default, skip_serializing)]
    matches: Vec<String>,
    #[serde(default, skip_serializing)]
    not_matches: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenPolicy {
    #[serde(default)]
    mode: Mode,
    #[serde(default)]
    rules: Vec<WrittenRule>,
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
    /// Of the sandbox.
    pub sandbox: sandbox::Settings,
}

/// What a tool of Python wants started.
pub struct Start<'a> {
    /// Name or full path of the program, and its arguments.
    pub command: &'a [OsString],
    /// Relative to the workspace; empty: the workspace.
    pub folder: &'a str,
    /// All of its variables.
    pub environment: &'a Environment,
    /// Where its errors go.
    pub output: sandbox::Output,
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
        let sandbox = Sandbox::new(setup.sandbox, &workspace.writable_roots(), &state, setup.programs)?;
        let workspace = workspace.hiding(sandbox.secrets());
        let policy =
            Policy { workspace: workspace.path().to_path_buf(), home: std::env::home_dir(), ..Policy::default() };
        let spill = SpillFolder(outputs.canonicalize()?);
        spill.prune();
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

    /// Replaces mode and rules; an error leaves the old ones in force.
    pub fn set_policy(&self, text: &str) -> Result<(), RuleError> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let written: WrittenPolicy = serde_path_to_error::deserialize(&mut deserializer)
            .map_err(|error| RuleError(format!("The policy cannot be read: {error}.")))?;
        let old = self.policy_in_force();
        let rules = written
            .rules
            .iter()
            .map(|rule| Rule::parse(rule.behavior, &rule.rule, &rule.source, &old.workspace, old.home.as_deref()))
            .collect::<Result<Vec<_>, _>>()?;
        for (rule, written) in rules.iter().zip(&written.rules) {
            example::check(rule, &written.matches, &written.not_matches, &old, &self.workspace)?;
        }
        self.put_policy(Policy { mode: written.mode, rules, ..(*old).clone() });
        Ok(())
    }

    /// Adds one rule.
    pub fn add_rule(&self, behavior: &str, text: &str, source: &str) -> Result<(), RuleError> {
        let behavior: Behavior = serde_json::from_value(json!(behavior)).map_err(|_| {
            RuleError(format!("A rule allows, asks or denies; {behavior:?} is none of allow, ask, deny."))
        })?;
        let mut policy = self.policy.write().unwrap_or_else(PoisonError::into_inner);
        let rule = Rule::parse(behavior, text, source, &policy.workspace, policy.home.as_deref())?;
        Arc::make_mut(&mut policy).rules.push(rule);
        Ok(())
    }

    /// The policy in force, as `set_policy` takes it.
    pub fn policy(&self) -> Value {
        let policy = self.policy_in_force();
        let rules = policy
            .rules
            .iter()
            .map(|rule| json!({"behavior": rule.behavior, "rule": rule.text, "source": rule.source}));
        json!({"mode": policy.mode, "rules": rules.collect::<Vec<_>>()})
    }

    /// True where a rule denies all of this tool.
    pub fn denies_tool(&self, name: &str) -> bool {
        self.policy_in_force().denies_tool(name)
    }

    /// Why sandboxed commands may not talk to `host` (`name` or `name:port`); `None`: they may.
    pub fn network_objection(&self, host: &str) -> Result<Option<String>, RuleError> {
        let (host, port) = Host::parse_with_port(host)
            .map_err(|why| RuleError(format!("{:?} is no host: it {why}.", visible(host))))?;
        Ok(self.policy_in_force().hosts().objection(&host, port.unwrap_or(443)))
    }

    fn policy_in_force(&self) -> Arc<Policy> {
        self.policy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn put_policy(&self, policy: Policy) {
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
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
            let mut decision = policy.decide(call, &subjects(&self.workspace, &effects).0);
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
        let (subjects, effects) = subjects(&self.workspace, &declared);
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
            marker: &self.marker,
            jobs: &self.jobs,
            secrets,
            intents: &self.checkpoints.intents,
        }
    }

    /// To be called before a process is started: should this one be killed, the next core ends what it has left.
    fn claim_processes(&self) {
        self.claim.get_or_init(|| Claim::new(&self.claims, &self.marker).ok());
    }

    /// Commands in the background, as the screen shows them.
    pub fn jobs(&self) -> Value {
        self.jobs.all().iter().map(|job| job.describe()).collect()
    }

    /// Runs a call with what holds for its processes, and looks at what they have left.
    fn run_contained(&self, prepared: &Prepared, call: &dyn Call, context: Context<'_>) -> Result<Output, ToolError> {
        if !starts_processes(&prepared.effects) {
            let result = call.run(&context);
            for effect in &prepared.effects {
                if let Effect::WritePath { path } = effect {
                    self.containment.admit(&self.workspace.locate(path).target);
                }
            }
            return result.map(|output| self.look_at_background(output));
        }
        if call.escapes_sandbox() {
            return call.run(&context);
        }
        let (confinement, before) = self.confine(prepared).map_err(|error| {
            ToolError::failed(format!("The sandbox could not be put up, so nothing was run: {error}."))
        })?;
        let mut output = call.run(&Context { confinement: &confinement, ..context })?;
        if call.is_background() {
            self.containment.remember(before);
            return Ok(output);
        }
        let printed = match output.content.first() {
            Some(block) if output.status == Status::Error => block["text"].as_str().map(str::to_owned),
            _ => None,
        };
        let is_confined = matches!(confinement, Confinement::On(_));
        let explained = printed.filter(|_| is_confined).and_then(|printed| self.containment.explain(&printed));
        for note in explained.into_iter().chain(self.containment.end(&self.workspace, &before)) {
            output.append(&note);
        }
        Ok(output)
    }

    fn confine(&self, prepared: &Prepared) -> io::Result<(Confinement, sandbox::Before)> {
        self.containment.begin(&self.workspace, &prepared.effects, prepared.policy.hosts())
    }

    /// What processes that outlive their calls have made meanwhile is taken back whenever somebody looks.
    fn look_at_background(&self, mut output: Output) -> Output {
        let is_over = self.jobs.all().iter().all(|job| !job.is_running())
            && self.processes.lock().unwrap_or_else(PoisonError::into_inner).iter().all(|it| it.strong_count() == 0);
        if let Some(note) = self.containment.look(&self.workspace, is_over) {
            output.append(&note);
        }
        output
    }

    /// Runs a command of the person's in the sandbox, with this process's input and output: the exit code, below zero the
    /// number of the signal that ended it.
    pub fn run_confined(&self, command: &[OsString], folder: &Path, environment: &Environment) -> io::Result<i32> {
        let Some((name, arguments)) = command.split_first() else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "No program was named."));
        };
        let program = sandbox::find_program(&name.to_string_lossy(), environment, &[])
            .map_err(|why| io::Error::new(io::ErrorKind::NotFound, why))?;
        let hosts = self.policy_in_force().hosts();
        let (confinement, before) = self.containment.begin(&self.workspace, &[], hosts)?;
        self.claim_processes();
        let mut running = sandbox::spawn(&sandbox::Request {
            program: &program,
            arguments,
            folder,
            environment,
            marker: &format!("{}-{}", self.marker, random_name()),
            input: sandbox::Input::Inherit,
            output: sandbox::Output::Inherit,
            confinement: &confinement,
        })?;
        let status = running.child.wait()?;
        if let Some(note) = self.containment.end(&self.workspace, &before) {
            let _ = writeln!(io::stderr(), "{note}");
        }
        Ok(status.code().unwrap_or_else(|| -status.signal().unwrap_or(0)))
    }

    /// What the machine gives of the sandbox, and what is missing.
    pub fn sandbox_report(&self) -> Value {
        let machine = self.containment.sandbox.machine();
        json!({"missing": machine.missing, "landlock": machine.layers.landlock,
               "namespaces": machine.layers.namespaces, "seccomp": machine.layers.seccomp})
    }

    /// Starts a process for a call that was allowed; it is killed when the core is closed, or when nobody holds it any more.
    pub fn spawn(&self, prepared: &Prepared, start: &Start<'_>) -> io::Result<Arc<Process>> {
        let refusal = |kind, why: String| io::Error::new(kind, why);
        if prepared.decision.verdict == Verdict::Deny {
            let why = format!("Not started: {}", prepared.decision.reason);
            return Err(refusal(io::ErrorKind::PermissionDenied, why));
        }
        let Some((name, arguments)) = start.command.split_first() else {
            return Err(refusal(io::ErrorKind::InvalidInput, "No program was named.".to_owned()));
        };
        let program = sandbox::find_program(&name.to_string_lossy(), start.environment, &[self.workspace.path()])
            .map_err(|why| refusal(io::ErrorKind::NotFound, why))?;
        let folder = self.workspace.locate(if start.folder.is_empty() { "." } else { start.folder });
        if folder.root.is_none() {
            let why = format!("{} lies outside the workspace.", folder.target.display());
            return Err(refusal(io::ErrorKind::PermissionDenied, why));
        }
        self.claim_processes();
        let marker = format!("{}-{}", self.marker, random_name());
        let (mut confinement, before) = self.confine(prepared)?;
        self.containment.remember(before);
        if let Confinement::On(enclosure) = &mut confinement {
            // Interpreters and language servers fail where their cache cannot be written.
            enclosure.variables.push(("XDG_CACHE_HOME".into(), "/tmp/cache".into()));
        }
        let running = sandbox::spawn(&sandbox::Request {
            program: &program,
            arguments,
            folder: &folder.target,
            environment: start.environment,
            marker: &marker,
            input: sandbox::Input::Pipe,
            output: start.output,
            confinement: &confinement,
        })?;
        let process = Arc::new(Process::new(running, &marker)?);
        let mut processes = self.processes.lock().unwrap_or_else(PoisonError::into_inner);
        processes.retain(|other| other.strong_count() > 0);
        processes.push(Arc::downgrade(&process));
        Ok(process)
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

fn starts_processes(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Run { .. }))
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
