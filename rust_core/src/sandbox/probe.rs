//! What this machine gives of the sandbox, found once per process by running the launcher.

use std::io::Read as _;
use std::path::Path;
use std::sync::OnceLock;

use super::confinement::Confinement;
use super::environment::Environment;
use super::launcher;
use super::order::Layers;
use super::seatbelt;
use super::spawn::{Input, Output, Request, spawn};

/// The layers that can be put up, and what is missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    /// All that works here.
    pub layers: Layers,
    /// macOS and its own sandbox.
    pub has_seatbelt: bool,
    /// One sentence per thing that does not hold, the reason in it; empty: the whole sandbox.
    pub missing: Vec<String>,
}

/// The same for every session: it is the machine that is looked at.
static MACHINE: OnceLock<Machine> = OnceLock::new();

/// What holds here. `state`: where the launcher may be put.
pub fn machine(state: &Path) -> &'static Machine {
    MACHINE.get_or_init(|| {
        if cfg!(target_os = "macos") {
            return seatbelt::machine();
        }
        match run(state) {
            Ok(report) => read(&report, rustix::process::geteuid().is_root()),
            Err(error) => Machine { missing: vec![format!("Nothing is confined: {error}.")], ..Machine::default() },
        }
    })
}

fn run(state: &Path) -> std::io::Result<String> {
    let mut running = spawn(&Request {
        program: &launcher::path(state)?,
        arguments: &["--probe".into()],
        folder: Path::new("/"),
        environment: &Environment::new(),
        marker: "probe",
        input: Input::Null,
        output: Output::Merged,
        confinement: &Confinement::Off,
    })?;
    let mut report = String::new();
    running.output.read_to_string(&mut report)?;
    running.child.wait()?;
    Ok(report)
}

fn read(report: &str, is_root: bool) -> Machine {
    let value = |name: &str| {
        let found = report.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        found.unwrap_or("not found out").to_owned()
    };
    let is_ok = |name: &str| value(name) == "ok";
    let landlock = value("landlock").parse().unwrap_or(0);
    let mut missing = Vec::new();
    let user_namespace = is_ok("user_namespace");
    let namespaces = (user_namespace || (is_root && is_ok("namespaces"))) && is_ok("mount");
    if !namespaces {
        let why = if user_namespace { value("mount") } else { value("user_namespace") };
        missing.push(format!(
            "No namespaces ({why}): services of this machine can be reached by signals and shared memory, modes and times \
             of other files can be changed, protected places inside the workspace can be written, and no hosts can be granted."
        ));
    }
    let proc = namespaces && is_ok("proc");
    if namespaces && !proc {
        missing.push(format!("No /proc of its own ({}): the names of other processes can be seen.", value("proc")));
    }
    if landlock == 0 {
        missing.push("No Landlock: the mounts alone keep files from being written.".to_owned());
        if !namespaces {
            missing.push("With neither namespaces nor Landlock every file can be read and written.".to_owned());
        }
    }
    if !is_ok("seccomp") {
        missing.push(format!("No filter of system calls ({}).", value("seccomp")));
    }
    let layers = Layers {
        namespaces,
        user_namespace: namespaces && user_namespace,
        cgroup_namespace: namespaces && is_ok("cgroup_namespace"),
        proc,
        mount_api: is_ok("mount_api"),
        landlock,
        seccomp: is_ok("seccomp"),
    };
    Machine { layers, missing, has_seatbelt: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_with_its_reason() {
        let whole = "landlock 7\nuser_namespace ok\nnamespaces no\ncgroup_namespace ok\nmount ok\nmount_api ok\nproc ok\nseccomp ok\n";
        assert_eq!(read(whole, false).missing, Vec::<String>::new());
        assert!(read(whole, false).layers.namespaces);
        let refused = whole.replace("user_namespace ok", "user_namespace Operation not permitted");
        let machine = read(&refused, false);
        assert!(machine.missing[0].contains("Operation not permitted") && !machine.layers.namespaces);
        let rooted = read(&refused.replace("namespaces no", "namespaces ok"), true);
        assert!(rooted.layers.namespaces && !rooted.layers.user_namespace && rooted.missing.is_empty());
        assert!(!read("", true).missing.is_empty());
    }
}
