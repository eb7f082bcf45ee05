use super::*;

fn words(script: &Script) -> Vec<Vec<&str>> {
    script.commands.iter().map(|command| command.words.iter().map(|word| word.text.as_str()).collect()).collect()
}

#[test]
fn simple_lines_are_understood_whole() {
    let cases: &[(&str, &[&[&str]])] = &[
        ("ls -la", &[&["ls", "-la"]]),
        (
            "git status && git diff --stat | head -5; echo 'a b' \"c d\"",
            &[&["git", "status"], &["git", "diff", "--stat"], &["head", "-5"], &["echo", "a b", "c d"]],
        ),
        ("c\"a\"t x'y'z", &[&["cat", "xyz"]]),
        ("echo \"a \\\"b\\\" \\n\"", &[&["echo", "a \"b\" \\n"]]),
        ("ls\npwd\n", &[&["ls"], &["pwd"]]),
        ("git show HEAD@{1} stash^{}", &[&["git", "show", "HEAD@{1}", "stash^{}"]]),
        ("echo  'two  spaces' \"  lead\"", &[&["echo", "two  spaces", "  lead"]]),
        ("tail -n 5 2>&1 | cat", &[&["tail", "-n", "5"], &["cat"]]),
        ("dd if=a of=b", &[&["dd", "if=a", "of=b"]]),
    ];
    for (text, expected) in cases {
        let script = parse(text);
        assert_eq!(script.doubt, None, "{text}");
        assert_eq!(words(&script), *expected, "{text}");
    }
}

#[test]
fn everything_else_is_in_doubt() {
    let long = format!("echo {}", "x".repeat(MAX_BYTES));
    let many = vec!["ls"; 51].join(";");
    let cases = [
        "ls &",
        "ls |& cat",
        "ls $(id)",
        "ls `id`",
        "echo \"$(id)\"",
        "cat <(id)",
        "(ls)",
        "{ ls; }",
        "f() { ls; }; f",
        "ls \\\n-l",
        "cat <<E\nx\nE",
        "cat <<<x",
        "[[ -f x ]]",
        "echo $((1+1))",
        "echo ${x@P}",
        "for i in 1; do ls; done",
        "if ls; then id; fi",
        "while ls; do id; done",
        "case x in x) id;; esac",
        "coproc id",
        "! ls",
        "ls # x",
        "# x\nls",
        "echo $'\\x72m'",
        "echo $\"x\"",
        "{rm,-rf,/}",
        "echo {a,b}",
        "echo {1..3}",
        "echo $IFS",
        "ls\u{a0}-l",
        "ls\r",
        "ls \u{202e}x",
        "l\\s",
        "echo \\-n",
        "ls ~root",
        "ls ~+",
        "X=1",
        "export X=1",
        "X=1; ls",
        "",
        "ls >",
        "ls 'x",
        "a=(1 2)",
        "a[0]=1 ls",
        "echo \"a\\\nb\"",
        "ls > out -la",
        "> out ls",
        "ls >&out",
        "time",
        "function f { ls; }",
        "select x in a; do ls; done",
        "echo a > $x",
        "echo \"x$\"",
        "*/ls",
        "&& ls",
        "ls;;id",
        &long,
        &many,
    ];
    for text in cases {
        let script = parse(text);
        let is_doubted = script.doubt.is_some() || script.commands.is_empty() || text == "time";
        assert!(is_doubted, "{:?} read as {:?}", &text[..text.len().min(40)], words(&script));
    }
}

#[test]
fn what_is_hidden_in_a_doubtful_line_is_still_found() {
    for text in [
        "echo $(rm x)",
        "echo `rm x`",
        "if true; then rm x; fi",
        "(rm x)",
        "f() { rm x; }; f",
        "r\\m x",
        "{rm,x}",
        "bash -c 'rm x'",
        "eval 'rm x'",
        "ls 'unclosed; rm x",
        "echo \"$(echo \"$(rm x)\")\"",
        "! rm x",
        "rm$IFS'x'",
        "bash -c \"bash -c 'rm x'\"",
        "cat <(rm x)",
        "$'rm' x",
        "$'\\x72\\155' x",
        "$\"rm\" x",
        "rm${x} y",
        "''$'rm'",
        "true &\nrm x",
    ] {
        let script = parse(text);
        let is_found =
            script.commands.iter().any(|command| command.words.first().is_some_and(|word| word.text == "rm"));
        assert!(is_found, "{text}: {:?}", words(&script));
    }
}

#[test]
fn redirections_are_listed() {
    let script = parse("sort < in.txt > out.txt 2>/dev/null");
    assert_eq!(script.doubt, None);
    assert_eq!(
        script.redirects,
        [Redirect { is_write: false, path: "in.txt".into() }, Redirect { is_write: true, path: "out.txt".into() },]
    );
    assert_eq!(parse("make &> log").redirects, [Redirect { is_write: true, path: "log".into() }]);
    assert_eq!(parse("echo hi >> 'a b'").redirects, [Redirect { is_write: true, path: "a b".into() }]);
}

#[test]
fn assignments_before_a_command_are_marked() {
    let script = parse("A=1 B=2 make all");
    assert_eq!(script.doubt, None);
    assert!(script.commands[0].has_assignment);
    assert_eq!(words(&script), [["make", "all"]]);
}

#[test]
fn plain_wrappers_are_seen_through() {
    for text in ["timeout 5 ls -l", "time ls -l", "nice -n 5 nohup ls -l", "stdbuf -oL ls -l", "command ls -l"] {
        let script = parse(text);
        let inner: Vec<_> = without_wrappers(&script.commands[0].words).iter().map(|word| word.text.as_str()).collect();
        assert_eq!(inner, ["ls", "-l"], "{text}");
    }
    for text in ["timeout -k 5 3 ls", "env ls", "sudo ls", "command -v ls", "nice --x ls", "xargs ls"] {
        let script = parse(text);
        let inner = without_wrappers(&script.commands[0].words);
        assert_ne!(inner[0].text, "ls", "{text}");
    }
}

#[test]
fn critical_removals_are_known() {
    let (workspace, home) = (std::path::Path::new("/home/me/work"), Some(std::path::Path::new("/home/me")));
    let is_critical =
        |text: &str| parse(text).commands.iter().any(|command| is_critical_removal(&command.words, workspace, home));
    for text in [
        "rm -rf /",
        "rm -rf /*",
        "rm -fr ~",
        "rm -r ~/",
        "rm -rf .",
        "rm -rf ..",
        "rm -Rf ./",
        "rm -rf *",
        "sudo rm -rf /usr",
        "rm --recursive /home",
        "rm -rf \"$X\"/*",
        "rm -rf $HOME",
        "echo $(rm -rf /)",
        "bash -c 'rm -rf ~'",
        "/bin/rm -rf /home/me",
        "rm -r -f ../..",
        "find / -delete",
        "mkfs.ext4 /dev/sda",
        "dd if=/dev/zero of=/dev/sda",
        "rm -rf a/../..",
        "rm --rec --force /",
    ] {
        assert!(is_critical(text), "{text}");
    }
    for text in [
        "rm -rf build",
        "rm x",
        "rm -rf ./dist/*",
        "rm -rf ~/tmp/x",
        "find . -name x",
        "rm -f /tmp/a/b",
        "dd of=/dev/null",
    ] {
        assert!(!is_critical(text), "{text}");
    }
}

#[test]
fn dangerous_options_need_an_exact_rule() {
    for text in [
        "find . -exec rm {} +",
        "find . -delete",
        "git -c core.pager=x log",
        "git diff --output=x",
        "git diff --ext-diff",
        "git -C x status",
        "sort -o x y",
        "sort -no x y",
        "sort --outp=x y",
        "rg --pre cat x",
        "sed -i s/a/b/ x",
        "sed 1e x",
        "tar xf a --to-command=sh",
        "awk 'BEGIN{system(1)}'",
        "make SHELL=x",
        "cargo --config x build",
        "pytest -p x",
        "man -P x ls",
        "date -s x",
        "xxd -r a b",
        "env ls",
        "curl -o x y",
        "go test -exec x",
        "git config core.pager x",
        "uniq a b",
        "jq -f x",
        "sudo ls",
        "git grep -Ox",
        "git push --force",
        "tree -o x",
    ] {
        assert!(needs_exact_rule(&parse(text).commands[0].words, 0), "{text}");
    }
    for text in [
        "find . -name x",
        "git diff --stat",
        "sort -n x",
        "rg -n x",
        "sed -n 1,5p x",
        "sed s/a/b/g x",
        "tar tf a",
        "make test",
        "cargo test",
        "pytest -x -q tests",
        "date +%s",
        "curl -s http://x",
        "go test ./...",
        "git log -5 --oneline",
        "uniq -c a",
    ] {
        assert!(!needs_exact_rule(&parse(text).commands[0].words, 0), "{text}");
    }
}

#[test]
fn letters_of_other_alphabets_are_letters_of_a_word() {
    assert_eq!(words(&parse("echo größe 日本語 'naïve'")), [["echo", "größe", "日本語", "naïve"]]);
    assert!(parse("echo größe").doubt.is_none());
    // Each of these ended the process: the grammar's scanner looks such characters up in C's tables.
    for text in ["{1..😀}", "{😀..2}", "${😀", "\\😀", "<<😀\n", "$((😀))", "a\\日b", "\u{10ffff}{1..\u{10ffff}"]
    {
        assert!(parse(text).doubt.is_some(), "{text}");
    }
}

proptest::proptest! {
    #[test]
    fn parse_never_panics_on_shell_like_text_of_any_alphabet(text in "[a-c0-9é日😀\u{10ffff} $(){}\\[\\]`'\"\\\\;&|<>#!~*=\n\t,.-]{0,120}") {
        let script = parse(&text);
        proptest::prop_assert!(script.doubt.is_some() || script.commands.len() <= MAX_COMMANDS);
    }

    #[test]
    fn parse_never_panics(text in "\\PC{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn parse_never_panics_on_shell_like_text(text in "[a-c $(){}\\[\\]`'\"\\\\;&|<>#!~*=\n\t,.0-9-]{0,120}") {
        let script = parse(&text);
        proptest::prop_assert!(script.doubt.is_some() || script.commands.len() <= MAX_COMMANDS);
    }
}

#[test]
fn a_line_end_ends_a_command_whatever_the_grammar_makes_of_it() {
    assert!(parse("p2 | p0 -f\"c\" p3| p0\np1 2>&1").doubt.is_some());
}
