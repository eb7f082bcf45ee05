//! Process 1 of one command: puts up the layers that must be put up inside, waits for its turn and for the command, starts it,
//! buries the dead, and takes everything with it when the command ends.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use crate::files;
use crate::keeper::Prepared;
use crate::order::{Message as _, Run};
use crate::system::{
    READABLE, change_folder, close_all_but, context, exit, has_children, ids, keep_capabilities, kill, limit,
    new_session, next_signal, poll, prctl, reap, receive_request, signal_fd, start_program, waited_signals,
};

/// Says that there is a command: another process 1 is to wait for the next.
pub const TAKEN: u8 = b't';
/// Says that the next request is for this process.
pub const TURN: u8 = b'g';
/// One that waits for nothing ends after ten minutes; the keeper makes another when it is needed.
const IDLE_MS: i32 = 600_000;

/// `word` takes `TAKEN`, or why there can be no command; four bytes of `go` are this process's number outside, and one more
/// is `TURN`. Never comes back.
pub fn run(prepared: &Prepared, requests: BorrowedFd<'_>, mut word: File, mut go: File) -> ! {
    let own = match prepare(prepared, &mut go) {
        Ok(own) => own,
        Err(why) => {
            let _ = word.write_all(why.as_bytes());
            exit(1)
        }
    };
    if go.read_exact(&mut [0]).is_err() {
        exit(0) // it is not needed
    }
    let [is_asked] = poll([(Some(requests), READABLE)], Some(IDLE_MS));
    let request = if is_asked { receive_request(requests).ok().flatten() } else { None };
    let Some([core, input, output, errors]) = request else { exit(0) };
    let _ = word.write_all(&[TAKEN]);
    let streams = [input, output, errors];
    // What runs from here on must reach nothing else, not even through this process.
    if close_all_but(&[&core, &streams[0], &streams[1], &streams[2]]).is_err() {
        exit(1)
    }
    std::mem::forget((word, go));
    let mut core = File::from(core);
    let started = start(prepared, &mut core, &streams);
    drop(streams); // whoever reads its output waits for its end, not for ours
    match started {
        Ok((new_session, command)) => {
            let mut began = vec![b'+'];
            began.extend(own.to_ne_bytes());
            let _ = core.write_all(&began);
            watch(prepared, core, command, new_session)
        }
        Err(why) => {
            let _ = core.write_all(format!("-{why}").as_bytes());
            exit(1)
        }
    }
}

/// All that can be done before the command is known; this process's number outside.
fn prepare(prepared: &Prepared, go: &mut File) -> Result<i32, String> {
    let ground = &prepared.ground;
    context(prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong), || "the line of life".into())?;
    // Had the keeper died before the line above, nobody would ever end us.
    let mut own = [0; 4];
    context(go.read_exact(&mut own), || "the keeper is gone".into())?;
    // The command may not look into this process or change it, whatever the machine's settings say.
    context(prctl(libc::PR_SET_DUMPABLE, 0), || "privacy".into())?;
    if ground.layers.namespaces {
        context(files::own_terminals(), || "/dev/pts and /dev/shm cannot be mounted".into())?;
    }
    if ground.layers.proc {
        let processes = if prepared.has_own_pid_max { ground.processes } else { 0 };
        context(files::own_proc(processes), || "/proc cannot be mounted".into())?;
    }
    if !ground.layers.namespaces {
        // What the command leaves behind becomes ours, so that it can be ended.
        context(prctl(libc::PR_SET_CHILD_SUBREAPER, 1), || "orphans".into())?;
    }
    for (resource, value) in &ground.limits {
        context(limit(*resource, *value), || format!("limit {resource}"))?;
    }
    // Counted per namespace since Linux 5.14, together with the user's other processes before: then it would hit them.
    if ground.processes > 0 && ground.layers.user_namespace && ground.layers.landlock >= 2 && ids().0 != 0 {
        context(limit(libc::RLIMIT_NPROC, ground.processes), || "processes".into())?;
    }
    context(prctl(libc::PR_SET_NO_NEW_PRIVS, 1), || "no new privileges".into())?;
    if let Some(rules) = &prepared.rules {
        rules.restrict()?;
    }
    context(keep_capabilities(prepared.kept), || "capabilities".into())?;
    prepared.filters.restrict()?;
    Ok(i32::from_ne_bytes(own))
}

/// Whether it is a session of its own, and the command.
fn start(prepared: &Prepared, core: &mut File, streams: &[OwnedFd; 3]) -> Result<(bool, i32), String> {
    let mut run = context(Run::receive(core), || "the order".into())?;
    run.environment.extend(prepared.variables.iter().cloned());
    if run.new_session {
        new_session();
    }
    context(change_folder(&run.folder), || run.folder.to_string_lossy().into_owned())?;
    // Signals that are passed on reach the command's group, not this process.
    let command = start_program(&run, streams);
    Ok((run.new_session, context(command, || run.program.to_string_lossy().into_owned())?))
}

/// Until the command has ended, the core has let go of it, or somebody ends us.
fn watch(prepared: &Prepared, mut core: File, command: i32, new_session: bool) -> ! {
    let Ok(signals) = signal_fd(&waited_signals()) else { exit(1) };
    loop {
        while let Some((pid, status)) = reap() {
            if pid == command {
                end_all(prepared);
                // Whoever reads this may rely on it that nothing is left.
                let _ = core.write_all(&status.to_ne_bytes());
                exit(0)
            }
        }
        let [_, is_let_go] = poll([(Some(signals.as_fd()), READABLE), (Some(core.as_fd()), READABLE)], None);
        if is_let_go {
            end_all(prepared);
            exit(1)
        }
        pass_on(signals.as_fd(), command, new_session);
    }
}

fn pass_on(signals: BorrowedFd<'_>, command: i32, new_session: bool) {
    while let Some((signal, is_sent)) = next_signal(signals) {
        if is_sent && signal != libc::SIGCHLD && new_session {
            kill(-command, signal); // otherwise the terminal tells the command itself
        }
    }
}

/// Kills children until there are none: the children of a dead one become ours.
fn end_all(prepared: &Prepared) {
    if prepared.ground.layers.namespaces {
        // All there is in the namespace.
        while has_children() {
            kill(-1, libc::SIGKILL);
            crate::system::wait(-1);
        }
        return;
    }
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
