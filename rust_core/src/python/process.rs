//! A process that a tool of Python talks to.

use std::sync::Arc;
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::sandbox;

#[pyclass(frozen, module = "claw_kernel._core")]
pub struct Process(pub Arc<sandbox::Process>);

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
