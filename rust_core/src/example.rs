//! Examples of a permission rule: what it must match and what it must not, checked when the rule is read.

use serde_json::{Value, json};

use crate::effect::Effect;
use crate::network::Host;
use crate::permission::{Behavior, CallView, Mode, Policy, Rule, RuleError, Verdict};
use crate::subjects::subjects;
use crate::workspace::Workspace;

/// An error names the rule, its source and the first example that is not as it must be.
pub fn check(
    rule: &Rule,
    matches: &[String],
    not_matches: &[String],
    policy: &Policy,
    workspace: &Workspace,
) -> Result<(), RuleError> {
    let fail = |what: &str, example: &str| {
        let origin = if rule.source.is_empty() { String::new() } else { format!(" ({})", rule.source) };
        Err(RuleError(format!("The rule {:?}{origin} {what} its example {example:?}.", rule.text)))
    };
    for example in matches {
        if !is_matched(rule, example, policy, workspace) {
            return fail("does not match", example);
        }
    }
    for example in not_matches {
        if is_matched(rule, example, policy, workspace) {
            return fail("must not match, but matches,", example);
        }
    }
    Ok(())
}

/// Would this rule, alone, decide the example? An example is what the rule's parentheses speak of: a command line, a path, a
/// host, a name; of a rule about an argument, the arguments as JSON.
fn is_matched(rule: &Rule, example: &str, policy: &Policy, workspace: &Workspace) -> bool {
    let only = |rules| Policy { mode: Mode::Default, rules, ..policy.clone() };
    let (alone, empty) = (only(vec![rule.clone()]), only(Vec::new()));
    let text = example.to_owned();
    let mut arguments = Value::Null;
    let mut tool = rule.tool();
    let effects = match tool {
        _ if rule.is_about_argument() && example.starts_with('{') => {
            arguments = serde_json::from_str(example).unwrap_or_default();
            Vec::new()
        }
        "Network" => {
            let Ok((host, port)) = Host::parse_with_port(example) else { return false };
            let is_granted = alone.hosts().objection(&host, port.unwrap_or(443)).is_none();
            return match rule.behavior {
                Behavior::Allow => is_granted,
                _ => rule.network_host().is_none_or(|pattern| pattern.covers(&host)),
            };
        }
        "Bash" | "PowerShell" => vec![Effect::Run { command: text }],
        "Read" | "Glob" | "Grep" => vec![Effect::ReadPath { path: text }],
        "Edit" | "Write" | "NotebookEdit" => vec![Effect::WritePath { path: text }],
        "WebFetch" => vec![Effect::Fetch { host: text }],
        "Agent" | "Skill" => {
            arguments = json!({"name": example});
            Vec::new()
        }
        _ => {
            tool = example; // a rule for tools as a whole: the example is one of them
            vec![Effect::Mcp { tool: text }]
        }
    };
    let call = CallView { tool, arguments: &arguments };
    let (subjects, _) = subjects(workspace, &effects, None);
    let decision = alone.decide(call, &subjects);
    match rule.behavior {
        Behavior::Deny => decision.verdict == Verdict::Deny && !decision.rule.is_empty(),
        Behavior::Ask => decision.verdict == Verdict::Ask && !decision.rule.is_empty(),
        Behavior::Allow => {
            let is_needed = empty.decide(call, &subjects).verdict != Verdict::Allow;
            decision.verdict == Verdict::Allow && (is_needed || !decision.rule.is_empty())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Behavior::{Allow, Ask, Deny};

    #[test]
    fn examples_are_held_against_the_rule_alone() {
        let dir = tempfile::tempdir().unwrap();
        let workspace = Workspace::new(dir.path(), &[], &[]).unwrap();
        let policy = Policy { workspace: workspace.path().to_path_buf(), ..Policy::default() };
        let check = |behavior, text: &str, matches: &str, not_matches: &str| {
            let rule = Rule::parse(behavior, text, "a.json", &policy.workspace, None).unwrap();
            check(&rule, &[matches.to_owned()], &[not_matches.to_owned()], &policy, &workspace)
        };
        for (behavior, rule, matches, not_matches) in [
            (Allow, "Bash(npm run *)", "npm run build", "npm run build && rm x"),
            (Deny, "Bash(rm:*)", "ls; sudo rm x", "ls rm"),
            (Ask, "Bash(git push:*)", "git push origin", "git pull"),
            (Allow, "Edit(src/**)", "src/a.py", "lib/a.py"),
            (Allow, "Edit(**)", "a.py", ".git/config"),
            (Allow, "Read(src/**)", "src/a", "a"),
            (Deny, "Read(.env)", "deep/.env", "deep/env"),
            (Allow, "WebFetch(domain:*.a.org)", "x.a.org", "a.org"),
            (Allow, "Network(domain:a.org:8443)", "a.org:8443", "a.org"),
            (Deny, "Network(domain:*.a.org)", "x.a.org", "a.org"),
            (Deny, "mcp__db__*", "mcp__db__drop", "mcp__web__get"),
            (Ask, "Agent(review-*)", "review-code", "write-code"),
            (Deny, "Bash(run_in_background:true)", r#"{"run_in_background": true}"#, r#"{"command": "ls"}"#),
        ] {
            assert_eq!(check(behavior, rule, matches, not_matches), Ok(()), "{rule}");
            let error = check(behavior, rule, not_matches, matches).unwrap_err().0;
            assert!(error.contains("a.json") && error.contains(rule), "{error}");
        }
    }
}
