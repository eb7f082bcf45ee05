//! Options that make a harmless program run others or write files, and removals nobody means.

use std::path::Path;

use super::Word;
use super::wrapper::{may_run_others, views};
use crate::location::absolute;

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
        short: "cCOfD",
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
    Hazard { programs: &["rsync"], long: &["rsh", "rsync-path"], short: "e", words: &[] },
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
const GIT_LETTERS: &[(&str, &str)] =
    &[("rebase", "x"), ("clone", "u"), ("archive", "o"), ("format-patch", "o"), ("difftool", "x"), ("push", "d")];

/// Programs that talk to hosts, with the options that keep them to printing what they get: letters without a value, letters
/// with one, long ones without, long ones with one. An option that is not listed needs a rule for exactly the command.
const FETCHERS: &[(&str, &str, &str, &[&str], &[&str])] = &[
    (
        "curl",
        "sSfLIivgGN#0146",
        "AemXH",
        &[
            "silent",
            "show-error",
            "fail",
            "fail-with-body",
            "location",
            "head",
            "include",
            "verbose",
            "compressed",
            "globoff",
            "no-progress-meter",
            "progress-bar",
            "http1.1",
            "http2",
            "ipv4",
            "ipv6",
            "no-buffer",
        ],
        &[
            "user-agent",
            "referer",
            "max-time",
            "connect-timeout",
            "request",
            "header",
            "retry",
            "retry-delay",
            "max-redirs",
            "range",
        ],
    ),
    (
        "wget",
        "qvcNS46",
        "tTU",
        &["quiet", "verbose", "no-verbose", "spider", "continue", "timestamping", "server-response", "show-progress"],
        &["tries", "timeout", "user-agent", "wait", "max-redirect"],
    ),
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
                || texts().next() == Some("-p")
                || texts().any(|text| text.contains("::"))
                || GIT_LETTERS.iter().any(|(subcommand, letters)| {
                    texts().any(|text| text == *subcommand) && texts().any(|text| has_letter(text, letters))
                })
                || is_hazardous(name, arguments)
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

/// Prints what a web server answers to a question that sends nothing of this machine.
fn is_plain_fetch(name: &str, arguments: &[Word]) -> bool {
    let Some((_, flags, valued, words, settings)) = FETCHERS.iter().find(|(program, ..)| *program == name) else {
        return false;
    };
    let is_plain_value = |letter: &str, value: &str| match letter {
        "X" | "request" => matches!(value, "GET" | "HEAD" | "OPTIONS"),
        _ => !value.starts_with(['@', '-']),
    };
    let mut rest = arguments.iter().map(|word| word.text.as_str());
    while let Some(text) = rest.next() {
        let is_fine = if let Some(long) = text.strip_prefix("--") {
            let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
            match value {
                None if words.contains(&name) => true,
                _ if !settings.contains(&name) => false,
                _ => value.or_else(|| rest.next()).is_some_and(|value| is_plain_value(name, value)),
            }
        } else if let Some(cluster) = text.strip_prefix('-') {
            let at = cluster.find(|letter| !flags.contains(letter)).unwrap_or(cluster.len());
            let (_, last) = cluster.split_at(at);
            match last.chars().next() {
                None => !cluster.is_empty(),
                Some(letter) if !valued.contains(letter) => false,
                Some(letter) => {
                    let value = if last.len() > 1 { last.get(1..) } else { rest.next() };
                    value.is_some_and(|value| is_plain_value(letter.encode_utf8(&mut [0; 4]), value))
                }
            }
        } else {
            // `file:`, `dict:` and their like reach what is no web server.
            text.split_once(':').is_none_or(|(scheme, rest)| {
                matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https") || !rest.starts_with("//")
            }) && !text.to_ascii_lowercase().starts_with("file:")
        };
        if !is_fine {
            return false;
        }
    }
    true
}

/// `sed -n 1,20p` and plain substitutions without the flags that run or write: the files it reads.
pub fn plain_sed(arguments: &[Word]) -> Option<&[Word]> {
    let options = arguments.iter().take_while(|word| matches!(word.text.as_str(), "-n" | "-E" | "-r")).count();
    let (script, files) = arguments.get(options..)?.split_first()?;
    let script = script.text.as_str();
    let is_range = script
        .strip_suffix(['p', 'd', 'q'])
        .is_some_and(|range| range.chars().all(|c| c.is_ascii_digit() || c == ',' || c == '$'));
    let parts: Vec<&str> = script.split('/').collect();
    let is_substitution = matches!(parts.as_slice(), ["s", _, _, flags] if flags.chars().all(|c| matches!(c, 'g' | 'i' | 'I' | 'p')))
        && !script.contains(['\n', ';', '\\']);
    ((is_range || is_substitution) && !files.iter().any(|word| word.text.starts_with('-'))).then_some(files)
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

/// True for removals of a root, a home, the workspace or what is above it, and for the erasing of disks.
pub fn is_critical_removal(words: &[Word], workspace: &Path, home: Option<&Path>) -> bool {
    views(words).any(|view| {
        let Some((program, arguments)) = view.split_first() else { return false };
        let is_critical = |word: &Word| is_critical_target(&word.text, workspace, home);
        let has = |test: &dyn Fn(&str) -> bool| arguments.iter().any(|word| test(&word.text));
        match program.text.rsplit('/').next().unwrap_or_default() {
            "rm" => {
                let is_recursive = |text: &str| {
                    text.strip_prefix("--").map_or_else(
                        || text.strip_prefix('-').is_some_and(|flags| flags.contains(['r', 'R'])),
                        |long| long.len() >= 3 && "recursive".starts_with(long),
                    )
                };
                has(&is_recursive) && arguments.iter().any(is_critical)
            }
            "rmdir" | "shred" => arguments.iter().any(is_critical),
            "find" => {
                // Without a path: where it stands.
                let has_path = arguments.first().is_some_and(|word| !word.text.starts_with(['-', '(', '!']));
                has(&|text| text == "-delete") && (!has_path || arguments.iter().any(is_critical))
            }
            "dd" => has(&|text| text.starts_with("of=/dev/") && text != "of=/dev/null"),
            "wipefs" | "blkdiscard" => has(&|text| text.starts_with("/dev/")),
            name => name.starts_with("mkfs"),
        }
    })
}

fn is_critical_target(text: &str, workspace: &Path, home: Option<&Path>) -> bool {
    if text.is_empty() || text.starts_with('-') {
        return false;
    }
    let trimmed = text.trim_end_matches('*').trim_end_matches('/');
    // "$X"/* with X empty is /*; a bare variable may be anything.
    if trimmed.starts_with('$') {
        return !trimmed.contains('/');
    }
    if trimmed.is_empty() {
        return true; // "/", "/*", "*"
    }
    let path = match (trimmed.strip_prefix('~'), home) {
        (Some(rest), Some(home)) => home.join(rest.trim_start_matches('/')),
        (Some(rest), None) => return rest.is_empty(),
        _ => absolute(workspace, Path::new(trimmed)),
    };
    let is_above = |place: &Path| place.starts_with(&path);
    is_above(workspace) || home.is_some_and(is_above) || path.components().count() <= 2
}
