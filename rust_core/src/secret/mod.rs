//! Secrets, redacted by value: wherever the value stands, plainly or in a usual spelling (`spelling.rs`), it is replaced;
//! also in base64 or hexadecimal that is wrapped over lines (`wrapped.rs`) and in the bytes of images (`image.rs`). A value
//! that is compressed, encrypted, or cut up in another way is not found.

mod image;
mod spelling;
mod wrapped;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use aho_corasick::{AhoCorasick, MatchKind};
use serde_json::Value;

use spelling::spellings;

/// What stands where a secret stood.
pub const MARK: &str = "[secret]";
/// Shorter values are too likely to be ordinary text.
pub const MIN_BYTES: usize = 8;

/// The secrets of a session and the automaton that finds them, which is built when it is first needed.
#[derive(Default)]
pub struct Secrets {
    values: BTreeSet<String>,
    finder: OnceLock<Option<Finder>>,
}

/// All spellings of all secrets, sorted, and one automaton for them.
struct Finder {
    spellings: Vec<String>,
    longest: usize,
    automaton: AhoCorasick,
}

impl Secrets {
    /// The same secrets and one more; `None` where it is too short or known already.
    pub fn with(&self, value: &str) -> Option<Self> {
        if value.len() < MIN_BYTES || self.values.contains(value) {
            return None;
        }
        let mut values = self.values.clone();
        values.insert(value.to_owned());
        Some(Self { values, finder: OnceLock::new() })
    }

    fn finder(&self) -> Option<&Finder> {
        let find = || {
            let spellings: BTreeSet<String> = self.values.iter().flat_map(|value| spellings(value)).collect();
            let spellings: Vec<String> = spellings.into_iter().collect();
            let longest = spellings.iter().map(String::len).max()?;
            let automaton = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(&spellings).ok()?;
            Some(Finder { spellings, longest, automaton })
        };
        self.finder.get_or_init(find).as_ref()
    }

    /// `text` without the secrets. An image in base64 stays an image.
    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let Some(Finder { automaton, .. }) = self.finder() else { return Cow::Borrowed(text) };
        let text = image::redact(text, automaton);
        let text = match text {
            text if automaton.is_match(text.as_ref()) => {
                let mut redacted = String::with_capacity(text.len());
                automaton.replace_all_with(&text, &mut redacted, |_, _, out| {
                    out.push_str(MARK);
                    true
                });
                Cow::Owned(redacted)
            }
            text => text,
        };
        match wrapped::redact(&text, automaton) {
            Some(redacted) => Cow::Owned(redacted),
            None => text,
        }
    }

    /// Redacts a file in place, where it holds a secret. Its bytes need not be text.
    pub fn redact_file(&self, path: &Path) -> std::io::Result<()> {
        let Some(Finder { automaton, .. }) = self.finder() else { return Ok(()) };
        let bytes = std::fs::read(path)?;
        if let Ok(text) = std::str::from_utf8(&bytes) {
            if let Cow::Owned(redacted) = self.redact(text) {
                std::fs::write(path, redacted)?;
            }
            return Ok(());
        }
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
        if self.values.is_empty() {
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
        let Some(Finder { spellings, longest, .. }) = self.finder() else { return text.len() };
        let from = text.len().saturating_sub(longest.saturating_sub(1));
        let begins_one = |tail: &str| {
            let next = spellings.partition_point(|spelling| spelling.as_str() < tail);
            spellings.get(next).is_some_and(|spelling| spelling.starts_with(tail))
        };
        (from..text.len()).find(|&at| text.is_char_boundary(at) && begins_one(&text[at..])).unwrap_or(text.len())
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

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};

    use super::*;

    fn secrets() -> Secrets {
        Secrets::default().with("s3cr3t+va/ue \"ü\"").unwrap()
    }

    #[test]
    #[expect(clippy::format_collect, reason = "short texts")]
    fn every_usual_spelling_is_found() {
        let (secrets, value) = (secrets(), "s3cr3t+va/ue \"ü\"");
        let mut texts = vec![
            format!("x{value}y"),
            serde_json::to_string(value).unwrap(),
            "s3cr3t%2Bva%2Fue%20%22%C3%BC%22".to_owned(),
            "s3cr3t%2bva%2fue+%22%c3%bc%22".to_owned(),
            "7333637233742b76612f75652022c3bc22".to_owned(),
            serde_json::to_string(&serde_json::to_string(value).unwrap()).unwrap(),
            "s3cr3t%2Bva/ue%20%22%C3%BC%22".to_owned(),
            "s3cr3t+va/ue%20%22%C3%BC%22".to_owned(),
            value.bytes().map(|byte| format!("%{byte:02x}")).collect(),
            "s3cr3t+va/ue &quot;ü&quot;".to_owned(),
            "s3cr3t+va/ue &#34;ü&#34;".to_owned(),
            "s3cr3t+va\\/ue \\\"\\u00fc\\\"".to_owned(),
            "s3cr3t+va/ue \"\\xfc\"".to_owned(),
            "s3cr3t+va/ue \"\\xc3\\xbc\"".to_owned(),
            value.chars().map(|c| format!("\\u{:04X}", c as u32)).collect(),
            value.bytes().map(|byte| format!("\\x{byte:02x}")).collect(),
            value.bytes().map(|byte| format!("{byte:02x} ")).collect(),
            value.bytes().map(|byte| format!("{byte:02X}:")).collect(),
            value.chars().map(|c| format!("{c}\0")).collect(),
            STANDARD.encode(value.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>()),
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
    fn base64_wrapped_over_lines_is_found() {
        let secrets = Secrets::default().with("correct-horse-battery-staple").unwrap();
        for pad in 0..80 {
            let encoded = STANDARD.encode(format!("{}correct-horse-battery-staple, and more of it", "a".repeat(pad)));
            for (width, end) in [(76, "\n"), (64, "\r\n"), (20, "\n")] {
                let lines: Vec<&str> =
                    encoded.as_bytes().chunks(width).map(|line| std::str::from_utf8(line).unwrap()).collect();
                let redacted = secrets.redact(&format!("It is: {}\nDone.", lines.join(end))).into_owned();
                assert!(redacted.contains(MARK), "{pad} {width}");
                assert!(redacted.starts_with("It is: ") && redacted.ends_with("Done."), "{redacted}");
                assert_eq!(secrets.redact(&redacted), redacted);
            }
        }
        let words = "nothing\nto\nfind\nhere\n";
        assert!(matches!(secrets.redact(words), Cow::Borrowed(_)));
    }

    #[test]
    fn an_image_loses_the_secret_and_stays_an_image() {
        let secrets = Secrets::default().with("correct-horse-battery-staple").unwrap();
        let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
        for (kind, content) in [
            (b"IHDR", b"\0\0\0\x01\0\0\0\x01\x08\0\0\0\0".as_slice()),
            (b"tEXt", b"Key\0is correct-horse-battery-staple!"),
            (b"zTXt", b"Key\0\0packed"),
            (b"IEND", b""),
        ] {
            png.extend(u32::try_from(content.len()).unwrap().to_be_bytes());
            png.extend(kind);
            png.extend(content);
            png.extend(image::checksum(&[kind, content].concat()).to_be_bytes());
        }
        let redacted = secrets.redact(&STANDARD.encode(&png)).into_owned();
        let after = STANDARD.decode(&redacted).unwrap();
        let text = String::from_utf8_lossy(&after).into_owned();
        assert!(text.contains("is ****************************!") && !text.contains("zTXt"), "{text}");
        let at = after.windows(4).position(|window| window == b"tEXt").unwrap();
        let sum = image::checksum(&after[at..at + 4 + 36]);
        assert_eq!(after[at + 40..at + 44], sum.to_be_bytes());
        assert_eq!(secrets.redact(&redacted), redacted);
        let jpeg = STANDARD.encode(b"\xff\xd8\xff\xe1\0\x26Exif\0\0correct-horse-battery-staple\xff\xda\xff\xd9");
        let after = STANDARD.decode(secrets.redact(&jpeg).as_ref()).unwrap();
        assert!(after.ends_with(b"\xff\xda\xff\xd9") && after.contains(&b'*'));
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
