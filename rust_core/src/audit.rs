//! The audit log: one JSON line per finished call, readable by its owner alone.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::SystemTime;

use serde::Serialize;

/// One line. Field order is the order in the file.
#[derive(Serialize)]
pub struct Entry<'a> {
    /// RFC 3339 in UTC.
    pub time: String,
    /// The session's id, or empty.
    pub session: &'a str,
    /// The tool's name.
    pub tool: &'a str,
    /// One line, redacted.
    pub title: &'a str,
    /// allow, ask or deny.
    pub decision: &'a str,
    /// The rule that decided, or empty.
    pub rule: &'a str,
    /// Where that rule comes from.
    pub rule_source: &'a str,
    /// Who allowed it, where somebody was asked.
    pub answer: &'a str,
    /// How it ended.
    pub status: &'a str,
    /// From the decision to the end, the wait for an answer included.
    pub duration_seconds: f64,
}

/// Appends to `audit.jsonl`; opened at the first entry.
pub struct AuditLog {
    path: PathBuf,
    file: Mutex<Option<File>>,
}

impl AuditLog {
    /// A log at `path`, which need not exist.
    pub fn new(path: PathBuf) -> Self {
        Self { path, file: Mutex::new(None) }
    }

    /// Writes one line with one `write`, so that processes sharing the file do not mix their lines.
    pub fn append(&self, entry: &Entry<'_>) -> std::io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if file.is_none() {
            let opened = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
            *file = Some(opened);
        }
        file.as_mut().map_or(Ok(()), |file| file.write_all(&line))
    }
}

/// Now, as the log writes it.
pub fn now() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}
