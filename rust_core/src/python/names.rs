//! Names of tools, hosts and folders in their one spelling, arguments in the form a tool takes, hidden characters in any text,
//! and copies of files.

use std::fs::File;
use std::path::PathBuf;

use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use serde_json::Value;

use super::to_json;
use crate::catalogue;

#[pyfunction]
pub fn visible(text: &str) -> String {
    crate::visible::visible(text)
}

#[pyfunction]
pub fn folder_identity(path: PathBuf) -> PyResult<(String, u64, u64)> {
    let identity = crate::workspace::folder_identity(&path)?;
    Ok((identity.path.to_string_lossy().into_owned(), identity.inode, identity.created_at_ns))
}

#[pyfunction]
pub fn check_host(name: &str) -> PyResult<String> {
    let host = crate::network::Host::parse(name);
    host.map(|host| host.to_string())
        .map_err(|why| PyValueError::new_err(format!("{:?} is no host: it {why}", crate::visible::visible(name))))
}

#[pyfunction]
pub fn is_public_address(address: &str) -> bool {
    let parsed = crate::network::Host::parse(address);
    matches!(parsed, Ok(crate::network::Host::Address(address)) if crate::network::is_public_address(address))
}

#[pyfunction]
pub fn canonical_tool_name(name: &str) -> &str {
    catalogue::canonical(name).unwrap_or(name)
}

#[pyfunction]
pub fn tool_aliases(name: &str) -> Vec<&'static str> {
    catalogue::aliases(name).to_vec()
}

#[pyfunction]
pub fn fit_arguments(tool: &str, schema: &str, arguments: &str) -> PyResult<String> {
    let (Ok(schema), Ok(Value::Object(mut arguments))) =
        (serde_json::from_str(schema), serde_json::from_str(arguments))
    else {
        return Err(PyValueError::new_err("schema and arguments must be JSON objects"));
    };
    crate::argument::fit(tool, &schema, &mut arguments);
    to_json(&arguments)
}

#[pyfunction]
pub fn copy_content(py: Python<'_>, source: PathBuf, target: PathBuf) -> PyResult<()> {
    let copied = py.detach(|| crate::checkpoint::copy_content(&mut File::open(&source)?, &mut File::create(target)?));
    copied.map_err(|error| match error.raw_os_error() {
        Some(code) => PyOSError::new_err((code, error.to_string(), source)),
        None => error.into(),
    })
}
