//! One tool call on its way through the gate.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use serde_json::Value;

use super::to_json;
use crate::tools::{Output, Status};
use crate::{cancel, gate};

#[pyclass(frozen, module = "claw_kernel._core")]
pub struct CancelToken(pub Arc<cancel::CancelToken>);

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
pub struct Prepared(pub gate::Prepared);

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
pub struct ToolOutput(pub Output);

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
