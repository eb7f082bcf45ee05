//! The variables a process gets, and where its program lies.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
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
    let mut kept: Environment = variables.filter(|(name, value)| !is_withheld(name) && !holds_login(value)).collect();
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

/// A URL with a password: of a proxy, a database, a private package index.
fn holds_login(value: &OsStr) -> bool {
    let value = value.to_string_lossy();
    let authority = |rest: &str| rest.split(['/', '?', '#', ' ']).next().unwrap_or_default().to_owned();
    value.split("://").skip(1).map(authority).any(|place| {
        place.rsplit_once('@').is_some_and(|(login, _)| login.split_once(':').is_some_and(|(_, word)| !word.is_empty()))
    })
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

/// The full path of `name` on the `PATH` of `environment`, never one below a folder of `outside_of`: a file that somebody
/// put into the workspace does not pass for the program of that name. A path is taken as it is.
pub fn find_program(name: &str, environment: &Environment, outside_of: &[&Path]) -> Result<PathBuf, String> {
    if name.is_empty() || name.contains('\0') {
        return Err("The name of a program cannot be empty.".to_owned());
    }
    if name.contains('/') {
        let path = PathBuf::from(name);
        return if path.is_absolute() {
            Ok(path)
        } else {
            Err(format!("{name} is a relative path; give the full path of a program, or its name."))
        };
    }
    let is_runnable = |path: &PathBuf| {
        let is_outside = path.canonicalize().is_ok_and(|path| !outside_of.iter().any(|root| path.starts_with(root)));
        let is_file = path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0);
        is_file && is_outside && !outside_of.iter().any(|root| path.starts_with(root))
    };
    let path = environment.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.clone()).unwrap_or_default();
    std::env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(is_runnable)
        .ok_or_else(|| format!("There is no program {name} on the PATH outside the workspace."))
}

#[cfg(test)]
mod tests {
    use super::*;

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
            ("https_proxy", "http://me:word@proxy.corp:3128"),
            ("BROKER_URL", "amqp://me:word@h/v"),
            ("HOME_PAGE", "https://me@example.org/a:b@c"),
        ];
        let kept =
            scrub(given.iter().map(|(name, value)| (name.into(), value.into())), Some(Path::new("/opt/kernel/bin")));
        let value = |name: &str| kept.iter().find(|(other, _)| other == name).map(|(_, value)| value.to_str().unwrap());
        assert_eq!(value("HOME"), Some("/h"));
        assert_eq!(value("SSH_AUTH_SOCK"), Some("s"));
        assert_eq!(value("PATH"), Some("/opt/kernel/bin:/bin:/usr/bin"));
        assert_eq!(kept.len(), 4 + 4);
    }
}
