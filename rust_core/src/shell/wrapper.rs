//! Programs that run another program given in their arguments.

use super::{SimpleCommand, Word};

/// Harmless around what they run: `timeout 5 git status` is judged as `git status`, where their own options are plain.
fn strip_one(words: &[Word]) -> Option<&[Word]> {
    let (program, rest) = words.split_first()?;
    let text = |index: usize| rest.get(index).map_or("", |word: &Word| word.text.as_str());
    let skip = match program.text.as_str() {
        "time" => usize::from(text(0) == "-p"),
        "nohup" | "builtin" | "command" => 0,
        "nice" if text(0) == "-n" && is_number(text(1)) => 2,
        "nice" => usize::from(text(0).strip_prefix('-').is_some_and(is_number)),
        "stdbuf" => rest.iter().take_while(|word| is_buffer_option(&word.text)).count(),
        "timeout" => {
            let options = rest.iter().take_while(|word| {
                matches!(word.text.as_str(), "--foreground" | "--preserve-status" | "-v" | "--verbose")
            });
            let options = options.count();
            if !is_duration(text(options)) {
                return None;
            }
            options + 1
        }
        _ => return None,
    };
    let inner = &rest[skip..];
    let is_command = inner.first().is_some_and(|word| !word.text.starts_with('-') && !word.has_glob);
    is_command.then_some(inner)
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_duration(text: &str) -> bool {
    let digits = text.strip_suffix(['s', 'm', 'h', 'd']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

fn is_buffer_option(text: &str) -> bool {
    ["-i", "-o", "-e"].iter().any(|option| {
        text.strip_prefix(option)
            .is_some_and(|mode| !mode.is_empty() && mode.bytes().all(|b| b.is_ascii_alphanumeric()))
    })
}

/// The command behind its harmless wrappers.
pub fn without_wrappers(words: &[Word]) -> &[Word] {
    let mut words = words;
    while let Some(inner) = strip_one(words) {
        words = inner;
    }
    words
}

/// The program's name without its folder.
fn base_name(word: &Word) -> &str {
    word.text.rsplit('/').next().unwrap_or_default()
}

/// Run the command that stands in their arguments.
#[rustfmt::skip]
const WRAPPERS: &[&str] = &[
    "env", "sudo", "doas", "su", "watch", "setsid", "ionice", "flock", "xargs", "parallel", "script", "nsenter",
    "unshare", "chroot", "busybox", "toybox", "exec", "eval", "source", ".", "trap", "alias", "enable", "hash",
    "strace", "ltrace", "gdb", "expect", "setarch", "linux64", "runuser", "systemd-run", "at", "batch", "crontab",
    "nice", "timeout", "nohup", "time", "stdbuf", "command", "builtin", "chrt", "taskset", "dbus-run-session",
    "fakeroot", "proot", "bwrap", "coproc", "setpriv", "prlimit", "numactl", "cgexec", "firejail", "unbuffer",
    "rlwrap", "chronic", "ifne", "hyperfine", "entr", "watchexec", "perf", "valgrind", "ssh-agent", "capsh",
    "su-exec", "gosu", "chpst", "start-stop-daemon", "run-parts", "sem", "faketime", "catchsegv", "dtach", "abduco",
    "setlock", "softlimit", "torchrun", "mpirun", "mpiexec", "srun", "noglob", "pkexec", "sudoedit", "sshpass",
    "direnv", "nodemon", "lldb", "rr", "bpftrace",
];
/// What bash does itself, and which may run code in its arguments (`read 'a[$(id)]'`), or change what later words mean or where
/// they lead.
#[rustfmt::skip]
const EVALUATORS: &[&str] = &[
    "read", "let", "compgen", "complete", "bind", "mapfile", "readarray", "jobs", "wait", "getopts", "shopt", "set",
    "cd", "pushd", "popd",
];
/// Interpreters, and programs that are told by an option or a file of the workspace what to run, write or remove.
#[rustfmt::skip]
const CODE: &[&str] = &[
    "python", "pypy", "ipython", "bash", "sh", "zsh", "dash", "ksh", "fish", "pwsh", "perl", "ruby", "node",
    "nodejs", "deno", "bun", "php", "lua", "luajit", "R", "Rscript", "julia", "awk", "gawk", "mawk", "nawk", "sed",
    "find", "fd", "ssh", "scp", "rsync", "docker", "podman", "kubectl", "npx", "uvx", "uv", "pipx", "vim", "vi",
    "nvim", "emacs", "ed", "less", "more", "man", "screen", "tmux", "curl", "wget", "nc", "ncat", "socat", "rm",
    "rmdir", "dd", "mv", "chmod", "chown", "ln", "tee", "kill", "pkill", "killall", "clang", "tclsh", "wish",
    "guile", "racket", "sbcl", "erl", "elixir", "iex", "ghci", "runghc", "scala", "jshell", "groovy", "dart",
    "octave", "matlab", "sage", "gnuplot", "m4", "dc", "sqlite", "psql", "mysql", "mariadb", "duckdb", "mongosh",
    "redis-cli", "gcc", "g++", "cc", "c++", "ld", "cmake", "bazel", "coverage",
    "ipdb", "pdb", "papermill", "streamlit", "gunicorn", "uvicorn", "celery", "accelerate",
    "deepspeed", "ts-node", "tsx", 
    "latexmk", "pdflatex", "xelatex", "lualatex", "pandoc", "convert", "magick",
    "mogrify", "gs", "tcpdump", "nmap", "cpio", "rename", "prename", "ex", "view", "rvim", "vimdiff", "nano", "pico",
    "joe", "micro", "emacsclient", "code", "mutt", "mail", "sftp", "ftp", "lftp", "telnet", "mosh", "openssl", "gpg",
    "ssh-keygen", "ssh-add", "heroku", "fly", "vagrant", "lxc", "flatpak", "snap", "snapcraft", "toolbox",
    "distrobox", "mise", "asdf", "pyenv", "rbenv", "pdm", "pipenv", "rye", "pixi", "ansible",
    "ansible-playbook", "packer", "pulumi", "hg", "svn", "bzr", "install", "split", "csplit", "truncate", "unlink",
    "mkfifo", "mknod", "mount", "umount", "fdfind", "history", "fc",
];

/// Run the command behind an option or a subcommand of theirs (`find -exec`, `conda run`).
#[rustfmt::skip]
const TELL_BY_SUBCOMMAND: &[&str] = &[
    "find", "fd", "fdfind", "npx", "uvx", "uv", "ssh", "docker", "podman", "git", "kubectl", "conda", "mamba",
    "micromamba", "poetry", "pdm", "pipenv", "hatch", "rye", "pixi", "bundle", "lxc", "flatpak", "mise", "asdf", "pyenv",
];

/// Runs what its arguments name, in ways no prefix of them can bound: only a rule for the exact command covers these.
pub fn may_run_others(program: &str) -> bool {
    let name = program.rsplit('/').next().unwrap_or_default();
    // The linker that starts programs: `ld-linux-x86-64.so.2 ./program`.
    let is_linker = name.starts_with("ld-") && name.contains(".so");
    is_linker || WRAPPERS.contains(&name) || EVALUATORS.contains(&name)
}

/// Runs arbitrary code it is given: a lasting grant of a prefix would be a grant of everything.
pub fn runs_code(program: &str) -> bool {
    let name = program.rsplit('/').next().unwrap_or_default();
    let family = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    may_run_others(program) || CODE.contains(&family)
}

/// Each way to read a command for rules that forbid: itself, and every tail of it where a wrapper may stand before.
pub fn views(words: &[Word]) -> impl Iterator<Item = &[Word]> {
    let is_wrapper = words.first().is_some_and(|word| {
        let name = base_name(word);
        may_run_others(name) || TELL_BY_SUBCOMMAND.contains(&name)
    });
    let tails = if is_wrapper { words.len() } else { words.len().min(1) };
    (0..tails).map(move |from| &words[from..])
}

/// More words before a command are not looked at.
const MAX_WORDS_BEFORE: usize = 8;

fn joined(words: &[Word]) -> String {
    words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ")
}

/// The value of an option: behind its letter, also in a cluster (`-qc x`), or behind its name (`--command=x`).
fn option_value<'w>(words: &'w [Word], letter: char, name: &str) -> Option<&'w str> {
    words.iter().enumerate().find_map(|(at, word)| {
        let next = || words.get(at + 1).map(|word| word.text.as_str());
        if let Some(long) = word.text.strip_prefix("--") {
            let (given, value) = long.split_once('=').map_or((long, None), |(given, value)| (given, Some(value)));
            return (given == name).then(|| value.or_else(next)).flatten();
        }
        let (_, attached) = word.text.strip_prefix('-')?.split_once(letter)?;
        // A shell takes the word behind the cluster, the others what is written on.
        if letter == 'c' || attached.is_empty() { next() } else { Some(attached) }
    })
}

/// Command lines handed to a shell: `bash -c '…'`, `eval '…'`, `trap '…' EXIT`.
pub fn inner_scripts(command: &SimpleCommand) -> Vec<String> {
    let mut found = Vec::new();
    for words in views(&command.words) {
        let Some((program, rest)) = words.split_first() else { continue };
        match base_name(program) {
            "bash" | "sh" | "dash" | "zsh" | "ksh" | "su" | "runuser" | "script" | "flock" => {
                found.extend(option_value(rest, 'c', "command").map(str::to_owned));
            }
            "env" => found.extend(option_value(rest, 'S', "split-string").map(str::to_owned)),
            "eval" => found.push(joined(rest)),
            // Options and a host stand before it; how many they are, their own options say.
            name @ ("ssh" | "watch" | "parallel" | "hyperfine" | "watchexec" | "entr") => {
                let first = usize::from(name == "ssh");
                found.extend((first..rest.len().min(MAX_WORDS_BEFORE)).map(|from| joined(&rest[from..])));
            }
            "trap" => found.extend(rest.first().map(|word| word.text.clone())),
            // Subscripts are expanded a second time: `read 'a[$(id)]'`.
            name if EVALUATORS.contains(&name) || matches!(name, "test" | "[" | "printf" | "unset") => {
                found.extend(rest.iter().filter(|word| word.text.contains(['$', '`'])).map(|word| word.text.clone()));
            }
            _ => {}
        }
    }
    found.retain(|script| !script.trim().is_empty());
    found.dedup();
    found
}

/// A shell that is given no file and no line: it runs what it is fed (`curl … | sh`).
pub fn runs_its_input(command: &SimpleCommand) -> bool {
    let words = command.words.as_slice();
    let text = |index: usize| words.get(index).map_or("", |word| word.text.as_str());
    // `command -v bash` only asks where it is; of others' subcommands, a word may be any name (`find . -name sh`).
    let wraps = may_run_others(text(0)) && !(text(0) == "command" && matches!(text(1), "-v" | "-V"));
    views(words).take(if wraps { words.len() } else { 1 }).any(|words| {
        let Some((program, rest)) = words.split_first() else { return false };
        let is_shell = matches!(base_name(program), "bash" | "sh" | "dash" | "zsh" | "ksh" | "fish");
        let is_option = |word: &Word| word.text.starts_with(['-', '+']);
        let reads_on = |word: &Word| word.text == "-s" || word.text == "-" || word.text == "/dev/stdin";
        let says_so = |word: &Word| matches!(word.text.as_str(), "--version" | "--help");
        is_shell
            && !rest.iter().any(says_so)
            && option_value(rest, 'c', "command").is_none()
            && (rest.iter().all(is_option) || rest.iter().any(reads_on))
    })
}
