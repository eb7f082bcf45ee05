//! The ways in which a value is usually written.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use super::MIN_BYTES;

/// Characters that encoders leave as they are in URLs: RFC 3986, Python's `quote`, `encodeURIComponent`, `encodeURI`; and none.
const URL_SAFE_SETS: &[&str] = &["-_.~", "-_.~/", "-_.!~*'()", "-_.!~*'();/?:@&=+$,#"];

/// All spellings of `value` that are long enough to be told from ordinary text.
pub fn spellings(value: &str) -> Vec<String> {
    let bytes = value.as_bytes();
    let wide: Vec<u8> = value.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut found = vec![value.to_owned()];
    let json = json_escaped(value);
    found.push(json_escaped(&json));
    found.push(json.replace('/', "\\/"));
    found.push(json);
    found.push(python_ascii(value));
    found.push(python_bytes(bytes));
    found.push(value.chars().flat_map(|c| [c, '\0']).collect());
    for (quote, apostrophe) in [("&quot;", "&#x27;"), ("&#34;", "&#39;"), ("\"", "'"), ("&quot;", "'")] {
        found.push(html_escaped(value, quote, apostrophe));
    }
    for is_upper in [true, false] {
        let ascii = json_ascii(value, is_upper);
        found.push(json_escaped(&ascii));
        found.push(ascii.replace('/', "\\/"));
        found.push(ascii);
        found.push(
            value.encode_utf16().fold(String::new(), |text, unit| text + "\\u" + &hex(&unit.to_be_bytes(), is_upper)),
        );
        for before in ["", "\\x", "%"] {
            found.push(spaced_hex(bytes, is_upper, before, ""));
        }
        for between in [" ", ":"] {
            found.push(spaced_hex(bytes, is_upper, "", between));
        }
        for safe in URL_SAFE_SETS {
            for space in ["%20", "+"] {
                found.push(url_escaped(bytes, safe, is_upper, space));
            }
        }
    }
    for bytes in [bytes, &wide] {
        for shift in 0..3 {
            // Only the characters that depend on nothing but the secret: its neighbours are not known.
            let shifted: Vec<u8> = std::iter::repeat_n(0, shift).chain(bytes.iter().copied()).collect();
            let (from, to) = ((shift * 8).div_ceil(6), shifted.len() * 8 / 6);
            for encoded in [STANDARD.encode(&shifted), URL_SAFE.encode(&shifted)] {
                found.push(encoded[from..to].to_owned());
            }
        }
    }
    found.retain(|spelling| spelling.len() >= MIN_BYTES);
    found
}

fn json_escaped(value: &str) -> String {
    let quoted = serde_json::to_string(value).unwrap_or_default();
    quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(&quoted).to_owned()
}

fn json_ascii(value: &str, is_upper: bool) -> String {
    let mut escaped = String::new();
    for c in json_escaped(value).chars() {
        if c.is_ascii() {
            escaped.push(c);
        } else {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                escaped.push_str("\\u");
                escaped.push_str(&hex(&unit.to_be_bytes(), is_upper));
            }
        }
    }
    escaped
}

/// As `ascii()` of Python writes it, without the quotes.
fn python_ascii(value: &str) -> String {
    value.chars().fold(String::new(), |mut text, c| {
        let _ = match c {
            '\\' => write!(text, "\\\\"),
            '\n' => write!(text, "\\n"),
            '\r' => write!(text, "\\r"),
            '\t' => write!(text, "\\t"),
            ' '..='~' => write!(text, "{c}"),
            c if (c as u32) < 0x100 => write!(text, "\\x{:02x}", c as u32),
            c if (c as u32) < 0x1_0000 => write!(text, "\\u{:04x}", c as u32),
            c => write!(text, "\\U{:08x}", c as u32),
        };
        text
    })
}

/// As `repr` of Python's bytes writes it, without the quotes.
fn python_bytes(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, &byte| {
        let _ = match byte {
            b'\\' => write!(text, "\\\\"),
            b'\n' => write!(text, "\\n"),
            b'\r' => write!(text, "\\r"),
            b'\t' => write!(text, "\\t"),
            b' '..=b'~' => write!(text, "{}", byte as char),
            byte => write!(text, "\\x{byte:02x}"),
        };
        text
    })
}

fn html_escaped(value: &str, quote: &str, apostrophe: &str) -> String {
    let escaped = value.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let escaped = if quote.starts_with('&') { escaped.replace('"', quote) } else { escaped };
    if apostrophe.starts_with('&') { escaped.replace('\'', apostrophe) } else { escaped }
}

fn url_escaped(bytes: &[u8], safe: &str, is_upper: bool, space: &str) -> String {
    bytes.iter().fold(String::new(), |mut escaped, &byte| {
        match byte {
            byte if byte.is_ascii_alphanumeric() || safe.as_bytes().contains(&byte) => escaped.push(byte as char),
            b' ' => escaped.push_str(space),
            byte => {
                escaped.push('%');
                escaped.push_str(&hex(&[byte], is_upper));
            }
        }
        escaped
    })
}

fn spaced_hex(bytes: &[u8], is_upper: bool, before: &str, between: &str) -> String {
    let pairs: Vec<String> = bytes.iter().map(|&byte| format!("{before}{}", hex(&[byte], is_upper))).collect();
    pairs.join(between)
}

fn hex(bytes: &[u8], is_upper: bool) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = if is_upper { write!(hex, "{byte:02X}") } else { write!(hex, "{byte:02x}") };
        hex
    })
}
