//! Command lines that change nothing, so that several may run at once. The policy does not look at this.

use super::parse;

/// Programs that change nothing whatever their arguments; their output may still be private, so this allows nothing.
const HARMLESS: &[&str] = &[
    "cat", "cmp", "df", "diff", "du", "echo", "false", "file", "grep", "head", "id", "ls", "nl", "pwd", "sleep",
    "stat", "tail", "test", "true", "uname", "wc", "which", "whoami",
];

/// Understood whole, without redirection to files, and made of harmless programs only.
pub fn changes_nothing(line: &str) -> bool {
    let script = parse(line);
    script.doubt.is_none()
        && !script.commands.is_empty()
        && !script.redirects.iter().any(|redirect| redirect.is_write)
        && script.commands.iter().all(|command| {
            !command.has_assignment
                && command.words.first().is_some_and(|program| HARMLESS.contains(&program.text.as_str()))
        })
}

#[cfg(test)]
mod tests {
    use super::changes_nothing;

    #[test]
    fn only_lines_of_harmless_programs_share_a_step() {
        for line in ["true", "sleep 0.5", "ls -l | wc -l", "grep -n x a.txt && cat b.txt", "echo a > /dev/null"] {
            assert!(changes_nothing(line), "{line}");
        }
        for line in
            ["rm x", "echo a > b", "cat $(rm x)", "FOO=1 ls", "ls; touch x", "sleep 1 &", "./ls", "find . -delete", ""]
        {
            assert!(!changes_nothing(line), "{line}");
        }
    }
}
