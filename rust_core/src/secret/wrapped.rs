//! Base64 and hexadecimal over several lines, as `base64`, `openssl` and mail write them: a secret may stand across a line's end.

use aho_corasick::AhoCorasick;

use super::MARK;

/// Shorter lines are words.
const MIN_LINE: usize = 16;

/// `text` with the secrets in wrapped blocks replaced; `None` where there are none.
pub fn redact(text: &str, automaton: &AhoCorasick) -> Option<String> {
    let mut redacted: Option<String> = None;
    let mut copied = 0;
    for block in blocks(text) {
        // Positions in the block without its line ends, and where they stand in the text.
        let bytes = text.as_bytes();
        let places: Vec<usize> = block.filter(|&at| !matches!(bytes[at], b'\n' | b'\r')).collect();
        let joined: Vec<u8> = places.iter().map(|&at| bytes[at]).collect();
        for found in automaton.find_iter(&joined) {
            let out = redacted.get_or_insert_with(String::new);
            let (from, to) = (places[found.start()], places[found.end() - 1] + 1);
            out.push_str(&text[copied..from]);
            out.push_str(MARK);
            copied = to;
        }
    }
    redacted.map(|out| out + &text[copied..])
}

/// Runs of lines of one alphabet: at least two, all but the last of which are long.
fn blocks(text: &str) -> impl Iterator<Item = std::ops::Range<usize>> {
    let mut at = 0;
    let bytes = text.as_bytes();
    std::iter::from_fn(move || {
        while at < bytes.len() {
            let begin = at;
            let mut lines = 0;
            let mut end = at;
            while at < bytes.len() {
                let stop = memchr::memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |length| at + length);
                let line = bytes[at..stop].strip_suffix(b"\r").unwrap_or(&bytes[at..stop]);
                let is_coded = !line.is_empty() && line.iter().all(|byte| is_code(*byte));
                if is_coded {
                    lines += 1;
                    end = stop;
                }
                at = (stop + 1).min(bytes.len());
                if !is_coded || line.len() < MIN_LINE {
                    break;
                }
            }
            if lines > 1 {
                return Some(begin..end);
            }
        }
        None
    })
}

fn is_code(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_')
}
