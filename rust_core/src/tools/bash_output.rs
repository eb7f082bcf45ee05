//! `BashOutput`: what a job has printed since it was last read, or the list of jobs.

use std::time::Duration;

use grep_matcher::Matcher as _;
use grep_regex::RegexMatcher;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::search::fault;
use super::{Call, Context, Limit, Output, Tool, ToolError, parse_arguments, schema_of};
use crate::effect::Effect;
use crate::job::{End, Job, MAX_UNREAD_BYTES};
use crate::output::MAX_CHARS;
use crate::visible::visible;

const MAX_WAIT_SECONDS: u64 = 600;

/// Reads jobs.
pub struct BashOutput;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// The job; without it all jobs are listed.
    bash_id: Option<String>,
    /// Only lines that match this regular expression; the others are dropped.
    filter: Option<String>,
    /// Wait so long for (matching) output or the end; default 0, at most 600.
    #[schemars(range(max = 600))]
    wait_seconds: Option<u64>,
}

impl Tool for BashOutput {
    fn name(&self) -> &'static str {
        "BashOutput"
    }

    fn description(&self) -> &'static str {
        "Read what a background job printed since the last reading, and whether it still runs."
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

    fn effect_kinds(&self) -> &'static [&'static str] {
        &[]
    }

    fn limits(&self) -> &'static [Limit] {
        const {
            &[
                Limit::bytes("of unread output given, its end", MAX_UNREAD_BYTES as u64),
                Limit::seconds("of waiting", MAX_WAIT_SECONDS),
            ]
        }
    }

    fn max_chars(&self) -> usize {
        2 * MAX_CHARS + 2_000 // what a job keeps, and the notices
    }

    fn parse(&self, arguments: &str) -> Result<Box<dyn Call>, String> {
        let parsed: Arguments = parse_arguments("BashOutput", arguments)?;
        if parsed.wait_seconds.is_some_and(|seconds| seconds > MAX_WAIT_SECONDS) {
            return Err(format!("BashOutput was not run: wait_seconds is at most {MAX_WAIT_SECONDS}."));
        }
        if parsed.bash_id.is_none() && (parsed.filter.is_some() || parsed.wait_seconds.is_some()) {
            return Err("BashOutput was not run: filter and wait_seconds need a bash_id.".into());
        }
        let filter = parsed.filter.as_deref().map(RegexMatcher::new_line_matcher).transpose();
        let filter =
            filter.map_err(|error| format!("BashOutput was not run: the filter cannot be read: {}.", fault(&error)))?;
        let wait = Duration::from_secs(parsed.wait_seconds.unwrap_or(0));
        Ok(Box::new(Reading { id: parsed.bash_id, filter, wait }))
    }
}

struct Reading {
    id: Option<String>,
    filter: Option<RegexMatcher>,
    wait: Duration,
}

impl Call for Reading {
    fn title(&self) -> String {
        match &self.id {
            Some(id) => format!("Output of job {}", visible(id)),
            None => "List jobs".to_owned(),
        }
    }

    fn effects(&self) -> Vec<Effect> {
        Vec::new()
    }

    fn preview(&self, _context: &Context<'_>) -> Result<Value, ToolError> {
        Ok(json!({"kind": "none"}))
    }

    fn run(&self, context: &Context<'_>) -> Result<Output, ToolError> {
        let Some(id) = &self.id else { return Ok(list(&context.jobs.all())) };
        let job = context.jobs.find(id).map_err(ToolError::Failed)?;
        let is_shown = |line: &str| match &self.filter {
            Some(filter) => filter.is_match(line.trim_end_matches('\n').as_bytes()).unwrap_or(false),
            None => true,
        };
        let news =
            job.read(self.wait, context.cancel, |text| !text.is_empty() && text.split_inclusive('\n').any(is_shown));
        let mut text: String = news.text.split_inclusive('\n').filter(|line| is_shown(line)).collect();
        if news.dropped > 0 {
            let notice = format!("[… {} bytes left out; read all of it in {} …]\n", news.dropped, job.path.display());
            text.insert_str(0, &notice);
        }
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        if text.is_empty() {
            text.push_str(if self.filter.is_some() { "(no new lines that match)\n" } else { "(no new output)\n" });
        }
        let output = Output::text(format!("{text}[job {} {}]", job.id, job.status()));
        let output = output.detail("job", job.id.as_str()).detail("is_running", news.end.is_none());
        Ok(match news.end {
            Some(End::Exited(code)) if code >= 0 => output.detail("exit_code", code),
            _ => output,
        })
    }
}

fn list(jobs: &[std::sync::Arc<Job>]) -> Output {
    if jobs.is_empty() {
        return Output::text("No job was started in this session.");
    }
    let line = |job: &std::sync::Arc<Job>| {
        let first = visible(job.command.lines().next().unwrap_or_default());
        job.tell_end();
        format!("{} {}: {first}", job.id, job.status())
    };
    Output::text(jobs.iter().map(line).collect::<Vec<_>>().join("\n")).detail("jobs", jobs.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_arguments_are_explained() {
        let parse = |arguments: &str| BashOutput.parse(arguments).err();
        assert!(parse("{}").is_none());
        assert!(parse(r#"{"bash_id": "b1", "wait_seconds": 601}"#).unwrap().contains("at most 600"));
        assert!(parse(r#"{"bash_id": "b1", "filter": "("}"#).unwrap().contains("cannot be read"));
        assert!(parse(r#"{"filter": "x"}"#).unwrap().contains("bash_id"));
        assert!(parse(r#"{"bash_id": 1}"#).unwrap().contains("expected a string"));
    }
}
