//! The native core of Claw for Jupyter: every tool call passes its gate `prepare · run · finish`.
//!
//! This file is the binding and the only one that knows Python; the typed face with the documentation is
//! `claw_kernel/_core.pyi`. Below it, imports go one way: gate → tools → workspace, sandbox, permission → shell.

mod attribute;
mod audit;
mod cancel;
mod catalogue;
mod checkpoint;
mod crash;
mod draft;
mod effect;
mod example;
mod expansion;
mod gate;
mod intent;
mod job;
mod location;
mod network;
mod notebook;
mod orphan;
mod output;
mod permission;
mod plain_repository;
mod process;
mod sandbox;
mod secret;
mod shell;
mod signing;
mod subjects;
mod tools;
mod visible;
mod workspace;

use pyo3::prelude::*;

/// See `claw_kernel/_core.pyi`.
#[pymodule(gil_used = false)]
mod _core {
    use std::collections::BTreeMap;
    use std::ffi::OsString;
    use std::io::ErrorKind;
    use std::path::{Path, PathBuf};
    use std::sync::Arc;
    use std::time::Duration;

    use pyo3::create_exception;
    use pyo3::exceptions::{PyFileNotFoundError, PyOSError, PyPermissionError, PyValueError};
    use pyo3::prelude::*;
    use pyo3::types::PyBytes;
    use serde_json::Value;

    use crate::tools::{Output, Status};
    use crate::{cancel, catalogue, gate, permission, sandbox};

    create_exception!(claw_kernel._core, ToolInputError, PyValueError);
    create_exception!(claw_kernel._core, RuleError, PyValueError);
    create_exception!(claw_kernel._core, RestoreError, PyValueError);

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("ToolInputError", module.py().get_type::<ToolInputError>())?;
        module.add("RuleError", module.py().get_type::<RuleError>())?;
        module.add("RestoreError", module.py().get_type::<RestoreError>())
    }

    impl From<gate::InputError> for PyErr {
        fn from(error: gate::InputError) -> Self {
            ToolInputError::new_err(error.0)
        }
    }

    impl From<permission::RuleError> for PyErr {
        fn from(error: permission::RuleError) -> Self {
            RuleError::new_err(error.0)
        }
    }

    #[pyclass(frozen, module = "claw_kernel._core")]
    struct CancelToken(Arc<cancel::CancelToken>);

    #[pymethods]
    impl CancelToken {
        #[new]
        fn new() -> Self {
            Self(Arc::default())
        }

        fn cancel(&self) {
            self.0.cancel();
        }

        #[getter]
        fn is_cancelled(&self) -> bool {
            self.0.is_cancelled()
        }
    }

    #[pyclass(frozen, module = "claw_kernel._core")]
    struct Prepared(gate::Prepared);

    #[pymethods]
    impl Prepared {
        #[getter]
        fn name(&self) -> &str {
            &self.0.name
        }

        #[getter]
        fn title(&self) -> &str {
            &self.0.title
        }

        #[getter]
        fn is_read_only(&self) -> bool {
            self.0.is_read_only
        }

        #[getter]
        fn decision(&self) -> &'static str {
            self.0.decision.verdict.name()
        }

        #[getter]
        fn reason(&self) -> &str {
            &self.0.decision.reason
        }

        #[getter]
        fn rule(&self) -> &str {
            &self.0.decision.rule
        }

        #[getter]
        fn rule_source(&self) -> &str {
            &self.0.decision.source
        }

        #[getter]
        fn suggested_rules(&self) -> Vec<String> {
            self.0.decision.suggested_rules.clone()
        }

        #[getter]
        fn effects(&self) -> PyResult<String> {
            to_json(&self.0.effects)
        }

        #[getter]
        fn preview(&self) -> PyResult<String> {
            to_json(&self.0.preview)
        }
    }

    #[pyclass(frozen, module = "claw_kernel._core")]
    struct ToolOutput(Output);

    #[pymethods]
    impl ToolOutput {
        #[new]
        #[pyo3(signature = (content, status = "ok", details = "{}"))]
        fn new(content: &str, status: &str, details: &str) -> PyResult<Self> {
            let Ok(Value::Array(content)) = serde_json::from_str(content) else {
                return Err(PyValueError::new_err("content must be a JSON list of content blocks"));
            };
            let status = Status::parse(status)
                .ok_or_else(|| PyValueError::new_err("status must be ok, error, cancelled or timed_out"))?;
            let Ok(Value::Object(details)) = serde_json::from_str(details) else {
                return Err(PyValueError::new_err("details must be a JSON object"));
            };
            Ok(Self(Output { content, status, details }))
        }

        #[getter]
        fn content(&self) -> PyResult<String> {
            to_json(&self.0.content)
        }

        #[getter]
        fn status(&self) -> &'static str {
            self.0.status.name()
        }

        #[getter]
        fn is_error(&self) -> bool {
            self.0.status != Status::Ok
        }

        #[getter]
        fn details(&self) -> PyResult<String> {
            to_json(&self.0.details)
        }
    }

    #[pyclass(frozen, module = "claw_kernel._core")]
    struct Process(Arc<sandbox::Process>);

    #[pymethods]
    impl Process {
        #[getter]
        fn pid(&self) -> i32 {
            self.0.pid()
        }

        fn write(&self, py: Python<'_>, content: &[u8]) -> PyResult<()> {
            Ok(py.detach(|| self.0.write(content))?)
        }

        fn close_input(&self, py: Python<'_>) {
            py.detach(|| self.0.close_input());
        }

        #[pyo3(signature = (size = 65536, timeout = None))]
        fn read_output<'py>(
            &self,
            py: Python<'py>,
            size: usize,
            timeout: Option<f64>,
        ) -> PyResult<Option<Bound<'py, PyBytes>>> {
            let timeout = seconds(timeout)?;
            let read = py.detach(|| self.0.read_output(size, timeout))?;
            Ok(read.map(|bytes| PyBytes::new(py, &bytes)))
        }

        #[pyo3(signature = (size = 65536, timeout = None))]
        fn read_error<'py>(
            &self,
            py: Python<'py>,
            size: usize,
            timeout: Option<f64>,
        ) -> PyResult<Option<Bound<'py, PyBytes>>> {
            let timeout = seconds(timeout)?;
            let read = py.detach(|| self.0.read_errors(size, timeout))?;
            Ok(read.map(|bytes| PyBytes::new(py, &bytes)))
        }

        #[pyo3(signature = (timeout = None))]
        fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<i32>> {
            let timeout = seconds(timeout)?;
            Ok(py.detach(|| self.0.wait(timeout))?)
        }

        fn kill(&self, py: Python<'_>) {
            py.detach(|| self.0.kill());
        }
    }

    fn seconds(timeout: Option<f64>) -> PyResult<Option<Duration>> {
        let duration = timeout.map(Duration::try_from_secs_f64).transpose();
        duration.map_err(|_| PyValueError::new_err("timeout must be a number of seconds, not below 0"))
    }

    #[pyclass(frozen, module = "claw_kernel._core")]
    struct Core(gate::Core, Option<PathBuf>);

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
                ErrorKind::NotFound if error.raw_os_error().is_none() => {
                    PyFileNotFoundError::new_err(error.to_string())
                }
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

    #[pyfunction]
    fn visible(text: &str) -> String {
        crate::visible::visible(text)
    }

    #[pyfunction]
    fn folder_identity(path: PathBuf) -> PyResult<(String, u64, u64)> {
        let identity = crate::workspace::folder_identity(&path)?;
        Ok((identity.path.to_string_lossy().into_owned(), identity.inode, identity.created_at_ns))
    }

    #[pyfunction]
    fn check_host(name: &str) -> PyResult<String> {
        let host = crate::network::Host::parse(name);
        host.map(|host| host.to_string())
            .map_err(|why| PyValueError::new_err(format!("{:?} is no host: it {why}", crate::visible::visible(name))))
    }

    #[pyfunction]
    fn is_public_address(address: &str) -> bool {
        let parsed = crate::network::Host::parse(address);
        matches!(parsed, Ok(crate::network::Host::Address(address)) if crate::network::is_public_address(address))
    }

    #[pyfunction]
    fn canonical_tool_name(name: &str) -> &str {
        catalogue::canonical(name).unwrap_or(name)
    }

    #[pyfunction]
    fn tool_aliases(name: &str) -> Vec<&'static str> {
        catalogue::aliases(name).to_vec()
    }

    #[pyfunction]
    fn rename_arguments(tool: &str, arguments: &str) -> PyResult<String> {
        let Ok(Value::Object(mut arguments)) = serde_json::from_str(arguments) else {
            return Err(PyValueError::new_err("arguments must be a JSON object"));
        };
        catalogue::rename_arguments(tool, &mut arguments);
        to_json(&arguments)
    }

    #[pyclass(frozen, module = "claw_kernel._core")]
    struct Secrets(crate::secret::Secrets);

    #[pymethods]
    impl Secrets {
        #[new]
        fn new(values: Vec<String>) -> Self {
            let none = crate::secret::Secrets::default();
            Self(values.iter().fold(none, |secrets, value| secrets.with(value).unwrap_or(secrets)))
        }

        fn redact(&self, text: &str) -> String {
            self.0.redact(text).into_owned()
        }
    }

    #[pyfunction]
    fn make_signing_key(comment: &str) -> PyResult<(String, String)> {
        crate::signing::make_key(comment).map_err(PyValueError::new_err)
    }

    #[pyfunction]
    fn sign_message(private_key: &str, namespace: &str, message: &[u8]) -> PyResult<(String, String)> {
        crate::signing::sign(private_key, namespace, message).map_err(PyValueError::new_err)
    }

    #[pyfunction]
    fn signer_of(signature: &str, namespace: &str, message: &[u8]) -> PyResult<String> {
        crate::signing::signer(signature, namespace, message).map_err(PyValueError::new_err)
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

    fn to_json(value: &impl serde::Serialize) -> PyResult<String> {
        serde_json::to_string(value).map_err(|error| PyValueError::new_err(error.to_string()))
    }
}
