//! The one function that starts processes.
//!
//! The process is made by `posix_spawn`, never by a fork of the kernel process: with a gigabyte in use a fork costs tens of
//! milliseconds. So there is no `pre_exec` here, and the program is named by its full path (a search along a changed
//! `PATH` would make the standard library fork).

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, pipe};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command};

use super::confined;
use super::confinement::Confinement;
use super::environment::{Environment, MARKER_VARIABLE};
use super::leader::Leader;
use super::seatbelt;

/// What a process reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// Nothing.
    Null,
    /// What is written into `Running::input`.
    Pipe,
    /// What this process reads.
    Inherit,
}

/// Where its output and errors go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Into one pipe, in the order they are written.
    Merged,
    /// Errors into a pipe of their own.
    Separate,
    /// Where this process's go; `Running::output` is at its end then.
    Inherit,
}

/// What is to be started, and how.
pub struct Request<'a> {
    /// A full path.
    pub program: &'a Path,
    /// Without the program's own name.
    pub arguments: &'a [OsString],
    /// Where it starts.
    pub folder: &'a Path,
    /// Its variables, all of them.
    pub environment: &'a Environment,
    /// By which it and its descendants are found again.
    pub marker: &'a str,
    /// What it reads.
    pub input: Input,
    /// Where its output goes.
    pub output: Output,
    /// What it may touch.
    pub confinement: &'a Confinement,
}

/// A process and its pipes.
pub struct Running {
    /// Must be waited for.
    pub child: Leader,
    /// Of `Input::Pipe`.
    pub input: Option<PipeWriter>,
    /// Standard output; of `Output::Merged` standard error too.
    pub output: PipeReader,
    /// Of `Output::Separate`.
    pub errors: Option<PipeReader>,
    /// Of a confined process: letting go of it ends the process, so that the death of this program does.
    pub hold: Option<confined::Hold>,
}

/// Starts a process in a process group of its own, but for one that inherits the terminal.
pub fn spawn(request: &Request<'_>) -> io::Result<Running> {
    let (output, writer) = pipe()?;
    let mut input = None;
    let stdin: OwnedFd = match request.input {
        Input::Null => File::open("/dev/null")?.into(),
        Input::Inherit => io::stdin().as_fd().try_clone_to_owned()?,
        Input::Pipe => {
            let (reader, writer) = pipe()?;
            input = Some(writer);
            reader.into()
        }
    };
    let mut errors = None;
    let (stdout, stderr): (OwnedFd, OwnedFd) = match request.output {
        Output::Merged => (writer.try_clone()?.into(), writer.into()),
        Output::Inherit => (io::stdout().as_fd().try_clone_to_owned()?, io::stderr().as_fd().try_clone_to_owned()?),
        Output::Separate => {
            let (reader, error_writer) = pipe()?;
            errors = Some(reader);
            (writer.into(), error_writer.into())
        }
    };
    // The pipes' other ends go with the process; were they kept here, reading would never end.
    let streams = [stdin, stdout, stderr];
    let (child, hold) = match request.confinement {
        Confinement::Off => {
            (Leader::Own(start(request, request.program, request.arguments, request.environment, streams)?), None)
        }
        Confinement::On(enclosure) if enclosure.is_seatbelt => {
            let (arguments, environment, hold) = confined::through_seatbelt(request, enclosure)?;
            let program = Path::new(seatbelt::PROGRAM);
            (Leader::Own(start(request, program, &arguments, &environment, streams)?), Some(hold))
        }
        Confinement::On(enclosure) => {
            let (child, hold) = confined::start(request, enclosure, streams.each_ref().map(AsFd::as_fd))?;
            (Leader::Confined(child), Some(hold))
        }
    };
    Ok(Running { child, input, output, errors, hold })
}

fn start(
    request: &Request<'_>,
    program: &Path,
    arguments: &[OsString],
    environment: &Environment,
    streams: [OwnedFd; 3],
) -> io::Result<Child> {
    let [stdin, stdout, stderr] = streams;
    let mut command = Command::new(program);
    command.args(arguments).current_dir(request.folder).env_clear();
    command.envs(environment.iter().map(|(name, value)| (name, value))).env(MARKER_VARIABLE, request.marker);
    command.stdin(stdin).stdout(stdout).stderr(stderr);
    if request.input != Input::Inherit {
        command.process_group(0);
    }
    command.spawn()
}

#[cfg(test)]
mod tests {
    use super::super::environment::{bash, environment};
    use super::*;
    use std::io::{Read as _, Write as _};

    fn start(script: &str, input: Input, output: Output) -> Running {
        spawn(&Request {
            program: bash().unwrap(),
            arguments: &["-c".into(), script.into()],
            folder: Path::new("/"),
            environment: &environment(None),
            marker: "m",
            input,
            output,
            confinement: &Confinement::Off,
        })
        .unwrap()
    }

    #[test]
    fn a_process_gets_no_input_and_one_pipe_in_order() {
        let mut running = start("cat; echo out; echo err >&2", Input::Null, Output::Merged);
        let mut text = String::new();
        running.output.read_to_string(&mut text).unwrap();
        assert!(running.child.wait().unwrap().success());
        assert_eq!(text, "out\nerr\n");
    }

    #[test]
    fn pipes_can_be_had_one_by_one() {
        let mut running = start("cat; echo err >&2", Input::Pipe, Output::Separate);
        running.input.take().unwrap().write_all(b"in").unwrap();
        let (mut out, mut err) = (String::new(), String::new());
        running.output.read_to_string(&mut out).unwrap();
        running.errors.take().unwrap().read_to_string(&mut err).unwrap();
        assert!(running.child.wait().unwrap().success());
        assert_eq!((out.as_str(), err.as_str()), ("in", "err\n"));
    }
}
