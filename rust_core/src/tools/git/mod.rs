//! Git, read-only: status, diff, log, show, blame. It needs nobody's leave, because nothing a repository holds can make it
//! run a program or read outside the workspace: see `repository`.

mod folder;
mod repository;
mod status;

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Call, Context, Limit, Output, Tool, ToolError, parse_arguments, schema_of};
use crate::effect::Effect;
use crate::output::{MAX_CHARS, MAX_SPILL_BYTES};
use crate::visible::visible;
use repository::{MAX_SECONDS, Repository, Revision};

const DEFAULT_COMMITS: u32 = 20;
const MAX_COMMITS: u32 = 500;
const MAX_CONTEXT: u32 = 1_000;
/// Files in one diff that rules keep from being read.
const MAX_WITHHELD: usize = 500;

/// Looks into repositories.
pub struct Git;

#[derive(Clone, Copy, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Action {
    Status,
    Diff,
    Log,
    Show,
    Blame,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    action: Action,
    /// File or folder; default the whole repository. With show: the file as it was in rev.
    path: Option<String>,
    /// Commit, branch or tag; for diff and log also a range a..b or a...b.
    rev: Option<String>,
    /// diff: what is staged.
    staged: Option<bool>,
    /// diff, show: lines around changes.
    context: Option<u32>,
    /// log: commits; default 20, at most 500.
    limit: Option<u32>,
    /// log: a date, or as 2.weeks.
    since: Option<String>,
    /// log: part of a name or address.
    author: Option<String>,
    /// blame: as 10,40.
    lines: Option<String>,
}

impl Tool for Git {
    fn name(&self) -> &'static str {
        "Git"
    }

    fn description(&self) -> &'static str {
        "Look at a git repository of the workspace: status, diff, log, show, blame. Changes nothing and needs no approval. \
         Submodules, filters and the repository's own settings are left aside."
    }

    fn schema(&self) -> Value {
        schema_of::<Arguments>()
    }

    fn is_read_only(&self) -> bool {
        true
    }

    fn is_deferred(&self) -> bool {
        true
    }

    fn is_available(&self) -> bool {
        repository::is_git_installed()
    }

    fn effect_kinds(&self) -> &'static [&'static str] {
        &["read_path"]
    }

    fn limits(&self) -> &'static [Limit] {
        const {
            &[
                Limit::seconds("", MAX_SECONDS),
                Limit::count("commits of a log", MAX_COMMITS as u64),
                Limit::count("lines of context", MAX_CONTEXT as u64),
                Limit::count("entries of each kind in a status", status::MAX_ENTRIES as u64),
                Limit::count("characters of output given, half from each end", MAX_CHARS as u64),
                Limit::bytes("of output kept in a file", MAX_SPILL_BYTES),
            ]
        }
    }

    fn max_chars(&self) -> usize {
        MAX_CHARS + 2_000 // what run keeps, and the notices it adds
    }

    fn parse(&self, arguments: &str) -> Result<Box<dyn Call>, String> {
        let parsed: Arguments = parse_arguments("Git", arguments)?;
        parsed.check().map_err(|why| format!("Git was not run: {why}"))?;
        Ok(Box::new(parsed))
    }
}

impl Arguments {
    fn check(&self) -> Result<(), String> {
        for (name, text) in [("path", &self.path), ("rev", &self.rev), ("since", &self.since), ("author", &self.author)]
        {
            if text.as_ref().is_some_and(|text| text.is_empty() || text.contains(char::is_control)) {
                return Err(format!("{name} is empty or holds a control character."));
            }
        }
        let only = |given: bool, name: &str, actions: &[Action]| {
            let is_wrong = given && !actions.contains(&self.action);
            if is_wrong { Err(format!("{name} does not go with this action.")) } else { Ok(()) }
        };
        only(self.staged.is_some(), "staged", &[Action::Diff])?;
        only(self.context.is_some(), "context", &[Action::Diff, Action::Show])?;
        only(self.limit.is_some(), "limit", &[Action::Log])?;
        only(self.since.is_some(), "since", &[Action::Log])?;
        only(self.author.is_some(), "author", &[Action::Log])?;
        only(self.lines.is_some(), "lines", &[Action::Blame])?;
        only(self.rev.is_some(), "rev", &[Action::Diff, Action::Log, Action::Show, Action::Blame])?;
        let rev = self.rev.as_deref().map(Revision::parse).transpose()?;
        if matches!(rev, Some(Revision::Range { .. })) {
            only(true, "a range", &[Action::Diff, Action::Log])?;
            if self.staged == Some(true) {
                return Err("what is staged is compared with one commit, not with a range.".into());
            }
        }
        if self.action == Action::Blame && self.path.is_none() {
            return Err("blame needs the path of a file.".into());
        }
        if self.limit.is_some_and(|limit| limit == 0 || limit > MAX_COMMITS) {
            return Err(format!("limit is from 1 to {MAX_COMMITS}."));
        }
        if self.context.is_some_and(|context| context > MAX_CONTEXT) {
            return Err(format!("context is at most {MAX_CONTEXT}."));
        }
        if self.lines.as_deref().is_some_and(|lines| parse_lines(lines).is_none()) {
            return Err("lines is a range such as 10,40.".into());
        }
        Ok(())
    }

    fn status(repository: &Repository<'_>) -> Result<Output, ToolError> {
        let pathspec = repository.pathspec();
        let listed = repository.read(&with_path(
            &["status", "--porcelain=v2", "--branch", "-z", "--untracked-files=normal", "--ignore-submodules=all"],
            pathspec.as_deref(),
        ))?;
        Ok(Output::text(status::render(&listed)))
    }

    fn diff(&self, repository: &Repository<'_>) -> Result<Output, ToolError> {
        let mut revisions = Vec::new();
        if self.staged == Some(true) {
            revisions.push("--cached".to_owned());
        }
        match self.rev.as_deref().map(Revision::parse) {
            Some(Ok(Revision::One(name))) => revisions.push(repository.commit(name)?),
            Some(Ok(range)) => revisions.push(repository.range(&range)?),
            _ => {}
        }
        self.changes(repository, "diff", &revisions, &[], "No changes.")
    }

    fn show(&self, repository: &Repository<'_>) -> Result<Output, ToolError> {
        let commit = repository.commit(self.rev.as_deref().unwrap_or("HEAD"))?;
        if let Some(path) = repository.relative() {
            let object = format!("{commit}:{path}");
            let rev = self.rev.as_deref().unwrap_or("HEAD");
            let missing = || ToolError::failed(format!("There is no file {path} in {rev}."));
            let content = repository.read(&["cat-file", "blob", &object]).map_err(|error| match error {
                ToolError::Failed(why) if why.contains("more than") || why.contains("stopped") => {
                    ToolError::Failed(why)
                }
                ToolError::Failed(_) => missing(),
                ToolError::Cancelled => error,
            })?;
            if content.contains(&0) {
                return Ok(Output::text(format!("{path} is a binary file of {} bytes.", content.len())));
            }
            return Ok(Output::text(String::from_utf8_lossy(&content)));
        }
        let format =
            ["--format=commit %H%nAuthor: %an <%ae>%nDate:   %ad%n%n%w(0,4,4)%B", "--date=iso", "--no-show-signature"];
        self.changes(repository, "show", &[commit], &format, "An empty commit.")
    }

    fn log(&self, repository: &Repository<'_>) -> Result<Output, ToolError> {
        let what = match self.rev.as_deref().map(Revision::parse) {
            Some(Ok(Revision::One(name))) => repository.commit(name)?,
            Some(Ok(range)) => repository.range(&range)?,
            _ => repository.commit("HEAD")?,
        };
        let limit = format!("--max-count={}", self.limit.unwrap_or(DEFAULT_COMMITS));
        let since = self.since.as_ref().map(|since| format!("--since={since}"));
        let author = self.author.as_ref().map(|author| format!("--author={author}"));
        let mut arguments =
            vec!["log", "--no-color", "--no-show-signature", "--date=short", "--format=%h %ad %an:%d %s", &limit];
        arguments.extend([since.as_deref(), author.as_deref()].into_iter().flatten());
        arguments.push(&what);
        let pathspec = repository.pathspec();
        repository.show(&with_path(&arguments, pathspec.as_deref()), "No commits match.")
    }

    fn blame(&self, repository: &Repository<'_>) -> Result<Output, ToolError> {
        let path = repository.relative().ok_or_else(|| ToolError::failed("blame needs the path of a file."))?;
        let commit = self.rev.as_deref().map(|rev| repository.commit(rev)).transpose()?;
        let lines = self.lines.as_deref().and_then(parse_lines).map(|(from, to)| format!("-L{from},{to}"));
        if commit.is_none() {
            repository.commit("HEAD")?; // for a plain word where there is none yet
        }
        let mut arguments = vec!["blame", "--date=short"];
        arguments.extend([lines.as_deref(), commit.as_deref()].into_iter().flatten());
        repository.show(&with_path(&arguments, Some(path)), "The file is empty.")
    }

    /// A diff, without the files that rules keep from being read.
    fn changes(
        &self,
        repository: &Repository<'_>,
        command: &str,
        revisions: &[String],
        format: &[&str],
        nothing: &str,
    ) -> Result<Output, ToolError> {
        let mut arguments = vec![command, "--no-ext-diff", "--no-textconv", "--no-color", "--ignore-submodules=all"];
        let context = format!("--unified={}", self.context.unwrap_or(3));
        let mut limits: Vec<String> = repository.pathspec().into_iter().collect();
        let withheld = if repository.has_read_denies() {
            arguments.push("--no-renames"); // nor half of a pair
            let mut names = arguments.clone();
            names.extend(["--name-only", "-z"]);
            if command == "show" {
                names.push("--format=");
            }
            names.extend(revisions.iter().map(String::as_str));
            names.push("--");
            names.extend(limits.iter().map(String::as_str));
            repository.withheld(&repository.read(&names)?)
        } else {
            arguments.push("--find-renames");
            Vec::new()
        };
        if withheld.len() > MAX_WITHHELD {
            return Err(ToolError::failed("Too many of these files may not be read; ask for one path."));
        }
        limits.extend(withheld.iter().map(|path| format!(":(top,exclude,literal){path}")));
        arguments.extend(format);
        arguments.push(&context);
        arguments.extend(revisions.iter().map(String::as_str));
        arguments.push("--");
        arguments.extend(limits.iter().map(String::as_str));
        let mut output = repository.show(&arguments, nothing)?;
        if !withheld.is_empty() {
            let mut note = String::from("[left out, because a rule denies reading:");
            for path in &withheld {
                let _ = write!(note, " {}", visible(path));
            }
            output.content.push(json!({"type": "text", "text": note + "]"}));
        }
        Ok(output)
    }
}

fn with_path<'a>(arguments: &[&'a str], path: Option<&'a str>) -> Vec<&'a str> {
    arguments.iter().copied().chain(["--"]).chain(path).collect()
}

fn parse_lines(text: &str) -> Option<(u32, u32)> {
    let (from, to) = text.split_once([',', '-'])?;
    let (from, to) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
    (1 <= from && from <= to).then_some((from, to))
}

impl Call for Arguments {
    fn title(&self) -> String {
        let action = match self.action {
            Action::Status => "status",
            Action::Diff => "diff",
            Action::Log => "log",
            Action::Show => "show",
            Action::Blame => "blame",
        };
        let words = [self.rev.as_deref(), self.path.as_deref()].into_iter().flatten().map(visible);
        std::iter::once(format!("git {action}")).chain(words).collect::<Vec<_>>().join(" ")
    }

    fn effects(&self) -> Vec<Effect> {
        vec![Effect::ReadPath { path: self.path.clone().unwrap_or_else(|| ".".into()) }]
    }

    fn preview(&self, _context: &Context<'_>) -> Result<Value, ToolError> {
        Ok(json!({"kind": "path", "path": self.path.as_deref().unwrap_or(".")}))
    }

    fn run(&self, context: &Context<'_>) -> Result<Output, ToolError> {
        let repository = Repository::open(context, self.path.as_deref())?;
        match self.action {
            Action::Status => Self::status(&repository),
            Action::Diff => self.diff(&repository),
            Action::Log => self.log(&repository),
            Action::Show => self.show(&repository),
            Action::Blame => self.blame(&repository),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_arguments_are_explained() {
        let error = |arguments: &str| Git.parse(arguments).err().unwrap_or_default();
        for (arguments, says) in [
            ("{}", "missing field `action`"),
            (r#"{"action": "push"}"#, "unknown variant `push`"),
            (r#"{"action": "status", "rev": "HEAD"}"#, "rev does not go"),
            (r#"{"action": "log", "limit": 0}"#, "from 1 to 500"),
            (r#"{"action": "log", "limit": 501}"#, "from 1 to 500"),
            (r#"{"action": "diff", "rev": "--output=x"}"#, "begins with"),
            (r#"{"action": "diff", "rev": "a..-b"}"#, "begins with"),
            (r#"{"action": "show", "rev": "HEAD:.env"}"#, "path"),
            (r#"{"action": "show", "rev": "a..b"}"#, "a range does not go"),
            (r#"{"action": "diff", "rev": "a..b", "staged": true}"#, "staged"),
            (r#"{"action": "diff", "rev": "a\nb"}"#, "control character"),
            (r#"{"action": "diff", "rev": ""}"#, "empty"),
            (r#"{"action": "diff", "context": 1001}"#, "at most 1000"),
            (r#"{"action": "blame"}"#, "needs the path"),
            (r#"{"action": "blame", "path": "a", "lines": "9,3"}"#, "such as 10,40"),
            (r#"{"action": "blame", "path": "a", "lines": ":main"}"#, "such as 10,40"),
        ] {
            assert!(error(arguments).contains(says), "{arguments}: {}", error(arguments));
        }
        for good in [
            r#"{"action": "status"}"#,
            r#"{"action": "diff", "rev": "HEAD~3...", "context": 0}"#,
            r#"{"action": "blame", "path": "a", "lines": "3,3", "rev": "v1.0"}"#,
        ] {
            assert_eq!(error(good), "", "{good}");
        }
    }
}
