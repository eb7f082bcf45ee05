//! What this machine gives. One line for each layer: its name, and `ok` or why not. Network namespaces take milliseconds, so
//! all of them are tried in one process first; only where that fails each in a process of its own.

use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;

use crate::files;
use crate::order::{Ground, Layers};
use crate::system::{
    clone_process, end_like, exit, fork, ids, init_flags, landlock_version, mount, open_path, prctl,
    set_tree_attributes, shared_flags, unshare, wait,
};

/// Prints the findings.
pub fn run() {
    println!("landlock {}", landlock_version());
    println!(
        "seccomp {}",
        try_it(|| {
            prctl(libc::PR_SET_NO_NEW_PRIVS, 1)?;
            let ground = Ground { layers: Layers { seccomp: true, ..Layers::default() }, ..Ground::default() };
            crate::syscalls::compile(&ground).and_then(|filters| filters.restrict()).map_err(io::Error::other)
        })
    );
    if try_it(all) == "ok" {
        for name in ["user_namespace", "cgroup_namespace", "mount", "mount_api", "proc"] {
            println!("{name} ok");
        }
        return;
    }
    let user = try_it(|| enter(Layers { user_namespace: true, ..Layers::default() }));
    println!("user_namespace {user}");
    println!("namespaces {}", try_it(|| enter(Layers::default())));
    let both = |cgroup_namespace| {
        let user_namespace = user == "ok";
        move || enter(Layers { user_namespace, cgroup_namespace, ..Layers::default() })
    };
    println!("cgroup_namespace {}", try_it(both(true)));
    println!(
        "mount {}",
        try_it(|| {
            both(false)()?;
            private()?;
            mount("tmpfs", Path::new("/dev"), "tmpfs", 0, "")?;
            in_its_own(|| Ok(()))
        })
    );
    println!(
        "mount_api {}",
        try_it(|| {
            both(false)()?;
            private()?;
            make_read_only()
        })
    );
    println!(
        "proc {}",
        try_it(|| {
            both(false)()?;
            private()?;
            in_its_own(|| files::own_proc(0))
        })
    );
}

/// What the lines after those of `seccomp` are about.
fn all() -> io::Result<()> {
    enter(Layers { user_namespace: true, cgroup_namespace: true, ..Layers::default() })?;
    private()?;
    make_read_only()?;
    mount("tmpfs", Path::new("/dev"), "tmpfs", 0, "")?;
    in_its_own(|| files::own_proc(0))
}

fn private() -> io::Result<()> {
    mount("", Path::new("/"), "", libc::MS_REC | libc::MS_PRIVATE, "")
}

fn make_read_only() -> io::Result<()> {
    set_tree_attributes(open_path(Path::new("/"), true)?.as_fd(), true, false)
}

/// In the namespaces that each command has of its own.
fn in_its_own(attempt: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    match clone_process(init_flags(Layers { namespaces: true, ..Layers::default() }))? {
        Some(init) => end_like(wait(init)),
        None => exit(failure(attempt)),
    }
}

fn enter(layers: Layers) -> io::Result<()> {
    let (user, group) = ids();
    unshare(shared_flags(layers))?;
    if layers.user_namespace {
        std::fs::write("/proc/self/setgroups", "deny")?;
        std::fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
        std::fs::write("/proc/self/gid_map", format!("{group} {group} 1"))?;
    }
    Ok(())
}

/// The number of its error, as an exit code.
fn failure(attempt: impl FnOnce() -> io::Result<()>) -> i32 {
    attempt().map_or_else(|error| error.raw_os_error().unwrap_or(255), |()| 0)
}

/// `ok`, or the error, as words; done in a child, so that nothing of it stays. The number of an error fits into an exit code.
fn try_it(attempt: impl FnOnce() -> io::Result<()>) -> String {
    match fork() {
        Ok(None) => exit(failure(attempt)),
        Ok(Some(pid)) => match wait(pid) {
            0 => "ok".to_owned(),
            status if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 255 => "not known here".to_owned(),
            status if libc::WIFEXITED(status) => io::Error::from_raw_os_error(libc::WEXITSTATUS(status)).to_string(),
            status => format!("ended by signal {}", libc::WTERMSIG(status)),
        },
        Err(error) => error.to_string(),
    }
}
