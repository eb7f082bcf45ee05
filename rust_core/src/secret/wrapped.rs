//! Base64 and hexadecimal over several lines, as `base64`, `openssl`, YAML and mail write them: a secret may stand across a
//! line's end.

use std::ops::Range;

use aho_corasick::AhoCorasick;

use super::MARK;

/// Shorter lines are words.
const MIN_LINE: usize = 16;

/// `text` with the secrets in wrapped blocks replaced; `None` where there are none.
pub fn redact(text: &str, automaton: &AhoCorasick) -> Option<String> {
    let mut redacted: Option<String> = None;
    let mut copied = 0;
    each_block(text.as_bytes(), &mut |pieces| {
        let mut joined = Vec::with_capacity(pieces.iter().map(Range::len).sum());
        for piece in pieces {
            joined.extend_from_slice(&text.as_bytes()[piece.clone()]);
        }
        for found in automaton.find_iter(&joined) {
            let out = redacted.get_or_insert_with(String::new);
            out.push_str(&text[copied..place(pieces, found.start())]);
            out.push_str(MARK);
            copied = place(pieces, found.end() - 1) + 1;
        }
    });
    redacted.map(|out| out + &text[copied..])
}

/// Where in the text the byte stands that is at `offset` of the joined pieces.
fn place(pieces: &[Range<usize>], mut offset: usize) -> usize {
    for piece in pieces {
        if offset < piece.len() {
            return piece.start + offset;
        }
        offset -= piece.len();
    }
    pieces.last().map_or(0, |piece| piece.end)
}

/// Calls `take` with the pieces of each block: the coded end of a line, whole coded lines, and how the line behind them begins.
fn each_block(text: &[u8], take: &mut impl FnMut(&[Range<usize>])) {
    let mut pieces: Vec<Range<usize>> = Vec::new();
    let mut start = 0;
    while start < text.len() {
        let stop = memchr::memchr(b'\n', &text[start..]).map_or(text.len(), |length| start + length);
        let line = text[start..stop].trim_ascii();
        let from = start + text[start..stop].len() - text[start..stop].trim_ascii_start().len();
        let head = line.iter().take_while(|byte| is_code(**byte)).count();
        let is_whole = head == line.len();
        if !pieces.is_empty() {
            pieces.push(from..from + head);
            if !is_whole || head < MIN_LINE {
                take(&pieces);
                pieces.clear();
            }
        }
        if pieces.is_empty() {
            let tail = if is_whole { head } else { line.iter().rev().take_while(|byte| is_code(**byte)).count() };
            if tail >= MIN_LINE {
                pieces.push(from + line.len() - tail..from + line.len());
            }
        }
        start = stop + 1;
    }
    if pieces.len() > 1 {
        take(&pieces);
    }
}

fn is_code(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_')
}
