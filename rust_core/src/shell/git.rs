//! The subcommands of git that show the state and history of a repository, each with the options that keep it so.

use super::grammar::{Grammar, NOTHING, Operands};

const GIT_HISTORY: &[&str] = &[
    "--oneline",
    "--stat",
    "--shortstat",
    "--numstat",
    "--summary",
    "--name-only",
    "--name-status",
    "--graph",
    "--all",
    "--decorate",
    "--no-merges",
    "--merges",
    "--first-parent",
    "--reverse",
    "--patch",
    "--no-patch",
    "--cached",
    "--staged",
    "--check",
    "--no-color",
    "--follow",
    "--abbrev-commit",
    "--no-ext-diff",
    "--no-textconv",
    "--ignore-all-space",
    "--ignore-blank-lines",
    "--word-diff",
    "--find-renames",
    "--full-index",
    "--color-words",
    "--minimal",
    "--patience",
    "--histogram",
    "--no-renames",
    "--no-prefix",
    "--compact-summary",
    "--dirstat",
    "--exit-code",
    "--quiet",
    "--function-context",
    "--topo-order",
    "--date-order",
    "--left-right",
    "--no-decorate",
    "--simplify-by-decoration",
    "--branches",
    "--tags",
    "--remotes",
];
/// Options with which `git branch` and `git tag` list and make nothing.
pub const GIT_LISTING: &[&str] = &["--list", "--merged", "--no-merged", "--contains", "--no-contains", "--points-at"];

/// Options of git with a value, which is only read behind `=`.
pub const GIT_CHOICES: &[&str] = &[
    "--max-count",
    "--since",
    "--until",
    "--after",
    "--before",
    "--author",
    "--grep",
    "--date",
    "--unified",
    "--diff-filter",
    "--format",
    "--pretty",
    "--sort",
    "--abbrev",
    "--skip",
];

/// Subcommands of git that show the state and history of the repository.
pub const GIT: &[Grammar] = &[
    Grammar {
        programs: &["status"],
        flags: "sb",
        words: &["--short", "--branch", "--long", "--ignored"],
        settings: &["--untracked-files", "--porcelain"],
        ..NOTHING
    },
    Grammar {
        programs: &["diff", "log", "show", "whatchanged", "stash list", "stash show"],
        flags: "pswbiW",
        valued: "nUSGL",
        words: GIT_HISTORY,
        settings: GIT_CHOICES,
        ..NOTHING
    },
    Grammar { programs: &["blame"], flags: "wesl", valued: "L", ..NOTHING },
    Grammar {
        programs: &["branch"],
        flags: "arv",
        words: &["--list", "--all", "--remotes", "--show-current"],
        operands: Operands::None,
        ..NOTHING
    },
    Grammar {
        programs: &["rev-parse"],
        words: &["--show-toplevel", "--abbrev-ref", "--short", "--is-inside-work-tree", "--verify"],
        ..NOTHING
    },
    Grammar {
        programs: &["ls-files"],
        flags: "cdmost",
        words: &["--cached", "--others", "--modified", "--exclude-standard"],
        ..NOTHING
    },
    Grammar { programs: &["remote"], flags: "v", operands: Operands::None, ..NOTHING },
    Grammar {
        programs: &["tag"],
        flags: "l",
        words: &["--list"],
        settings: GIT_CHOICES,
        operands: Operands::None,
        ..NOTHING
    },
    Grammar {
        programs: &["describe"],
        words: &["--tags", "--always", "--dirty", "--long", "--all", "--exact-match"],
        settings: GIT_CHOICES,
        ..NOTHING
    },
    Grammar {
        programs: &["shortlog"],
        flags: "sne",
        words: &["--summary", "--numbered", "--email", "--all"],
        ..NOTHING
    },
    Grammar { programs: &["reflog"], valued: "n", operands: Operands::None, ..NOTHING },
    Grammar {
        programs: &["rev-list"],
        valued: "n",
        words: &["--count", "--all", "--oneline", "--reverse", "--first-parent", "--no-merges"],
        settings: GIT_CHOICES,
        ..NOTHING
    },
    Grammar {
        programs: &["for-each-ref"],
        flags: "arvl",
        words: &[
            "--list",
            "--all",
            "--remotes",
            "--merged",
            "--no-merged",
            "--contains",
            "--no-contains",
            "--points-at",
            "--no-color",
        ],
        settings: GIT_CHOICES,
        operands: Operands::Text,
        ..NOTHING
    },
    Grammar { programs: &["remote get-url", "config --get"], operands: Operands::Text, ..NOTHING },
    Grammar { programs: &["worktree list"], words: &["--porcelain"], operands: Operands::None, ..NOTHING },
    Grammar {
        programs: &["ls-tree"],
        flags: "rdtl",
        words: &["--name-only", "--name-status", "--long", "--full-tree", "--full-name"],
        ..NOTHING
    },
    Grammar {
        programs: &["diff-tree"],
        flags: "rp",
        words: &["--no-commit-id", "--name-only", "--name-status", "--stat", "--numstat", "--root"],
        ..NOTHING
    },
    Grammar { programs: &["count-objects"], flags: "vH", operands: Operands::None, ..NOTHING },
    Grammar {
        programs: &["name-rev"],
        words: &["--name-only", "--tags", "--always"],
        operands: Operands::Text,
        ..NOTHING
    },
    Grammar { programs: &["cherry"], flags: "v", operands: Operands::Text, ..NOTHING },
    // With a second name it sets the first.
    Grammar { programs: &["symbolic-ref"], words: &["--short"], operands: Operands::OnePath, ..NOTHING },
    Grammar { programs: &["merge-base"], words: &["--is-ancestor", "--fork-point"], ..NOTHING },
    Grammar { programs: &["check-ignore"], flags: "vq", ..NOTHING },
    Grammar { programs: &["cat-file"], flags: "pts", ..NOTHING },
    Grammar {
        programs: &["grep"],
        flags: "nilcwEFGPhHoIa",
        valued: "eABCm",
        words: &[
            "--line-number",
            "--ignore-case",
            "--count",
            "--name-only",
            "--files-with-matches",
            "--word-regexp",
            "--cached",
        ],
        settings: &["--color"],
        operands: Operands::Pattern,
        ..NOTHING
    },
];
