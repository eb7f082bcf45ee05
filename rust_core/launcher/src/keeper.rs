//! The keeper: builds what all commands of one confinement share, and keeps processes 1 ready for the next of them.
//!
//! A request is one byte with four descriptors on the socket to the core: the command's own socket, its input, output and
//! errors. Of the processes that wait one has its turn: it takes the request without the keeper's help, and says so; then the
//! next has its turn. Another is made when it is quiet, because that takes a millisecond of a processor which a command that
//! has just begun would rather have; at once where nearly none is left. The keeper keeps the rights it needs for that:
//! nothing inside can reach it, it reads nothing that comes from inside but one letter, and it ends with the core.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, RawFd};
use std::os::unix::net::UnixStream;

use crate::landlock::Rules;
use crate::order::{Ground, Message as _, Treatment};
use crate::process_one::{self, TAKEN, TURN};
use crate::syscalls::Filters;
use crate::system::{
    CLOSED, READABLE, block, clone_process, context, exit, ids, init_flags, is_at_end, kill, next_signal, pipe, poll,
    prctl, reap, receive_request, shared_flags, signal_fd, take_only, unshare, wait, waited_signals,
};
use crate::{files, landlock, network, syscalls};

/// What this program's own failures end with; the core is told the reason over the socket.
const FAILED: i32 = 125;
/// `CHOWN`, `DAC_OVERRIDE`, `FOWNER`, `FSETID`: root's rights over files of others, kept where a place belongs to others.
const FILE_CAPABILITIES: u64 = 0b1_1011;
/// Processes 1 that wait, once there was a command: so many that begin together wait for nothing.
const READY: usize = 4;
/// Made at once, whatever else is going on: one is being taken while the other is put up.
const LEAST: usize = 2;
/// Nothing has happened for so long: it is quiet.
const QUIET_MS: i32 = 2;

/// Ready before there is a command.
pub struct Prepared {
    /// What holds.
    pub ground: Ground,
    /// Names the proxy, where there is one.
    pub variables: Vec<std::ffi::OsString>,
    /// Capabilities that commands keep, as bits.
    pub kept: u64,
    /// `None`: the machine has none.
    pub rules: Option<Rules>,
    /// Compiled.
    pub filters: Filters,
    /// The kernel limits processes per namespace.
    pub has_own_pid_max: bool,
}

/// Never comes back.
pub fn run(core: RawFd) -> ! {
    let Ok(core) = take_only(core) else { exit(FAILED) };
    let mut core = UnixStream::from(core);
    let Ok(ground) = Ground::receive(&mut core) else { exit(FAILED) };
    let served = prepare(ground, &core).and_then(|prepared| {
        context((&core).write_all(b"+"), || "the core is gone".into())?;
        Keeper::new(prepared, &core).serve()
    });
    match served {
        Ok(()) => exit(0),
        Err(why) => {
            let _ = core.write_all(format!("-{why}").as_bytes());
            exit(FAILED)
        }
    }
}

fn prepare(ground: Ground, core: &UnixStream) -> Result<Prepared, String> {
    let _ = prctl(libc::PR_SET_NAME, c"claw-sandbox".as_ptr() as libc::c_ulong);
    // Where memory runs out, this goes before the notebook's kernel does.
    let _ = fs::write("/proc/self/oom_score_adj", "500");
    let kept = kept_capabilities(&ground);
    let mut variables = Vec::new();
    if ground.layers.namespaces {
        enter_namespaces(&ground)?;
        variables = context(network::build(core.as_fd(), ground.wants_proxy), || "the network".into())?;
        files::build(&ground)?;
    } else if ground.wants_proxy {
        return Err("hosts can only be granted inside a network namespace".into());
    }
    let rules = landlock::rules(&ground)?;
    let filters = syscalls::compile(&ground)?;
    Ok(Prepared { ground, variables, kept, rules, filters, has_own_pid_max: files::has_own_pid_max() })
}

struct Keeper<'a> {
    prepared: Prepared,
    requests: &'a UnixStream,
    /// Processes 1 that have not ended, the waiting ones among them.
    alive: Vec<i32>,
    /// The first has its turn.
    waiting: VecDeque<Waiting>,
    /// So many should wait.
    wanted: usize,
    /// No process could be made: whoever asks next is told why.
    failure: Option<String>,
    /// There will be no other.
    is_over: bool,
}

/// A process 1 that has no command yet.
struct Waiting {
    /// What it has to say.
    word: File,
    /// Tells it its number, and that it has its turn; closed, that it is not needed.
    go: File,
}

impl<'a> Keeper<'a> {
    fn new(prepared: Prepared, requests: &'a UnixStream) -> Self {
        let (alive, waiting) = (Vec::new(), VecDeque::new());
        Self { prepared, requests, alive, waiting, wanted: 1, failure: None, is_over: false }
    }

    /// Until the core is gone, or somebody ends us; one for a single command until that has ended.
    fn serve(&mut self) -> Result<(), String> {
        let signals = waited_signals();
        block(Some(&signals));
        let signals = context(signal_fd(&signals), || "signals".into())?;
        self.make();
        loop {
            // While somebody waits for requests, or nobody ever will, they are none of our business.
            let is_ours = self.waiting.is_empty() && !self.is_over;
            let word = self.waiting.front().map(|first| first.word.as_fd());
            let asked = if is_ours { READABLE } else { CLOSED };
            let fds = [(Some(signals.as_fd()), READABLE), (Some(self.requests.as_fd()), asked), (word, READABLE)];
            let is_short = self.waiting.len() < self.wanted && self.failure.is_none();
            let [has_signal, is_asked, has_word] = poll(fds, is_short.then_some(QUIET_MS));
            if has_word {
                self.listen();
            } else if is_asked {
                if !is_ours || is_at_end(self.requests.as_fd()) {
                    break;
                }
                match self.failure.take() {
                    Some(why) => self.refuse(&why),
                    None => self.make(),
                }
            } else if is_short && !has_signal {
                self.make();
            }
            while let Some((signal, is_sent)) = has_signal.then(|| next_signal(signals.as_fd())).flatten() {
                if signal != libc::SIGCHLD && is_sent {
                    self.end();
                }
            }
            while let Some((pid, _)) = reap() {
                self.alive.retain(|alive| *alive != pid);
            }
            if self.alive.is_empty() && self.is_over {
                break;
            }
        }
        self.end();
        Ok(())
    }

    fn make(&mut self) {
        let made = pipe().and_then(|word| {
            let go = pipe()?;
            Ok((word, go, clone_process(init_flags(self.prepared.ground.layers))?))
        });
        match made {
            Ok(((reader, writer), go, None)) => {
                drop((reader, go.1));
                self.waiting.clear(); // the others' pipes end where the keeper lets go of them
                process_one::run(&self.prepared, self.requests.as_fd(), File::from(writer), File::from(go.0))
            }
            Ok(((reader, _), go, Some(pid))) => {
                self.alive.push(pid);
                let mut made = Waiting { word: File::from(reader), go: File::from(go.1) };
                let _ = made.go.write_all(&pid.to_ne_bytes());
                self.waiting.push_back(made);
                if self.waiting.len() == 1 {
                    self.give_turn();
                }
            }
            Err(error) => self.failure = Some(format!("a process: {error}")),
        }
    }

    fn give_turn(&mut self) {
        if let Some(first) = self.waiting.front_mut() {
            let _ = first.go.write_all(&[TURN]);
        }
    }

    /// The process that has its turn has something to say, or has ended.
    fn listen(&mut self) {
        let Some(mut first) = self.waiting.pop_front() else { return };
        let mut said = Vec::new();
        let _ = first.word.read_to_end(&mut said);
        match said.first() {
            Some(&TAKEN) if self.prepared.ground.is_single => self.is_over = true,
            Some(&TAKEN) => {
                self.give_turn();
                self.wanted = READY;
                while self.waiting.len() < LEAST && self.failure.is_none() {
                    self.make();
                }
            }
            // Nobody has needed it for long, or it could not be put up: that holds for the others too.
            other => {
                self.failure = other.is_some().then(|| String::from_utf8_lossy(&said).into_owned());
                self.waiting.clear();
                self.wanted = 0;
            }
        }
    }

    fn refuse(&mut self, why: &str) {
        if let Ok(Some([command, ..])) = receive_request(self.requests.as_fd()) {
            let _ = File::from(command).write_all(format!("-{why}").as_bytes());
        }
        self.is_over = self.prepared.ground.is_single;
    }

    fn end(&mut self) {
        self.alive.iter().for_each(|pid| kill(*pid, libc::SIGKILL));
        for pid in self.alive.drain(..) {
            wait(pid);
        }
        self.waiting.clear();
        self.is_over = true;
    }
}

fn enter_namespaces(ground: &Ground) -> Result<(), String> {
    let (user, group) = ids();
    context(unshare(shared_flags(ground.layers)), || "namespaces are refused".into())?;
    if ground.layers.user_namespace {
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
fn kept_capabilities(ground: &Ground) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let is_foreign = |path: &std::path::Path| path.metadata().is_ok_and(|place| place.uid() != 0);
    let is_kept = ids().0 == 0
        && !ground.layers.user_namespace
        && ground.places.iter().any(|place| place.treatment == Treatment::Write && is_foreign(&place.source));
    if is_kept { FILE_CAPABILITIES } else { 0 }
}
