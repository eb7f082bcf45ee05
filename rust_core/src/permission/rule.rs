//! One permission rule: its grammar and what it matches.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::pattern::{
    Pattern, Token, argument_matches, argument_pattern, command_pattern, glob_matches, host_pattern, is_same_words,
    name_pattern, path_matches, path_pattern, tokens_match,
};
use crate::catalogue;
use crate::location::Location;
use crate::network::{Host, HostPattern};
use crate::shell::{self, SimpleCommand, Word};

/// No tool: what sandboxed commands may talk to.
const NETWORK: &str = "Network";

/// Tools whose rules name one of several things, and the arguments that say which.
const NAMED: &[(&str, &[&str])] = &[("Agent", &["subagent_type", "agent", "name"]), ("Skill", &["skill", "name"])];

/// True for tools the policy has heard of.
pub fn is_known_tool(name: &str) -> bool {
    catalogue::canonical(name) == Some(name)
}

/// A tool call as rules see it, apart from what it touches.
#[derive(Debug, Clone, Copy)]
pub struct CallView<'a> {
    /// The tool's own name.
    pub tool: &'a str,
    /// As the model sent them.
    pub arguments: &'a Value,
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
        let is_all = matches!(spec, None | Some("*"));
        if tool == NETWORK && (behavior == Behavior::Ask || (behavior == Behavior::Allow && is_all)) {
            return Err(fail(
                "a Network rule allows hosts one by one, Network(domain:example.org), or denies them".into(),
            ));
        }
        let pattern = match spec {
            None | Some("*") => Pattern::Any,
            Some("") => return Err(fail(format!("the parentheses are empty; write {tool} for all of it"))),
            Some(spec) => specific_pattern(behavior, tool, spec, workspace, home).map_err(fail)?,
        };
        Ok(Self { behavior, text: written.to_owned(), source: source.to_owned(), tool: tool.to_owned(), pattern })
    }

    /// The tool's own name, or a glob for several.
    pub fn tool(&self) -> &str {
        &self.tool
    }

    /// It speaks of an argument's value.
    pub fn is_about_argument(&self) -> bool {
        matches!(self.pattern, Pattern::Argument { .. })
    }

    /// The tool is named whole, by name or (in deny and ask rules) by a glob.
    pub fn covers_tool(&self, tool: &str) -> bool {
        matches!(self.pattern, Pattern::Any) && self.is_about_tool(tool)
    }

    /// The call is named whole: by its tool, or by one of its arguments.
    pub fn covers_call(&self, call: CallView<'_>) -> bool {
        match &self.pattern {
            Pattern::Any => self.is_about_tool(call.tool),
            Pattern::Argument { names, value } => {
                self.is_about_tool(call.tool) && argument_matches(names, value, call.arguments)
            }
            _ => false,
        }
    }

    fn is_about_tool(&self, tool: &str) -> bool {
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
    pub fn matches_path(&self, call: CallView<'_>, location: &Location, is_write: bool, is_strict: bool) -> bool {
        let is_about = match self.tool.as_str() {
            // What must not be read must not be overwritten either; being free to read grants no write.
            "Read" => !is_write || self.behavior == Behavior::Deny,
            "Edit" => is_write,
            name => name == call.tool,
        };
        match &self.pattern {
            Pattern::Path { root, matcher } => {
                let matches = |path: &Path| path_matches(root, matcher, path);
                let (by_name, by_target) = (matches(&location.requested), matches(&location.target));
                is_about && if is_strict { by_name || by_target } else { by_name && by_target }
            }
            Pattern::Any if is_about => true,
            // Of a command's redirections, rules for its tool speak elsewhere.
            _ => self.covers_call(call) && call.tool != "Bash",
        }
    }

    /// Does the rule speak of all that lies in this folder?
    pub fn covers_folder(&self, folder: &Path) -> bool {
        let matches = |root: &Path, matcher, name| path_matches(root, matcher, &folder.join(name));
        matches!(&self.pattern, Pattern::Path { root, matcher } if matches(root, matcher, "x") && matches(root, matcher, "y/z"))
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

    /// Written for exactly this line of this tool.
    pub fn is_exactly(&self, tool: &str, command: &str) -> bool {
        self.tool == tool && matches!(&self.pattern, Pattern::Exact(exact) if exact == command.trim())
    }

    /// An allow rule that covers this command whether it can be read or not: one for exactly this line of another shell, whose
    /// language is not read here, or one for all of a tool that runs it as a part of its work.
    pub fn covers_unread(&self, call: CallView<'_>, command: &str) -> bool {
        match call.tool {
            "Bash" => false,
            "PowerShell" => self.is_exactly(call.tool, command),
            _ => self.covers_call(call),
        }
    }

    /// An allow rule that covers this one command of a Bash line.
    pub fn allows_command(&self, command: &SimpleCommand) -> bool {
        match &self.pattern {
            _ if self.tool != "Bash" => false,
            Pattern::Exact(exact) => *exact == command.source.trim() || is_same_words(exact, command),
            Pattern::Words(tokens) if !command.has_assignment => {
                [command.words.as_slice(), shell::without_wrappers(&command.words)].iter().any(|words| {
                    let is_glob_safe = words.first().is_some_and(|program| {
                        let is_safe = |word: &Word| !word.has_glob || shell::is_anchored(&program.text, word);
                        shell::takes_globs(&program.text) || words.iter().all(is_safe)
                    });
                    let named = tokens.iter().take_while(|token| matches!(token, Token::Word(_))).count();
                    is_glob_safe && tokens_match(tokens, words, false) && !shell::needs_exact_rule(words, named)
                })
            }
            _ => false,
        }
    }

    /// A deny or ask rule that speaks of this command, behind wrappers and paths too. Rules for Bash speak of what any tool
    /// runs.
    pub fn forbids_command(&self, tool: &str, command: &SimpleCommand) -> bool {
        if self.tool != "Bash" && self.tool != tool {
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

fn specific_pattern(
    behavior: Behavior,
    tool: &str,
    spec: &str,
    workspace: &Path,
    home: Option<&Path>,
) -> Result<Pattern, String> {
    let argument = || argument_pattern(spec).filter(|_| behavior != Behavior::Allow);
    if let Some((_, names)) = NAMED.iter().find(|(named, _)| *named == tool) {
        // `Skill(name:x)` names an argument, `Skill(plugin:x)` a skill: both are looked for by what the tool takes.
        return argument()
            .filter(|pattern| !matches!(pattern, Pattern::Argument { names: own, .. } if !names.contains(&own[0].as_str()) && own[0] != "model"))
            .map_or_else(|| name_pattern(names, spec), Ok);
    }
    match tool {
        "WebFetch" | NETWORK => host_pattern(tool, spec, tool == NETWORK),
        "PowerShell" if behavior == Behavior::Allow && spec.contains('*') => {
            Err("a PowerShell rule allows exactly one command; PowerShell alone allows all".into())
        }
        "Bash" | "PowerShell" => argument().map_or_else(|| command_pattern(behavior, spec), Ok),
        "Read" | "Edit" | "Write" | "Glob" | "Grep" | "NotebookEdit" => {
            argument().map_or_else(|| path_pattern(spec, workspace, home), Ok)
        }
        _ if behavior == Behavior::Allow => Err(format!("{tool} takes nothing in parentheses")),
        _ => argument().ok_or_else(|| format!("write {tool}(argument:value), or {tool} for all of it")),
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
