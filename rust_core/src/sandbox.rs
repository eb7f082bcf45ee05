//! The one place that starts processes.
//!
//! What it does today: a process group of its own, no input, the workspace as folder, and an environment without the
//! names that look like secrets or that change what a shell does. What it does **not** do yet: nothing here keeps a
//! process from reading, writing or connecting wherever the user may. Until the operating system confines commands, the
//! policy and the person asked are what stands before them. The confinement belongs into `spawn`, around the command.
//!
//! The process is made by `posix_spawn`, never by a fork of the kernel process: with a gigabyte in use a fork costs tens of
//! milliseconds. So there is no `pre_exec` here, and the program is named by its full path (a search along a changed
//! `PATH` would make the standard library fork).

use std::ffi::{OsStr, OsString};
use std::io::{self, PipeReader, pipe};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

/// Variables of a process, scrubbed.
pub type Environment = Vec<(OsString, OsString)>;

/// Set for every process started here, so that descendants are found again wherever they went.
pub const MARKER_VARIABLE: &str = "CLAW_CALL";

/// Parts of names whose values are kept from commands. Values that are paths to nothing secret are lost with them; a
/// command that needs one is told how to get it by its user.
const SECRET_PARTS: &[&str] = &[
    "KEY",
    "SECRET",
    "TOKEN",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "CREDENTIAL",
    "_AUTH",
    "COOKIE",
    "PRIVATE",
    "DATABASE_URL",
    "CONNECTION_STRING",
    "_DSN",
    "WEBHOOK",
];
/// Names with such parts that are no secrets and that tools need.
const HARMLESS: &[&str] = &["KEYBOARD", "KEYMAP", "TOKENIZERS_PARALLELISM", "SSH_AUTH_SOCK", "XAUTHORITY"];
/// Variables that make a shell or loader run or read something else than the command says.
const SHELL_VARIABLES: &[&str] = &[
    "BASH_ENV",
    "ENV",
    "CDPATH",
    "SHELLOPTS",
    "BASHOPTS",
    "GLOBIGNORE",
    "PROMPT_COMMAND",
    "PS4",
    "IFS",
    "POSIXLY_CORRECT",
];
/// Connections of the kernel: whoever holds these speaks as the kernel.
const KERNEL_VARIABLES: &[&str] =
    &["JPY_SESSION_NAME", "JPY_PARENT_PID", "JUPYTERHUB_SERVICE_PREFIX", "PYDEVD_USE_FRAME_EVAL"];

/// The environment commands get: this process's own without secrets. `programs`, the folder of the interpreter that runs
/// us, comes first in `PATH`, so that `python` in a command is the notebook's own although its environment was never
/// activated. Relative folders leave `PATH`, so that a program lying in the workspace does not pass for one of the system's.
pub fn environment(programs: Option<&Path>) -> Environment {
    scrub(std::env::vars_os(), programs)
}

fn scrub(variables: impl Iterator<Item = (OsString, OsString)>, programs: Option<&Path>) -> Environment {
    let mut kept: Environment = variables.filter(|(name, _)| !is_withheld(name)).collect();
    if let Some((_, path)) = kept.iter_mut().find(|(name, _)| name == "PATH") {
        let folders = programs.map(Path::to_path_buf).into_iter().chain(std::env::split_paths(path));
        let mut absolute: Vec<PathBuf> = Vec::new();
        for folder in folders.filter(|folder| folder.is_absolute()) {
            if !absolute.contains(&folder) {
                absolute.push(folder);
            }
        }
        if let Ok(joined) = std::env::join_paths(absolute) {
            *path = joined;
        }
    }
    // A command has nobody to page for or to ask.
    for (name, value) in [("PAGER", "cat"), ("GIT_PAGER", "cat"), ("GIT_TERMINAL_PROMPT", "0"), ("TERM", "dumb")] {
        kept.retain(|(other, _)| other != name);
        kept.push((name.into(), value.into()));
    }
    kept
}

fn is_withheld(name: &OsStr) -> bool {
    let name = name.to_string_lossy().to_uppercase();
    if HARMLESS.contains(&name.as_str()) {
        return false;
    }
    SECRET_PARTS.iter().any(|part| name.contains(part))
        || SHELL_VARIABLES.contains(&name.as_str())
        || KERNEL_VARIABLES.contains(&name.as_str())
        || name.starts_with("BASH_FUNC_")
        || name == MARKER_VARIABLE
}

/// A process and what it prints.
pub struct Running {
    /// Must be waited for.
    pub child: Child,
    /// Standard output and error in the order they were written.
    pub output: PipeReader,
}

/// Starts `program` (a full path) with `arguments` in `folder`, in a process group of its own.
pub fn spawn(
    program: &Path,
    arguments: &[&str],
    folder: &Path,
    environment: &Environment,
    marker: &str,
) -> io::Result<Running> {
    let (output, writer) = pipe()?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .env(MARKER_VARIABLE, marker)
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .process_group(0);
    let child = command.spawn()?;
    // `command` still holds the pipe's writing ends; reading would never end.
    drop(command);
    Ok(Running { child, output })
}

/// The full path of bash, or why there is none.
pub fn bash() -> Result<&'static Path, String> {
    static BASH: OnceLock<Option<PathBuf>> = OnceLock::new();
    BASH.get_or_init(|| {
        let usual = ["/bin/bash", "/usr/bin/bash", "/usr/local/bin/bash"].iter().map(PathBuf::from);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let searched =
            std::env::split_paths(&path).filter(|folder| folder.is_absolute()).map(|folder| folder.join("bash"));
        usual.chain(searched).find(|path| path.is_file())
    })
    .as_deref()
    .ok_or_else(|| "There is no bash on this machine; install it, or use the file tools.".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn secrets_and_shell_variables_are_withheld() {
        let given = [
            ("OPENAI_API_KEY", "x"),
            ("aws_secret_access_key", "x"),
            ("GITHUB_TOKEN", "x"),
            ("DB_PASSWORD", "x"),
            ("BASH_ENV", "x"),
            ("CDPATH", "x"),
            ("BASH_FUNC_ls%%", "() { id; }"),
            ("HOME", "/h"),
            ("SSH_AUTH_SOCK", "s"),
            ("PATH", "/bin:.:rel::/usr/bin"),
            ("GOOGLE_APPLICATION_CREDENTIALS", "x"),
        ];
        let kept =
            scrub(given.iter().map(|(name, value)| (name.into(), value.into())), Some(Path::new("/opt/kernel/bin")));
        let value = |name: &str| kept.iter().find(|(other, _)| other == name).map(|(_, value)| value.to_str().unwrap());
        assert_eq!(value("HOME"), Some("/h"));
        assert_eq!(value("SSH_AUTH_SOCK"), Some("s"));
        assert_eq!(value("PATH"), Some("/opt/kernel/bin:/bin:/usr/bin"));
        assert_eq!(kept.len(), 3 + 4);
    }

    #[test]
    fn a_process_gets_its_own_group_and_no_input() {
        let environment = environment(None);
        let script = "cat; echo out; echo err >&2; ps -o pgid= -p $$ 2>/dev/null || true";
        let mut running = spawn(bash().unwrap(), &["-c", script], Path::new("/"), &environment, "m").unwrap();
        let mut text = String::new();
        running.output.read_to_string(&mut text).unwrap();
        assert!(running.child.wait().unwrap().success());
        assert!(text.starts_with("out\nerr\n"), "{text}");
    }
}
