//! The core of one session.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use pyo3::exceptions::{PyFileNotFoundError, PyOSError, PyPermissionError, PyValueError};
use pyo3::prelude::*;

use super::call::{CancelToken, Prepared, ToolOutput};
use super::process::Process;
use super::{RestoreError, to_json};
use crate::{gate, sandbox};

#[pyclass(frozen, module = "claw_kernel._core")]
pub struct Core(pub gate::Core, pub Option<PathBuf>);

#[pymethods]
impl Core {
    #[new]
    #[pyo3(signature = (workspace, *, extra_roots = Vec::new(), state_dir = "", session_id = "", programs = "",
                        sandbox = "{}"))]
    fn new(
        py: Python<'_>,
        workspace: &str,
        extra_roots: Vec<String>,
        state_dir: &str,
        session_id: &str,
        programs: &str,
        sandbox: &str,
    ) -> PyResult<Self> {
        let extra: Vec<PathBuf> = extra_roots.into_iter().map(PathBuf::from).collect();
        let programs = (!programs.is_empty()).then(|| PathBuf::from(programs));
        let sandbox = serde_json::from_str(sandbox)
            .map_err(|error| PyValueError::new_err(format!("The sandbox's settings cannot be read: {error}.")))?;
        let installed = installed(py);
        let setup = gate::Setup {
            extra_roots: &extra,
            installed: &installed,
            state: (!state_dir.is_empty()).then(|| Path::new(state_dir)),
            session: session_id,
            programs: programs.as_deref(),
            sandbox,
        };
        let core = gate::Core::new(Path::new(workspace), setup);
        core.map(|mut core| {
            core.python = interpreter(py);
            Self(core, programs)
        })
        .map_err(|error| match error.raw_os_error() {
            Some(code) => PyOSError::new_err((code, error.to_string())),
            None => error.into(),
        })
    }

    #[getter]
    fn workspace(&self) -> String {
        self.0.workspace().to_string_lossy().into_owned()
    }

    #[staticmethod]
    fn specs() -> PyResult<String> {
        to_json(&gate::Core::specs())
    }

    fn set_policy(&self, policy: &str) -> PyResult<()> {
        Ok(self.0.set_policy(policy)?)
    }

    fn add_rule(&self, behavior: &str, rule: &str, source: &str) -> PyResult<()> {
        Ok(self.0.add_rule(behavior, rule, source)?)
    }

    fn policy(&self) -> PyResult<String> {
        to_json(&self.0.policy())
    }

    fn denies_tool(&self, name: &str) -> bool {
        self.0.denies_tool(name)
    }

    fn network_objection(&self, host: &str) -> PyResult<Option<String>> {
        Ok(self.0.network_objection(host)?)
    }

    #[pyo3(signature = (path))]
    fn set_notebook(&self, path: Option<&str>) {
        self.0.set_notebook(path.map(Path::new));
    }

    fn add_secret(&self, value: &str) {
        self.0.add_secret(value);
    }

    fn redact(&self, text: &str) -> String {
        self.0.redact(text)
    }

    #[pyo3(signature = (name, arguments, effects = None, preview = None))]
    fn prepare(
        &self,
        py: Python<'_>,
        name: &str,
        arguments: &str,
        effects: Option<&str>,
        preview: Option<&str>,
    ) -> PyResult<Prepared> {
        let declared = effects.map(|effects| (effects, preview));
        Ok(Prepared(py.detach(|| self.0.prepare(name, arguments, declared))?))
    }

    fn begin_turn(&self, session_id: &str, turn_id: &str) {
        self.0.begin_turn(session_id, turn_id);
    }

    fn set_checkpoint_limits(&self, limits: &str) -> PyResult<()> {
        self.0.set_checkpoint_limits(limits).map_err(PyValueError::new_err)
    }

    fn begin_checkpoint(&self, py: Python<'_>, prepared: &Prepared, call_id: &str) {
        py.detach(|| self.0.begin_checkpoint(&prepared.0, call_id));
    }

    fn end_checkpoint(&self, py: Python<'_>, prepared: &Prepared) {
        py.detach(|| self.0.end_checkpoint(&prepared.0));
    }

    fn checkpoints(&self, py: Python<'_>) -> PyResult<String> {
        to_json(&py.detach(|| self.0.checkpoints())?)
    }

    fn checkpoint_sessions(&self) -> Vec<String> {
        self.0.checkpoint_sessions()
    }

    fn is_session_shared(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(py.detach(|| self.0.is_session_shared())?)
    }

    fn preview_restore(&self, py: Python<'_>, target: &str) -> PyResult<String> {
        to_json(&py.detach(|| self.0.preview_restore(target)).map_err(RestoreError::new_err)?)
    }

    #[pyo3(signature = (target, *, force = false))]
    fn restore(&self, py: Python<'_>, target: &str, force: bool) -> PyResult<String> {
        to_json(&py.detach(|| self.0.restore(target, force)).map_err(RestoreError::new_err)?)
    }

    #[pyo3(signature = (prepared, cancel, on_output = None, call_id = ""))]
    fn run(
        &self,
        py: Python<'_>,
        prepared: &Prepared,
        cancel: &CancelToken,
        on_output: Option<Py<PyAny>>,
        call_id: &str,
    ) -> ToolOutput {
        // Taken while Python cannot change it in another thread.
        let environment = sandbox::environment(self.1.as_deref());
        let forward = |text: &str| {
            if let Some(on_output) = &on_output {
                Python::attach(|py| {
                    if let Err(error) = on_output.call1(py, (text,)) {
                        // A display that fails must not end the call.
                        error.write_unraisable(py, Some(on_output.bind(py)));
                    }
                });
            }
        };
        ToolOutput(py.detach(|| self.0.run(&prepared.0, &cancel.0, &forward, &environment, call_id)))
    }

    #[pyo3(signature = (prepared, output, answer = ""))]
    fn finish(&self, py: Python<'_>, prepared: &Prepared, output: &ToolOutput, answer: &str) -> ToolOutput {
        ToolOutput(py.detach(|| self.0.finish(&prepared.0, output.0.clone(), answer)))
    }

    #[pyo3(signature = (prepared, argv, *, cwd = "", environment = None, merge_output = false))]
    fn spawn(
        &self,
        py: Python<'_>,
        prepared: &Prepared,
        argv: Vec<OsString>,
        cwd: &str,
        environment: Option<BTreeMap<OsString, OsString>>,
        merge_output: bool,
    ) -> PyResult<Process> {
        let mut variables = sandbox::environment(self.1.as_deref());
        for (name, value) in environment.into_iter().flatten() {
            variables.retain(|(other, _)| *other != name);
            variables.push((name, value));
        }
        let output = if merge_output { sandbox::Output::Merged } else { sandbox::Output::Separate };
        let start = gate::Start { command: &argv, folder: cwd, environment: &variables, output };
        let process = py.detach(|| self.0.spawn(&prepared.0, &start));
        process.map(Process).map_err(|error| match error.raw_os_error() {
            None if error.kind() == ErrorKind::NotFound => PyFileNotFoundError::new_err(error.to_string()),
            None if error.kind() == ErrorKind::PermissionDenied => PyPermissionError::new_err(error.to_string()),
            _ => error.into(),
        })
    }

    fn jobs(&self) -> PyResult<String> {
        to_json(&self.0.jobs())
    }

    fn run_confined(&self, py: Python<'_>, argv: Vec<OsString>, cwd: &str) -> PyResult<i32> {
        let environment = sandbox::environment(self.1.as_deref());
        let status = py.detach(|| self.0.run_confined(&argv, Path::new(cwd), &environment));
        status.map_err(|error| match error.kind() {
            ErrorKind::NotFound if error.raw_os_error().is_none() => PyFileNotFoundError::new_err(error.to_string()),
            _ => error.into(),
        })
    }

    fn sandbox_report(&self, py: Python<'_>) -> PyResult<String> {
        to_json(&py.detach(|| self.0.sandbox_report()))
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.0.close());
    }
}

/// `sys.executable`; nothing where Python is embedded in another program.
fn interpreter(py: Python<'_>) -> Option<PathBuf> {
    let path = py.import("sys").and_then(|sys| sys.getattr("executable")?.extract::<PathBuf>()).ok()?;
    path.is_absolute().then_some(path)
}

/// The folders of Python's environment and of this package: what runs beside the kernel is read from there.
fn installed(py: Python<'_>) -> Vec<PathBuf> {
    let text = |module: &str, name: &str| {
        let value = py.import(module).and_then(|module| module.getattr(name)?.extract::<PathBuf>());
        value.ok().filter(|path| path.is_absolute())
    };
    let package = text("claw_kernel", "__file__").and_then(|file| Some(file.parent()?.to_path_buf()));
    [text("sys", "prefix"), text("sys", "base_prefix"), package].into_iter().flatten().collect()
}
