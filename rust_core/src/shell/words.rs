//! One word of a command line, and what it becomes when the shell has removed its quotes.

use tree_sitter::Node;

use super::SimpleCommand;

/// A word without its quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// What the program gets; for a word with expansions, what is written.
    pub text: String,
    /// Holds `*`, `?` or `[` outside quotes.
    pub has_glob: bool,
}

impl Word {
    /// A word that could not be read: its quotes and backslashes are dropped, the rest stays as written.
    pub fn opaque(node: Node<'_>, text: &str) -> Self {
        Self::loose(super::written(node, text))
    }

    fn loose(written: &str) -> Self {
        Self { text: written.replace(['"', '\'', '\\'], ""), has_glob: written.contains(['*', '?', '[']) }
    }
}

/// Words that begin something else than a simple command.
pub fn is_reserved(word: &str) -> bool {
    matches!(
        word,
        "if" | "then"
            | "else"
            | "elif"
            | "fi"
            | "for"
            | "while"
            | "until"
            | "do"
            | "done"
            | "case"
            | "esac"
            | "in"
            | "select"
            | "function"
            | "coproc"
            | "{"
            | "}"
            | "!"
            | "[["
            | "]]"
    )
}

/// Reads a word, string, number or concatenation as bash would; `None` where that needs more than removing quotes.
pub fn read(node: Node<'_>, text: &str) -> Option<Word> {
    let mut word = Word { text: String::new(), has_glob: false };
    let mut bare = String::new();
    if node.kind() == "concatenation" {
        let mut end = node.start_byte();
        let mut cursor = node.walk();
        for part in node.children(&mut cursor) {
            if part.start_byte() != end {
                return None;
            }
            end = part.end_byte();
            read_part(part, text, &mut word, &mut bare)?;
        }
    } else {
        read_part(node, text, &mut word, &mut bare)?;
    }
    is_plain(&bare, node, text).then_some(word)
}

fn read_part(node: Node<'_>, text: &str, word: &mut Word, bare: &mut String) -> Option<()> {
    let written = super::written(node, text);
    match node.kind() {
        "word" | "number" => {
            // What stands for itself behind a backslash: `find . \( … \) -exec … \;`.
            if let "\\(" | "\\)" | "\\;" | "\\!" = written {
                word.text.push_str(&written[1..]);
                return Some(());
            }
            let is_meta = |c: char| c.is_whitespace() || "\\\"'$`;&|<>()".contains(c);
            if written.contains(is_meta) {
                return None;
            }
            word.has_glob |= written.contains(['*', '?', '[']);
            word.text.push_str(written);
            bare.push_str(written);
        }
        "raw_string" => word.text.push_str(written.strip_prefix('\'')?.strip_suffix('\'')?),
        "string" => word.text.push_str(&double_quoted(written.strip_prefix('"')?.strip_suffix('"')?)?),
        _ => return None,
    }
    Some(())
}

/// Removes the escapes of a double-quoted string; `None` where something in it is expanded.
fn double_quoted(inner: &str) -> Option<String> {
    let mut result = String::with_capacity(inner.len());
    let mut chars = inner.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '$' | '`' | '"' => return None,
            '\\' => match chars.peek() {
                Some('\n') | None => return None,
                Some('\\' | '"' | '$' | '`') => result.extend(chars.next()),
                Some(_) => result.push('\\'),
            },
            _ => result.push(c),
        }
    }
    Some(result)
}

/// No comment, brace expansion or foreign home in the unquoted part of a word.
fn is_plain(bare: &str, node: Node<'_>, text: &str) -> bool {
    let written = super::written(node, text);
    let has_foreign_tilde = written.starts_with('~') && written != "~" && !written.starts_with("~/");
    let has_braces = bare.contains('{') && (bare.contains(',') || bare.contains(".."));
    !written.starts_with('#') && !has_foreign_tilde && !has_braces
}

/// What can be found in a line that was not understood: split at everything that may separate commands, quotes dropped.
/// Only rules that forbid look at these.
pub fn loose_commands(text: &str) -> Vec<SimpleCommand> {
    let text = decode_ansi(&text.replace("\\\n", ""));
    // Variables are likely empty, or blanks: both readings count.
    let spaced = text.replace("$IFS", " ").replace("${IFS}", " ");
    let emptied = without_variables(&text);
    let mut found = Vec::new();
    for source in [&text, &spaced, &emptied] {
        for segment in source.split([';', '&', '|', '\n', '\r', '(', ')', '`', '{', '}']) {
            let words: Vec<Word> = segment
                .split(|c: char| c.is_whitespace() || c == ',')
                .map(Word::loose)
                .filter(|word| !word.text.is_empty() && !is_reserved(&word.text))
                .skip_while(|word| word.text.contains('=') || word.text.starts_with('$'))
                .collect();
            if !words.is_empty() {
                let command = SimpleCommand { source: segment.trim().to_owned(), has_assignment: false, words };
                if !found.contains(&command) {
                    found.push(command);
                }
            }
        }
    }
    found
}

/// `$'…'` and `$"…"` as plain text, the escapes of the first decoded.
fn decode_ansi(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("$'") {
        result.push_str(&rest[..at]);
        let body = &rest[at + 2..];
        let mut chars = body.chars();
        while let Some(c) = chars.next() {
            match c {
                '\'' => break,
                '\\' => result.extend(decode_escape(&mut chars)),
                _ => result.push(c),
            }
        }
        rest = chars.as_str();
    }
    result.push_str(rest);
    result.replace("$\"", "\"")
}

/// The character behind a backslash in `$'…'`; blanks for those that separate words.
fn decode_escape(chars: &mut std::str::Chars<'_>) -> Option<char> {
    let escape = chars.next()?;
    let (radix, most, first) = match escape {
        'x' => (16, 2, None),
        'u' => (16, 4, None),
        'U' => (16, 8, None),
        '0'..='7' => (8, 2, Some(escape)),
        'n' | 't' => return Some(' '),
        _ => return Some(escape),
    };
    let more: String = chars.as_str().chars().take(most).take_while(|digit| digit.is_digit(radix)).collect();
    for _ in 0..more.len() {
        chars.next();
    }
    let digits: String = first.into_iter().chain(more.chars()).collect();
    u32::from_str_radix(&digits, radix).ok().and_then(char::from_u32)
}

/// The text with `$name` and `${…}` left out.
fn without_variables(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        result.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let length = match after.chars().next() {
            Some('{') => after.find('}').map_or(1, |end| end + 1),
            Some(c) if c.is_alphabetic() || c == '_' => {
                after.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(after.len())
            }
            Some(c) if c.is_ascii_digit() || "@*#?!-".contains(c) => 1,
            _ => 0,
        };
        rest = &after[length..];
    }
    result.push_str(rest);
    result
}
