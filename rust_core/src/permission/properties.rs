//! What holds of every policy and every call.

use std::path::Path;

use proptest::prelude::*;

use super::tests::{A, D, Q, call, policy, read, run, verdict, write};
use super::*;
use Mode::{AcceptEdits, BypassPermissions, Default as Plain, DontAsk, Plan};
use Verdict::{Allow, Deny};

const RULES: &[&str] = &[
    "Bash",
    "Bash(git:*)",
    "Bash(git status:*)",
    "Bash(rm:*)",
    "Bash(ls)",
    "Bash(npm run *)",
    "Read",
    "Read(src/**)",
    "Edit",
    "Edit(src/**)",
    "Write",
    "Python",
    "Inspect",
    "mcp__a__*",
    "WebFetch(domain:x.org)",
    "WebFetch",
    "PowerShell(ls)",
    "Agent(review)",
    "Network(domain:x.org)",
    "Bash(ls > src/x)",
    "Edit(~/**)",
    "Read(//etc/**)",
    "Grep",
];
/// Only to ask or deny.
const STRICT_RULES: &[&str] = &["*", "mcp__*", "Bash(command:*rm*)", "Agent(model:big)", "Web*", "Bash(*x)"];
const COMMANDS: &[&str] = &[
    "ls",
    "git status",
    "git push",
    "rm -rf x",
    "ls; rm x",
    "echo $(git x)",
    "npm run a && ls",
    "cd a && ls",
    "ls > src/x",
];

const PIECES: &[&str] = &[
    "ls",
    "id",
    " ",
    " ",
    ";",
    "&&",
    "|",
    "&",
    "\n",
    "$(id)",
    "`id`",
    "'",
    "\"",
    "(",
    ")",
    "{",
    "}",
    "<",
    ">",
    "x",
    "-l",
    "#",
    "\\",
    "$x",
    "<<E",
    "if ",
    "then ",
    "fi",
    "for i in a; do ",
    "done",
    "case x in x) ",
    "esac",
    "ls()",
    "=",
    "A=1 ",
    "\\\n",
    "timeout 5 ",
    "env ",
    "cd src",
    "[[",
    "]]",
];

fn any_subjects() -> impl Strategy<Value = (&'static str, Vec<Subject>)> {
    prop_oneof![
        prop::sample::select(COMMANDS).prop_map(|text| ("Bash", run(text))),
        prop::sample::select(&["src/a", "b", "/etc/x", ".git/config"][..]).prop_map(|path| ("Read", read(path))),
        prop::sample::select(&["src/a", "b", "/etc/x", ".git/config"][..]).prop_map(|path| ("Edit", write(path))),
        Just(("Python", vec![Subject::Namespace])),
        Just(("mcp__a__b", vec![Subject::Mcp])),
        Just(("Agent", vec![])),
        Just(("Unheard", vec![])),
        prop::sample::select(&["x.org", "y.x.org", "10.0.0.1", "x\0.org"][..])
            .prop_map(|host| ("WebFetch", vec![Subject::Fetch { host: host.to_owned() }])),
        prop::sample::select(COMMANDS).prop_map(|text| ("PowerShell", run(text))),
        prop::sample::select(COMMANDS).prop_map(|text| ("Python", [vec![Subject::Namespace], run(text)].concat())),
    ]
}

fn any_rules() -> impl Strategy<Value = Vec<(Behavior, &'static str)>> {
    let strict = (prop::sample::select(&[Q, D][..]), prop::sample::select(STRICT_RULES));
    let plain = (prop::sample::select(&[A, Q, D][..]), prop::sample::select(RULES))
        // No rule asks before a host is talked to.
        .prop_filter("Network asks nothing", |(behavior, text)| *behavior != Q || !text.starts_with("Network"));
    prop::collection::vec(prop_oneof![4 => plain, 1 => strict], 0..6)
}

fn any_mode() -> impl Strategy<Value = Mode> {
    prop::sample::select(&[Plain, AcceptEdits, Plan, DontAsk, BypassPermissions][..])
}

proptest! {
    /// Adding a deny or ask rule never allows more; adding an allow rule never denies more.
    #[test]
    fn rules_only_push_their_own_way((tool, subjects) in any_subjects(), rules in any_rules(), extra in prop::sample::select(RULES), mode in any_mode()) {
        let before = verdict(mode, &rules, tool, &subjects);
        prop_assume!(!extra.starts_with("Network"));
        let with = |behavior| verdict(mode, &rules.iter().copied().chain([(behavior, extra)]).collect::<Vec<_>>(), tool, &subjects);
        prop_assert!(with(D) >= before);
        prop_assert!(with(Q) >= before);
        prop_assert!(with(A) <= before);
    }

    #[test]
    fn the_order_of_rules_does_not_matter((tool, subjects) in any_subjects(), rules in any_rules(), mode in any_mode()) {
        let reversed: Vec<_> = rules.iter().rev().copied().collect();
        prop_assert_eq!(verdict(mode, &rules, tool, &subjects), verdict(mode, &reversed, tool, &subjects));
    }

    /// What is suggested allows the very call it was suggested for.
    #[test]
    fn suggestions_suffice((tool, subjects) in any_subjects()) {
        let suggested = policy(Plain, &[]).decide(call(tool), &subjects).suggested_rules;
        if !suggested.is_empty() {
            let rules: Vec<_> = suggested.iter().map(|rule| (A, rule.as_str())).collect();
            prop_assert_eq!(verdict(Plain, &rules, tool, &subjects), Allow);
        }
    }

    #[test]
    fn reading_rules_never_panics(text in "\\PC{0,60}") {
        let _ = Rule::parse(A, &text, "", Path::new("/w"), Some(Path::new("/h")));
    }

    /// A rule reads back from its text as itself.
    #[test]
    fn rules_survive_their_text((tool, subjects) in any_subjects(), rules in any_rules(), mode in any_mode()) {
        let first = policy(mode, &rules);
        let texts: Vec<(Behavior, String)> = first.rules.iter().map(|rule| (rule.behavior, rule.text.clone())).collect();
        let again: Vec<(Behavior, &str)> = texts.iter().map(|(behavior, text)| (*behavior, text.as_str())).collect();
        prop_assert_eq!(first.decide(call(tool), &subjects), policy(mode, &again).decide(call(tool), &subjects));
    }

    /// The same question has the same answer, whatever the line.
    #[test]
    fn deciding_is_total_and_pure(text in "[ -~\\n\\t\\PC]{0,80}", rules in any_rules(), mode in any_mode()) {
        let policy = policy(mode, &rules);
        let subjects = run(&text);
        let first = policy.decide(call("Bash"), &subjects);
        prop_assert!(!first.reason.is_empty());
        prop_assert_eq!(first, policy.decide(call("Bash"), &subjects));
    }

    /// Of lines made of the shell's own pieces: a rule that denies all denies each, one that allows `ls` allows no other program.
    #[test]
    fn no_line_escapes_a_denial_of_all(pieces in prop::collection::vec(prop::sample::select(PIECES), 1..10)) {
        let text = pieces.concat();
        prop_assert_eq!(verdict(BypassPermissions, &[(D, "Bash")], "Bash", &run(&text)), Deny);
        if verdict(Plain, &[(A, "Bash(ls:*)")], "Bash", &run(&text)) == Allow {
            let script = crate::shell::parse(&text);
            // `timeout 5 ls` is `ls`.
            let programs = script.commands.iter().map(|simple| crate::shell::without_wrappers(&simple.words)[0].text.as_str());
            prop_assert!(programs.into_iter().all(|program: &str| program == "ls" || program == "cd"), "{}", text);
        }
    }

    #[test]
    fn hosts_have_one_spelling(text in "[ -~]{0,30}|[0-9a-fx.:]{1,20}|[a-z.]{1,20}") {
        if let Ok(host) = crate::network::Host::parse(&text) {
            prop_assert_eq!(crate::network::Host::parse(&host.to_string()), Ok(host));
        }
    }
}
