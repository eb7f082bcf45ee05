//! The gate's processes: what a call runs is confined, and what it leaves is looked at.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use serde_json::{Value, json};

use super::{Core, Prepared};
use crate::effect::Effect;
use crate::orphan::Claim;
use crate::output::random_name;
use crate::permission::Verdict;
use crate::sandbox::{self, Confinement, Environment, Process};
use crate::tools::{Call, Context, Output, Status, ToolError};

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
    /// To be called before a process is started: should this one be killed, the next core ends what it has left.
    pub(super) fn claim_processes(&self) {
        self.claim.get_or_init(|| Claim::new(&self.claims, &self.marker).ok());
    }

    /// Commands in the background, as the screen shows them.
    pub fn jobs(&self) -> Value {
        self.jobs.all().iter().map(|job| job.describe()).collect()
    }

    /// Runs a call with what holds for its processes, and looks at what they have left.
    pub(super) fn run_contained(
        &self,
        prepared: &Prepared,
        call: &dyn Call,
        context: Context<'_>,
    ) -> Result<Output, ToolError> {
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
        let not_put_up =
            |error| ToolError::failed(format!("The sandbox could not be put up, so nothing was run: {error}."));
        // A line of harmless programs needs nothing to write in the workspace. It gets nothing, whatever the programs of
        // these names really are, and so leaves nothing to look for.
        if call.changes_nothing()
            && let Some(confinement) = self.containment.without_writing().map_err(not_put_up)?
        {
            let mut output = call.run(&Context { confinement: &confinement, ..context })?;
            self.explain(&mut output);
            return Ok(output);
        }
        let (confinement, before) = self.confine(prepared).map_err(not_put_up)?;
        let mut output = call.run(&Context { confinement: &confinement, ..context })?;
        if call.is_background() {
            self.containment.remember(before);
            return Ok(output);
        }
        if matches!(confinement, Confinement::On(_)) {
            self.explain(&mut output);
        }
        if let Some(note) = self.containment.end(&self.workspace, &before) {
            output.append(&note);
        }
        Ok(output)
    }

    /// Adds why a confined command may have failed.
    fn explain(&self, output: &mut Output) {
        let printed = match output.content.first() {
            Some(block) if output.status == Status::Error => block["text"].as_str(),
            _ => None,
        };
        if let Some(note) = printed.and_then(|printed| self.containment.explain(printed)) {
            output.append(&note);
        }
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
            enclosure.keepers = None; // it lives long
            enclosure.show(start.command.iter().map(Path::new));
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
}

pub(super) fn starts_processes(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::Run { .. }))
}
