//! A repository as the Git tool sees it: its objects, references and index, and nothing else of it.
//!
//! A repository's own configuration names programs (`core.fsmonitor`, filters, external diffs, text converters, hooks,
//! pagers, signature checkers, transports …), and new such keys appear with new versions of git. So git never reads that
//! configuration here: it works on a stand-in for `.git`, a private folder with a configuration of ours and links to the
//! references, while objects and index are named by variables. What is taken over from the repository's configuration is
//! a list of keys that hold no programs. The user's and the system's configuration are not read either: attributes in the
//! repository could set the user's own drivers to work. Nothing is written, no lock taken, nothing fetched.

use std::ffi::{OsStr, OsString};
use std::fs::DirBuilder;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::super::{Context, Output, ToolError};
use super::folder::{Folder, read_small};
use crate::location::Location;
use crate::output::{Capture, MAX_CHARS, random_name};
use crate::sandbox::{self, Environment, Process};

/// One run of git.
pub const MAX_SECONDS: u64 = 30;
/// Of what is read whole: a list of names, a file of a commit.
const MAX_READ_BYTES: usize = 16 << 20;
const MAX_ERROR_BYTES: usize = 4 << 10;
/// How often a run is looked at for being cancelled.
const GLANCE: Duration = Duration::from_millis(50);
/// Where a git of the system lies, before the PATH, whose folders an environment may have put there.
const USUAL: &[&str] = &["/usr/bin/git", "/usr/local/bin/git", "/opt/homebrew/bin/git"];

/// Keys of a repository's configuration that say how its content is to be read, and hold no program, path or address.
const HARMLESS_KEYS: &[&str] = &[
    "core.filemode",
    "core.symlinks",
    "core.ignorecase",
    "core.precomposeunicode",
    "core.autocrlf",
    "core.eol",
    "core.sparsecheckout",
    "core.sparsecheckoutcone",
];
/// Of the same kind with a name in the middle: what a branch follows.
const HARMLESS_NAMED: &[(&str, &str)] = &[("branch.", ".remote"), ("branch.", ".merge"), ("remote.", ".fetch")];
/// They say how objects and references are stored, and must stand in the file itself.
const FORMAT_KEYS: &[&str] = &["core.repositoryformatversion", "extensions.objectformat", "extensions.refstorage"];

/// One commit, or the commits between two.
pub enum Revision<'a> {
    /// A name of one.
    One(&'a str),
    /// `a..b`, or `a...b` where `is_symmetric`.
    Range {
        /// The name before the dots.
        from: &'a str,
        /// The name behind them.
        to: &'a str,
        /// Three dots.
        is_symmetric: bool,
    },
}

impl<'a> Revision<'a> {
    /// Reads a name or range; the error says what is wrong.
    pub fn parse(text: &'a str) -> Result<Self, String> {
        let or_head = |name: &'a str| if name.is_empty() { "HEAD" } else { name };
        let revision = if let Some((from, to)) = text.split_once("...") {
            Self::Range { from: or_head(from), to: or_head(to), is_symmetric: true }
        } else if let Some((from, to)) = text.split_once("..") {
            Self::Range { from: or_head(from), to: or_head(to), is_symmetric: false }
        } else {
            Self::One(text)
        };
        let names = match revision {
            Self::One(name) => vec![name],
            Self::Range { from, to, .. } => vec![from, to],
        };
        for name in names {
            if name.starts_with(['-', '^']) {
                return Err(format!("rev begins with {:?}; name a commit, branch or tag.", &name[..1]));
            }
            if name.contains(':') {
                return Err("rev holds a colon; name the commit in rev and the file in path.".into());
            }
        }
        Ok(revision)
    }
}

/// True where git is installed.
pub fn is_git_installed() -> bool {
    find_git(&sandbox::environment(None), &[]).is_ok()
}

fn find_git(environment: &Environment, outside_of: &[&Path]) -> Result<PathBuf, String> {
    let usual = USUAL.iter().map(PathBuf::from).find(|path| path.is_file());
    usual.map_or_else(|| sandbox::find_program("git", environment, outside_of), Ok)
}

/// Opened for one call.
pub struct Repository<'a> {
    context: &'a Context<'a>,
    git: PathBuf,
    /// The top of its working tree.
    top: PathBuf,
    /// The path that was asked for, below `top`; empty for `top` itself.
    relative: String,
    /// The stand-in for `.git`, removed when this is dropped.
    stand_in: PathBuf,
    environment: Environment,
}

impl Drop for Repository<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.stand_in);
    }
}

impl<'a> Repository<'a> {
    /// The repository that `path` (default: the workspace) lies in.
    pub fn open(context: &'a Context<'a>, path: Option<&str>) -> Result<Self, ToolError> {
        let workspace = context.workspace;
        let location = workspace.locate(path.unwrap_or("."));
        let root =
            workspace.root(&location).ok_or_else(|| ToolError::failed("This path lies outside the workspace."))?;
        let folders = location.target.ancestors().take_while(|folder| folder.starts_with(root));
        let top =
            folders.into_iter().find(|folder| folder.join(".git").symlink_metadata().is_ok()).ok_or_else(|| {
                ToolError::failed(
                    "No git repository of the workspace holds this path (its top must lie in the workspace).",
                )
            })?;
        let relative = location.target.strip_prefix(top).unwrap_or(Path::new(""));
        let relative = relative
            .to_str()
            .ok_or_else(|| ToolError::failed("This path is no UTF-8, which Git does not take."))?
            .to_owned();
        let git = find_git(context.environment, &[root]).map_err(ToolError::Failed)?;
        let folder = Folder::find(context, top)?;
        let stand_in = context.spill.0.join(format!("{}.git", random_name()));
        DirBuilder::new()
            .mode(0o700)
            .create(&stand_in)
            .map_err(|error| ToolError::failed(format!("No room to work in: {error}.")))?;
        let mut repository =
            Self { context, git, top: top.to_path_buf(), relative, stand_in, environment: Environment::new() };
        repository.environment = variables(&repository.stand_in, &repository.top, &folder);
        folder
            .link(&repository.stand_in)
            .map_err(|error| ToolError::failed(format!("The repository cannot be read: {error}.")))?;
        repository.take_over(&folder)?;
        Ok(repository)
    }

    /// The path that was asked for, below the top; `None`: the whole repository.
    pub fn relative(&self) -> Option<&str> {
        (!self.relative.is_empty()).then_some(self.relative.as_str())
    }

    /// The same as git takes it to mean exactly this path.
    pub fn pathspec(&self) -> Option<String> {
        self.relative().map(|path| format!(":(top,literal){path}"))
    }

    /// The full name of the commit that `name` means.
    pub fn commit(&self, name: &str) -> Result<String, ToolError> {
        let peeled = format!("{name}^{{commit}}");
        let found = self.read(&["rev-parse", "--verify", "--quiet", "--end-of-options", &peeled]);
        let text = found.map(|found| String::from_utf8_lossy(&found).trim().to_owned());
        match text {
            Ok(id) if id.len() >= 40 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) => Ok(id),
            Err(ToolError::Cancelled) => Err(ToolError::Cancelled),
            _ if name == "HEAD" => Err(ToolError::failed("There are no commits yet.")),
            _ => Err(ToolError::failed(format!("There is no commit {name:?} here."))),
        }
    }

    /// A range with full names.
    pub fn range(&self, revision: &Revision<'_>) -> Result<String, ToolError> {
        match revision {
            Revision::One(name) => self.commit(name),
            Revision::Range { from, to, is_symmetric } => {
                let dots = if *is_symmetric { "..." } else { ".." };
                Ok(format!("{}{dots}{}", self.commit(from)?, self.commit(to)?))
            }
        }
    }

    /// Some rule may keep a file from being read.
    pub fn has_read_denies(&self) -> bool {
        self.context.policy.has_read_denies()
    }

    /// Those of a list of names, each ended by NUL, that may not be read.
    pub fn withheld(&self, names: &[u8]) -> Vec<String> {
        let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(String::from_utf8_lossy);
        let is_denied = |name: &str| {
            let path = self.top.join(name);
            let location: Location = self.context.workspace.locate(&path.to_string_lossy());
            self.context.policy.is_read_denied(&location)
        };
        names.filter(|name| is_denied(name)).map(std::borrow::Cow::into_owned).collect()
    }

    /// Runs git and gives all it printed.
    pub fn read(&self, arguments: &[impl AsRef<OsStr>]) -> Result<Vec<u8>, ToolError> {
        let mut all = Vec::new();
        self.run(arguments, |bytes| {
            all.extend_from_slice(bytes);
            all.len() <= MAX_READ_BYTES
        })?;
        Ok(all)
    }

    /// Runs git and shows what it printed; `nothing`: what to say where that is nothing.
    pub fn show(&self, arguments: &[impl AsRef<OsStr>], nothing: &str) -> Result<Output, ToolError> {
        let mut capture = Capture::new(MAX_CHARS, self.context.spill.clone());
        self.run(arguments, |bytes| {
            capture.push(bytes);
            capture.total <= crate::output::MAX_SPILL_BYTES
        })?;
        let (text, spill) = capture.finish();
        let output = Output::text(if text.is_empty() { nothing.to_owned() } else { text });
        Ok(match spill {
            Some(path) => output.detail("spill_path", path.to_string_lossy()),
            None => output,
        })
    }

    /// `take` gets the output as it comes; false from it ends the run.
    fn run(&self, arguments: &[impl AsRef<OsStr>], mut take: impl FnMut(&[u8]) -> bool) -> Result<(), ToolError> {
        let arguments: Vec<OsString> = std::iter::once(OsStr::new("--no-pager"))
            .chain(arguments.iter().map(AsRef::as_ref))
            .map(OsStr::to_os_string)
            .collect();
        let marker = format!("{}-{}", self.context.marker, random_name());
        let failed = |error: std::io::Error| ToolError::failed(format!("git could not be run: {error}."));
        let confinement = self.context.containment.reading().map_err(failed)?;
        let running = sandbox::spawn(&sandbox::Request {
            program: &self.git,
            arguments: &arguments,
            folder: &self.top,
            environment: &self.environment,
            marker: &marker,
            input: sandbox::Input::Null,
            output: sandbox::Output::Separate,
            confinement: &confinement,
        })
        .map_err(failed)?;
        let process = Process::new(running, &marker).map_err(failed)?; // dropped, it is killed
        let until = Instant::now() + Duration::from_secs(MAX_SECONDS);
        let mut errors = Vec::new();
        loop {
            if self.context.cancel.is_cancelled() {
                return Err(ToolError::Cancelled);
            }
            if Instant::now() > until {
                return Err(ToolError::failed(format!("git was stopped after {MAX_SECONDS} s; ask for less.")));
            }
            let is_done = match process.read_output(64 << 10, Some(GLANCE)).map_err(failed)? {
                Some(bytes) if bytes.is_empty() => true,
                Some(bytes) if !take(&bytes) => {
                    return Err(ToolError::failed(format!(
                        "git printed more than {} MiB; ask for less.",
                        MAX_READ_BYTES >> 20
                    )));
                }
                _ => false,
            };
            while let Ok(Some(bytes)) = process.read_errors(MAX_ERROR_BYTES, Some(Duration::ZERO)) {
                if bytes.is_empty() {
                    break;
                }
                let room = MAX_ERROR_BYTES.saturating_sub(errors.len());
                errors.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
            if is_done {
                break;
            }
        }
        match process.wait(Some(Duration::from_secs(2))).map_err(failed)? {
            Some(0) => Ok(()),
            _ => Err(ToolError::failed(first_error(&errors))),
        }
    }

    /// Writes the stand-in's configuration, and gives git what may be taken over of the repository's own.
    fn take_over(&mut self, folder: &Folder) -> Result<(), ToolError> {
        let own = self.stand_in.join("config");
        let failed = |error: std::io::Error| ToolError::failed(format!("The repository cannot be read: {error}."));
        std::fs::write(&own, "[core]\n\trepositoryformatversion = 0\n").map_err(failed)?;
        let copy = self.stand_in.join("theirs");
        std::fs::write(&copy, read_small(self.context, &folder.common.join("config")).unwrap_or_default())
            .map_err(failed)?;
        let copy = copy.to_string_lossy().into_owned();
        let listed = self.read(&["config", "--file", &copy, "--no-includes", "--null", "--list"])?;
        let (mut format, mut taken) = (Vec::new(), Vec::new());
        for entry in listed.split(|byte| *byte == 0) {
            let entry = String::from_utf8_lossy(entry);
            let (key, value) = entry.split_once('\n').unwrap_or((&entry, "true"));
            let is_named = |(start, end): &(&str, &str)| key.starts_with(start) && key.ends_with(end);
            if FORMAT_KEYS.contains(&key) && value.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                format.push((key.to_owned(), value.to_owned()));
            } else if HARMLESS_KEYS.contains(&key) || HARMLESS_NAMED.iter().any(is_named) {
                taken.push((key.to_owned(), value.to_owned()));
            }
        }
        let mut file = std::fs::File::create(&own).map_err(failed)?;
        for (key, value) in format {
            let (section, name) = key.split_once('.').unwrap_or_default();
            writeln!(file, "[{section}]\n\t{name} = {value}").map_err(failed)?;
        }
        let ours = [
            ("core.bare", "false"),
            ("core.quotepath", "false"),
            ("core.fsmonitor", "false"),
            ("core.hookspath", "/dev/null"),
            ("core.attributesfile", "/dev/null"),
            ("core.untrackedcache", "false"),
            ("diff.autorefreshindex", "false"),
            ("log.showsignature", "false"),
            ("protocol.allow", "never"),
            ("submodule.recurse", "false"),
        ];
        let ignore = user_ignores().unwrap_or_else(|| "/dev/null".into());
        taken.extend(ours.map(|(key, value)| (key.to_owned(), value.to_owned())));
        taken.push(("core.excludesfile".to_owned(), ignore));
        self.environment.push(("GIT_CONFIG_COUNT".into(), taken.len().to_string().into()));
        for (index, (key, value)) in taken.into_iter().enumerate() {
            self.environment.push((format!("GIT_CONFIG_KEY_{index}").into(), key.into()));
            self.environment.push((format!("GIT_CONFIG_VALUE_{index}").into(), value.into()));
        }
        Ok(())
    }
}

fn variables(stand_in: &Path, top: &Path, folder: &Folder) -> Environment {
    let mut environment: Environment = [
        ("PATH", "/usr/bin:/bin"),
        ("LC_ALL", "C.UTF-8"),
        ("TERM", "dumb"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_SYSTEM", "/dev/null"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_ATTR_NOSYSTEM", "1"),
        ("GIT_OPTIONAL_LOCKS", "0"),
        ("GIT_NO_LAZY_FETCH", "1"),
        ("GIT_ALLOW_PROTOCOL", "none"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GIT_ASKPASS", "/bin/false"),
        ("GIT_EDITOR", "/bin/false"),
        ("GIT_PAGER", "cat"),
    ]
    .map(|(name, value)| (name.into(), value.into()))
    .to_vec();
    let paths = [
        ("HOME", stand_in.to_path_buf()),
        ("XDG_CONFIG_HOME", stand_in.to_path_buf()),
        ("GIT_DIR", stand_in.to_path_buf()),
        ("GIT_WORK_TREE", top.to_path_buf()),
        ("GIT_INDEX_FILE", folder.own.join("index")),
        ("GIT_OBJECT_DIRECTORY", folder.common.join("objects")),
    ];
    environment.extend(paths.map(|(name, path)| (name.into(), path.into())));
    environment.extend(std::env::var_os("TZ").map(|zone| ("TZ".into(), zone)));
    environment
}

/// The user's own list of ignored files, where it lies at its usual place: without it status would name what they never see.
fn user_ignores() -> Option<String> {
    let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let path = config.or_else(|| std::env::home_dir().map(|home| home.join(".config")))?.join("git/ignore");
    path.is_file().then(|| path.to_str().map(str::to_owned)).flatten()
}

fn first_error(errors: &[u8]) -> String {
    let text = String::from_utf8_lossy(errors);
    let line = text.lines().find(|line| !line.starts_with("warning:")).unwrap_or("it gave no reason");
    let line = line.trim_start_matches("fatal: ").trim_start_matches("error: ").trim_end_matches('.');
    format!("git failed: {}.", crate::visible::visible(line))
}
