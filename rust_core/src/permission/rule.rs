//! One permission rule: its grammar and what it matches.

use std::fmt;
use std::path::{Path, PathBuf};

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use serde::{Deserialize, Serialize};

use crate::catalogue;
use crate::location::Location;
use crate::network::{Host, HostPattern};
use crate::shell::{self, SimpleCommand, Word};

/// No tool: what sandboxed commands may talk to.
const NETWORK: &str = "Network";

/// True for tools the policy has heard of.
pub fn is_known_tool(name: &str) -> bool {
    catalogue::canonical(name) == Some(name)
}

/// What a rule does to what it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Behavior {
    /// Lets it pass.
    Allow,
    /// Has a person asked, in every mode.
    Ask,
    /// Stops it, in every mode.
    Deny,
}

/// A rule that cannot be read; one sentence for the person who wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleError(pub String);

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A rule as written and as understood.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Allow, ask or deny.
    pub behavior: Behavior,
    /// As written.
    pub text: String,
    /// The file or answer it comes from.
    pub source: String,
    tool: String,
    pattern: Pattern,
}

#[derive(Debug, Clone)]
enum Pattern {
    /// The whole tool.
    Any,
    /// Exactly this command.
    Exact(String),
    /// Words of a command.
    Words(Vec<Token>),
    Path {
        root: PathBuf,
        matcher: Box<Gitignore>,
    },
    Host(HostPattern),
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    /// A word with `*` in it.
    Glob(String),
    /// Any number of words; at the end also none.
    Rest,
}

impl Rule {
    /// Reads a rule. `workspace` and `home` are where path rules start.
    pub fn parse(
        behavior: Behavior,
        text: &str,
        source: &str,
        workspace: &Path,
        home: Option<&Path>,
    ) -> Result<Self, RuleError> {
        let written = text.trim();
        let fail = |why: String| {
            let origin = if source.is_empty() { String::new() } else { format!(" ({source})") };
            RuleError(format!("The rule {written:?}{origin} cannot be read: {why}."))
        };
        if written.is_empty() {
            return Err(fail("it is empty; write a tool's name, as in Read or Bash(git diff:*)".into()));
        }
        if let Some(hidden) = written.chars().find(|c| crate::visible::is_hidden(*c) || *c == '\n' || *c == '\t') {
            return Err(fail(format!("it holds the invisible character U+{:04X}", u32::from(hidden))));
        }
        let (tool, spec) = match written.split_once('(') {
            None => (written, None),
            Some((tool, rest)) => match rest.strip_suffix(')') {
                Some(spec) => (tool.trim_end(), Some(spec.trim())),
                None => return Err(fail("the closing parenthesis is missing".into())),
            },
        };
        let tool = catalogue::canonical(tool).unwrap_or(tool);
        check_tool(behavior, tool).map_err(fail)?;
        if tool == NETWORK
            && (behavior == Behavior::Ask || (behavior == Behavior::Allow && matches!(spec, None | Some("*"))))
        {
            return Err(fail(
                "a Network rule allows hosts one by one, Network(domain:example.org), or denies them".into(),
            ));
        }
        let pattern = match spec {
            None | Some("*") => Pattern::Any,
            Some("") => return Err(fail(format!("the parentheses are empty; write {tool} for all of it"))),
            Some(spec) => match tool {
                "Bash" | "PowerShell" => command_pattern(behavior, spec).map_err(fail)?,
                "Read" | "Edit" | "Write" | "Glob" | "Grep" | "NotebookEdit" => {
                    path_pattern(spec, workspace, home).map_err(fail)?
                }
                "WebFetch" | NETWORK => host_pattern(tool, spec).map_err(fail)?,
                _ => return Err(fail(format!("{tool} takes nothing in parentheses"))),
            },
        };
        Ok(Self { behavior, text: written.to_owned(), source: source.to_owned(), tool: tool.to_owned(), pattern })
    }

    /// The whole tool is named, by name or (in deny and ask rules) by a glob.
    pub fn covers_tool(&self, tool: &str) -> bool {
        if !matches!(self.pattern, Pattern::Any) {
            return false;
        }
        if self.tool == tool || glob_matches(&self.tool, tool) {
            return true;
        }
        // `mcp__server` stands for all tools of that server.
        self.tool.starts_with("mcp__")
            && self.tool["mcp__".len()..].split("__").count() == 1
            && tool.strip_prefix(&self.tool).is_some_and(|rest| rest.starts_with("__"))
    }

    /// A deny or ask rule for reading files.
    pub fn is_about_reading(&self) -> bool {
        self.tool == "Read"
    }

    /// Does the rule speak of this path? `is_strict` (deny, ask): the name or what it leads to; otherwise both.
    pub fn matches_path(&self, tool: &str, location: &Location, is_write: bool, is_strict: bool) -> bool {
        let is_about = match self.tool.as_str() {
            // What must not be read must not be overwritten either; being free to read grants no write.
            "Read" => !is_write || self.behavior == Behavior::Deny,
            "Edit" => is_write,
            name => name == tool || (matches!(self.pattern, Pattern::Any) && self.covers_tool(tool) && tool != "Bash"),
        };
        is_about
            && match &self.pattern {
                Pattern::Any => true,
                Pattern::Path { root, matcher } => {
                    let (by_name, by_target) = (
                        path_matches(root, matcher, &location.requested),
                        path_matches(root, matcher, &location.target),
                    );
                    if is_strict { by_name || by_target } else { by_name && by_target }
                }
                _ => false,
            }
    }

    /// Does the rule speak of `tool` talking to this host? One that forbids speaks of every tool that would.
    pub fn matches_host(&self, tool: &str, host: &Host) -> bool {
        let is_about = self.tool == tool || (self.tool == "WebFetch" && self.behavior != Behavior::Allow);
        is_about && matches!(&self.pattern, Pattern::Host(pattern) if pattern.covers(host))
    }

    /// The hosts that sandboxed commands may or may not talk to by this rule.
    pub fn network_host(&self) -> Option<&HostPattern> {
        match &self.pattern {
            Pattern::Host(pattern) if self.tool == NETWORK => Some(pattern),
            _ => None,
        }
    }

    /// A rule for all hosts at once; it can only deny.
    pub fn is_all_network(&self) -> bool {
        self.tool == NETWORK && matches!(self.pattern, Pattern::Any)
    }

    /// Written for exactly this line.
    pub fn is_exactly(&self, command: &str) -> bool {
        matches!(&self.pattern, Pattern::Exact(exact) if exact == command.trim())
    }

    /// An allow rule that covers this one command.
    pub fn allows_command(&self, command: &SimpleCommand) -> bool {
        match &self.pattern {
            Pattern::Exact(exact) => *exact == command.source.trim() || is_same_words(exact, command),
            Pattern::Words(tokens) if !command.has_assignment => {
                [command.words.as_slice(), shell::without_wrappers(&command.words)].iter().any(|words| {
                    let is_glob_safe = words.first().is_some_and(|program| shell::takes_globs(&program.text))
                        || !words.iter().any(|word| word.has_glob);
                    is_glob_safe && tokens_match(tokens, words, false) && !shell::needs_exact_rule(words)
                })
            }
            _ => false,
        }
    }

    /// A deny or ask rule that speaks of this command, behind wrappers and paths too.
    pub fn forbids_command(&self, command: &SimpleCommand) -> bool {
        if self.tool != "Bash" {
            return false;
        }
        let tokens = match &self.pattern {
            Pattern::Exact(exact) if *exact == command.source.trim() => return true,
            Pattern::Exact(exact) => exact.split_whitespace().map(|word| Token::Word(word.to_owned())).collect(),
            Pattern::Words(tokens) => tokens.clone(),
            _ => return false,
        };
        shell::views(&command.words).any(|words| tokens_match(&tokens, words, true))
    }
}

fn check_tool(behavior: Behavior, tool: &str) -> Result<(), String> {
    if is_known_tool(tool) || tool == NETWORK {
        return Ok(());
    }
    if let Some(rest) = tool.strip_prefix("mcp__") {
        let is_plain =
            |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
        let (server, name) = rest.split_once("__").unwrap_or((rest, "all"));
        let is_server_ok = is_plain(server) || (behavior != Behavior::Allow && is_plain(&server.replace('*', "x")));
        return if is_server_ok && is_plain(&name.replace('*', "x")) {
            Ok(())
        } else {
            Err("an MCP rule is mcp__server, mcp__server__tool or mcp__server__*".into())
        };
    }
    if tool.contains('*') {
        return if behavior == Behavior::Allow {
            Err("an allow rule must name its tool; only deny and ask rules may use * for tools".into())
        } else {
            Ok(())
        };
    }
    let nearest = catalogue::TOOLS
        .iter()
        .map(|(own, _)| own)
        .min_by_key(|known| distance(&known.to_lowercase(), &tool.to_lowercase()))
        .copied()
        .unwrap_or("Bash");
    Err(format!("there is no tool {tool:?}; the nearest is {nearest}"))
}

/// Levenshtein distance, for "the nearest is".
pub fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

fn command_pattern(behavior: Behavior, spec: &str) -> Result<Pattern, String> {
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

fn path_pattern(spec: &str, workspace: &Path, home: Option<&Path>) -> Result<Pattern, String> {
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

fn path_matches(root: &Path, matcher: &Gitignore, path: &Path) -> bool {
    path.strip_prefix(root).is_ok_and(|relative| {
        !relative.as_os_str().is_empty() && matcher.matched_path_or_any_parents(relative, false).is_ignore()
    }) || (path == root
        && matcher.matched(root.join("x"), false).is_ignore()
        && matcher.matched(root.join("y/z"), false).is_ignore())
}

fn host_pattern(tool: &str, spec: &str) -> Result<Pattern, String> {
    let host = spec.strip_prefix("domain:").ok_or_else(|| format!("write {tool}(domain:example.org)"))?.trim();
    let pattern = HostPattern::parse(host)?;
    if tool != NETWORK && pattern.has_port() {
        return Err("it names a port; a tool's rule names the host alone".into());
    }
    Ok(Pattern::Host(pattern))
}

/// `loose`: for rules that forbid; the program's folder is ignored and any tail may follow.
fn tokens_match(tokens: &[Token], words: &[Word], is_loose: bool) -> bool {
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
fn is_same_words(exact: &str, command: &SimpleCommand) -> bool {
    let is_bare = |word: &Word| !word.has_glob && !word.text.contains(char::is_whitespace) && !word.text.is_empty();
    !command.has_assignment
        && !command.source.contains(['"', '\''])
        && command.words.iter().all(is_bare)
        && exact.split_whitespace().eq(command.words.iter().map(|word| word.text.as_str()))
}

/// `*` stands for any run of characters.
fn glob_matches(pattern: &str, text: &str) -> bool {
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
