//! Waiting for a process, and ending it with everything it started.

use std::collections::HashSet;
use std::fs;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, pidfd_open, waitid,
};

use crate::sandbox::MARKER_VARIABLE;

/// How long a tree may take to end politely.
const POLITE: Duration = Duration::from_millis(40);
/// A tree that forks while it is being killed is looked through again this often.
const ROUNDS: usize = 20;

/// A descriptor that becomes readable when the process ends.
pub fn watch(pid: Pid) -> std::io::Result<OwnedFd> {
    if let Ok(fd) = pidfd_open(pid, PidfdFlags::empty()) {
        return Ok(fd);
    }
    // Kernels before 5.3, or a filter: a thread waits, and says so.
    let event = eventfd(0, EventfdFlags::CLOEXEC)?;
    let ours = event.try_clone()?;
    std::thread::Builder::new().name("claw-wait".into()).spawn(move || {
        let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        let _ = rustix::io::write(&ours, &1u64.to_ne_bytes());
    })?;
    Ok(event)
}

/// A time span as `poll` takes it.
pub fn timespec(duration: Duration) -> Timespec {
    Timespec::try_from(duration).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 })
}

/// Ends the process group of `leader` and every process that carries `marker` or descends from one that does: first
/// politely, then not. `ended` is the leader's `watch`.
///
/// A process that has emptied its environment, left its group *and* whose parents had all ended before is not found.
pub fn kill_tree(leader: Pid, marker: &str, ended: &OwnedFd) {
    let is_ours = |value: &str| value == marker;
    // Looked for before anything dies: with its parent a process loses the trace of where it came from.
    let mut found = find_marked(&is_ours, Some(leader));
    let _ = kill_process_group(leader, Signal::TERM);
    let mut fds = [PollFd::new(ended, PollFlags::IN)];
    let _ = poll(&mut fds, Some(&timespec(POLITE)));
    found.extend(find_marked(&is_ours, Some(leader)));
    let _ = kill_process_group(leader, Signal::KILL);
    found.into_iter().for_each(Member::kill);
    kill_marked(is_ours, Some(leader));
}

/// Kills all processes whose marker satisfies `is_ours`, and their descendants.
pub fn kill_marked(is_ours: impl Fn(&str) -> bool, leader: Option<Pid>) {
    for _ in 0..ROUNDS {
        let found = find_marked(&is_ours, leader);
        if found.is_empty() {
            return;
        }
        found.into_iter().for_each(Member::kill);
        std::thread::sleep(Duration::from_millis(1)); // for the kernel to carry it out
    }
}

/// A living process of a tree.
struct Member {
    pid: Pid,
    /// With the pid this names one process and no later one.
    started: u64,
}

impl Member {
    fn kill(self) {
        if Stat::read(self.pid).is_some_and(|stat| stat.started == self.started) {
            let _ = kill_process(self.pid, Signal::KILL);
        }
    }
}

/// What `/proc/<pid>/stat` tells.
struct Stat {
    is_dead: bool,
    parent: Option<Pid>,
    started: u64,
}

impl Stat {
    fn read(pid: Pid) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
        // `pid (name) state parent …`; the name may hold anything, parentheses too.
        let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
        Some(Self {
            is_dead: matches!(fields.first(), Some(&("Z" | "X"))),
            parent: fields.get(1)?.parse().ok().and_then(Pid::from_raw),
            started: fields.get(19)?.parse().ok()?, // field 22 of proc(5)
        })
    }
}

/// Living processes that carry a marker, and their descendants.
fn find_marked(is_ours: &impl Fn(&str) -> bool, leader: Option<Pid>) -> Vec<Member> {
    let own = rustix::process::getpid();
    let mut processes = Vec::new(); // pid, what it tells, is marked
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        let Some(pid) = pid.filter(|pid| *pid != own) else { continue };
        let Some(stat) = Stat::read(pid).filter(|stat| !stat.is_dead) else { continue };
        let has_marker = || marker_of(&entry.path().join("environ")).is_some_and(|marker| is_ours(&marker));
        processes.push((pid, stat, Some(pid) == leader || has_marker()));
    }
    loop {
        let marked: HashSet<Pid> = processes.iter().filter(|process| process.2).map(|process| process.0).collect();
        let mut has_changed = false;
        for process in processes.iter_mut().filter(|process| !process.2) {
            process.2 = process.1.parent.is_some_and(|parent| marked.contains(&parent));
            has_changed |= process.2;
        }
        if !has_changed {
            let members = processes.into_iter().filter(|process| process.2);
            return members.map(|(pid, stat, _)| Member { pid, started: stat.started }).collect();
        }
    }
}

fn marker_of(environ: &std::path::Path) -> Option<String> {
    let mut bytes = Vec::new();
    fs::File::open(environ).ok()?.take(4 << 20).read_to_end(&mut bytes).ok()?;
    let prefix = format!("{MARKER_VARIABLE}=");
    let found = bytes.split(|byte| *byte == 0).find_map(|variable| variable.strip_prefix(prefix.as_bytes()))?;
    String::from_utf8(found.to_vec()).ok()
}

/// A signal's usual name.
pub fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}
