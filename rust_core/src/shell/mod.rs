//! A command line and the simple commands it is made of, read by tree-sitter-bash.
//!
//! Nothing here runs or decides. The reader is strict: what it understands whole is a small part of the language (simple
//! commands joined by `&& || ; |` or line ends, plain words, quotes without expansion, redirections to plain names). For
//! everything else it says why it has a *doubt*, and lists what it could find nevertheless, for rules that forbid.

mod fetch;
mod git;
mod grammar;
mod harmless;
mod hazard;
mod reading;
mod removal;
mod sed;
mod words;
mod wrapper;

pub use harmless::changes_nothing;
pub use hazard::{is_anchored, needs_exact_rule, takes_globs};
pub use reading::{Extent, is_builtin, reading};
pub use removal::is_critical_removal;
pub use words::Word;
pub use wrapper::{runs_code, views, without_wrappers};

use tree_sitter::{Node, Parser};

use crate::visible::is_hidden;

/// Longer lines are not read.
pub const MAX_BYTES: usize = 10_000;
/// Lines of more simple commands are not read.
pub const MAX_COMMANDS: usize = 50;
/// How deep `bash -c '…'` and `eval '…'` are looked into for rules that forbid.
const MAX_DEPTH: usize = 3;

/// One program with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimpleCommand {
    /// As written, assignments included.
    pub source: String,
    /// True where variables are set for this command (`FOO=1 make`).
    pub has_assignment: bool,
    /// Program and arguments, unquoted.
    pub words: Vec<Word>,
}

/// `> file` and its like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// False for `<`.
    pub is_write: bool,
    /// The file.
    pub path: String,
}

/// A command line, read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Script {
    /// In order of appearance; in doubt, whatever could be found.
    pub commands: Vec<SimpleCommand>,
    /// Files it redirects to or from (`/dev/null` and descriptors left out).
    pub redirects: Vec<Redirect>,
    /// Why this line cannot be understood whole: the end of the sentence "it …".
    pub doubt: Option<String>,
}

/// Reads a command line. Total: any text gives a script.
pub fn parse(text: &str) -> Script {
    let mut script = Script::default();
    read(text, &mut script, 0);
    script
}

fn read(text: &str, script: &mut Script, depth: usize) {
    if text.len() > MAX_BYTES {
        doubt(script, &format!("is longer than {MAX_BYTES} bytes"));
    }
    if text.chars().any(is_hidden) {
        doubt(script, "holds control or invisible characters");
    }
    if text.contains("\\\n") {
        doubt(script, "continues a line with a backslash");
    }
    let first = script.commands.len();
    if text.len() <= MAX_BYTES {
        read_tree(text, script);
    }
    if script.commands[first..].iter().any(wrapper::runs_its_input) {
        doubt(script, "feeds a shell what it runs");
    }
    if script.doubt.is_some() {
        script.commands.extend(words::loose_commands(text));
    }
    if script.commands.len() > MAX_COMMANDS {
        doubt(script, &format!("holds more than {MAX_COMMANDS} commands"));
    }
    if depth < MAX_DEPTH {
        for inner in script.commands[first..].iter().flat_map(wrapper::inner_scripts).collect::<Vec<_>>() {
            let mut nested = Script::default();
            read(&inner, &mut nested, depth + 1);
            // Found for the sake of rules that forbid; whether the line is understood is for the outer program's rule.
            let unseen: Vec<_> = nested.commands.into_iter().filter(|found| !script.commands.contains(found)).collect();
            if !unseen.is_empty() {
                doubt(script, "gives a shell another command line to run");
                script.commands.extend(unseen);
            }
        }
    }
}

fn doubt(script: &mut Script, why: &str) {
    script.doubt.get_or_insert_with(|| why.to_owned());
}

/// `text` with a letter for each byte that is not ASCII, so that every place in it stays where it was. The grammar's scanner
/// hands characters to C's `isdigit` and `isalpha`, which read past their tables for large ones and end the process. To the
/// shell such characters are letters of a word too; those that are not (odd spaces) are a doubt before it comes to this.
fn ascii_stand_in(text: &str) -> Vec<u8> {
    text.bytes().map(|byte| if byte.is_ascii() { byte } else { b'x' }).collect()
}

/// What stands at `node`, widened to whole characters.
fn written<'t>(node: Node<'_>, text: &'t str) -> &'t str {
    let start = (0..=node.start_byte()).rev().find(|&at| text.is_char_boundary(at)).unwrap_or_default();
    let end = (node.end_byte()..=text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len());
    &text[start..end]
}

fn read_tree(text: &str, script: &mut Script) {
    let mut parser = Parser::new();
    let language = tree_sitter_bash::LANGUAGE.into();
    let tree = parser.set_language(&language).ok().and_then(|()| parser.parse(ascii_stand_in(text), None));
    let Some(tree) = tree else {
        return doubt(script, "cannot be parsed");
    };
    if tree.root_node().has_error() {
        doubt(script, "is not valid shell, or not shell this program understands");
    }
    let mut covered = 0;
    // In document order without recursion: nesting is the model's to choose, the stack is ours.
    let mut cursor = tree.walk();
    loop {
        let node = cursor.node();
        if let Some(why) = objection(node, text) {
            doubt(script, why);
        }
        if is_broken(node, text) {
            doubt(script, "breaks a command over lines");
        }
        let is_word = matches!(node.kind(), "word" | "number" | "string" | "raw_string" | "concatenation");
        match node.kind() {
            "command" => add_command(node, text, script),
            "file_redirect" => add_redirect(node, text, script),
            "ERROR" => add_loose(node, text, script),
            _ => {}
        }
        if is_word && words::read(node, text).is_none() {
            doubt(script, "uses expansions, escapes or quotes beyond plain ones");
        }
        // Every byte must belong to a token that was looked at: what the grammar skips, the shell may not.
        if is_word || node.child_count() == 0 {
            if covered < node.start_byte()
                && text
                    .get(covered..node.start_byte())
                    .is_none_or(|gap| !gap.trim_matches([' ', '\t', '\n']).is_empty())
            {
                doubt(script, "holds something its parser skipped");
            }
            covered = covered.max(node.end_byte());
        }
        if cursor.goto_first_child() {
            continue;
        }
        while !cursor.goto_next_sibling() {
            if !cursor.goto_parent() {
                if text.get(covered..).is_none_or(|gap| !gap.trim_matches([' ', '\t', '\n']).is_empty()) {
                    doubt(script, "holds something its parser skipped");
                }
                return;
            }
        }
    }
}

/// A line end between the parts of one command: the shell ends it there, whatever the grammar makes of it
/// (`a | b` and `c 2>&1` on the next line).
fn is_broken(node: Node<'_>, text: &str) -> bool {
    if !matches!(node.kind(), "command" | "redirected_statement" | "file_redirect" | "concatenation") {
        return false;
    }
    let mut cursor = node.walk();
    let mut end = node.start_byte();
    node.children(&mut cursor).any(|child| {
        let gap = text.get(end..child.start_byte());
        end = child.end_byte();
        gap.is_none_or(|gap| gap.contains('\n'))
    })
}

/// Why this node is beyond what is understood.
fn objection(node: Node<'_>, text: &str) -> Option<&'static str> {
    if node.is_missing() || node.is_error() {
        return Some("is not valid shell, or not shell this program understands");
    }
    if !node.is_named() {
        return match node.kind() {
            "&&" | "||" | ";" | "|" | "\n" | "\"" | "'" => None,
            "<" | ">" | ">>" | "&>" | "&>>" | ">|" | ">&" if is_in_redirect(node) => None,
            "=" | "+=" if node.parent().is_some_and(|parent| parent.kind() == "variable_assignment") => None,
            "&" => Some("leaves a command running in the background"),
            "|&" => Some("pipes errors with |&"),
            _ => Some("uses shell syntax beyond simple commands"),
        };
    }
    match node.kind() {
        "program"
        | "list"
        | "pipeline"
        | "command"
        | "command_name"
        | "word"
        | "string"
        | "string_content"
        | "raw_string"
        | "number"
        | "concatenation"
        | "redirected_statement"
        | "file_redirect"
        | "file_descriptor"
        | "variable_name" => None,
        "variable_assignment" => match node.parent() {
            Some(parent) if parent.kind() == "command" && node.start_byte() == parent.start_byte() => None,
            Some(parent) if parent.kind() == "command" => follows_assignments(node),
            _ => Some("sets variables"),
        },
        "command_substitution" | "process_substitution" => Some("runs a command inside another (substitution)"),
        "simple_expansion" | "expansion" | "arithmetic_expansion" => Some("expands variables"),
        "heredoc_redirect" | "herestring_redirect" => Some("feeds text to a command (<<)"),
        "comment" => Some("holds a comment"),
        "subshell" | "compound_statement" => Some("groups commands with ( ) or { }"),
        "function_definition" => Some("defines a function"),
        "ansi_c_string" | "translated_string" => Some("uses $'…' or $\"…\" quotes"),
        "brace_expression" => Some("uses brace expansion"),
        "declaration_command" | "unset_command" => Some("changes variables"),
        "negated_command" => Some("negates a command with !"),
        "test_command" => Some("uses [ ] or [[ ]] tests"),
        "if_statement" | "for_statement" | "c_style_for_statement" | "while_statement" | "case_statement" => {
            Some("uses loops or conditions")
        }
        _ => {
            let _ = text;
            Some("uses shell syntax beyond simple commands")
        }
    }
}

fn is_in_redirect(node: Node<'_>) -> bool {
    node.parent().is_some_and(|parent| parent.kind() == "file_redirect")
}

/// A later assignment of a row (`A=1 B=2 cmd`) is one only while nothing but assignments stands before it.
fn follows_assignments(node: Node<'_>) -> Option<&'static str> {
    let mut before = node.prev_sibling();
    while let Some(sibling) = before {
        if sibling.kind() != "variable_assignment" {
            return Some("sets variables");
        }
        before = sibling.prev_sibling();
    }
    None
}

fn add_command(node: Node<'_>, text: &str, script: &mut Script) {
    let mut found = SimpleCommand { source: written(node, text).to_owned(), has_assignment: false, words: Vec::new() };
    let mut cursor = node.walk();
    for child in node.children(&mut cursor) {
        match child.kind() {
            "variable_assignment" => found.has_assignment = true,
            "command_name" => {
                let word = child.child(0).map_or_else(|| Word::opaque(child, text), |name| word_of(name, text));
                if word.text.contains('=') || words::is_reserved(&word.text) || word.has_glob || word.text.is_empty() {
                    doubt(script, "begins a command with a word that the shell may read otherwise");
                }
                found.words.push(word);
            }
            "file_redirect" | "herestring_redirect" | "heredoc_redirect" => {}
            _ => found.words.push(word_of(child, text)),
        }
    }
    if found.words.is_empty() {
        doubt(script, "sets variables");
    } else {
        script.commands.push(found);
    }
}

fn word_of(node: Node<'_>, text: &str) -> Word {
    words::read(node, text).unwrap_or_else(|| Word::opaque(node, text))
}

fn add_redirect(node: Node<'_>, text: &str, script: &mut Script) {
    let mut cursor = node.walk();
    let destinations: Vec<Node<'_>> = node.children_by_field_name("destination", &mut cursor).collect();
    let operator = (0..node.child_count())
        .filter_map(|index| node.child(index))
        .find(|child| !child.is_named())
        .map_or("", |child| child.kind());
    let [destination] = destinations.as_slice() else {
        // The grammar takes words after the file for more files; the shell takes them for arguments.
        return doubt(script, "puts a redirection before the end of a command");
    };
    let Some(word) = words::read(*destination, text) else {
        return; // the walk meets the word itself and says why
    };
    let is_descriptor = operator == ">&";
    if is_descriptor && (word.text.bytes().all(|byte| byte.is_ascii_digit())) {
        return;
    }
    if is_descriptor || word.has_glob || word.text.is_empty() {
        return doubt(script, "redirects to a name that the shell may read otherwise");
    }
    if node.next_sibling().is_some_and(|next| !matches!(next.kind(), "file_redirect" | "&&" | "||" | ";" | "|" | "\n"))
    {
        doubt(script, "puts a redirection before the end of a command");
    }
    if !matches!(word.text.as_str(), "/dev/null" | "/dev/stdout" | "/dev/stderr") {
        script.redirects.push(Redirect { is_write: operator != "<", path: word.text });
    }
}

/// The words below an ERROR node, as if they were one command.
fn add_loose(node: Node<'_>, text: &str, script: &mut Script) {
    let mut cursor = node.walk();
    let found: Vec<Word> =
        node.children(&mut cursor).filter(Node::is_named).map(|child| word_of(child, text)).collect();
    if !found.is_empty() {
        script.commands.push(SimpleCommand {
            source: written(node, text).to_owned(),
            has_assignment: false,
            words: found,
        });
    }
}

#[cfg(test)]
mod tests;
