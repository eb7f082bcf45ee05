//! Bash: a command line in a shell of its own, watched until it ends.

use std::io::Read as _;
use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::Pid;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Call, Context, Limit, Output, Status, Tool, ToolError, parse_arguments, schema_of};
use crate::effect::Effect;
use crate::output::{Capture, MAX_CHARS, MAX_OUTPUT_BYTES, MAX_SPILL_BYTES, random_name};
use crate::process::{kill_tree, signal_name, timespec, watch};
use crate::sandbox;
use crate::shell;
use crate::visible::visible;

const DEFAULT_TIMEOUT_MS: u64 = 120_000;
const MAX_TIMEOUT_MS: u64 = 600_000;
/// Output is handed on at most every so often.
const FRAME: Duration = Duration::from_millis(50);
/// Bytes handed on per frame: nobody reads more, and memory stays bounded.
const MAX_FRAME_BYTES: usize = 16 << 10;
/// How long after the shell's end others may still print into its pipe.
const GRACE: Duration = Duration::from_millis(100);

/// Runs commands.
pub struct Bash;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// The command line.
    command: String,
    /// Milliseconds until it is killed; default 120000, at most 600000.
    #[schemars(range(min = 1, max = 600_000))]
    timeout: Option<u64>,
    /// What it does, in a few words.
    description: Option<String>,
}

impl Tool for Bash {
    fn name(&self) -> &'static str {
        "Bash"
    }

    fn description(&self) -> &'static str {
        "Run a command line with bash in the workspace. Each call starts a new shell there without input: cd and variables do \
         not last. Gives stdout and stderr in order, and the exit code where it is not 0. Long output is shortened in the \
         middle; the whole is kept in a file that Read can open. For files prefer Read, Write, Edit, Glob and Grep."
    }

    fn schema(&self) -> Value {
        schema_of::<Arguments>()
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn effect_kinds(&self) -> &'static [&'static str] {
        &["run"]
    }

    fn limits(&self) -> &'static [Limit] {
        const {
            &[
                Limit::seconds("for a command, unless timeout says otherwise", DEFAULT_TIMEOUT_MS / 1000),
                Limit::seconds("for a command at most", MAX_TIMEOUT_MS / 1000),
                Limit::count("characters of output given, half from each end", MAX_CHARS as u64),
                Limit::bytes("of output kept in a file", MAX_SPILL_BYTES),
                Limit::bytes("of output, then the command is ended", MAX_OUTPUT_BYTES),
            ]
        }
    }

    fn max_chars(&self) -> usize {
        MAX_CHARS + 2_000 // what run keeps, and the notices it adds
    }

    fn parse(&self, arguments: &str) -> Result<Box<dyn Call>, String> {
        let parsed: Arguments = parse_arguments("Bash", arguments)?;
        if parsed.command.trim().is_empty() {
            return Err("Bash was not run: command is empty. Give the command line to run.".into());
        }
        if parsed.command.contains('\0') {
            return Err("Bash was not run: command holds a NUL character, which no shell takes. Remove it.".into());
        }
        if parsed.timeout.is_some_and(|timeout| timeout == 0 || timeout > MAX_TIMEOUT_MS) {
            return Err(format!("Bash was not run: timeout is in milliseconds, from 1 to {MAX_TIMEOUT_MS}."));
        }
        Ok(Box::new(parsed))
    }
}

impl Call for Arguments {
    fn title(&self) -> String {
        let mut lines = self.command.trim().lines();
        let first = visible(lines.next().unwrap_or_default());
        let rest = if lines.next().is_some() { " …" } else { "" };
        format!("$ {first}{rest}")
    }

    fn effects(&self) -> Vec<Effect> {
        vec![Effect::Run { command: self.command.clone() }]
    }

    fn changes_nothing(&self) -> bool {
        shell::changes_nothing(&self.command)
    }

    fn preview(&self, context: &Context<'_>) -> Result<Value, ToolError> {
        let mut preview = json!({
            "kind": "command",
            "command": self.command,
            "visible": visible(&self.command),
            "cwd": context.workspace.path().to_string_lossy(),
        });
        if let Some(description) = &self.description {
            preview["description"] = json!(visible(description));
        }
        Ok(preview)
    }

    fn run(&self, context: &Context<'_>) -> Result<Output, ToolError> {
        if context.cancel.is_cancelled() {
            return Err(ToolError::Cancelled);
        }
        let timeout = Duration::from_millis(self.timeout.unwrap_or(DEFAULT_TIMEOUT_MS));
        let bash = sandbox::bash().map_err(ToolError::Failed)?;
        let marker = format!("{}-{}", context.marker, random_name());
        let running = sandbox::spawn(&sandbox::Request {
            program: bash,
            arguments: &["-c".into(), (&self.command).into()],
            folder: context.workspace.path(),
            environment: context.environment,
            marker: &marker,
            input: sandbox::Input::Null,
            output: sandbox::Output::Merged,
            confinement: context.confinement,
        })
        .map_err(|error| ToolError::failed(format!("bash could not be started: {error}.")))?;
        let mut watcher = Watcher::new(context, running, &marker, Instant::now() + timeout)
            .map_err(|error| ToolError::failed(format!("The command could not be watched and was killed: {error}.")))?;
        let end = watcher.wait();
        Ok(watcher.report(&end, timeout))
    }
}

/// How the shell came to its end.
#[derive(PartialEq)]
enum End {
    Exited,
    TimedOut,
    Cancelled,
    TooMuch,
}

struct Watcher<'a> {
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
    fn new(
        context: &'a Context<'a>,
        mut running: sandbox::Running,
        marker: &str,
        deadline: Instant,
    ) -> std::io::Result<Self> {
        let pid = Pid::from_child(&running.child);
        let prepared = watch(pid).and_then(|ended| {
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
    fn wait(&mut self) -> End {
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
                return End::Exited;
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

    fn report(mut self, end: &End, timeout: Duration) -> Output {
        // The shell is a zombie by now, or was killed: this does not block.
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
                    "[timed out after {limit} s and was killed with all it had started; give a longer timeout (at most {} s) \
                     or make it do less]",
                    MAX_TIMEOUT_MS / 1000
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

/// Up to where the bytes are whole UTF-8 characters; bytes that are wrong anyway count as whole.
fn complete_end(bytes: &[u8]) -> usize {
    let from = bytes.len().saturating_sub(3);
    for at in (from..bytes.len()).rev() {
        let need = match bytes[at] {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            0x80..=0xbf => continue,
            _ => return bytes.len(),
        };
        return if bytes.len() - at < need { at } else { bytes.len() };
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_characters_wait_for_their_rest() {
        assert_eq!(complete_end("aé".as_bytes()), 3);
        assert_eq!(complete_end(&"aé".as_bytes()[..2]), 1);
        assert_eq!(complete_end(&"a𝄞".as_bytes()[..4]), 1);
        assert_eq!(complete_end(&[b'a', 0xff]), 2);
        assert_eq!(complete_end(&[0x80, 0x80, 0x80, 0x80]), 4);
        assert_eq!(complete_end(b""), 0);
    }

    #[test]
    fn limits_are_said() {
        let parse = |arguments: &str| Bash.parse(arguments).err();
        assert!(parse(r#"{"command": " "}"#).unwrap().contains("empty"));
        assert!(parse(r#"{"command": "x", "timeout": 0}"#).unwrap().contains("from 1 to 600000"));
        assert!(parse(r#"{"command": "x", "timeout": 600001}"#).is_some());
        assert!(parse(r#"{"command": "x\u0000y"}"#).unwrap().contains("NUL"));
        assert!(parse(r#"{"command": "x", "timeout": null}"#).is_none());
    }

    #[test]
    fn a_title_is_one_visible_line() {
        let title = |command: &str| Arguments { command: command.into(), timeout: None, description: None }.title();
        assert_eq!(title("git status"), "$ git status");
        assert_eq!(title("a\u{202e}b\nc"), "$ a\\u{202e}b …");
    }
}
