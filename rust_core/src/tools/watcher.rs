//! A process in the foreground: its output handed on as it appears, its end or its limits awaited, nothing of it left.

use std::io::Read as _;
use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::Pid;

use super::command::MAX_TIMEOUT_SECONDS;
use super::{Context, Output, Status};
use crate::output::{Capture, MAX_CHARS, MAX_OUTPUT_BYTES, complete_end};
use crate::process::{kill_tree, signal_name, timespec};
use crate::sandbox;

/// Output is handed on at most every so often.
const FRAME: Duration = Duration::from_millis(50);
/// Bytes handed on per frame: nobody reads more, and memory stays bounded.
const MAX_FRAME_BYTES: usize = 16 << 10;
/// How long after the shell's end others may still print into its pipe.
const GRACE: Duration = Duration::from_millis(100);

/// How the shell came to its end.
#[derive(PartialEq)]
pub enum End {
    /// By itself.
    Exited,
    /// By its time limit.
    TimedOut,
    /// By the cancel token.
    Cancelled,
    /// By what it printed.
    TooMuch,
}

/// Watches one process until it ends, or ends it.
pub struct Watcher<'a> {
    context: &'a Context<'a>,
    running: sandbox::Running,
    pid: Pid,
    ended: std::os::fd::OwnedFd,
    marker: String,
    deadline: Instant,
    capture: Capture,
    /// What one read takes: as much as a pipe holds.
    buffer: Vec<u8>,
    frame: Vec<u8>,
    last_frame: Option<Instant>,
    is_open: bool,
}

impl<'a> Watcher<'a> {
    /// Takes over what `spawn` gave; an error leaves nothing running.
    pub fn new(
        context: &'a Context<'a>,
        mut running: sandbox::Running,
        marker: &str,
        deadline: Instant,
    ) -> std::io::Result<Self> {
        let pid = running.child.pid();
        let prepared = running.child.watch().and_then(|ended| {
            let flags = fcntl_getfl(&running.output)?;
            fcntl_setfl(&running.output, flags | OFlags::NONBLOCK)?;
            Ok(ended)
        });
        let ended = match prepared {
            Ok(ended) => ended,
            Err(error) => {
                let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
                let _ = running.child.wait();
                return Err(error);
            }
        };
        let capture = Capture::new(MAX_CHARS, context.spill.clone());
        let marker = marker.to_owned();
        Ok(Self {
            context,
            running,
            pid,
            ended,
            marker,
            deadline,
            capture,
            buffer: vec![0; 64 << 10],
            frame: Vec::new(),
            last_frame: None,
            is_open: true,
        })
    }

    /// Until the shell has ended, by itself or not. No sleeping: output, end and cancelling all wake the `poll`.
    pub fn wait(&mut self) -> End {
        let end = self.watch_shell();
        if end != End::Exited {
            kill_tree(self.pid, &self.marker, &self.ended);
        }
        // What is in the pipe was printed before the end. Somebody may hold it open still: a short while, then no more.
        let until = Instant::now() + GRACE;
        loop {
            self.drain();
            let now = Instant::now();
            if !self.is_open || now >= until {
                break;
            }
            let mut fds = [PollFd::new(&self.running.output, PollFlags::IN)];
            let _ = poll(&mut fds, Some(&timespec(until - now)));
        }
        self.send_frame();
        end
    }

    fn watch_shell(&mut self) -> End {
        loop {
            let now = Instant::now();
            if self.context.cancel.is_cancelled() {
                return End::Cancelled;
            }
            if now >= self.deadline {
                return End::TimedOut;
            }
            if self.capture.total > MAX_OUTPUT_BYTES {
                return End::TooMuch;
            }
            let mut wait = self.deadline - now;
            if !self.frame.is_empty() {
                let due = self.last_frame.map_or(now, |last| last + FRAME);
                if due <= now {
                    self.send_frame();
                } else {
                    wait = wait.min(due - now);
                }
            }
            let wake = self.context.cancel.wake();
            if wake.is_none() {
                wait = wait.min(FRAME); // the flag must be looked at
            }
            let mut fds = vec![PollFd::new(&self.ended, PollFlags::IN)];
            if let Some(wake) = &wake {
                fds.push(PollFd::new(wake, PollFlags::IN));
            }
            if self.is_open {
                fds.push(PollFd::new(&self.running.output, PollFlags::IN));
            }
            let _ = poll(&mut fds, Some(&timespec(wait)));
            let has_ended = !fds[0].revents().is_empty();
            let has_output = self.is_open && fds.last().is_some_and(|fd| !fd.revents().is_empty());
            drop(fds);
            if has_ended {
                // Whoever cancels may have ended it before this looks at the flag again.
                return if self.context.cancel.is_cancelled() { End::Cancelled } else { End::Exited };
            }
            if has_output {
                self.read_some();
            }
        }
    }

    /// One read; false where there was nothing.
    fn read_some(&mut self) -> bool {
        match self.running.output.read(&mut self.buffer) {
            Ok(0) => self.is_open = false,
            Ok(count) => {
                self.capture.push(&self.buffer[..count]);
                self.frame.extend_from_slice(&self.buffer[..count]);
                let surplus = self.frame.len().saturating_sub(2 * MAX_FRAME_BYTES);
                self.frame.drain(..surplus);
                return true;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return true,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => self.is_open = false,
        }
        false
    }

    fn drain(&mut self) {
        let until = Instant::now() + GRACE; // a survivor may print without end
        while self.read_some() && Instant::now() < until {}
    }

    fn send_frame(&mut self) {
        if self.frame.is_empty() {
            return;
        }
        // A character that is not complete waits for its rest, unless there will be none.
        let whole = if self.is_open { complete_end(&self.frame) } else { self.frame.len() };
        let rest = self.frame.split_off(whole);
        let shown = &self.frame[self.frame.len().saturating_sub(MAX_FRAME_BYTES)..];
        if !shown.is_empty() {
            (self.context.on_output)(&String::from_utf8_lossy(shown));
        }
        self.frame = rest;
        self.last_frame = Some(Instant::now());
    }

    /// What the model gets.
    pub fn report(mut self, end: &End, timeout: Duration) -> Output {
        // The shell has ended by now, or was killed: this does not block.
        let status = self.running.child.wait();
        let is_held_open = self.is_open && *end == End::Exited;
        let total = self.capture.total;
        let (mut text, spill) = self.capture.finish();
        let mut notes = Vec::new();
        let (code, signal) = status.map_or((None, None), |status| (status.code(), status.signal()));
        let result = match end {
            End::TimedOut => {
                let limit = timeout.as_secs_f64();
                notes.push(format!(
                    "[timed out after {limit} s and was killed with all it had started; give a longer timeout (at most \
                     {MAX_TIMEOUT_SECONDS} s) or make it do less]"
                ));
                Status::TimedOut
            }
            End::Cancelled => {
                notes.push("[cancelled by the user; it was killed with all it had started]".to_owned());
                Status::Cancelled
            }
            End::TooMuch => {
                notes.push(format!("[killed after printing more than {} GiB]", MAX_OUTPUT_BYTES >> 30));
                Status::Error
            }
            End::Exited => match (code, signal) {
                (Some(0), _) => Status::Ok,
                (Some(code), _) => {
                    notes.push(format!("[exit code {code}]"));
                    Status::Error
                }
                (None, Some(signal)) => {
                    notes.push(format!("[killed by {}]", signal_name(signal)));
                    Status::Error
                }
                (None, None) => Status::Error,
            },
        };
        for refusal in self.running.hold.iter().flat_map(sandbox::Hold::refusals) {
            notes.push(format!("[{}]", refusal.sentence));
        }
        if is_held_open {
            notes.push("[the shell has ended; a process it left in the background keeps running]".to_owned());
        }
        if text.is_empty() && notes.is_empty() {
            notes.push("(no output)".to_owned());
        }
        for note in notes {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            text.push_str(&note);
        }
        let mut output = Output::with_status(text, result).detail("output_bytes", total);
        if let Some(code) = code {
            output = output.detail("exit_code", code);
        }
        if let Some(signal) = signal {
            output = output.detail("signal", signal_name(signal));
        }
        if let Some(path) = spill {
            output = output.detail("spill_path", path.to_string_lossy());
        }
        output
    }
}
