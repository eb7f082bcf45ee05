//! Secrets in images, most of all in their metadata: overwritten byte for byte, so that every length in the file still holds.

use std::borrow::Cow;
use std::ops::Range;

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// How base64 of PNG, JPEG, GIF and RIFF (WebP) begins.
const BEGINNINGS: &[&str] = &["iVBORw0KGgo", "/9j/", "R0lGOD", "UklGR"];
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// An image in base64 without the secrets; other text as it is.
pub fn redact<'t>(text: &'t str, automaton: &AhoCorasick) -> Cow<'t, str> {
    if !BEGINNINGS.iter().any(|beginning| text.starts_with(beginning)) {
        return Cow::Borrowed(text);
    }
    let line: String = text.split_ascii_whitespace().collect();
    let Ok(mut bytes) = STANDARD.decode(&line) else { return Cow::Borrowed(text) };
    let found: Vec<Range<usize>> = automaton.find_iter(&bytes).map(|found| found.range()).collect();
    for range in &found {
        bytes[range.clone()].fill(b'*');
    }
    let packed = if bytes.starts_with(PNG) { mend_chunks(&mut bytes, &found) } else { Vec::new() };
    if found.is_empty() && packed.is_empty() {
        return Cow::Borrowed(text);
    }
    for range in packed.into_iter().rev() {
        bytes.drain(range);
    }
    let ending = if text.ends_with('\n') { "\n" } else { "" };
    Cow::Owned(STANDARD.encode(&bytes) + ending)
}

/// Corrects the checksums of chunks that were changed, and gives the chunks of compressed text: nothing looks into them, and
/// nobody misses them.
fn mend_chunks(bytes: &mut [u8], changed: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut packed = Vec::new();
    let mut at = PNG.len();
    while let Some(head) = bytes.get(at..at + 8) {
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let kind = [head[4], head[5], head[6], head[7]];
        let end = at.saturating_add(12).saturating_add(length);
        let Some(content) = bytes.get(at + 8..end.saturating_sub(4)) else { break };
        if end > bytes.len() {
            break;
        }
        if &kind == b"zTXt" || (&kind == b"iTXt" && is_packed(content)) {
            packed.push(at..end);
        } else if changed.iter().any(|range| range.start < end && range.end > at) {
            let sum = checksum(&bytes[at + 4..end - 4]);
            bytes[end - 4..end].copy_from_slice(&sum.to_be_bytes());
        }
        at = end;
    }
    packed
}

/// Whether international text is compressed: the byte behind its keyword.
fn is_packed(content: &[u8]) -> bool {
    let keyword = content.iter().position(|byte| *byte == 0).unwrap_or(0);
    content.get(keyword + 1).is_some_and(|flag| *flag != 0)
}

/// CRC-32 as PNG has it, of a chunk's kind and content; texts are short.
pub fn checksum(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| if sum & 1 == 1 { (sum >> 1) ^ 0xEDB8_8320 } else { sum >> 1 })
    })
}
