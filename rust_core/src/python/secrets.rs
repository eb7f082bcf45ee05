//! Redaction without a core.

use pyo3::prelude::*;

#[pyclass(frozen, module = "claw_kernel._core")]
pub struct Secrets(pub crate::secret::Secrets);

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
