//! Where a piece of text stands in a file: exactly, or, where it does not, apart from trailing white space, indentation or
//! typographic punctuation. On every level it must stand there once only.

use std::collections::HashMap;
use std::ops::Range;

use super::super::encoding::{Encoding, is_crlf, positions, to_crlf};

/// Characters of a line that is quoted.
const MAX_QUOTED: usize = 100;

/// How closely the text was matched, closest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it is.
    Exact,
    /// Apart from white space at the ends of lines.
    LineEnds,
    /// Apart from white space at both ends of lines; the new text is indented as the file is.
    Indentation,
    /// Apart from typographic quotes, dashes and spaces.
    Punctuation,
}

impl Level {
    /// What may differ, in words; nothing where nothing does.
    pub fn difference(self) -> Option<&'static str> {
        match self {
            Self::Exact => None,
            Self::LineEnds => Some("white space at the ends of lines"),
            Self::Indentation => Some("indentation"),
            Self::Punctuation => Some("typographic punctuation"),
        }
    }
}

/// A file's content after an edit.
#[derive(Debug, PartialEq)]
pub struct Applied {
    /// All of it.
    pub content: Vec<u8>,
    /// Places replaced.
    pub count: usize,
    /// How they were found.
    pub level: Level,
}

/// `content` with `old` replaced by `new`. The error says why not and what to do.
pub fn apply(content: &[u8], old: &str, new: &str, is_all: bool) -> Result<Applied, String> {
    let encoding = Encoding::of(content);
    let text = encoding.decode(content);
    if let Some(applied) = apply_exactly(content, &text, encoding, old, new, is_all)? {
        return Ok(applied);
    }
    // What is not UTF has no sure way back from characters to bytes; and "all" must mean what was written.
    if encoding == Encoding::Bytes || is_all {
        return Err(not_found(&text, old));
    }
    for level in [Level::LineEnds, Level::Indentation, Level::Punctuation] {
        let found = match level {
            Level::LineEnds => find_lines(&text, old, str::trim_end),
            Level::Indentation => find_lines(&text, old, str::trim),
            _ => find_folded(&text, old),
        };
        let range = match found.as_slice() {
            [] => continue,
            [range] => range.clone(),
            _ => {
                let starts: Vec<usize> = found.iter().map(|range| line_of(&text, range.start)).collect();
                let difference = level.difference().unwrap_or_default();
                return Err(ambiguous(&starts, &format!(" apart from {difference}")));
            }
        };
        let new = match level {
            Level::Indentation => reindent(&text[range.clone()], old, new).ok_or_else(|| {
                format!(
                    "old_string stands at line {} with another indentation, and it is not clear how new_string is to be \
                     indented. Copy the text exactly.",
                    line_of(&text, range.start)
                )
            })?,
            _ => new.to_owned(),
        };
        let new = if is_crlf(&text) { to_crlf(&new) } else { new };
        let byte_of = |at: usize| match encoding {
            Encoding::Utf16Le | Encoding::Utf16Be => 2 + 2 * text[..at].encode_utf16().count(),
            Encoding::Utf8 | Encoding::Bytes => content.len() - text.len() + at,
        };
        let replacement = encoding.spellings(&new).swap_remove(0);
        let after = [&content[..byte_of(range.start)], &replacement, &content[byte_of(range.end)..]].concat();
        return Ok(Applied { content: after, count: 1, level });
    }
    Err(not_found(&text, old))
}

fn apply_exactly(
    content: &[u8],
    text: &str,
    encoding: Encoding,
    old: &str,
    new: &str,
    is_all: bool,
) -> Result<Option<Applied>, String> {
    let has_crlf = is_crlf(text);
    // Models write \n; where the file has CR LF and the text is not found as it is, it is looked for with CR LF.
    let mut attempts =
        vec![(old.to_owned(), if has_crlf && !old.contains('\n') { to_crlf(new) } else { new.to_owned() })];
    if old.contains('\n') && text.contains("\r\n") {
        attempts.push((to_crlf(old), to_crlf(new)));
    }
    for (old, new) in attempts {
        for (index, needle) in encoding.spellings(&old).iter().enumerate() {
            let found = positions(content, needle, encoding.unit());
            if found.is_empty() {
                continue;
            }
            if found.len() > 1 && !is_all {
                return Err(ambiguous(&lines_of(content, &found, encoding), ""));
            }
            let spellings = encoding.spellings(&new);
            // The spelling in which the old text was found, if the new text has it.
            let replacement = match (encoding, spellings.len()) {
                (Encoding::Bytes, 1) if !new.is_ascii() && encoding.spellings(&old).len() > 1 && index == 0 => {
                    return Err("the file is not UTF-8, and new_string holds characters it cannot hold.".into());
                }
                _ => spellings.get(index).or_else(|| spellings.first()).cloned().unwrap_or_default(),
            };
            let mut after = Vec::with_capacity(content.len());
            let mut from = 0;
            for &at in &found {
                after.extend_from_slice(&content[from..at]);
                after.extend_from_slice(&replacement);
                from = at + needle.len();
            }
            after.extend_from_slice(&content[from..]);
            return Ok(Some(Applied { content: after, count: found.len(), level: Level::Exact }));
        }
    }
    Ok(None)
}

/// Where the lines of `old` stand as whole lines of `text`, compared after `trim`. A range ends before its last line's end,
/// unless `old` has one too.
fn find_lines(text: &str, old: &str, trim: fn(&str) -> &str) -> Vec<Range<usize>> {
    let ends_line = old.ends_with('\n');
    let wanted: Vec<&str> = old.strip_suffix('\n').unwrap_or(old).split('\n').map(trim).collect();
    if wanted.iter().all(|line| line.is_empty()) {
        return Vec::new();
    }
    let mut lines = Vec::new(); // start, text, end with its line end
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let end = start + line.len();
        let bare = line.strip_suffix('\n').map_or(line, |line| line.strip_suffix('\r').unwrap_or(line));
        lines.push((start, bare, end));
        start = end;
    }
    lines
        .windows(wanted.len())
        .filter(|window| window.iter().zip(&wanted).all(|((_, line, _), wanted)| trim(line) == *wanted))
        .map(|window| {
            let (last, bare, end) = window[window.len() - 1];
            window[0].0..if ends_line { end } else { last + bare.len() }
        })
        .collect()
}

/// Where `old` stands with other quotes, dashes or spaces. Character for character, so that positions stay.
fn find_folded(text: &str, old: &str) -> Vec<Range<usize>> {
    let old: String = old.replace("\r\n", "\n").chars().map(fold).collect();
    let mut folded = String::with_capacity(text.len());
    let mut starts = Vec::new(); // of each folded character: where it begins there, and in `text`
    for (at, c) in text.char_indices() {
        if c == '\r' && text[at + 1..].starts_with('\n') {
            continue;
        }
        // CR LF is one line end: a place ends before both or after both.
        let is_pair = c == '\n' && text[..at].ends_with('\r');
        starts.push((folded.len(), at - usize::from(is_pair)));
        folded.push(fold(c));
    }
    starts.push((folded.len(), text.len()));
    let origin = |at: usize| starts[starts.partition_point(|(start, _)| *start < at)].1;
    folded.match_indices(&old).map(|(at, _)| origin(at)..origin(at + old.len())).collect()
}

/// The plain character that stands for its typographic relatives.
fn fold(c: char) -> char {
    match c {
        '\u{2018}'..='\u{201b}' | '\u{2032}' | '\u{00b4}' | '`' => '\'',
        '\u{201c}'..='\u{201f}' | '\u{2033}' | '\u{00ab}' | '\u{00bb}' => '"',
        '\u{2010}'..='\u{2015}' | '\u{2212}' => '-',
        '\u{00a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => ' ',
        other => other,
    }
}

/// `new` indented as the file is where `old` was found; nothing where there is more than one way to see it.
fn reindent(found: &str, old: &str, new: &str) -> Option<String> {
    let pairs: Vec<(&str, &str)> = old
        .lines()
        .zip(found.lines())
        .filter(|(old, _)| !old.trim().is_empty())
        .map(|(old, found)| (indentation(old), indentation(found)))
        .collect();
    let mut known: HashMap<&str, &str> = HashMap::new();
    for (old, found) in &pairs {
        if *known.entry(old).or_insert(found) != *found {
            return None;
        }
    }
    // The file has this much more, or this much less, in front of every line.
    let (old, found) = pairs.first()?;
    let added =
        found.strip_suffix(old).filter(|more| pairs.iter().all(|(old, found)| *found == format!("{more}{old}")));
    let removed =
        old.strip_suffix(found).filter(|more| pairs.iter().all(|(old, found)| *old == format!("{more}{found}")));
    let mut result = String::with_capacity(new.len());
    for line in new.split_inclusive('\n') {
        let (indent, rest) = line.split_at(indentation(line).len());
        if !rest.trim().is_empty() {
            match (known.get(indent), added, removed) {
                (Some(known), _, _) => result.push_str(known),
                (None, Some(more), _) => result.extend([more, indent]),
                (None, None, Some(less)) => result.push_str(indent.strip_prefix(less)?),
                (None, None, None) => return None,
            }
        }
        result.push_str(rest);
    }
    Some(result)
}

fn indentation(line: &str) -> &str {
    &line[..line.len() - line.trim_start_matches([' ', '\t']).len()]
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// The lines of the first places; counted in one pass.
fn lines_of(content: &[u8], found: &[usize], encoding: Encoding) -> Vec<usize> {
    let mut line = 1;
    let mut from = if encoding.unit() == 2 { 2 } else { 0 };
    let ends = encoding.spellings("\n").swap_remove(0);
    found
        .iter()
        .map(|&at| {
            if from < at {
                line += positions(&content[from..at], &ends, encoding.unit()).len();
                from = at;
            }
            line
        })
        .collect()
}

fn ambiguous(lines: &[usize], difference: &str) -> String {
    let shown: Vec<String> = lines.iter().take(20).map(usize::to_string).collect();
    let more = if lines.len() > 20 { ", …" } else { "" };
    format!(
        "old_string occurs {} times{difference} (lines {}{more}). Add lines around it until it occurs once, or set \
         replace_all.",
        lines.len(),
        shown.join(", ")
    )
}

/// Says where the text nearly stands, if it does: that saves the model a guess.
fn not_found(text: &str, old: &str) -> String {
    let wanted: Vec<&str> = old.lines().map(str::trim).skip_while(|line| line.is_empty()).collect();
    let is_numbered = |line: &&str| {
        line.split_once('\t')
            .is_some_and(|(number, _)| !number.is_empty() && number.bytes().all(|c| c.is_ascii_digit()))
    };
    if !wanted.is_empty() && wanted.iter().all(|line| line.is_empty() || is_numbered(line)) {
        return "old_string was not found. It holds the line numbers that Read shows; leave them and the tabs behind them out."
            .into();
    }
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    // Where most of its lines stand one behind the other, and how many.
    let is_telling = |count: usize| count == wanted.len() || wanted[0].len() > 2; // a bracket says nothing
    let near = (0..lines.len())
        .map(|at| (at, wanted.iter().zip(&lines[at..]).take_while(|(wanted, line)| wanted == line).count()))
        .filter(|(_, count)| *count > 0 && is_telling(*count))
        .max_by_key(|(at, count)| (*count, std::cmp::Reverse(*at)));
    let Some((at, count)) = near else {
        return "old_string was not found. Read the file again and copy the text exactly, without line numbers.".into();
    };
    if count == wanted.len() {
        return format!(
            "old_string was not found. Line {} and what follows differ from it only in white space; copy it exactly.",
            at + 1
        );
    }
    let has = lines.get(at + count).map_or_else(|| "the end of the file".to_owned(), |line| quoted(line));
    format!(
        "old_string was not found. It fits from line {} on, but line {} is {has}, and old_string has {} there. Read it again \
         and copy it exactly.",
        at + 1,
        at + count + 1,
        quoted(wanted[count])
    )
}

/// A line in a sentence.
fn quoted(line: &str) -> String {
    let end = line.char_indices().nth(MAX_QUOTED).map_or(line.len(), |(at, _)| at);
    format!("`{}{}`", &line[..end], if end < line.len() { "…" } else { "" })
}

#[cfg(test)]
mod tests;
