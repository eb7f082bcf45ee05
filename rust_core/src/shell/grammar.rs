//! The command lines that are known to only read: programs, each with the options that keep it so. An option that is not
//! listed here is not known.

use super::reading::Extent;

/// What stands beside a program's options.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Operands {
    None,
    /// No paths.
    Text,
    Paths,
    /// At most one path.
    OnePath,
    /// A pattern, unless an option gave it, then paths.
    Pattern,
}

/// The command line of some programs.
pub struct Grammar {
    /// Their names.
    pub programs: &'static [&'static str],
    /// Letters of options without a value.
    pub flags: &'static str,
    /// Letters of options with one.
    pub valued: &'static str,
    /// Long options without a value.
    pub words: &'static [&'static str],
    /// Long options with one.
    pub settings: &'static [&'static str],
    /// What stands beside the options.
    pub operands: Operands,
    /// Without paths: what it reads then.
    pub by_default: Extent,
}

const NOTHING: Grammar = Grammar {
    programs: &[],
    flags: "",
    valued: "",
    words: &[],
    settings: &[],
    operands: Operands::Paths,
    by_default: Extent::Input,
};

/// Left out on purpose: `sort -o -T --compress-program`, `tail -f`, `uniq IN OUT`, `file -C -m`, `grep -f`, `rg --pre
/// --hostname-bin -z -f`, `tree -o`, everything that follows links (`-L`, `grep -R`, `diff -r`) or reads a list of names.
pub const GRAMMARS: &[Grammar] = &[
    Grammar {
        programs: &["ls"],
        flags: "aABcCdfFgGhiklmnopqQrRsStuUvxX1",
        valued: "I",
        words: &[
            "--all",
            "--almost-all",
            "--human-readable",
            "--recursive",
            "--reverse",
            "--directory",
            "--classify",
            "--group-directories-first",
            "--full-time",
        ],
        settings: &["--sort", "--time", "--time-style", "--color", "--ignore"],
        by_default: Extent::Tree,
        ..NOTHING
    },
    Grammar { programs: &["cat"], flags: "AbeEnstTv", words: &["--number", "--show-all"], ..NOTHING },
    Grammar {
        programs: &["head", "tail"],
        flags: "qvz",
        valued: "nc",
        words: &["--quiet", "--verbose"],
        settings: &["--lines", "--bytes"],
        ..NOTHING
    },
    Grammar {
        programs: &["wc"],
        flags: "lwcmL",
        words: &["--lines", "--words", "--bytes", "--chars", "--max-line-length"],
        ..NOTHING
    },
    Grammar { programs: &["nl"], flags: "p", valued: "bvwsnifhdl", ..NOTHING },
    Grammar { programs: &["tac"], ..NOTHING },
    Grammar {
        programs: &["cut"],
        flags: "sz",
        valued: "dfcb",
        words: &["--complement", "--only-delimited"],
        settings: &["--delimiter", "--fields", "--characters", "--bytes", "--output-delimiter"],
        ..NOTHING
    },
    Grammar { programs: &["tr"], flags: "cCdst", operands: Operands::Text, ..NOTHING },
    Grammar { programs: &["uniq"], flags: "cdui", valued: "fsw", operands: Operands::OnePath, ..NOTHING },
    Grammar {
        programs: &["sort"],
        flags: "nrufbdghVMicCsz",
        valued: "kt",
        words: &["--numeric-sort", "--reverse", "--unique", "--human-numeric-sort", "--version-sort", "--stable"],
        settings: &["--key", "--field-separator"],
        ..NOTHING
    },
    Grammar {
        programs: &["grep"],
        flags: "nivclLwxoEFhHrsqIaz",
        valued: "emABC",
        words: &[
            "--line-number",
            "--ignore-case",
            "--invert-match",
            "--count",
            "--files-with-matches",
            "--files-without-match",
            "--word-regexp",
            "--only-matching",
            "--recursive",
            "--no-messages",
            "--extended-regexp",
            "--fixed-strings",
        ],
        settings: &[
            "--include",
            "--exclude",
            "--exclude-dir",
            "--color",
            "--regexp",
            "--max-count",
            "--context",
            "--after-context",
            "--before-context",
        ],
        operands: Operands::Pattern,
        ..NOTHING
    },
    Grammar {
        programs: &["rg"],
        flags: "acFHiIlnNopqsSuUvwx0",
        valued: "ABCegmtTdMr",
        words: &[
            "--files",
            "--files-with-matches",
            "--files-without-match",
            "--hidden",
            "--no-ignore",
            "--heading",
            "--no-heading",
            "--line-number",
            "--no-line-number",
            "--column",
            "--count",
            "--count-matches",
            "--ignore-case",
            "--smart-case",
            "--case-sensitive",
            "--fixed-strings",
            "--word-regexp",
            "--invert-match",
            "--only-matching",
            "--multiline",
            "--json",
            "--stats",
            "--with-filename",
            "--no-filename",
            "--no-messages",
            "--type-list",
        ],
        settings: &[
            "--color",
            "--context",
            "--after-context",
            "--before-context",
            "--glob",
            "--iglob",
            "--type",
            "--type-not",
            "--max-count",
            "--max-depth",
            "--max-columns",
            "--regexp",
            "--sort",
            "--sortr",
        ],
        operands: Operands::Pattern,
        by_default: Extent::Tree,
    },
    Grammar {
        programs: &["tree"],
        flags: "adfhiF",
        valued: "LIP",
        words: &["--dirsfirst", "--noreport", "--prune"],
        by_default: Extent::Tree,
        ..NOTHING
    },
    Grammar {
        programs: &["du"],
        flags: "achkmsSx",
        valued: "dt",
        words: &["--all", "--human-readable", "--summarize", "--total", "--apparent-size"],
        settings: &["--max-depth", "--threshold", "--exclude"],
        by_default: Extent::Tree,
        ..NOTHING
    },
    Grammar { programs: &["stat"], flags: "t", valued: "c", settings: &["--format", "--printf"], ..NOTHING },
    Grammar { programs: &["file"], flags: "bi", words: &["--brief", "--mime", "--mime-type"], ..NOTHING },
    Grammar { programs: &["pwd"], flags: "LP", operands: Operands::None, ..NOTHING },
    Grammar { programs: &["true", "false"], operands: Operands::None, ..NOTHING },
    Grammar { programs: &["uname"], flags: "asnrvmpio", operands: Operands::None, ..NOTHING },
    Grammar { programs: &["which"], flags: "a", operands: Operands::Text, ..NOTHING },
    Grammar { programs: &["basename", "dirname", "printf", "seq"], operands: Operands::Text, ..NOTHING },
];

/// What `find` may be asked that takes no value; printing alone is done.
pub const FIND_TESTS: &[&str] = &[
    "!",
    "(",
    ")",
    "-not",
    "-o",
    "-or",
    "-a",
    "-and",
    "-print",
    "-print0",
    "-prune",
    "-empty",
    "-readable",
    "-writable",
    "-executable",
    "-mount",
    "-xdev",
    "-daystart",
    "-depth",
    "-ls",
];

/// The same with one.
pub const FIND_VALUED: &[&str] = &[
    "-name",
    "-iname",
    "-path",
    "-ipath",
    "-wholename",
    "-regex",
    "-iregex",
    "-type",
    "-maxdepth",
    "-mindepth",
    "-size",
    "-mtime",
    "-atime",
    "-ctime",
    "-mmin",
    "-amin",
    "-cmin",
    "-perm",
    "-links",
    "-printf",
];

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
];
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
];

/// Subcommands of git that show the state and history of the repository.
pub const GIT: &[Grammar] = &[
    Grammar {
        programs: &["status"],
        flags: "sb",
        words: &["--short", "--branch", "--porcelain", "--long", "--ignored"],
        settings: &["--untracked-files"],
        ..NOTHING
    },
    Grammar {
        programs: &["diff", "log", "show"],
        flags: "pswbi",
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
];
