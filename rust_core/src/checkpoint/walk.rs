//! One look at the whole workspace: every path is `stat`ed, in parallel; only what changed since the last look is read.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, Dir, FileType, Stat, statat};

use super::ignored::{Rules, is_remade, join, read_rules};
use super::pack::Pack;
use super::state::{Saving, Signature, State, Unsaved, capture_known};
use super::tree::{KnownRules, Node, Tree, Update};
use crate::attribute::modified;
use crate::workspace::Workspace;

/// More paths are not looked at.
pub const MAX_PATHS: usize = 200_000;
const MAX_THREADS: usize = 4;
/// Below this many folders one thread is faster.
const FOLDERS_FOR_THREADS: usize = 32;

/// What to look at, and how long.
pub struct Walk<'a> {
    /// Its first root is walked.
    pub workspace: &'a Workspace,
    /// As it was.
    pub tree: &'a Tree,
    /// Where new contents go.
    pub pack: &'a Pack,
    /// Larger files are not saved.
    pub max_file_bytes: u64,
    /// From then on nothing more is saved.
    pub save_until: Instant,
    /// Then the look is given up.
    pub until: Instant,
    /// A folder of ours.
    pub own_folder: &'a Path,
}

/// What was found.
#[derive(Default)]
pub struct Look {
    /// What is different.
    pub updates: Vec<Update>,
    /// Of each `.gitignore` that was read.
    pub rules: Vec<(PathBuf, Option<KnownRules>)>,
    /// Why it is not all of the workspace.
    pub gap: Option<&'static str>,
}

struct Job {
    /// Relative to the workspace.
    folder: PathBuf,
    rules: Arc<Rules>,
    /// Rules changed: each path is judged anew.
    has_new_rules: bool,
    is_first_look: bool,
}

#[derive(Default)]
struct Queue {
    jobs: Vec<Job>,
    /// Jobs being worked on.
    busy: usize,
}

struct Shared<'a> {
    walk: &'a Walk<'a>,
    device: u64,
    queue: Mutex<Queue>,
    wake: Condvar,
    count: AtomicUsize,
    is_too_large: AtomicBool,
    is_late: AtomicBool,
}

impl Walk<'_> {
    /// Looks.
    pub fn run(&self) -> Look {
        let place = self.workspace.place(self.workspace.path());
        let device = self.workspace.open_folder(&place).ok().and_then(|fd| rustix::fs::fstat(fd).ok());
        let Some(device) = device.map(|stat| stat.st_dev) else {
            return Look { gap: Some("the workspace cannot be read"), ..Look::default() };
        };
        let root = Job {
            folder: PathBuf::new(),
            rules: Rules::of_workspace(self.workspace.path()),
            has_new_rules: false,
            is_first_look: !self.tree.is_complete,
        };
        let shared = Shared {
            walk: self,
            device,
            queue: Mutex::new(Queue { jobs: vec![root], busy: 0 }),
            wake: Condvar::new(),
            count: AtomicUsize::new(0),
            is_too_large: AtomicBool::new(false),
            is_late: AtomicBool::new(false),
        };
        let is_small = self.tree.is_complete && self.tree.count() < 20 * FOLDERS_FOR_THREADS;
        let threads = std::thread::available_parallelism().map_or(2, usize::from).clamp(1, MAX_THREADS);
        let mut looks = Vec::new();
        if is_small || threads == 1 {
            looks.push(shared.work());
        } else {
            std::thread::scope(|scope| {
                let others: Vec<_> = (1..threads).map(|_| scope.spawn(|| shared.work())).collect();
                looks.push(shared.work());
                looks.extend(others.into_iter().filter_map(|other| other.join().ok()));
            });
        }
        let mut whole = Look::default();
        for look in looks {
            whole.updates.extend(look.updates);
            whole.rules.extend(look.rules);
        }
        if shared.is_too_large.into_inner() {
            whole.gap = Some("the workspace has more than 200,000 files");
        } else if shared.is_late.into_inner() {
            whole.gap = Some("looking through the workspace took too long");
        }
        whole
    }
}

impl Shared<'_> {
    fn work(&self) -> Look {
        let mut look = Look::default();
        loop {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            let job = loop {
                if let Some(job) = queue.jobs.pop() {
                    break job;
                }
                if queue.busy == 0 {
                    return look;
                }
                queue = self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
            };
            queue.busy += 1;
            drop(queue);
            let mut found = Vec::new();
            if self.is_too_large.load(Ordering::Relaxed) || Instant::now() >= self.walk.until {
                self.is_late.store(true, Ordering::Relaxed);
            } else {
                self.look_into(&job, &mut look, &mut found);
            }
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.busy -= 1;
            queue.jobs.append(&mut found);
            drop(queue);
            self.wake.notify_all();
        }
    }

    fn look_into(&self, job: &Job, look: &mut Look, found: &mut Vec<Job>) {
        let walk = self.walk;
        let place = walk.workspace.place(&job.folder);
        // A folder that cannot be read or has just gone: what is known of it stays as it is.
        let Ok(folder) = walk.workspace.open_folder(&place) else { return };
        let Ok(entries) = Dir::read_from(&folder) else { return };
        let names: Vec<OsString> = entries
            .flatten()
            .map(|entry| OsString::from_vec(entry.file_name().to_bytes().to_vec()))
            .filter(|name| name != "." && name != "..")
            .collect();
        if self.count.fetch_add(names.len(), Ordering::Relaxed) + names.len() > MAX_PATHS {
            self.is_too_large.store(true, Ordering::Relaxed);
            return;
        }
        let (rules, has_new_rules) = self.rules_of(job, &names, folder.as_fd(), look);
        let known = walk.tree.folder(&job.folder);
        let now = nanoseconds_now();
        let mut seen = 0;
        for name in &names {
            let Ok(stat) = statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            let old = known.and_then(|known| known.get(name));
            seen += usize::from(old.is_some());
            let signature = Signature::of(&stat);
            let is_folder = FileType::from_raw_mode(stat.st_mode).is_dir();
            let is_as_before = |old: &&Node| {
                let is_judged_so = !has_new_rules || {
                    let path = join(walk.workspace.path(), &job.folder, name);
                    rules.is_ignored(&path, name, is_folder) == (old.state.unsaved() == Some(Unsaved::Ignored))
                };
                old.signature == signature && !old.is_due && is_judged_so
            };
            let node = match old.filter(is_as_before) {
                Some(same) => Err(matches!(same.state, State::Folder { .. })),
                None => match self.judge(job, &rules, folder.as_fd(), name, &stat, now) {
                    Some(node) => Ok(node),
                    None => continue,
                },
            };
            if node.as_ref().map_or_else(|is_walked| *is_walked, |node| matches!(node.state, State::Folder { .. })) {
                // Of a folder that was left out before nothing can be said; one that is new is new with all in it.
                let was_left_out = old.is_some_and(|old| {
                    matches!(old.state, State::Skipped { .. }) && old.signature.is_same_file(&signature)
                });
                found.push(Job {
                    folder: job.folder.join(name),
                    rules: Arc::clone(&rules),
                    has_new_rules,
                    is_first_look: job.is_first_look || was_left_out,
                });
            }
            if let Ok(node) = node {
                let (folder, name) = (job.folder.clone(), name.clone());
                look.updates.push(Update { folder, name, node: Some(node), is_first_look: job.is_first_look });
            }
        }
        let Some(known) = known.filter(|known| known.len() > seen) else { return };
        let present: HashSet<&OsStr> = names.iter().map(OsString::as_os_str).collect();
        for name in known.keys().filter(|name| !present.contains(name.as_os_str())) {
            let (folder, name) = (job.folder.clone(), name.clone());
            look.updates.push(Update { folder, name, node: None, is_first_look: job.is_first_look });
        }
    }

    fn judge(
        &self,
        job: &Job,
        rules: &Rules,
        folder: std::os::fd::BorrowedFd<'_>,
        name: &OsStr,
        stat: &Stat,
        now: i64,
    ) -> Option<Node> {
        let path = join(self.walk.workspace.path(), &job.folder, name);
        let signature = Signature::of(stat);
        let is_folder = FileType::from_raw_mode(stat.st_mode).is_dir();
        let is_ignored = rules.is_ignored(&path, name, is_folder);
        let skipped = |why| {
            let state = State::Skipped { why, inode: stat.st_ino, modified: modified(stat) };
            Some(Node { signature, state, is_due: false })
        };
        if is_folder {
            if is_ignored || path == self.walk.own_folder || is_remade(&path) {
                return skipped(Unsaved::Ignored);
            }
            if stat.st_dev != self.device {
                return skipped(Unsaved::Mounted);
            }
        } else if name.as_bytes() == b".git" {
            return skipped(Unsaved::Ignored); // of a worktree or submodule
        }
        let refusal = if is_ignored {
            Some(Unsaved::Ignored)
        } else {
            (Instant::now() >= self.walk.save_until).then_some(Unsaved::Late)
        };
        let saving = Saving { pack: Some(self.walk.pack), max_bytes: self.walk.max_file_bytes, refusal };
        let (state, signature) = capture_known(folder, name, stat, saving).ok()?;
        let signature = signature?;
        let is_unfinished = matches!(state.unsaved(), Some(Unsaved::Late | Unsaved::Full));
        let is_due = is_unfinished || (!is_folder && signature.is_fresh(now));
        Some(Node { signature, state, is_due })
    }

    /// The rules in force in the folder, and whether they are other than at the last look.
    fn rules_of(
        &self,
        job: &Job,
        names: &[OsString],
        folder: std::os::fd::BorrowedFd<'_>,
        look: &mut Look,
    ) -> (Arc<Rules>, bool) {
        let known = self.walk.tree.rules.get(&job.folder);
        let file = OsStr::new(".gitignore");
        let stat = names.iter().any(|name| name == file).then(|| statat(folder, file, AtFlags::SYMLINK_NOFOLLOW).ok());
        let signature = stat.flatten().map(|stat| Signature::of(&stat));
        let Some(signature) = signature else {
            if known.is_some() {
                look.rules.push((job.folder.clone(), None));
            }
            return (Arc::clone(&job.rules), job.has_new_rules || known.is_some());
        };
        if let Some((_, rules)) = known.filter(|(known, _)| *known == signature) {
            return (job.rules.with(rules.clone()), job.has_new_rules);
        }
        let path = self.walk.workspace.path().join(&job.folder);
        let rules = read_rules(&path, &path.join(file));
        look.rules.push((job.folder.clone(), Some((signature, rules.clone()))));
        (job.rules.with(rules), true)
    }
}

/// Since 1970.
pub fn nanoseconds_now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
}
