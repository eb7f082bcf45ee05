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
        ],
        short: "IFP",
        words: &[],
    },
    Hazard { programs: &["zip", "unzip"], long: &["unzip-command"], short: "T", words: &[] },
    Hazard { programs: &["rsync"], long: &["rsh", "rsync-path"], short: "e", words: &[] },
    Hazard { programs: &["scp", "sftp"], long: &[], short: "SoFD", words: &[] },
    Hazard { programs: &["man"], long: &["pager", "html", "preprocessor"], short: "PHp", words: &[] },
    Hazard { programs: &["less", "more"], long: &["log-file", "lesskey-file"], short: "oOk", words: &[] },
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
        words: &["-exec", "-toolexec", "-overlay", "run", "generate"],
    },
    Hazard { programs: &["cargo"], long: &["config", "manifest-path"], short: "ZC", words: &[] },
    Hazard {
        programs: &["npm", "pnpm", "yarn"],
        long: &["prefix", "node-options", "script-shell", "cwd", "userconfig"],
        short: "C",
        words: &["exec", "x", "dlx"],
    },
    Hazard {
        programs: &["make", "gmake", "ninja"],
        long: &["file", "makefile", "eval", "directory"],
        short: "fCE",
        words: &[],
    },
    Hazard {
        programs: &["pytest", "py.test"],
        long: &["rootdir", "confcutdir", "override-ini", "import-mode", "pdbcls", "config-file", "basetemp"],
        short: "pco",
        words: &[],
    },
    Hazard {
        programs: &["pip", "pip3"],
        long: &["target", "prefix", "root", "editable", "config-settings"],
        short: "te",
        words: &["install", "download", "wheel"],
    },
    Hazard { programs: &["jq"], long: &["from-file", "rawfile", "slurpfile", "library-path"], short: "fL", words: &[] },
    Hazard { programs: &["yq"], long: &["inplace", "split-exp"], short: "is", words: &[] },
    Hazard { programs: &["history"], long: &[], short: "anrwsdcp", words: &[] },
    Hazard { programs: &["fc"], long: &[], short: "es", words: &[] },
    Hazard {
        programs: &["curl"],
        long: &[
            "output",
            "config",
            "upload-file",
            "remote-name",
            "remote-name-all",
            "data",
            "data-binary",
            "form",
            "noproxy",
            "output-dir",
            "cookie-jar",
            "dump-header",
            "trace",
            "unix-socket",
            "proxy",
            "libcurl",
            "etag-save",
            "hsts",
            "engine",
        ],
        short: "oOKTdFcDJ",
        words: &[],
    },
    Hazard {
        programs: &["wget"],
        long: &[
            "output-document",
            "output-file",
            "use-askpass",
            "post-file",
            "body-file",
            "execute",
            "config",
            "directory-prefix",
            "append-output",
        ],
        short: "OoePa",
        words: &[],
    },
    Hazard {
        programs: &["awk", "gawk", "mawk", "nawk"],
        long: &["file", "load", "include", "source", "exec"],
        short: "flieE",
        words: &[],
    },
    Hazard { programs: &["printf", "test", "["], long: &[], short: "v", words: &[] },
    Hazard { programs: &["column", "diff", "cmp"], long: &["output"], short: "", words: &[] },
    Hazard { programs: &["split", "csplit"], long: &["filter"], short: "", words: &[] },
    Hazard { programs: &["ps"], long: &[], short: "", words: &["e", "eww", "auxe", "auxeww", "axe"] },
    Hazard {
        programs: &["black", "ruff", "isort", "mypy", "flake8", "pylint"],
        long: &["config", "config-file", "rcfile", "init-hook", "load-plugins", "settings-path", "python-executable"],
        short: "",
        words: &[],
    },
];

/// True where a prefix or wildcard rule must not cover the command, only a rule for exactly it.
pub fn needs_exact_rule(words: &[Word]) -> bool {
    let Some((program, arguments)) = words.split_first() else { return true };
    let name = program.text.as_str();
    if may_run_others(name) {
        return true;
    }
    let texts = || arguments.iter().map(|word| word.text.as_str());
    match name {
        "find" | "fd" => texts().any(|text| {
            ["-exec", "-ok", "-delete", "-fprint", "-fls", "-x", "-X", "--exec"]
                .iter()
                .any(|flag| text.starts_with(flag))
        }),
        "sed" => !is_plain_sed(arguments),
        "hostname" | "domainname" => {
            texts().any(|text| !text.starts_with('-')) || texts().any(|text| text.starts_with("-F"))
        }
        // What these programs take as code can run commands or write files in too many ways to list.
        "awk" | "gawk" | "mawk" | "nawk" => {
            texts().any(|text| text.contains("system") || text.contains(['|', '>', '@']) || text.contains("getline"))
                || is_hazardous(name, arguments)
        }
        // `+branch` forces, `:branch` deletes.
        "git" => {
            (texts().any(|text| text == "push") && texts().any(|text| text.starts_with(['+', ':'])))
                || is_hazardous(name, arguments)
        }
        "make" | "gmake" => texts().any(|text| text.contains('=')) || is_hazardous(name, arguments),
        // The second file name of uniq is where it writes.
        "uniq" => texts().filter(|text| !text.starts_with('-')).count() > 1,
        "xxd" => texts().filter(|text| !text.starts_with('-')).count() > 1 || is_hazardous(name, arguments),
        "jq" => {
            texts().any(|text| text.contains("input") || text.contains("$__prog_args") || text.contains("env"))
                || is_hazardous(name, arguments)
        }
        _ => is_hazardous(name, arguments),
    }
}

fn is_hazardous(name: &str, arguments: &[Word]) -> bool {
    let mut found = HAZARDS.iter().filter(|hazard| hazard.programs.contains(&name));
    found.any(|hazard| arguments.iter().enumerate().any(|(index, word)| hazard.matches(index, &word.text)))
}

impl Hazard {
    fn matches(&self, index: usize, text: &str) -> bool {
        if let Some(long) = text.strip_prefix("--") {
            let name = long.split('=').next().unwrap_or(long);
            // Programs accept unambiguous abbreviations of their long options.
            return name.len() >= 2 && self.long.iter().any(|option| option.starts_with(name));
        }
        // Old tar takes its letters without a dash.
        let is_old_tar = index == 0 && self.programs.contains(&"tar");
        let cluster = text.strip_prefix('-').or(is_old_tar.then_some(text)).filter(|cluster| !cluster.is_empty());
        if let Some(cluster) = cluster
            && !cluster.bytes().all(|byte| byte.is_ascii_digit())
            && cluster.chars().take_while(char::is_ascii_alphanumeric).any(|c| self.short.contains(c))
        {
            return true;
        }
        // A word counts where a subcommand stands; those with a dash anywhere.
        self.words.iter().any(|word| *word == text.trim_start_matches("--") && (index == 0 || word.starts_with('-')))
            || self.words.iter().any(|word| word.starts_with('-') && text.starts_with(&format!("{word}=")))
    }
}

/// `sed -n 1,20p` and plain substitutions without the flags that run or write.
fn is_plain_sed(arguments: &[Word]) -> bool {
    let mut scripts =
        arguments.iter().map(|word| word.text.as_str()).filter(|text| !matches!(*text, "-n" | "-E" | "-r"));
    let Some(script) = scripts.next() else { return false };
    let is_range = script
        .strip_suffix(['p', 'd', 'q'])
        .is_some_and(|range| range.chars().all(|c| c.is_ascii_digit() || c == ',' || c == '$'));
    let parts: Vec<&str> = script.split('/').collect();
    let is_substitution = matches!(parts.as_slice(), ["s", _, _, flags] if flags.chars().all(|c| matches!(c, 'g' | 'i' | 'I' | 'p')))
        && !script.contains(['\n', ';', '\\']);
    (is_range || is_substitution) && scripts.all(|text| !text.starts_with('-'))
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
            "find" => has(&|text| text == "-delete") && arguments.iter().any(is_critical),
            "dd" => has(&|text| text.starts_with("of=/dev/") && text != "of=/dev/null"),
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
