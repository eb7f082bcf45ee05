//! Where secrets lie: hidden from commands, and refused to the file tools even inside a folder they may read.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Below the home folder. Folders and files; what is not there need not be hidden.
const IN_HOME: &[&str] = &[
    ".ssh",
    ".aws",
    ".azure",
    ".kube",
    ".gnupg",
    ".pki",
    ".config/gcloud",
    ".config/gh",
    ".config/hub",
    ".config/glab-cli",
    ".config/op",
    ".config/rclone",
    ".config/containers/auth.json",
    ".config/doctl",
    ".config/hcloud",
    ".config/git/credentials",
    ".config/pip/pip.conf",
    ".config/pypoetry/auth.toml",
    ".docker/config.json",
    ".docker/run",
    ".netrc",
    "_netrc",
    ".pgpass",
    ".my.cnf",
    ".mylogin.cnf",
    ".npmrc",
    ".yarnrc.yml",
    ".pypirc",
    ".git-credentials",
    ".cargo/credentials",
    ".cargo/credentials.toml",
    ".gem/credentials",
    ".m2/settings.xml",
    ".terraform.d/credentials.tfrc.json",
    ".vault-token",
    ".boto",
    ".s3cfg",
    ".kaggle",
    ".cache/huggingface/token",
    ".huggingface/token",
    ".claw/credentials",
    ".claw/credentials.json",
    ".claw/signing_key",
    ".claude.json",
    ".claude/.credentials.json",
    ".codex/auth.json",
    // Browsers and keyrings.
    ".mozilla",
    ".config/google-chrome",
    ".config/chromium",
    ".config/BraveSoftware",
    ".config/microsoft-edge",
    ".thunderbird",
    ".password-store",
    ".local/share/keyrings",
    ".local/share/kwalletd",
    // Whoever reads a connection file speaks as the kernel's owner; the history holds what was typed.
    ".local/share/jupyter/runtime",
    ".local/share/jupyter/notebook_secret",
    ".local/share/jupyter/nbsignatures.db",
    ".jupyter/jupyter_server_config.json",
    ".ipython/profile_default/history.sqlite",
    ".ipython/profile_default/security",
    ".bash_history",
    ".zsh_history",
    ".python_history",
    ".psql_history",
    ".mysql_history",
    ".node_repl_history",
    "Library/Keychains",
    "Library/Jupyter/runtime",
    "Library/Application Support/Google/Chrome",
    "Library/Application Support/Firefox",
];
/// Of the machine: services that would do things for us, and what only root may read anyway.
const ON_MACHINE: &[&str] = &[
    "/run",
    "/var/run",
    "/var/lib/docker",
    "/var/lib/lxd",
    "/var/lib/incus",
    "/var/snap/lxd",
    "/etc/shadow",
    "/etc/gshadow",
    "/etc/shadow-",
    "/etc/gshadow-",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/etc/ssl/private",
    "/etc/krb5.keytab",
];

/// Secrets that exist, links followed. `more`: absolute or beginning with `~/`.
pub fn of_person(home: Option<&Path>, more: &[PathBuf]) -> Vec<PathBuf> {
    let in_home = home.into_iter().flat_map(|home| IN_HOME.iter().map(|name| home.join(name)));
    let more = more.iter().map(|path| match (path.strip_prefix("~"), home) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.clone(),
    });
    existing(in_home.chain(more))
}

/// Of the machine itself, its sockets with a name included: mounts do not keep anybody from connecting to one.
pub fn of_machine() -> Vec<PathBuf> {
    let mut listed = Vec::with_capacity(32 << 10); // the kernel does not say how long it is
    let _ = File::open("/proc/net/unix").and_then(|mut file| file.read_to_end(&mut listed));
    let sockets = listed.split(|byte| *byte == b'\n').skip(1).filter_map(|line| {
        let start = line.iter().position(|byte| *byte == b'/')?;
        Some(PathBuf::from(std::ffi::OsString::from(String::from_utf8(line[start..].to_vec()).ok()?)))
    });
    existing(ON_MACHINE.iter().map(PathBuf::from).chain(sockets.take(2000)))
}

fn existing(paths: impl Iterator<Item = PathBuf>) -> Vec<PathBuf> {
    let mut folders = Folders::default();
    paths.filter_map(|path| folders.follow(&path)).collect()
}

/// Where folders lead that places lie in; `None`: they are not there. Places are looked for before every command, and most
/// share their folders: so one call of the system is enough for nearly all.
#[derive(Default)]
struct Folders(HashMap<PathBuf, Option<PathBuf>>);

impl Folders {
    /// `path` without links; `None` where it is not there.
    fn follow(&mut self, path: &Path) -> Option<PathBuf> {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return path.canonicalize().ok() };
        if folder.as_os_str().is_empty() {
            return path.canonicalize().ok();
        }
        let path = self.folder(folder)?.join(name);
        if path.symlink_metadata().ok()?.is_symlink() { path.canonicalize().ok() } else { Some(path) }
    }

    fn folder(&mut self, path: &Path) -> Option<PathBuf> {
        if let Some(known) = self.0.get(path) {
            return known.clone();
        }
        let found = self.follow(path);
        self.0.insert(path.to_path_buf(), found.clone());
        found
    }
}
