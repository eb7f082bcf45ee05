//! Process 1 of the sandbox: puts up the layers that must be put up inside, starts the command, buries the dead, and takes
//! everything with it when the command ends.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;

use crate::order::Order;
use crate::system::{
    block, change_folder, context, exec, exit, fork, ids, keep_capabilities, kill, limit, new_group, new_session,
    next_signal, poll, prctl, reap, restore_signals, signal_fd, waited_signals,
};
use crate::{files, landlock, syscalls};

/// `started` takes what went wrong before the command ran, `ended` its status; a byte of `go` says that the outer process
/// lives. Never comes back.
pub fn run(order: &Order, kept: u64, mut started: File, ended: File, go: File) -> ! {
    match start(order, kept, &started, go) {
        Ok(command) => {
            drop(started);
            watch(order, command, ended)
        }
        Err(why) => {
            let _ = started.write_all(why.as_bytes());
            exit(1)
        }
    }
}

fn start(order: &Order, kept: u64, started: &File, mut go: File) -> Result<i32, String> {
    context(prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong), || "the line of life".into())?;
    // Had the outer process died before the line above, nobody would ever end us.
    context(go.read_exact(&mut [0]), || "the outer process is gone".into())?;
    drop(go);
    if order.layers.proc {
        context(files::own_proc(order.processes), || "/proc cannot be mounted".into())?;
    }
    if !order.layers.namespaces {
        // What the command leaves behind becomes ours, so that it can be ended.
        context(prctl(libc::PR_SET_CHILD_SUBREAPER, 1), || "orphans".into())?;
    }
    for (resource, value) in &order.limits {
        context(limit(*resource, *value), || format!("limit {resource}"))?;
    }
    // Counted per namespace since Linux 5.14, together with the user's other processes before: then it would hit them.
    if order.processes > 0 && order.layers.user_namespace && order.layers.landlock >= 2 && ids().0 != 0 {
        context(limit(libc::RLIMIT_NPROC, order.processes), || "processes".into())?;
    }
    if order.new_session {
        new_session();
    }
    context(change_folder(&order.folder), || order.folder.to_string_lossy().into_owned())?;
    context(prctl(libc::PR_SET_NO_NEW_PRIVS, 1), || "no new privileges".into())?;
    landlock::restrict(order)?;
    context(keep_capabilities(kept), || "capabilities".into())?;
    syscalls::restrict(order)?;
    if let Some(command) = context(fork(), || "a process".into())? {
        return Ok(command);
    }
    if order.new_session {
        new_group(); // signals that are passed on reach the command's group, not this process
    }
    restore_signals();
    block(None);
    let error = exec(&order.program, &order.arguments, &order.environment);
    let _ = (&mut &*started).write_all(format!("{}: {error}", order.program.to_string_lossy()).as_bytes());
    exit(127)
}

fn watch(order: &Order, command: i32, mut ended: File) -> ! {
    let Ok(signals) = signal_fd(&waited_signals()) else { exit(1) };
    loop {
        while let Some((pid, status)) = reap() {
            if pid == command {
                if !order.layers.namespaces {
                    end_orphans();
                }
                let _ = ended.write_all(&status.to_ne_bytes());
                exit(0)
            }
        }
        let _ = poll([Some(signals.as_fd())]);
        while let Some((signal, is_sent)) = next_signal(signals.as_fd()) {
            if is_sent && signal != libc::SIGCHLD && order.new_session {
                kill(-command, signal);
            }
        }
    }
}

/// Kills children until there are none: the children of a dead one become ours.
fn end_orphans() {
    for _ in 0..1000 {
        let children = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
        let mut pids = children.split_whitespace().filter_map(|pid| pid.parse().ok()).peekable();
        if pids.peek().is_none() {
            return;
        }
        pids.for_each(|pid| kill(pid, libc::SIGKILL));
        while reap().is_some() {}
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}
