//! Makes characters visible that a reader would not see, so that what is approved is what is run.

use std::fmt::Write as _;

/// `text` with control, bidirectional, zero-width and look-alike space characters written as `\u{…}` escapes.
/// Line feed and tab stay: they show.
pub fn visible(text: &str) -> String {
    if !text.chars().any(is_hidden) {
        return text.to_owned();
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\r' => shown.push_str("\\r"),
            _ if is_hidden(c) => {
                let _ = write!(shown, "\\u{{{:x}}}", u32::from(c));
            }
            _ => shown.push(c),
        }
    }
    shown
}

/// True for characters that are not seen, or are seen as something else.
pub fn is_hidden(c: char) -> bool {
    matches!(c,
        '\u{0}'..='\u{8}' | '\u{b}'..='\u{1f}' | '\u{7f}'..='\u{a0}' // C0 but tab and line feed, DEL, C1, no-break space
        | '\u{ad}' | '\u{34f}' | '\u{61c}'                           // soft hyphen, grapheme joiner, Arabic letter mark
        | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}'          // Hangul fillers, drawn as blanks
        | '\u{1680}' | '\u{180b}'..='\u{180f}'
        | '\u{2000}'..='\u{200f}' | '\u{2028}'..='\u{202f}'          // spaces, zero widths, marks, separators, bidi
        | '\u{205f}'..='\u{206f}' | '\u{2800}' | '\u{3000}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}') // tags and variation selectors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_characters_show_and_plain_text_stays() {
        assert_eq!(visible("ls -l\n\tü 日本"), "ls -l\n\tü 日本");
        assert_eq!(visible("a\u{202e}b\u{a0}c\rd\u{1b}[0m"), "a\\u{202e}b\\u{a0}c\\rd\\u{1b}[0m");
        assert_eq!(visible("\u{200b}\u{e0041}"), "\\u{200b}\\u{e0041}");
    }
}
