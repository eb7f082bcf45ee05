//! The outer process: builds the sandbox, waits, ends as the command ended.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, RawFd};
use std::os::unix::net::UnixStream;

use crate::order::{Order, Treatment};
use crate::system::{
    block, clone_flags, context, end_like, exit, fork, ids, keep_capabilities, kill, next_signal, pipe, poll, prctl,
    signal_fd, take_only, unshare, wait, waited_signals,
};
use crate::{files, network, process_one, syscalls};

/// What this program's own failures end with; the core is told the reason over the socket.
const FAILED: i32 = 125;
/// `CHOWN`, `DAC_OVERRIDE`, `FOWNER`, `FSETID`: root's rights over files of others, kept where a place belongs to others.
const FILE_CAPABILITIES: u64 = 0b1_1011;

/// Never comes back.
pub fn run(core: RawFd) -> ! {
    let Ok(core) = take_only(core) else { exit(FAILED) };
    let mut core = UnixStream::from(core);
    let Ok(order) = Order::receive(&mut core) else { exit(FAILED) };
    match start(order, &core) {
        Ok(status) => end_like(status),
        Err(why) => {
            let _ = core.write_all(format!("-{why}").as_bytes());
            exit(FAILED)
        }
    }
}

fn start(mut order: Order, core: &UnixStream) -> Result<i32, String> {
    let _ = prctl(libc::PR_SET_NAME, c"claw-sandbox".as_ptr() as libc::c_ulong);
    // Where memory runs out, this goes before the notebook's kernel does.
    let _ = fs::write("/proc/self/oom_score_adj", "500");
    let kept = kept_capabilities(&order);
    if order.layers.namespaces {
        enter_namespaces(&order)?;
        let variables = context(network::build(core.as_fd(), order.wants_proxy), || "the network".into())?;
        order.environment.extend(variables);
        files::build(&order)?;
    } else if order.wants_proxy {
        return Err("hosts can only be granted inside a network namespace".into());
    }
    let signals = waited_signals();
    block(Some(&signals));
    let pipes = || Ok((pipe()?, pipe()?, pipe()?));
    let (started, ended, go) = context(pipes(), || "pipes".into())?;
    let init = context(fork(), || "a process".into())?;
    let Some(init) = init else {
        drop((started.0, ended.0, go.1));
        process_one::run(&order, kept, File::from(started.1), File::from(ended.1), File::from(go.0))
    };
    drop((started.1, ended.1, go.0));
    context(File::from(go.1).write_all(b"!"), || "the init".into())?;
    // From here on nothing but waiting is left to do.
    let _ = prctl(libc::PR_SET_NO_NEW_PRIVS, 1);
    context(keep_capabilities(0), || "capabilities".into())?;
    syscalls::restrict(&order)?;
    let mut why = String::new();
    let _ = File::from(started.0).read_to_string(&mut why);
    if !why.is_empty() {
        return Err(why);
    }
    context((&mut &*core).write_all(b"+"), || "the core is gone".into())?;
    watch(&order, core, init, File::from(ended.0), &signals)
}

/// Until the command has ended, its core is gone, or somebody ends us.
fn watch(order: &Order, core: &UnixStream, init: i32, ended: File, signals: &libc::sigset_t) -> Result<i32, String> {
    let signals = context(signal_fd(signals), || "signals".into())?;
    let mut ended = ended;
    loop {
        let [has_signal, is_core_gone, has_ended] =
            poll([Some(signals.as_fd()), Some(core.as_fd()), Some(ended.as_fd())]);
        if has_ended {
            let mut status = [0; 4];
            let is_told = ended.read_exact(&mut status).is_ok();
            let own = wait(init);
            return Ok(if is_told { i32::from_ne_bytes(status) } else { own });
        }
        if is_core_gone {
            kill(init, libc::SIGKILL);
            return Ok(wait(init));
        }
        while let Some((signal, is_sent)) = has_signal.then(|| next_signal(signals.as_fd())).flatten() {
            if signal == libc::SIGCHLD || !is_sent {
                continue; // the terminal tells the command itself
            }
            if order.new_session {
                kill(init, signal);
            } else {
                kill(init, libc::SIGKILL);
                wait(init);
                return Ok(signal);
            }
        }
    }
}

fn enter_namespaces(order: &Order) -> Result<(), String> {
    let (user, group) = ids();
    context(unshare(clone_flags(order.layers)), || "namespaces are refused".into())?;
    if order.layers.user_namespace {
        let map = || {
            fs::write("/proc/self/setgroups", "deny")?;
            fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
            fs::write("/proc/self/gid_map", format!("{group} {group} 1"))
        };
        context(map(), || "the user cannot be kept".into())?;
    }
    Ok(())
}

/// In a user namespace nobody has rights over files of others. Root without one keeps them where a place belongs to others:
/// otherwise it could do less in a workspace than its owner.
fn kept_capabilities(order: &Order) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let is_foreign = |path: &std::path::Path| path.metadata().is_ok_and(|place| place.uid() != 0);
    let is_kept = ids().0 == 0
        && !order.layers.user_namespace
        && order.places.iter().any(|place| place.treatment == Treatment::Write && is_foreign(&place.source));
    if is_kept { FILE_CAPABILITIES } else { 0 }
}
