//! Secrets, redacted by value: wherever the value stands, plainly or in a usual spelling, it is replaced.
//!
//! Known are base64 (both alphabets, at each of the three alignments), URL escapes, JSON escapes and hexadecimal. A
//! value that is split, wrapped over lines or encrypted is not found.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::Value;

/// What stands where a secret stood.
pub const MARK: &str = "[secret]";
/// Shorter values are too likely to be ordinary text.
pub const MIN_BYTES: usize = 8;

/// The secrets of a session and the automaton that finds them.
#[derive(Default)]
pub struct Secrets {
    values: BTreeSet<String>,
    spellings: Vec<String>,
    automaton: Option<AhoCorasick>,
}

impl Secrets {
    /// The same secrets and one more; `None` where it is too short or known already.
    pub fn with(&self, value: &str) -> Option<Self> {
        if value.len() < MIN_BYTES || self.values.contains(value) {
            return None;
        }
        let mut values = self.values.clone();
        values.insert(value.to_owned());
        let spellings: BTreeSet<String> = values.iter().flat_map(|value| spellings(value)).collect();
        let spellings: Vec<String> = spellings.into_iter().collect();
        let automaton = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&spellings).ok();
        Some(Self { values, spellings, automaton })
    }

    /// `text` without the secrets.
    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match &self.automaton {
            Some(automaton) if automaton.is_match(text) => {
                let mut redacted = String::with_capacity(text.len());
                automaton.replace_all_with(text, &mut redacted, |_, _, out| {
                    out.push_str(MARK);
                    true
                });
                Cow::Owned(redacted)
            }
            _ => Cow::Borrowed(text),
        }
    }

    /// Redacts a file in place, where it holds a secret. Its bytes need not be text.
    pub fn redact_file(&self, path: &Path) -> std::io::Result<()> {
        let Some(automaton) = &self.automaton else { return Ok(()) };
        let bytes = std::fs::read(path)?;
        if !automaton.is_match(&bytes) {
            return Ok(());
        }
        let mut redacted = Vec::with_capacity(bytes.len());
        automaton.replace_all_with_bytes(&bytes, &mut redacted, |_, _, out| {
            out.extend_from_slice(MARK.as_bytes());
            true
        });
        std::fs::write(path, redacted)
    }

    /// Redacts every string in a JSON value, keys included.
    pub fn redact_json(&self, value: &mut Value) {
        if self.automaton.is_none() {
            return;
        }
        match value {
            Value::String(text) => {
                if let Cow::Owned(redacted) = self.redact(text) {
                    *text = redacted;
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.redact_json(item)),
            Value::Object(fields) => {
                if fields.keys().any(|key| matches!(self.redact(key), Cow::Owned(_))) {
                    let old = std::mem::take(fields);
                    fields.extend(old.into_iter().map(|(key, field)| (self.redact(&key).into_owned(), field)));
                }
                fields.values_mut().for_each(|field| self.redact_json(field));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Where in a stream's pending `text` the end begins that may be the first part of a secret: hold it back.
    pub fn safe_end(&self, text: &str) -> usize {
        let longest = self.spellings.iter().map(String::len).max().unwrap_or(0);
        let from = text.len().saturating_sub(longest.saturating_sub(1));
        (from..text.len())
            .filter(|&at| text.is_char_boundary(at))
            .find(|&at| self.spellings.iter().any(|spelling| spelling.starts_with(&text[at..])))
            .unwrap_or(text.len())
    }
}

/// Redacts a stream: the start of a secret at the end of a piece waits for what follows.
pub struct Redactor {
    secrets: Arc<Secrets>,
    pending: String,
}

impl Redactor {
    /// For one stream.
    pub fn new(secrets: &Arc<Secrets>) -> Self {
        Self { secrets: Arc::clone(secrets), pending: String::new() }
    }

    /// What can be shown of the stream up to the end of `text`.
    pub fn push(&mut self, text: &str) -> String {
        self.pending.push_str(text);
        let rest = self.pending.split_off(self.secrets.safe_end(&self.pending));
        let whole = std::mem::replace(&mut self.pending, rest);
        self.secrets.redact(&whole).into_owned()
    }

    /// What was held back, when nothing follows.
    pub fn finish(&mut self) -> String {
        self.secrets.redact(&std::mem::take(&mut self.pending)).into_owned()
    }
}

fn spellings(value: &str) -> Vec<String> {
    let bytes = value.as_bytes();
    let mut found = vec![value.to_owned()];
    let json = serde_json::to_string(value).unwrap_or_default();
    found.push(json.trim_matches('"').to_owned());
    found.push(ascii_json(value));
    for is_upper in [true, false] {
        for space in ["%20", "+"] {
            found.push(url_escaped(bytes, is_upper, space));
        }
        found.push(bytes.iter().fold(String::new(), |mut hex, byte| {
            let _ = if is_upper { write!(hex, "{byte:02X}") } else { write!(hex, "{byte:02x}") };
            hex
        }));
    }
    for shift in 0..3 {
        // Only the characters that depend on nothing but the secret: its neighbours are not known.
        let shifted: Vec<u8> = std::iter::repeat_n(0, shift).chain(bytes.iter().copied()).collect();
        let (from, to) = ((shift * 8).div_ceil(6), shifted.len() * 8 / 6);
        for encoded in [STANDARD.encode(&shifted), URL_SAFE.encode(&shifted)] {
            found.push(encoded[from..to].to_owned());
        }
    }
    found.retain(|spelling| spelling.len() >= MIN_BYTES);
    found
}

fn ascii_json(value: &str) -> String {
    let mut escaped = String::new();
    for c in value.chars() {
        match c {
            '"' => escaped.push_str("\\\""),
            '\\' => escaped.push_str("\\\\"),
            '\n' => escaped.push_str("\\n"),
            '\t' => escaped.push_str("\\t"),
            '\r' => escaped.push_str("\\r"),
            ' '..='~' => escaped.push(c),
            _ => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    let _ = write!(escaped, "\\u{unit:04x}");
                }
            }
        }
    }
    escaped
}

fn url_escaped(bytes: &[u8], is_upper: bool, space: &str) -> String {
    let mut escaped = String::new();
    for &byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => escaped.push(byte as char),
            b' ' => escaped.push_str(space),
            _ if is_upper => {
                let _ = write!(escaped, "%{byte:02X}");
            }
            _ => {
                let _ = write!(escaped, "%{byte:02x}");
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets() -> Secrets {
        Secrets::default().with("s3cr3t+va/ue \"ü\"").unwrap()
    }

    #[test]
    fn every_usual_spelling_is_found() {
        let (secrets, value) = (secrets(), "s3cr3t+va/ue \"ü\"");
        let mut texts = vec![
            format!("x{value}y"),
            serde_json::to_string(value).unwrap(),
            "s3cr3t%2Bva%2Fue%20%22%C3%BC%22".to_owned(),
            "s3cr3t%2bva%2fue+%22%c3%bc%22".to_owned(),
            "7333637233742b76612f75652022c3bc22".to_owned(),
        ];
        for pad in ["", "a", "ab", "abc"] {
            texts.push(STANDARD.encode(format!("{pad}{value}tail")));
            texts.push(URL_SAFE.encode(format!("{pad}{value}")));
        }
        for text in texts {
            assert!(secrets.redact(&text).contains(MARK), "{text}");
        }
        assert_eq!(secrets.redact("nothing here"), "nothing here");
    }

    #[test]
    fn short_values_are_ignored() {
        assert!(Secrets::default().with("1234567").is_none());
    }

    #[test]
    fn a_stream_holds_back_the_start_of_a_secret() {
        let secrets = Secrets::default().with("abcdefghij").unwrap();
        assert_eq!(secrets.safe_end("xx abcd"), 3);
        assert_eq!(secrets.safe_end("xx abcd "), 8);
    }

    #[test]
    fn json_values_and_keys_are_redacted() {
        let secrets = Secrets::default().with("abcdefghij").unwrap();
        let mut value = serde_json::json!({"abcdefghij": ["xabcdefghijx", 1], "b": "ok"});
        secrets.redact_json(&mut value);
        assert_eq!(value, serde_json::json!({"[secret]": ["x[secret]x", 1], "b": "ok"}));
    }
}
