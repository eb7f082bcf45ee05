//! Options that make a harmless program run others or write files.

use super::Word;
use super::fetch::is_plain_fetch;
use super::sed::plain_sed;
use super::wrapper::may_run_others;

/// Long options (also abbreviated), single letters (also in a cluster), and words that make a program dangerous.
struct Hazard {
    programs: &'static [&'static str],
    long: &'static [&'static str],
    short: &'static str,
    words: &'static [&'static str],
}

const HAZARDS: &[Hazard] = &[
    Hazard {
        programs: &["git"],
        long: &[
            "exec",
            "exec-path",
            "git-dir",
            "work-tree",
            "config-env",
            "namespace",
            "upload-pack",
            "receive-pack",
            "output",
            "ext-diff",
            "textconv",
            "open-files-in-pager",
            "template",
            "exec-batch",
            "extcmd",
            "tool",
            "config",
            "separate-git-dir",
            "smtp-server",
            "sendmail-cmd",
            "receive-pack",
            "paginate",
            "output-directory",
            "hard",
            "force",
            "force-with-lease",
            "mirror",
            "super-prefix",
            "to-cmd",
            "cc-cmd",
            "run",
            "no-index",
            "contents",
            "filters",
            "in-place",
            "unsafe-paths",
            "delete",
        ],
        short: "OfD",
        words: &[
            "config",
            "filter-branch",
            "bisect",
            "submodule",
            "difftool",
            "mergetool",
            "clean",
            "send-email",
            "daemon",
            "instaweb",
            "gui",
            "credential",
            "shell",
            "remote-ext",
            "fast-import",
            "for-each-repo",
            "hook",
            "maintenance",
            "p4",
            "svn",
            "cvsimport",
            "imap-send",
            "web--browse",
            "fsmonitor--daemon",
            "filter-repo",
            "upload-pack",
            "receive-pack",
            "upload-archive",
            "http-backend",
            "update-ref",
            "prune",
        ],
    },
    Hazard { programs: &["rg", "ripgrep"], long: &["pre", "hostname-bin", "search-zip"], short: "z", words: &[] },
    Hazard { programs: &["grep", "egrep", "fgrep"], long: &[], short: "", words: &[] },
    Hazard {
        programs: &["sort"],
        long: &["output", "compress-program", "temporary-directory", "files0-from"],
        short: "oT",
        words: &[],
    },
    Hazard { programs: &["uniq"], long: &[], short: "", words: &[] },
    Hazard {
        programs: &["tar", "bsdtar"],
        long: &[
            "checkpoint-action",
            "to-command",
            "use-compress-program",
            "rsh-command",
            "info-script",
            "new-volume-script",
            "rmt-command",
            "absolute-names",
            "index-file",
        ],
        short: "IFP",
        words: &[],
    },
    Hazard { programs: &["zip", "unzip"], long: &["unzip-command"], short: "T", words: &[] },
    Hazard { programs: &["rsync"], long: &["rsh", "rsync-path", "daemon"], short: "e", words: &[] },
    Hazard { programs: &["install"], long: &["strip-program"], short: "", words: &[] },
    Hazard { programs: &["scp", "sftp"], long: &[], short: "SoFD", words: &[] },
    Hazard { programs: &["man"], long: &["pager", "html", "preprocessor", "config-file"], short: "PHpC", words: &[] },
    Hazard {
        programs: &["less", "more"],
        long: &["log-file", "lesskey-file", "lesskey-src", "lesskey-content"],
        short: "oOk",
        words: &[],
    },
    Hazard { programs: &["file"], long: &["magic-file", "files-from", "compile"], short: "mfC", words: &[] },
    Hazard { programs: &["tree"], long: &["output"], short: "oR", words: &[] },
    Hazard { programs: &["date"], long: &["set", "file", "reference"], short: "sf", words: &[] },
    Hazard { programs: &["base64"], long: &["output"], short: "o", words: &[] },
    Hazard { programs: &["xxd"], long: &["revert"], short: "r", words: &[] },
    Hazard { programs: &["cp"], long: &["parents", "target-directory"], short: "t", words: &[] },
    Hazard {
        programs: &["go"],
        long: &["exec", "toolexec", "overlay"],
        short: "",
        words: &[
            "-exec",
            "-toolexec",
            "-overlay",
            "-vettool",
            "-ldflags",
            "-modfile",
            "-C",
            "-o",
            "-w",
            "run",
            "generate",
            "tool",
            "get",
            "install",
        ],
    },
    Hazard {
        programs: &["cargo"],
        long: &["config", "manifest-path", "target-dir", "out-dir", "artifact-dir"],
        short: "ZC",
        words: &["install", "publish", "login", "owner", "yank"],
    },
    Hazard {
        programs: &["npm", "pnpm", "yarn"],
        long: &["prefix", "node-options", "script-shell", "cwd", "userconfig"],
        short: "C",
        words: &[
            "exec",
            "x",
            "dlx",
            "explore",
            "init",
            "create",
            "config",
            "set",
            "pkg",
            "edit",
            "install",
            "i",
            "add",
            "ci",
            "update",
            "install-test",
            "publish",
            "link",
            "global",
            "approve-builds",
        ],
    },
    Hazard {
        programs: &["make", "gmake", "ninja"],
        long: &["file", "makefile", "eval", "directory"],
        short: "fCE",
        words: &[],
    },
    Hazard {
        programs: &["pytest", "py.test"],
        long: &[
            "rootdir",
            "confcutdir",
            "override-ini",
            "import-mode",
            "pdbcls",
            "config-file",
            "basetemp",
            "pastebin",
        ],
        short: "pco",
        words: &[],
    },
    Hazard {
        programs: &["pip", "pip3"],
        long: &[
            "target",
            "prefix",
            "root",
            "editable",
            "config-settings",
            "python",
            "log",
            "index-url",
            "extra-index-url",
        ],
        short: "tei",
        words: &["install", "download", "wheel", "config", "uninstall", "lock"],
    },
    Hazard { programs: &["jq"], long: &["from-file", "rawfile", "slurpfile", "library-path"], short: "fL", words: &[] },
    Hazard { programs: &["yq"], long: &["inplace", "split-exp"], short: "is", words: &[] },
    Hazard { programs: &["history"], long: &[], short: "anrwsdcp", words: &[] },
    Hazard { programs: &["fc"], long: &[], short: "es", words: &[] },
    Hazard {
        programs: &["awk", "gawk", "mawk", "nawk"],
        long: &["file", "load", "include", "source", "exec", "profile", "pretty-print", "dump-variables", "debug"],
        short: "flieEopdD",
        words: &[],
    },
    Hazard { programs: &["printf", "test", "["], long: &[], short: "v", words: &[] },
    Hazard { programs: &["column", "diff", "cmp"], long: &["output"], short: "", words: &[] },
    Hazard { programs: &["split", "csplit"], long: &["filter"], short: "", words: &[] },
    Hazard { programs: &["ps"], long: &[], short: "", words: &["e", "eww", "auxe", "auxeww", "axe"] },
    Hazard {
        programs: &["black", "ruff", "isort", "mypy", "flake8", "pylint"],
        long: &[
            "config",
            "config-file",
            "rcfile",
            "init-hook",
            "load-plugins",
            "settings-path",
            "python-executable",
            "install-types",
            "output-file",
        ],
        short: "",
        words: &[],
    },
];

/// Letters that make a subcommand of git run a program or write elsewhere.
const GIT_LETTERS: &[(&str, &str)] = &[
    ("rebase", "x"),
    ("clone", "uc"),
    ("archive", "o"),
    ("format-patch", "o"),
    ("difftool", "x"),
    ("push", "d"),
    ("switch", "C"),
    ("branch", "C"),
];
/// What may stand before git's subcommand.
const GIT_FRONT: &[&str] = &["--no-pager", "-P", "--no-optional-locks", "--literal-pathspecs", "--version", "--help"];
/// Words behind a subcommand of git that throw away what nothing brings back: undo covers files, not the repository.
const GIT_LOSSES: &[(&str, &[&str])] = &[
    ("push", &["--prune"]),
    ("stash", &["drop", "clear"]),
    ("reflog", &["expire", "delete"]),
    ("gc", &["--prune=now", "--prune=all"]),
];

/// True where a prefix or wildcard rule must not cover the command, only a rule for exactly it. `named`: how many of its first
/// words the rule writes out: what a person has named is no surprise (`Bash(pip install:*)`).
pub fn needs_exact_rule(words: &[Word], named: usize) -> bool {
    let Some((program, arguments)) = words.split_first() else { return true };
    let name = program.text.as_str();
    if may_run_others(name) {
        return true;
    }
    let texts = || arguments.iter().map(|word| word.text.as_str());
    let is_hazardous = |name, arguments| is_hazardous(name, arguments, named.saturating_sub(1));
    match name {
        "find" => {
            texts().any(|text| ["-exec", "-ok", "-delete", "-fprint", "-fls"].iter().any(|flag| text.starts_with(flag)))
        }
        "fd" | "fdfind" => texts().any(|text| {
            let is_cluster = text.starts_with('-') && !text.starts_with("--");
            text.starts_with("--exec") || (is_cluster && text.contains(['x', 'X']))
        }),
        "curl" | "wget" => !is_plain_fetch(name, arguments),
        // A date that is set.
        "date" => texts().any(|text| text.starts_with(|c: char| c.is_ascii_digit())) || is_hazardous(name, arguments),
        // `+command` is done before anything is shown.
        "less" | "more" => texts().any(|text| text.starts_with('+')) || is_hazardous(name, arguments),
        // `host:file` starts a shell there.
        "tar" | "bsdtar" => texts().any(|text| text.contains(':')) || is_hazardous(name, arguments),
        // `+toolchain` may be a folder.
        "cargo" => texts().any(|text| text.starts_with('+')) || is_hazardous(name, arguments),
        "yq" => {
            ["load", "env", "system"].iter().any(|code| texts().any(|text| text.contains(code)))
                || is_hazardous(name, arguments)
        }
        "sed" => plain_sed(arguments).is_none(),
        "hostname" | "domainname" => {
            texts().any(|text| !text.starts_with('-')) || texts().any(|text| text.starts_with("-F"))
        }
        // What these programs take as code can run commands or write files in too many ways to list.
        "awk" | "gawk" | "mawk" | "nawk" => {
            texts().any(|text| {
                text.contains(['|', '>', '@'])
                    || ["system", "getline", "ENVIRON"].iter().any(|code| text.contains(code))
            }) || is_hazardous(name, arguments)
        }
        // `+branch` forces, `:branch` deletes, `ext::` runs.
        "git" => {
            (texts().any(|text| text == "push") && texts().any(|text| text.starts_with(['+', ':'])))
                || texts().take_while(|text| text.starts_with('-')).any(|text| !GIT_FRONT.contains(&text))
                || texts().any(|text| text.contains("::"))
                || GIT_LOSSES.iter().any(|(subcommand, words)| {
                    texts().next() == Some(subcommand)
                        && texts().skip(named.saturating_sub(1)).any(|text| words.contains(&text))
                })
                || GIT_LETTERS.iter().any(|(subcommand, letters)| {
                    texts().any(|text| text == *subcommand) && texts().any(|text| has_letter(text, letters))
                })
                || is_hazardous(name, arguments)
        }
        // `-p no:cacheprovider` loads nothing.
        "pytest" | "py.test" => {
            let kept = arguments.iter().enumerate().filter(|(at, word)| {
                let leaves_out = |at: usize| arguments.get(at).is_some_and(|word| word.text.starts_with("no:"));
                !(word.text.starts_with("-pno:") || (word.text == "-p" && leaves_out(at + 1)))
            });
            is_hazardous(name, &kept.map(|(_, word)| word.clone()).collect::<Vec<_>>())
        }
        "make" | "gmake" => texts().any(|text| text.contains('=')) || is_hazardous(name, arguments),
        // The second file name of uniq is where it writes.
        "uniq" => texts().filter(|text| !text.starts_with('-')).count() > 1,
        "xxd" => texts().filter(|text| !text.starts_with('-')).count() > 1 || is_hazardous(name, arguments),
        "jq" => {
            let reaches_out = ["input", "$__prog_args", "env", "ENV", "include", "import"];
            reaches_out.iter().any(|code| texts().any(|text| text.contains(code))) || is_hazardous(name, arguments)
        }
        _ => is_hazardous(name, arguments),
    }
}

fn is_hazardous(name: &str, arguments: &[Word], named: usize) -> bool {
    let mut found = HAZARDS.iter().filter(|hazard| hazard.programs.contains(&name));
    found.any(|hazard| arguments.iter().enumerate().skip(named).any(|(index, word)| hazard.matches(index, &word.text)))
}

impl Hazard {
    fn matches(&self, index: usize, text: &str) -> bool {
        if let Some(long) = text.strip_prefix("--") {
            let name = long.split('=').next().unwrap_or(long);
            // Programs accept unambiguous abbreviations of their long options.
            return !name.is_empty() && self.long.iter().any(|option| option.starts_with(name));
        }
        // Old tar takes its letters without a dash.
        let is_old_tar = index == 0 && self.programs.contains(&"tar");
        let cluster = text.strip_prefix('-').or(is_old_tar.then_some(text)).filter(|cluster| !cluster.is_empty());
        if cluster.is_some_and(|cluster| has_any(cluster, self.short)) {
            return true;
        }
        // A word counts where a subcommand stands; those with a dash anywhere.
        self.words.iter().any(|word| *word == text.trim_start_matches("--") && (index == 0 || word.starts_with('-')))
            || self.words.iter().any(|word| word.starts_with('-') && text.starts_with(&format!("{word}=")))
    }
}

/// Of `-abc`: is one of these letters among them?
fn has_letter(text: &str, letters: &str) -> bool {
    text.strip_prefix('-').is_some_and(|cluster| !cluster.starts_with('-') && has_any(cluster, letters))
}

fn has_any(cluster: &str, letters: &str) -> bool {
    !cluster.bytes().all(|byte| byte.is_ascii_digit())
        && cluster.chars().take_while(char::is_ascii_alphanumeric).any(|c| letters.contains(c))
}

/// True for a pattern whose names all begin as it does, with a folder or letter: none of them is an option. Programs whose second
/// file is written to are left out.
pub fn is_anchored(program: &str, word: &Word) -> bool {
    !matches!(program, "uniq" | "xxd" | "split" | "csplit")
        && word.text.starts_with(|c: char| c.is_ascii_alphanumeric() || "_./".contains(c))
}

/// Programs for which an unquoted glob cannot turn into a dangerous option or a write.
pub fn takes_globs(program: &str) -> bool {
    matches!(
        program,
        "ls" | "cat"
            | "head"
            | "tail"
            | "wc"
            | "echo"
            | "grep"
            | "stat"
            | "du"
            | "md5sum"
            | "sha256sum"
            | "basename"
            | "dirname"
            | "nl"
            | "cut"
            | "od"
            | "cksum"
    )
}
