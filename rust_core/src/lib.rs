//! The native core of Claw for Jupyter: every tool call passes its gate `prepare · run · finish`.
//!
//! Imports go one way: python → gate → tools → workspace, sandbox, permission → shell. Only the first knows Python.

mod argument;
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
mod git_config;
mod image;
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
mod python;
mod sandbox;
mod secret;
mod shell;
mod signing;
mod subjects;
mod tools;
mod visible;
mod workspace;

/// See `claw_kernel/_core.pyi`.
#[pyo3::pymodule(gil_used = false)]
mod _core {
    use pyo3::prelude::*;

    use crate::python::{RestoreError, RuleError, ToolInputError};

    #[pymodule_export]
    use crate::python::call::{CancelToken, Prepared, ToolOutput};
    #[pymodule_export]
    use crate::python::core::Core;
    #[pymodule_export]
    use crate::python::names::{
        canonical_tool_name, check_host, copy_content, fit_arguments, folder_identity, is_public_address, tool_aliases,
        visible,
    };
    #[pymodule_export]
    use crate::python::process::Process;
    #[pymodule_export]
    use crate::python::secrets::Secrets;
    #[pymodule_export]
    use crate::python::signing::{make_signing_key, sign_message, signer_of};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("ToolInputError", module.py().get_type::<ToolInputError>())?;
        module.add("RuleError", module.py().get_type::<RuleError>())?;
        module.add("RestoreError", module.py().get_type::<RestoreError>())
    }
}
