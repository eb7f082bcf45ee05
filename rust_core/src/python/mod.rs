//! The binding: what Python sees of the core. Only this folder and `lib.rs` know Python; the typed face with the documentation
//! is `claw_kernel/_core.pyi`.

pub mod call;
pub mod core;
pub mod names;
pub mod process;
pub mod secrets;
pub mod signing;

use pyo3::create_exception;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::{gate, permission};

create_exception!(claw_kernel._core, ToolInputError, PyValueError);
create_exception!(claw_kernel._core, RuleError, PyValueError);
create_exception!(claw_kernel._core, RestoreError, PyValueError);

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

pub fn to_json(value: &impl serde::Serialize) -> PyResult<String> {
    serde_json::to_string(value).map_err(|error| PyValueError::new_err(error.to_string()))
}
