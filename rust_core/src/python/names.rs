//! Names of tools, hosts and folders in their one spelling, and hidden characters in any text.

use std::path::PathBuf;

use pyo3::exceptions::PyValueError;
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
pub fn rename_arguments(tool: &str, arguments: &str) -> PyResult<String> {
    let Ok(Value::Object(mut arguments)) = serde_json::from_str(arguments) else {
        return Err(PyValueError::new_err("arguments must be a JSON object"));
    };
    catalogue::rename_arguments(tool, &mut arguments);
    to_json(&arguments)
}
