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
    /// Files, never a folder: of one it would follow the links.
    Files,
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

pub(super) const NOTHING: Grammar = Grammar {
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
        flags: "nivclLwxoEFPhHrsqIaz",
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
        flags: "acFHiIlnNopPqsSuUvwx0",
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
    Grammar { programs: &["basename", "dirname", "printf", "seq", "sleep"], operands: Operands::Text, ..NOTHING },
    Grammar { programs: &["type"], flags: "taPp", operands: Operands::Text, ..NOTHING },
    Grammar {
        programs: &["nproc", "whoami", "hostname", "arch", "uptime", "lscpu"],
        operands: Operands::None,
        ..NOTHING
    },
    Grammar { programs: &["free"], flags: "hbkmgtwl", operands: Operands::None, ..NOTHING },
    // Of other commands in the sandbox it sees nothing. Its old options without a dash would show variables.
    Grammar {
        programs: &["ps"],
        flags: "efAaxuwlFHjTLN",
        valued: "opC",
        settings: &["--sort"],
        operands: Operands::None,
        ..NOTHING
    },
    // Sizes of disks, whichever are named.
    Grammar {
        programs: &["df"],
        flags: "haTkmHiPl",
        words: &["--total", "--human-readable"],
        operands: Operands::Text,
        ..NOTHING
    },
    Grammar {
        programs: &["diff"],
        flags: "uqsyiwbBpaEtTcNd",
        valued: "UCWI",
        words: &[
            "--brief",
            "--side-by-side",
            "--ignore-all-space",
            "--ignore-blank-lines",
            "--ignore-case",
            "--report-identical-files",
            "--suppress-common-lines",
        ],
        settings: &["--color", "--width", "--unified", "--label"],
        operands: Operands::Files,
        ..NOTHING
    },
    Grammar { programs: &["cmp"], flags: "bls", valued: "n", ..NOTHING },
    // `-c` reads a list of names.
    Grammar {
        programs: &["md5sum", "sha1sum", "sha224sum", "sha256sum", "sha384sum", "sha512sum", "b2sum", "cksum"],
        flags: "bt",
        words: &["--tag"],
        ..NOTHING
    },
    Grammar {
        programs: &["column"],
        flags: "texn",
        valued: "sco",
        words: &["--table"],
        settings: &["--separator"],
        ..NOTHING
    },
    Grammar { programs: &["shuf"], flags: "z", valued: "n", operands: Operands::OnePath, ..NOTHING },
    Grammar { programs: &["iconv"], flags: "c", valued: "ft", ..NOTHING },
    Grammar { programs: &["base64"], flags: "d", valued: "w", operands: Operands::OnePath, ..NOTHING },
    Grammar { programs: &["join"], flags: "iz", valued: "12aejotv", ..NOTHING },
    Grammar { programs: &["expr"], operands: Operands::Text, ..NOTHING },
    Grammar { programs: &["paste"], flags: "sz", valued: "d", ..NOTHING },
    Grammar { programs: &["rev"], ..NOTHING },
    Grammar { programs: &["fold"], flags: "bs", valued: "w", ..NOTHING },
    Grammar { programs: &["comm"], flags: "123iz", ..NOTHING },
    Grammar { programs: &["strings"], flags: "a", valued: "nt", ..NOTHING },
    // `-w` takes a value only where it is written on.
    Grammar { programs: &["od"], flags: "bcdovxsw", valued: "ANjt", ..NOTHING },
    Grammar { programs: &["hexdump"], flags: "Cbcdovx", valued: "ns", ..NOTHING },
    Grammar { programs: &["realpath"], flags: "emqsz", ..NOTHING },
    Grammar { programs: &["readlink"], flags: "femnz", ..NOTHING },
];

/// Programs that say their version, or do as little, with this one argument.
pub const WITH_ONE_ARGUMENT: &[(&str, &[&str])] = &[
    (
        "--version",
        &[
            "python", "python3", "pip", "pip3", "git", "node", "npm", "gcc", "g++", "cc", "clang", "make", "cmake",
            "perl", "ruby", "bash", "uv", "rg", "jq", "tar", "curl", "wget", "docker", "sqlite3", "psql", "R",
            "Rscript", "conda", "mamba", "ruff", "julia", "nvcc", "duckdb",
        ],
    ),
    ("-V", &["python", "python3", "pip", "pip3"]),
    ("-v", &["node", "npm"]),
    ("aux", &["ps"]),
];

/// `pip list` and its like, by subcommand. `-o` and `--index-url` would ask a server.
pub const PIP: Grammar = Grammar {
    programs: &["list", "show", "freeze", "check"],
    flags: "fl",
    words: &["--files", "--local", "--user", "--all", "--not-required", "--exclude-editable"],
    settings: &["--format", "--exclude"],
    operands: Operands::Text,
    ..NOTHING
};

/// jq's own code in the first place; see `reading` for what must not stand in it.
pub const JQ: Grammar = Grammar {
    programs: &["jq"],
    flags: "rcsSnaejCMR",
    words: &[
        "--raw-output",
        "--compact-output",
        "--slurp",
        "--sort-keys",
        "--null-input",
        "--tab",
        "--exit-status",
        "--raw-input",
        "--color-output",
        "--monochrome-output",
    ],
    settings: &["--indent"],
    operands: Operands::Pattern,
    ..NOTHING
};

/// Operators of `test`. `-v` would expand its operand once more.
pub const TESTS: &[&str] = &[
    "-e", "-f", "-d", "-h", "-L", "-p", "-S", "-b", "-c", "-r", "-w", "-x", "-s", "-n", "-z", "-nt", "-ot", "-ef",
    "-eq", "-ne", "-lt", "-le", "-gt", "-ge", "=", "==", "!=", "!", "-a", "-o",
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

/// Options whose value only stands behind `=`, and may be left out.
pub const OPTIONAL_VALUES: &[&str] = &["--color", "--porcelain", "--decorate", "--word-diff", "--unified"];
