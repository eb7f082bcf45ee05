//! Command lines that change nothing, so that several may run at once.

use super::reading::{Extent, reading};
use super::{SimpleCommand, parse};

/// Programs that change nothing whatever their arguments; their output may still be private, so this allows nothing.
const HARMLESS: &[&str] = &[
    "cat", "cmp", "df", "diff", "du", "echo", "false", "grep", "head", "id", "ls", "nl", "pwd", "sleep", "stat",
    "tail", "test", "true", "uname", "wc", "which", "whoami",
];

/// Understood whole, without redirection to files, and made only of commands that change nothing.
pub fn changes_nothing(line: &str) -> bool {
    let script = parse(line);
    script.doubt.is_none()
        && !script.commands.is_empty()
        && !script.redirects.iter().any(|redirect| redirect.is_write)
        && script.commands.iter().all(is_harmless)
}

fn is_harmless(command: &SimpleCommand) -> bool {
    let is_listed = command.words.first().is_some_and(|program| HARMLESS.contains(&program.text.as_str()));
    // A repository's configuration may have git run anything.
    (is_listed && !command.has_assignment)
        || reading(command).is_some_and(|reading| reading.extent != Extent::Repository)
}

#[cfg(test)]
mod tests {
    use super::changes_nothing;

    #[test]
    fn only_lines_of_harmless_programs_share_a_step() {
        for line in [
            "true",
            "sleep 0.5",
            "ls -l | wc -l",
            "grep -n x a.txt && cat b.txt",
            "echo a > /dev/null",
            "find . -name x | sort -u",
        ] {
            assert!(changes_nothing(line), "{line}");
        }
        for line in [
            "rm x",
            "echo a > b",
            "cat $(rm x)",
            "FOO=1 ls",
            "ls; touch x",
            "sleep 1 &",
            "./ls",
            "find . -delete",
            "sort -o x x",
            "file -C -m x",
            "git status",
            "",
        ] {
            assert!(!changes_nothing(line), "{line}");
        }
    }
}
