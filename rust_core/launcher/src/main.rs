//! Puts one command into its confinement and reports faithfully how it ended.
//!
//! Three processes: the *outer* one, which the core started, leaves the namespaces of the machine, builds those of the
//! sandbox and waits; the *init* is process 1 in them, so that whatever the command leaves behind dies with it; the
//! *command*. Init and command carry every layer; the outer one gives up its rights and system calls too, though nothing
//! inside can reach it. A socket to the core is the line of life: when the core is gone, so is the sandbox.
//!
//! What an order asks for is put up, or nothing runs: no layer is left out in silence.

#[cfg(target_os = "linux")]
mod files;
#[cfg(target_os = "linux")]
mod landlock;
#[cfg(target_os = "linux")]
mod network;
#[cfg(target_os = "linux")]
#[allow(dead_code, reason = "the core writes orders, this side reads them")]
mod order;
#[cfg(target_os = "linux")]
mod outer;
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
        outer::run(core);
    } else {
        eprintln!("claw-sandbox is started by Claw, not by hand; see `claw sandbox run`.");
        std::process::exit(2);
    }
}

#[cfg(not(target_os = "linux"))]
fn main() {}
