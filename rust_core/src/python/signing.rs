//! Keys and signatures of sessions.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

#[pyfunction]
pub fn make_signing_key(comment: &str) -> PyResult<(String, String)> {
    crate::signing::make_key(comment).map_err(PyValueError::new_err)
}

#[pyfunction]
pub fn sign_message(private_key: &str, namespace: &str, message: &[u8]) -> PyResult<(String, String)> {
    crate::signing::sign(private_key, namespace, message).map_err(PyValueError::new_err)
}

#[pyfunction]
pub fn signer_of(signature: &str, namespace: &str, message: &[u8]) -> PyResult<String> {
    crate::signing::signer(signature, namespace, message).map_err(PyValueError::new_err)
}
