//! What stands in a rule's parentheses: how it is read and what it matches.

use std::path::{Path, PathBuf};

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use serde_json::Value;

use super::rule::Behavior;
use crate::network::HostPattern;
use crate::shell::{SimpleCommand, Word};

/// What stands in a rule's parentheses.
#[derive(Debug, Clone)]
pub enum Pattern {
    /// The whole tool.
    Any,
    /// Exactly this command.
    Exact(String),
    /// Words of a command.
    Words(Vec<Token>),
    /// Files, in gitignore's language.
    Path {
        /// Where the pattern starts.
        root: PathBuf,
        /// The pattern.
        matcher: Box<Gitignore>,
    },
    /// Hosts.
    Host(HostPattern),
    /// An argument of the call; `*` stands for anything in its value.
    Argument {
        /// One of these, the first that the call has.
        names: Vec<String>,
        /// What it must be.
        value: String,
    },
}

/// A piece of a command pattern.
#[derive(Debug, Clone, PartialEq)]
pub enum Token {
    /// Exactly this word.
    Word(String),
    /// A word with `*` in it.
    Glob(String),
    /// Any number of words; at the end also none.
    Rest,
}

/// `name:value` of an argument, where it can be one: `:*` ends a command's prefix, and `a/b:c` is no name.
pub fn argument_pattern(spec: &str) -> Option<Pattern> {
    let (name, value) = spec.split_once(':')?;
    let is_name = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    (is_name && value != "*" && !value.is_empty())
        .then(|| Pattern::Argument { names: vec![name.to_owned()], value: value.trim().to_owned() })
}

/// `Agent(name)`, `Skill(name)`: the argument that says which one. `Skill(name:*)` and `Skill(name *)` are the same.
pub fn name_pattern(names: &[&str], spec: &str) -> Result<Pattern, String> {
    let value = spec.strip_suffix(":*").or_else(|| spec.strip_suffix(" *")).unwrap_or(spec).trim();
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_-.:/*".contains(c);
    if value.is_empty() || value.starts_with('*') || !value.chars().all(is_name) {
        return Err("a name is made of letters, digits and _ - . : /".into());
    }
    Ok(Pattern::Argument { names: names.iter().map(|name| (*name).to_owned()).collect(), value: value.to_owned() })
}

/// Does the call have this argument with such a value?
pub fn argument_matches(names: &[String], value: &str, arguments: &Value) -> bool {
    let given = names.iter().find_map(|name| arguments.get(name));
    match given {
        Some(Value::String(text)) => glob_matches(value, text),
        Some(Value::Null) | None => false,
        Some(other) => glob_matches(value, &other.to_string()),
    }
}

/// The command line pattern of a Bash rule.
pub fn command_pattern(behavior: Behavior, spec: &str) -> Result<Pattern, String> {
    let (body, has_prefix_mark) = match spec.strip_suffix(":*") {
        Some(body) => (body.trim_end(), true),
        None => (spec, false),
    };
    if body.is_empty() {
        return Err("a program must stand before :*".into());
    }
    if !has_prefix_mark && !body.contains('*') {
        return Ok(Pattern::Exact(body.to_owned()));
    }
    let is_allow = behavior == Behavior::Allow;
    let words: Vec<&str> = body.split_whitespace().collect();
    let joins = |word: &&&str| {
        matches!(**word, "|" | "||" | "&&" | "&" | "|&" | ">" | ">>" | "<") || (word.len() > 1 && word.ends_with(';'))
    };
    if let Some(joint) = words.iter().find(joins) {
        return Err(format!("a pattern speaks of one command, and {joint} makes it more; write a rule for each"));
    }
    let mut tokens = Vec::new();
    for (index, word) in words.iter().enumerate() {
        let is_last = index + 1 == words.len() && !has_prefix_mark;
        let stem = word.strip_suffix('*').filter(|stem| !stem.contains('*'));
        match stem {
            Some("") => tokens.push(Token::Rest),
            // `git log*` means git log, not git logout: a grant ends at a word's end.
            Some(stem) if is_allow && is_last && stem.ends_with(|c: char| c.is_alphanumeric()) => {
                tokens.extend([Token::Word(stem.to_owned()), Token::Rest]);
            }
            Some(stem) if is_last => tokens.extend([Token::Glob(format!("{stem}*")), Token::Rest]),
            _ if word.contains('*') => tokens.push(Token::Glob((*word).to_owned())),
            _ => tokens.push(Token::Word((*word).to_owned())),
        }
    }
    if is_allow && !matches!(tokens.first(), Some(Token::Word(_))) {
        return Err("an allow rule must begin with the program's whole name".into());
    }
    if has_prefix_mark && tokens.last() != Some(&Token::Rest) {
        tokens.push(Token::Rest);
    }
    Ok(Pattern::Words(tokens))
}

/// The path pattern of a file tool's rule.
pub fn path_pattern(spec: &str, workspace: &Path, home: Option<&Path>) -> Result<Pattern, String> {
    if spec.starts_with('!') {
        return Err("a path rule cannot be negated with !".into());
    }
    let (root, pattern) = if let Some(rest) = spec.strip_prefix("//") {
        (PathBuf::from("/"), format!("/{rest}"))
    } else if spec == "~" || spec.starts_with("~/") {
        let home = home.ok_or("there is no home folder for ~")?;
        (home.to_path_buf(), format!("/{}", spec.trim_start_matches('~').trim_start_matches('/')))
    } else {
        (workspace.to_path_buf(), spec.strip_prefix("./").map_or_else(|| spec.to_owned(), |rest| format!("/{rest}")))
    };
    // `dir/` means what `dir` means: a rule must not miss for the want of a slash. A bare root means all below it.
    let pattern = match pattern.trim_end_matches('/') {
        "" => "/**".to_owned(),
        trimmed => trimmed.to_owned(),
    };
    let mut builder = GitignoreBuilder::new(&root);
    // Names that begin with # are names here, not comments.
    let line = if pattern.starts_with('#') { format!("\\{pattern}") } else { pattern };
    builder.add_line(None, &line).map_err(|error| format!("its pattern is wrong: {error}"))?;
    let matcher = builder.build().map_err(|error| format!("its pattern is wrong: {error}"))?;
    Ok(Pattern::Path { root, matcher: Box::new(matcher) })
}

/// Does the pattern name this path, or a folder it lies in?
pub fn path_matches(root: &Path, matcher: &Gitignore, path: &Path) -> bool {
    path.strip_prefix(root).is_ok_and(|relative| {
        !relative.as_os_str().is_empty() && matcher.matched_path_or_any_parents(relative, false).is_ignore()
    }) || (path == root
        && matcher.matched(root.join("x"), false).is_ignore()
        && matcher.matched(root.join("y/z"), false).is_ignore())
}

/// `domain:host`, for sandboxed commands also with a port.
pub fn host_pattern(tool: &str, spec: &str, takes_port: bool) -> Result<Pattern, String> {
    let host = spec.strip_prefix("domain:").ok_or_else(|| format!("write {tool}(domain:example.org)"))?.trim();
    let pattern = HostPattern::parse(host)?;
    if !takes_port && pattern.has_port() {
        return Err("it names a port; a tool's rule names the host alone".into());
    }
    Ok(Pattern::Host(pattern))
}

/// `loose`: for rules that forbid; the program's folder is ignored and any tail may follow.
pub fn tokens_match(tokens: &[Token], words: &[Word], is_loose: bool) -> bool {
    fn matches(tokens: &[Token], words: &[Word], is_first: bool, is_loose: bool) -> bool {
        let Some((token, later)) = tokens.split_first() else { return words.is_empty() || is_loose };
        if *token == Token::Rest {
            return later.is_empty() || (1..=words.len()).any(|skip| matches(later, &words[skip..], false, is_loose));
        }
        let Some((word, rest)) = words.split_first() else { return false };
        let text = match word.text.rsplit_once('/') {
            Some((_, name)) if is_first && is_loose => name,
            _ => word.text.as_str(),
        };
        let is_match = match token {
            Token::Word(expected) => text == expected || (is_loose && word.text == *expected),
            // A star must not climb out of the folder the rule speaks of.
            Token::Glob(pattern) => {
                glob_matches(pattern, text) && (is_loose || !text.split('/').any(|part| part == ".."))
            }
            Token::Rest => false,
        };
        is_match && matches(later, rest, false, is_loose)
    }
    // An exact text among rules that forbid also forbids it with more arguments; there `Rest` is implied.
    matches(tokens, words, true, is_loose)
}

/// The same words, whatever the blanks between them; only where no quotes or globs are in play.
pub fn is_same_words(exact: &str, command: &SimpleCommand) -> bool {
    let is_bare = |word: &Word| !word.has_glob && !word.text.contains(char::is_whitespace) && !word.text.is_empty();
    !command.has_assignment
        && !command.source.contains(['"', '\''])
        && command.words.iter().all(is_bare)
        && exact.split_whitespace().eq(command.words.iter().map(|word| word.text.as_str()))
}

/// `*` stands for any run of characters.
pub fn glob_matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}
