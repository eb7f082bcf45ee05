//! Puts one command into its confinement and reports faithfully how it ended.
//!
//! Three kinds of processes: the *keeper*, which the core started, leaves the namespaces of the machine and builds what all
//! commands of one confinement share; for each command an *init* is process 1 of namespaces of its own, so that whatever the
//! command leaves behind dies with it; the *command*. Init and command carry every layer. A few inits are ready: namespaces,
//! mounts, Landlock, seccomp are up before the command is known. The keeper's socket to the core is the line of life of all,
//! each command has another of its own.
//!
//! What an order asks for is put up, or nothing runs: no layer is left out in silence.

#[cfg(target_os = "linux")]
mod files;
#[cfg(target_os = "linux")]
mod keeper;
#[cfg(target_os = "linux")]
mod landlock;
#[cfg(target_os = "linux")]
mod network;
#[cfg(target_os = "linux")]
#[allow(dead_code, reason = "the core writes orders, this side reads them")]
mod order;
#[cfg(target_os = "linux")]
mod probe;
#[cfg(target_os = "linux")]
mod process_one;
#[cfg(target_os = "linux")]
mod syscalls;
#[cfg(target_os = "linux")]
mod system;

#[cfg(target_os = "linux")]
fn main() {
    let argument = std::env::args().nth(1).unwrap_or_default();
    if argument == "--probe" {
        probe::run();
    } else if let Ok(core) = argument.parse::<std::os::fd::RawFd>()
        && core > 2
    {
        keeper::run(core);
    } else {
        eprintln!("claw-sandbox is started by Claw, not by hand; see `claw sandbox run`.");
        std::process::exit(2);
    }
}

#[cfg(not(target_os = "linux"))]
fn main() {}
