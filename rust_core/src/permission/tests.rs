use std::path::{Path, PathBuf};

use super::*;
use crate::location::{absolute, is_protected};

fn location(path: &str) -> Location {
    let target = absolute(Path::new("/w"), Path::new(path));
    let relative = target.strip_prefix("/w").map(Path::to_path_buf);
    Location {
        is_hidden: false,
        requested: target.clone(),
        root: relative.is_ok().then_some(0),
        is_writable: relative.is_ok(),
        is_protected: relative.as_deref().is_ok_and(is_protected),
        relative: relative.unwrap_or_default(),
        target,
    }
}

pub fn run(command: &str) -> Vec<Subject> {
    let script = crate::shell::parse(command);
    let mut subjects: Vec<Subject> = script
        .redirects
        .iter()
        .map(|redirect| {
            let location = location(&redirect.path);
            if redirect.is_write {
                Subject::Write { location, is_shell: true }
            } else {
                Subject::Read { location, is_shell: true }
            }
        })
        .collect();
    let folders = script
        .commands
        .iter()
        .map(|simple| match simple.words.as_slice() {
            [cd, to] if cd.text == "cd" => Some(location(&to.text)),
            _ => None,
        })
        .collect();
    subjects.push(Subject::Run { command: command.to_owned(), script, folders, reads: Vec::new() });
    subjects
}

pub fn write(path: &str) -> Vec<Subject> {
    vec![Subject::Write { location: location(path), is_shell: false }]
}

pub fn read(path: &str) -> Vec<Subject> {
    vec![Subject::Read { location: location(path), is_shell: false }]
}

pub fn policy(mode: Mode, rules: &[(Behavior, &str)]) -> Policy {
    let (workspace, home) = (PathBuf::from("/w"), Some(PathBuf::from("/home/me")));
    let rules = rules
        .iter()
        .map(|(behavior, text)| Rule::parse(*behavior, text, "test", &workspace, home.as_deref()).unwrap())
        .collect();
    Policy { mode, rules, workspace, home }
}

pub fn call(tool: &str) -> CallView<'_> {
    CallView { tool, arguments: &Value::Null }
}

pub fn verdict(mode: Mode, rules: &[(Behavior, &str)], tool: &str, subjects: &[Subject]) -> Verdict {
    policy(mode, rules).decide(call(tool), subjects).verdict
}

pub use Behavior::{Allow as A, Ask as Q, Deny as D};
use Mode::{AcceptEdits, BypassPermissions, Default as Plain, DontAsk, Plan};
use Verdict::{Allow, Ask, Deny};

#[test]
fn modes_without_rules() {
    let namespace = [Subject::Namespace];
    let cases: &[(&str, Vec<Subject>, [Verdict; 5])] = &[
        ("Read", read("a.txt"), [Allow, Allow, Allow, Allow, Allow]),
        ("Write", write("a.txt"), [Ask, Allow, Deny, Deny, Allow]),
        ("Edit", write(".git/config"), [Ask, Ask, Deny, Deny, Ask]),
        ("Bash", run("ls"), [Ask, Ask, Deny, Deny, Allow]),
        ("Bash", run("rm -rf /"), [Ask, Ask, Deny, Deny, Ask]),
        ("Python", namespace.to_vec(), [Ask, Ask, Deny, Deny, Allow]),
        ("Inspect", vec![Subject::Inspect], [Allow, Allow, Allow, Allow, Allow]),
        ("WebFetch", vec![Subject::Fetch { host: "example.org".into() }], [Ask, Ask, Ask, Deny, Allow]),
        ("Bash", vec![Subject::Fetch { host: "example.org".into() }], [Ask, Ask, Deny, Deny, Allow]),
        ("mcp__a__b", vec![Subject::Mcp], [Ask, Ask, Deny, Deny, Allow]),
        ("Read", read("/etc/passwd"), [Deny, Deny, Deny, Deny, Deny]),
        ("Write", write("/etc/passwd"), [Deny, Deny, Deny, Deny, Deny]),
        ("TodoWrite", vec![], [Allow, Allow, Allow, Allow, Allow]),
        ("Unheard", vec![], [Ask, Ask, Deny, Deny, Allow]),
    ];
    for (tool, subjects, expected) in cases {
        for (mode, expected) in [Plain, AcceptEdits, Plan, DontAsk, BypassPermissions].into_iter().zip(expected) {
            assert_eq!(verdict(mode, &[], tool, subjects), *expected, "{tool} {mode:?} {subjects:?}");
        }
    }
}

#[test]
fn deny_beats_ask_beats_allow_in_any_order() {
    for rules in [
        [(A, "Bash"), (Q, "Bash(git:*)"), (D, "Bash(git push:*)")],
        [(D, "Bash(git push:*)"), (Q, "Bash(git:*)"), (A, "Bash")],
    ] {
        assert_eq!(verdict(Plain, &rules, "Bash", &run("ls")), Allow);
        assert_eq!(verdict(Plain, &rules, "Bash", &run("git status")), Ask);
        assert_eq!(verdict(Plain, &rules, "Bash", &run("git push")), Deny);
        assert_eq!(verdict(BypassPermissions, &rules, "Bash", &run("git push")), Deny);
        assert_eq!(verdict(BypassPermissions, &rules, "Bash", &run("git status")), Ask);
    }
}

#[test]
fn a_deny_is_found_wherever_the_command_stands() {
    let rules = [(A, "Bash"), (D, "Bash(rm:*)")];
    for text in [
        "rm x",
        "/bin/rm x",
        "ls; rm x",
        "ls && rm x",
        "echo $(rm x)",
        "sudo rm x",
        "env A=1 rm x",
        "timeout 5 rm x",
        "xargs rm",
        "find . -exec rm {} ;",
        "bash -c 'rm x'",
        "A=1 rm x",
        "if true; then rm x; fi",
        "\\rm x",
        "r''m x",
        "nice -n 3 nohup rm x",
        "command rm x",
        "ls |& rm x",
        "(rm x)",
        "`rm x`",
        "eval rm x",
        "ls\nrm x",
        "ssh host rm x",
        "rm",
    ] {
        assert_eq!(verdict(Plain, &rules, "Bash", &run(text)), Deny, "{text}");
    }
    for text in ["ls rm", "echo rm", "rmdir x", "git rm-x"] {
        assert_eq!(verdict(Plain, &rules, "Bash", &run(text)), Allow, "{text}");
    }
}

#[test]
fn command_rules_end_at_words() {
    let cases: &[(&str, &str, Verdict)] = &[
        ("Bash(git diff:*)", "git diff", Allow),
        ("Bash(git diff:*)", "git diff --stat a b", Allow),
        ("Bash(git diff:*)", "git difftool", Ask),
        ("Bash(git diff:*)", "git -c a=b diff", Ask),
        ("Bash(git log*)", "git log -3", Allow),
        ("Bash(git log*)", "git logout", Ask),
        ("Bash(ls:*)", "lsof", Ask),
        ("Bash(ls:*)", "/bin/ls", Ask),
        ("Bash(ls:*)", "./ls", Ask),
        ("Bash(ls:*)", "ls *", Allow),
        ("Bash(rm:*)", "rm *.o", Ask),
        ("Bash(npm run *)", "npm run build", Allow),
        ("Bash(npm run *)", "npm runx", Ask),
        ("Bash(npm run *)", "npm install", Ask),
        ("Bash(git * main)", "git merge main", Allow),
        ("Bash(git * main)", "git merge dev", Ask),
        ("Bash(cat src/*)", "cat src/a", Allow),
        ("Bash(cat src/*)", "cat src/../../x", Ask),
        ("Bash(ls)", "ls", Allow),
        ("Bash(ls)", "ls -l", Ask),
        ("Bash(make test)", "make test && make test", Allow),
        ("Bash(FOO=1 make)", "FOO=1 make", Allow),
        ("Bash(make:*)", "FOO=1 make", Ask),
        ("Bash(git status:*)", "timeout 5 git status", Allow),
        ("Bash(git status:*)", "env git status", Ask),
        ("Bash(python:*)", "python x.py", Allow),
        ("Bash(env:*)", "env python x.py", Ask),
        ("Bash(git:*)", "git -c core.pager=x log", Ask),
        ("Bash(find:*)", "find . -name x", Allow),
        ("Bash(find:*)", "find . -delete", Ask),
        ("Bash(echo:*)", "echo a > out.txt", Ask),
        ("Bash(echo:*)", "echo a 2>/dev/null", Allow),
        ("Bash(echo a > out.txt)", "echo a > out.txt", Allow),
        ("Bash", "make && ./run", Allow),
        ("Bash", "for i in 1; do ls; done", Ask),
        ("Bash", "echo $(date)", Ask),
        ("Bash(*)", "ls > out.txt", Allow),
        ("Bash(ls:*)", "cd src && ls", Allow),
        ("Bash(ls:*)", "cd .. && ls", Ask),
        ("Bash(ls:*)", "ls; cd src", Ask),
        ("Bash(git status:*)", "cd src && git status", Ask),
        ("Bash(ls:*)", "cd src && ls > x", Ask),
        ("Bash(rm:*)", "rm -rf build", Allow),
        ("Bash(rm:*)", "rm -rf /", Ask),
        ("Bash", "rm -rf ~", Ask),
        ("Bash", "echo x > .git/hooks/post-commit", Ask),
        ("Read", "ls", Ask),
        ("mcp__a", "ls", Ask),
    ];
    for (rule, command, expected) in cases {
        assert_eq!(verdict(Plain, &[(A, rule)], "Bash", &run(command)), *expected, "{rule} on {command}");
    }
}

#[test]
fn path_rules_cover_what_they_name() {
    let cases: &[(Behavior, &str, &str, Vec<Subject>, Verdict)] = &[
        (A, "Edit(src/**)", "Edit", write("src/a/b.py"), Allow),
        (A, "Edit(src/**)", "Write", write("src/new.py"), Allow),
        (A, "Edit(src/**)", "Edit", write("lib/b.py"), Ask),
        (A, "Write(src/**)", "Edit", write("src/b.py"), Ask),
        (A, "Edit(*.md)", "Edit", write("docs/x.md"), Allow),
        (A, "Edit(./x.md)", "Edit", write("docs/x.md"), Ask),
        (A, "Edit", "Edit", write("a"), Allow),
        (A, "Edit(**)", "Edit", write(".git/hooks/x"), Ask),
        (A, "Edit", "Edit", write("/etc/x"), Deny),
        (A, "Read", "Write", write("a"), Ask),
        (D, "Read(secret/**)", "Read", read("secret/a"), Deny),
        (D, "Read(secret/)", "Read", read("secret/a"), Deny),
        (D, "Read(secret/**)", "Edit", write("secret/a"), Deny),
        (D, "Read(secret/**)", "Grep", read("secret/a"), Deny),
        (D, "Read(secret/**)", "Read", read("open/a"), Allow),
        (D, "Edit(secret/**)", "Read", read("secret/a"), Allow),
        (D, "Read(//w/x/**)", "Read", read("x/y"), Deny),
        (D, "Read(.env)", "Read", read("deep/down/.env"), Deny),
        (Q, "Read(*.csv)", "Read", read("a.csv"), Ask),
        (D, "*", "Read", read("a"), Deny),
        (D, "Grep", "Grep", read("a"), Deny),
        (D, "Grep", "Read", read("a"), Allow),
    ];
    for (behavior, rule, tool, subjects, expected) in cases {
        assert_eq!(verdict(Plain, &[(*behavior, rule)], tool, subjects), *expected, "{rule} on {tool} {subjects:?}");
    }
}

#[test]
fn a_link_is_allowed_only_where_both_ends_are_and_denied_where_either_is() {
    let link = Location { requested: PathBuf::from("/w/open/link"), ..location("secret/file") };
    let subject = [Subject::Write { location: link.clone(), is_shell: false }];
    assert_eq!(verdict(Plain, &[(A, "Edit(open/**)")], "Edit", &subject), Ask);
    assert_eq!(verdict(Plain, &[(A, "Edit(secret/**)")], "Edit", &subject), Ask);
    assert_eq!(verdict(Plain, &[(A, "Edit(open/**)"), (A, "Edit(**)")], "Edit", &subject), Allow);
    let subject = [Subject::Read { location: link, is_shell: false }];
    assert_eq!(verdict(Plain, &[(D, "Read(secret/**)")], "Read", &subject), Deny);
    assert_eq!(verdict(Plain, &[(D, "Read(open/**)")], "Read", &subject), Deny);
}

#[test]
fn other_rules() {
    let fetch = |host: &str| vec![Subject::Fetch { host: host.to_owned() }];
    let cases: &[(&str, &str, Vec<Subject>, Verdict)] = &[
        ("WebFetch(domain:github.com)", "WebFetch", fetch("github.com"), Allow),
        ("WebFetch(domain:github.com)", "WebFetch", fetch("GitHub.com."), Allow),
        ("WebFetch(domain:github.com)", "WebFetch", fetch("evilgithub.com"), Ask),
        ("WebFetch(domain:*.github.com)", "WebFetch", fetch("api.github.com"), Allow),
        ("WebFetch(domain:*.github.com)", "WebFetch", fetch("github.com"), Ask),
        ("WebFetch(domain:*.github.com)", "WebFetch", fetch("evil\0.github.com"), Ask),
        ("Python", "Python", vec![Subject::Namespace], Allow),
        ("Python", "REPL", vec![Subject::Namespace], Ask),
        ("mcp__files__*", "mcp__files__read", vec![Subject::Mcp], Allow),
        ("mcp__files", "mcp__files__read", vec![Subject::Mcp], Allow),
        ("mcp__files", "mcp__filesystem__read", vec![Subject::Mcp], Ask),
        ("mcp__files__read", "mcp__files__write", vec![Subject::Mcp], Ask),
        ("mcp__files__read_*", "mcp__files__read_all", vec![Subject::Mcp], Allow),
    ];
    for (rule, tool, subjects, expected) in cases {
        assert_eq!(verdict(Plain, &[(A, rule)], tool, subjects), *expected, "{rule} on {tool} {subjects:?}");
    }
}

#[test]
fn malformed_rules_say_what_is_wrong() {
    let cases = [
        ("", "empty"),
        ("Bahs(ls)", "nearest is Bash"),
        ("Bash(ls", "parenthesis"),
        ("Bash()", "empty"),
        ("Bash(:*)", "program"),
        ("Python(x)", "nothing in parentheses"),
        ("WebFetch(github.com)", "domain:"),
        ("WebFetch(domain:)", "domain"),
        ("Edit(!x)", "negated"),
        ("Bash(*ls)", "whole name"),
        ("*", "name its tool"),
        ("mcp__*", "MCP"),
        ("Bash(ls\u{200b}:*)", "U+200B"),
        ("__class__", "nearest"),
        ("Sleep(seconds:5)", "nothing in parentheses"),
        ("PowerShell(Get-Item:*)", "exactly one"),
        ("Agent(*)x", "parenthesis"),
        ("Skill(a b)", "letters"),
        ("WebFetch(domain:a.org:80)", "port"),
    ];
    for (text, expected) in cases {
        let error = Rule::parse(A, text, "settings.json", Path::new("/w"), None).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("settings.json"), "{text}: {error}");
    }
    assert!(Rule::parse(D, "mcp__*", "", Path::new("/w"), None).is_ok());
}

#[test]
fn suggestions_are_as_narrow_as_they_look() {
    let suggest = |tool: &str, subjects: Vec<Subject>| policy(Plain, &[]).decide(call(tool), &subjects).suggested_rules;
    let none: [&str; 0] = [];
    assert_eq!(suggest("Bash", run("git status")), ["Bash(git status:*)"]);
    assert_eq!(suggest("Bash", run("pytest -x tests")), ["Bash(pytest:*)"]);
    assert_eq!(suggest("Bash", run("npm run build")), ["Bash(npm run build:*)"]);
    assert_eq!(suggest("Bash", run("python x.py")), ["Bash(python x.py)"]);
    assert_eq!(suggest("Bash", run("timeout 5 git log -3")), ["Bash(git log:*)"]);
    assert_eq!(suggest("Bash", run("ls && wc -l a | head")), ["Bash(ls:*)", "Bash(wc:*)", "Bash(head:*)"]);
    assert_eq!(suggest("Bash", run("FOO=1 make")), ["Bash(FOO=1 make)"]);
    assert_eq!(suggest("Bash", run("sudo ls")), ["Bash(sudo ls)"]);
    assert_eq!(suggest("Bash", run("echo $(id)")), none);
    assert_eq!(suggest("Bash", run("rm -rf /")), none);
    assert_eq!(suggest("Bash", run("ls > x")), none);
    assert_eq!(suggest("Bash", run("cd src && pytest -q")), ["Bash(pytest:*)"]);
    assert_eq!(suggest("Bash", run("cd .. && pytest -q")), none);
    assert_eq!(suggest("Bash", run("cd src && git status")), none);
    assert_eq!(suggest("Bash", run("a;b;c;d;e;f")), none);
    assert_eq!(suggest("Edit", write("src/a/b.py")), ["Edit(src/a/**)"]);
    assert_eq!(suggest("Write", write("top.py")), ["Edit(./top.py)"]);
    assert_eq!(suggest("Edit", write(".git/config")), none);
    assert_eq!(suggest("Python", vec![Subject::Namespace]), ["Python"]);
}

#[test]
fn network_rules_grant_hosts_and_take_them_away() {
    let hosts = |rules: &[(Behavior, &str)]| policy(Mode::Default, rules).hosts();
    let objection = |rules: &[(Behavior, &str)], host: &str| {
        hosts(rules).objection(&crate::network::Host::parse(host).unwrap(), 443)
    };
    let all = (Behavior::Allow, "Network(domain:*.example.org)");
    assert!(hosts(&[]).is_empty() && hosts(&[(Behavior::Allow, "WebFetch(domain:a.org)")]).is_empty());
    assert_eq!(objection(&[all], "a.example.org"), None);
    assert!(objection(&[all], "example.org").is_some());
    assert!(objection(&[all, (Behavior::Deny, "Network(domain:a.example.org)")], "a.example.org").is_some());
    assert!(hosts(&[all, (Behavior::Deny, "Network")]).is_empty());
    for (behavior, text) in [
        (Behavior::Allow, "Network"),
        (Behavior::Allow, "Network(*)"),
        (Behavior::Ask, "Network(domain:a.org)"),
        (Behavior::Deny, "Network(a.org)"),
    ] {
        assert!(Rule::parse(behavior, text, "", Path::new("/w"), None).is_err(), "{text}");
    }
}

#[test]
fn arguments_and_names_are_matched() {
    let decided = |behavior, rule: &str, tool: &str, arguments: Value| {
        let subjects = if tool == "Bash" { run("ls") } else { vec![] };
        policy(Plain, &[(behavior, rule)]).decide(CallView { tool, arguments: &arguments }, &subjects).verdict
    };
    let json = |text: &str| serde_json::from_str(text).unwrap();
    let cases = [
        (D, "Agent(reviewer)", "Agent", r#"{"subagent_type": "reviewer"}"#, Deny),
        (D, "Agent(reviewer)", "Agent", r#"{"subagent_type": "reviewers"}"#, Allow),
        (D, "Agent(model:*opus*)", "Agent", r#"{"model": "claude-opus"}"#, Deny),
        (Q, "Skill(deploy:*)", "Skill", r#"{"skill": "deploy", "args": "now"}"#, Ask),
        (Q, "Skill(deploy *)", "Skill", r#"{"skill": "deploy"}"#, Ask),
        (Q, "Skill(deploy)", "Skill", r#"{"skill": "test"}"#, Allow),
        (D, "Bash(run_in_background:true)", "Bash", r#"{"command": "ls", "run_in_background": true}"#, Deny),
        (D, "Bash(run_in_background:true)", "Bash", r#"{"command": "ls"}"#, Ask),
        (D, "Sleep(seconds:3600)", "Sleep", r#"{"seconds": 3600}"#, Deny),
        (D, "mcp__db__query(sql:*DROP*)", "mcp__db__query", r#"{"sql": "x; DROP y"}"#, Deny),
        (D, "*(path:*secret*)", "TodoWrite", r#"{"path": "a/secret/b"}"#, Deny),
    ];
    for (behavior, rule, tool, arguments, expected) in cases {
        assert_eq!(decided(behavior, rule, tool, json(arguments)), expected, "{rule} on {arguments}");
    }
}

#[test]
fn aliases_name_the_same_tool() {
    for (rule, tool, subjects) in [
        ("bash(ls:*)", "Bash", run("ls")),
        ("edit_file(a)", "Edit", write("a")),
        ("write_file(a)", "Write", write("a")),
        ("web_fetch(domain:x.org)", "WebFetch", vec![Subject::Fetch { host: "x.org".into() }]),
    ] {
        assert_eq!(verdict(Plain, &[(A, rule)], tool, &subjects), Allow, "{rule}");
    }
    assert_eq!(verdict(Plain, &[(D, "read_file(a)")], "Read", &read("a")), Deny);
}

#[test]
fn another_shells_lines_are_allowed_whole_or_exactly() {
    let cases = [
        ("PowerShell", "Get-Item x", Allow),
        ("PowerShell(Get-Item x)", "Get-Item x", Allow),
        ("PowerShell(Get-Item x)", "Get-Item x; Remove-Item x", Ask),
        ("Bash(ls:*)", "ls", Ask),
        ("Bash(ls)", "ls", Ask),
        ("Bash", "ls", Ask),
    ];
    for (rule, line, expected) in cases {
        assert_eq!(verdict(Plain, &[(A, rule)], "PowerShell", &run(line)), expected, "{rule} on {line}");
    }
    assert_eq!(verdict(Plain, &[(A, "PowerShell(ls)")], "Bash", &run("ls")), Ask);
    assert_eq!(verdict(Plain, &[(A, "PowerShell"), (D, "Bash(rm:*)")], "PowerShell", &run("rm x")), Deny);
}

#[test]
fn a_tool_that_is_denied_whole_need_not_be_shown() {
    let denies = |rule: &str, tool: &str| policy(Plain, &[(D, rule)]).denies_tool(tool);
    assert!(
        denies("Bash", "Bash") && denies("*", "Bash") && denies("mcp__a", "mcp__a__b") && denies("Web*", "WebFetch")
    );
    assert!(
        !denies("Bash(rm:*)", "Bash") && !denies("Edit", "Read") && !policy(Plain, &[(Q, "Bash")]).denies_tool("Bash")
    );
}

#[test]
fn hosts_are_denied_in_every_spelling() {
    let fetch = |host: &str| vec![Subject::Fetch { host: host.to_owned() }];
    let rules = [(A, "WebFetch"), (D, "WebFetch(domain:127.0.0.1)"), (D, "WebFetch(domain:*.evil.org)")];
    for host in ["127.0.0.1", "0x7f.1", "2130706433", "::ffff:127.0.0.1", "a.EVIL.org."] {
        assert_eq!(verdict(Plain, &rules, "WebFetch", &fetch(host)), Deny, "{host}");
        assert_eq!(verdict(BypassPermissions, &rules, "mcp__web__get", &fetch(host)), Deny, "{host}");
    }
    assert_eq!(verdict(Plain, &rules, "WebFetch", &fetch("evil.org")), Allow);
    for odd in ["evil\0.org", "", "a b", "ex\u{e4}mple.org"] {
        assert_eq!(verdict(Plain, &rules, "WebFetch", &fetch(odd)), Ask, "{odd:?}");
        assert_eq!(verdict(BypassPermissions, &[], "WebFetch", &fetch(odd)), Ask, "{odd:?}");
    }
}
