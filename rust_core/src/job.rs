//! Commands that run on while the conversation goes on: started, read, listed, ended. None outlives its core.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cancel::CancelToken;
use crate::output::{MAX_CHARS, MAX_OUTPUT_BYTES, MAX_SPILL_BYTES, SpillFolder, complete_end};
use crate::process::signal_name;
use crate::sandbox::{Confinement, Input, Output, Process, Request, spawn};
use crate::secret::{Redactor, Secrets};

/// Jobs that may run at once.
pub const MAX_RUNNING: usize = 16;
/// Ended jobs that are remembered.
const MAX_ENDED: usize = 50;
/// Output nobody has read yet; of more the end is kept, and all of it is in the job's file.
pub const MAX_UNREAD_BYTES: usize = MAX_CHARS;
/// Whoever waits looks this often whether the call was cancelled.
const GLANCE: Duration = Duration::from_millis(50);
const CHUNK_BYTES: usize = 64 << 10;

/// The jobs of one core.
#[derive(Default)]
pub struct Jobs {
    list: Mutex<Vec<Arc<Job>>>,
    count: AtomicUsize,
}

/// One command in the background.
pub struct Job {
    /// As the model calls it: `b1`.
    pub id: String,
    /// The command line.
    pub command: String,
    /// All it prints, without secrets, up to `MAX_SPILL_BYTES`.
    pub path: PathBuf,
    started: Instant,
    process: Arc<Process>,
    state: Mutex<State>,
    changed: Condvar,
}

/// How a job came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By itself: the exit code, or the signal's number below zero.
    Exited(i32),
    /// By `KillShell`, or with its session.
    Killed,
    /// By its time limit.
    TimedOut,
    /// By what it printed.
    TooMuch,
}

#[derive(Default)]
struct State {
    unread: String,
    /// Bytes that fell out of `unread`.
    dropped: usize,
    end: Option<(End, Duration)>,
    /// Set before the process is ended on purpose.
    reason: Option<End>,
    is_end_told: bool,
}

/// Output read from a job.
pub struct News {
    /// What was printed since the last reading; of much the end.
    pub text: String,
    /// Bytes before it that were left out.
    pub dropped: usize,
    /// It has ended, and how.
    pub end: Option<End>,
}

impl Jobs {
    /// Starts `request` as a job; `limit`: then it is ended.
    pub fn start(
        &self,
        command: &str,
        request: &Request<'_>,
        limit: Option<Duration>,
        spill: &SpillFolder,
        secrets: &Arc<Secrets>,
    ) -> io::Result<Arc<Job>> {
        let mut list = lock(&self.list);
        if list.iter().filter(|job| job.is_running()).count() >= MAX_RUNNING {
            let why = format!("{MAX_RUNNING} jobs run already; end one with KillShell first");
            return Err(io::Error::other(why));
        }
        let (file, path) = spill.create()?;
        let id = format!("b{}", self.count.fetch_add(1, Ordering::Relaxed) + 1);
        let start = Start::new(request);
        let (sender, receiver) = sync_channel(1);
        let made =
            Made { id, command: command.to_owned(), path: path.clone(), redactor: Redactor::new(secrets), file, limit };
        // The thread that waits for the process also starts it: a parent's death, which may end the process, is then the
        // death of this thread, not that of the thread which happened to run the call.
        let thread = std::thread::Builder::new().name("claw-job".into()).spawn(move || match start.process() {
            Ok(process) => {
                let (job, sink) = made.into_job(process);
                if sender.send(Ok(Arc::clone(&job))).is_ok() {
                    sink.follow(&job);
                }
            }
            Err(error) => drop(sender.send(Err(error))),
        });
        let started = match thread {
            Ok(_) => receiver.recv().unwrap_or_else(|_| Err(io::Error::other("its thread has ended"))),
            Err(error) => Err(error),
        };
        if started.is_err() {
            let _ = std::fs::remove_file(path);
        }
        let job = started?;
        list.push(Arc::clone(&job));
        while list.len() > MAX_ENDED {
            match list.iter().position(|job| !job.is_running()) {
                Some(oldest) => drop(list.remove(oldest)),
                None => break,
            }
        }
        Ok(job)
    }

    /// The job of this id, or a sentence that names the jobs there are.
    pub fn find(&self, id: &str) -> Result<Arc<Job>, String> {
        let list = lock(&self.list);
        list.iter().find(|job| job.id == id).cloned().ok_or_else(|| {
            let known: Vec<&str> = list.iter().map(|job| job.id.as_str()).collect();
            match known.as_slice() {
                [] => format!("There is no job {id:?}; none was started in this session."),
                _ => format!("There is no job {id:?}; there are {}.", known.join(", ")),
            }
        })
    }

    /// All jobs, oldest first.
    pub fn all(&self) -> Vec<Arc<Job>> {
        lock(&self.list).clone()
    }

    /// A line for each job whose end the model has not been told of yet; asking makes them told.
    pub fn untold_ends(&self) -> Vec<String> {
        self.all().iter().filter_map(|job| job.tell_end()).collect()
    }

    /// Ends all that run.
    pub fn close(&self) {
        for job in self.all() {
            job.kill(End::Killed);
        }
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        self.close();
    }
}

impl Job {
    /// True until its process has ended and all it printed was taken.
    pub fn is_running(&self) -> bool {
        self.lock().end.is_none()
    }

    /// Whether and how it ended, in words that go on from its name.
    pub fn status(&self) -> String {
        let state = self.lock();
        let Some((end, lasted)) = state.end else {
            return format!("has been running for {} s", self.started.elapsed().as_secs());
        };
        let how = match end {
            End::Exited(code) if code >= 0 => format!("ended with exit code {code}"),
            End::Exited(signal) => format!("was ended by {}", signal_name(-signal)),
            End::Killed => "was killed".to_owned(),
            End::TimedOut => "was killed at its time limit".to_owned(),
            End::TooMuch => format!("was killed after printing more than {} GiB", MAX_OUTPUT_BYTES >> 30),
        };
        format!("{how} after {} s", lasted.as_secs())
    }

    /// For the screen.
    pub fn describe(&self) -> Value {
        json!({
            "id": self.id, "command": self.command, "status": self.status(), "is_running": self.is_running(),
            "pid": self.process.pid(), "path": self.path.to_string_lossy(),
        })
    }

    /// What was printed since the last reading. Waits up to `patience` for something `wanted` by a look at the text.
    pub fn read(&self, patience: Duration, cancel: &CancelToken, wanted: impl Fn(&str) -> bool) -> News {
        let until = Instant::now() + patience;
        let mut state = self.lock();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if state.end.is_some() || wanted(&state.unread) || left.is_zero() || cancel.is_cancelled() {
                break;
            }
            state = self.changed.wait_timeout(state, left.min(GLANCE)).unwrap_or_else(PoisonError::into_inner).0;
        }
        let end = state.end.map(|(end, _)| end);
        state.is_end_told |= end.is_some();
        News { text: std::mem::take(&mut state.unread), dropped: std::mem::take(&mut state.dropped), end }
    }

    /// Ends it with all it has started, and waits for that. False where it had ended before.
    pub fn kill(&self, reason: End) -> bool {
        {
            let mut state = self.lock();
            if state.end.is_some() {
                return false;
            }
            state.reason.get_or_insert(reason);
            state.is_end_told |= reason == End::Killed;
        }
        self.process.kill();
        true
    }

    /// The same for one job.
    pub fn tell_end(&self) -> Option<String> {
        let mut state = self.lock();
        if state.end.is_none() || state.is_end_told {
            return None;
        }
        state.is_end_told = true;
        drop(state);
        Some(format!("[job {} {}; BashOutput gives what it printed]", self.id, self.status()))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// A request that owns what it needs, so that another thread may start it.
struct Start {
    program: PathBuf,
    arguments: Vec<std::ffi::OsString>,
    folder: PathBuf,
    environment: crate::sandbox::Environment,
    marker: String,
    confinement: Confinement,
}

impl Start {
    fn new(request: &Request<'_>) -> Self {
        Self {
            program: request.program.to_path_buf(),
            arguments: request.arguments.to_vec(),
            folder: request.folder.to_path_buf(),
            environment: request.environment.clone(),
            marker: request.marker.to_owned(),
            confinement: request.confinement.clone(),
        }
    }

    fn process(&self) -> io::Result<Process> {
        let running = spawn(&Request {
            program: &self.program,
            arguments: &self.arguments,
            folder: &self.folder,
            environment: &self.environment,
            marker: &self.marker,
            input: Input::Null,
            output: Output::Merged,
            confinement: &self.confinement,
        })?;
        Process::new(running, &self.marker)
    }
}

/// A job but for its process.
struct Made {
    id: String,
    command: String,
    path: PathBuf,
    redactor: Redactor,
    file: File,
    limit: Option<Duration>,
}

impl Made {
    fn into_job(self, process: Process) -> (Arc<Job>, Sink) {
        let job = Arc::new(Job {
            id: self.id,
            command: self.command,
            path: self.path,
            started: Instant::now(),
            process: Arc::new(process),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        (job, Sink { redactor: self.redactor, file: Some(self.file), limit: self.limit, bytes: Vec::new(), total: 0 })
    }
}

/// Takes a job's output until there is no more.
struct Sink {
    redactor: Redactor,
    /// `None` once it is full or cannot be written.
    file: Option<File>,
    limit: Option<Duration>,
    /// The start of a character whose rest has not come yet.
    bytes: Vec<u8>,
    total: u64,
}

impl Sink {
    fn follow(mut self, job: &Job) {
        loop {
            let left = self.limit.map(|limit| limit.saturating_sub(job.started.elapsed()));
            match job.process.read_output(CHUNK_BYTES, left) {
                Ok(Some(bytes)) if bytes.is_empty() => break,
                Ok(Some(bytes)) => self.take(job, &bytes),
                Ok(None) => {
                    self.limit = None;
                    job.kill(End::TimedOut);
                }
                Err(_) => break,
            }
            if self.total > MAX_OUTPUT_BYTES {
                job.kill(End::TooMuch);
            }
        }
        // It may have closed its output and run on.
        let left = self.limit.map(|limit| limit.saturating_sub(job.started.elapsed()));
        if matches!(job.process.wait(left), Ok(None)) {
            job.kill(End::TimedOut);
        }
        let code = job.process.wait(None).ok().flatten().unwrap_or(-1);
        let rest = String::from_utf8_lossy(&self.bytes).into_owned();
        let rest = self.redactor.push(&rest) + &self.redactor.finish();
        self.add(job, &rest);
        let mut state = job.lock();
        state.end = Some((state.reason.unwrap_or(End::Exited(code)), job.started.elapsed()));
        job.changed.notify_all();
    }

    fn take(&mut self, job: &Job, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        let rest = self.bytes.split_off(complete_end(&self.bytes));
        let whole = std::mem::replace(&mut self.bytes, rest);
        let text = self.redactor.push(&String::from_utf8_lossy(&whole));
        self.add(job, &text);
    }

    fn add(&mut self, job: &Job, text: &str) {
        if let Some(file) = &mut self.file {
            let room = usize::try_from(MAX_SPILL_BYTES.saturating_sub(self.total)).unwrap_or(usize::MAX);
            if room == 0 || file.write_all(&text.as_bytes()[..text.len().min(room)]).is_err() {
                self.file = None;
            }
        }
        self.total += text.len() as u64;
        let mut state = job.lock();
        state.unread.push_str(text);
        if state.unread.len() > 2 * MAX_UNREAD_BYTES {
            let mut cut = state.unread.len() - MAX_UNREAD_BYTES;
            while !state.unread.is_char_boundary(cut) {
                cut += 1;
            }
            state.unread.drain(..cut);
            state.dropped += cut;
        }
        job.changed.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
