//! Confines paths. Every file a tool touches is opened here, relative to the descriptor of a root and never leaving it
//! (`openat2` with `RESOLVE_BENEATH`, links resolved before), so that containment holds in the system call: a link
//! swapped in after the decision changes nothing.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, mkdirat, open, openat, openat2, statat};
use rustix::io::Errno;

use crate::git_config;
use crate::location::{Location, absolute, is_protected};

/// As the kernel does (`MAXSYMLINKS`).
const MAX_LINKS: usize = 40;

struct Root {
    path: PathBuf,
    fd: OwnedFd,
    is_writable: bool,
}

/// The folders that file tools may touch.
pub struct Workspace {
    roots: Vec<Root>,
    /// Secrets below them, which no tool may touch; canonical.
    hidden: Vec<PathBuf>,
}

impl Workspace {
    /// `workspace` and `extra` may be read and written, `read_only` only read. Fails where one is no directory.
    pub fn new(workspace: &Path, extra: &[PathBuf], read_only: &[PathBuf]) -> io::Result<Self> {
        let writable = std::iter::once(workspace).chain(extra.iter().map(PathBuf::as_path)).map(|path| (path, true));
        let roots = writable
            .chain(read_only.iter().map(|path| (path.as_path(), false)))
            .map(|(path, is_writable)| {
                let name = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
                let path = path.canonicalize().map_err(name)?;
                let fd = open(&path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                    .map_err(|error| name(error.into()))?;
                Ok(Root { path, fd, is_writable })
            })
            .collect::<io::Result<_>>()?;
        Ok(Self { roots, hidden: Vec::new() })
    }

    /// The same, with places that are not to be opened whatever root they lie beneath.
    #[must_use]
    pub fn hiding(self, places: Vec<PathBuf>) -> Self {
        Self { hidden: places, ..self }
    }

    /// What may be written, in canonical form.
    pub fn writable_roots(&self) -> Vec<PathBuf> {
        self.roots.iter().filter(|root| root.is_writable).map(|root| root.path.clone()).collect()
    }

    /// True for a secret, and what lies below one.
    pub fn is_hidden(&self, path: &Path) -> bool {
        self.hidden.iter().any(|place| path.starts_with(place))
    }

    /// The first root, in canonical form.
    pub fn path(&self) -> &Path {
        &self.roots[0].path
    }

    /// The root that a location lies in.
    pub fn root(&self, location: &Location) -> Option<&Path> {
        location.root.and_then(|index| self.roots.get(index)).map(|root| root.path.as_path())
    }

    /// Where `path` (absolute, `~/…`, or relative to the workspace) leads now. Touches nothing.
    pub fn locate(&self, path: &str) -> Location {
        let path = expand_home(path);
        let requested = absolute(self.path(), &path);
        let joined = self.path().join(&path);
        let resolved = resolve(&joined);
        let is_resolved = resolved.is_some();
        let target = resolved.unwrap_or_else(|| requested.clone());
        // The deepest root decides: outputs that may only be read may lie inside a folder that may be written.
        let found = self
            .roots
            .iter()
            .enumerate()
            .filter(|(_, root)| is_resolved && !self.is_hidden(&target) && target.starts_with(&root.path))
            .max_by_key(|(_, root)| root.path.components().count());
        let relative =
            found.and_then(|(_, root)| target.strip_prefix(&root.path).ok()).map(Path::to_path_buf).unwrap_or_default();
        let is_requested_protected =
            self.roots.iter().filter_map(|root| requested.strip_prefix(&root.path).ok()).any(is_protected);
        Location {
            is_protected: is_protected(&relative) || is_requested_protected,
            is_hidden: self.is_hidden(&target),
            root: found.map(|(index, _)| index),
            is_writable: found.is_some_and(|(_, root)| root.is_writable),
            relative,
            requested,
            target,
        }
    }

    /// The same for what is to be written: also whether a repository's configuration names it. That costs a look at each
    /// repository around it.
    pub fn locate_for_writing(&self, path: &str) -> Location {
        let location = self.locate(path);
        let is_named = self.root(&location).is_some_and(|root| {
            git_config::is_named(&location.target, root)
                || (location.requested != location.target && git_config::is_named(&location.requested, root))
        });
        Location { is_protected: location.is_protected || is_named, ..location }
    }

    /// `path` (absolute, or relative to the workspace) taken by its text alone: a link that stands there is itself meant,
    /// and one on the way is an error when it is opened.
    pub fn place(&self, path: &Path) -> Location {
        let requested = absolute(self.path(), path);
        let found = self
            .roots
            .iter()
            .enumerate()
            .filter(|(_, root)| requested.starts_with(&root.path))
            .max_by_key(|(_, root)| root.path.components().count());
        let relative = found.and_then(|(_, root)| requested.strip_prefix(&root.path).ok()).unwrap_or(Path::new(""));
        Location {
            is_protected: is_protected(relative),
            is_hidden: self.is_hidden(&requested),
            root: found.map(|(index, _)| index),
            is_writable: found.is_some_and(|(_, root)| root.is_writable),
            relative: relative.to_path_buf(),
            target: requested.clone(),
            requested,
        }
    }

    /// Opens a folder to read its names and what lies in it.
    pub fn open_folder(&self, location: &Location) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOCTTY;
        self.open(location, &location.relative, flags)
    }

    /// Opens what is there for reading. Never blocks on a FIFO: the caller looks at the type before it reads.
    pub fn open_file(&self, location: &Location) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        Ok(File::from(self.open(location, &location.relative, flags)?))
    }

    /// Opens for reading what a walk found below `location`: `path` is canonical but for what was swapped in since.
    pub fn open_beneath(&self, location: &Location, path: &Path) -> io::Result<File> {
        let outside = || io::Error::from(io::ErrorKind::PermissionDenied);
        let root = location.root.and_then(|index| self.roots.get(index)).ok_or_else(outside)?;
        let relative = path.strip_prefix(&root.path).map_err(|_| outside())?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        Ok(File::from(open_beneath(root.fd.as_fd(), relative, flags)?))
    }

    /// Opens the folder a file is to be written in, creating what is missing of it.
    pub fn open_parent(&self, location: &Location) -> io::Result<OwnedFd> {
        if !location.is_writable {
            return Err(io::Error::from(io::ErrorKind::PermissionDenied));
        }
        let parent = location.relative.parent().unwrap_or(Path::new(""));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match self.open(location, parent, flags) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.create_folders(location, parent),
            opened => opened,
        }
    }

    fn create_folders(&self, location: &Location, folder: &Path) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut current = self.open(location, Path::new(""), flags)?;
        for component in folder.components() {
            let name = component.as_os_str();
            match mkdirat(&current, name, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            current = open_beneath(current.as_fd(), Path::new(name), flags | OFlags::NOFOLLOW)?;
        }
        Ok(current)
    }

    fn open(&self, location: &Location, relative: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let Some(root) = location.root.and_then(|index| self.roots.get(index)) else {
            return Err(io::Error::from(io::ErrorKind::PermissionDenied));
        };
        open_beneath(root.fd.as_fd(), relative, flags)
    }
}

/// Opens `relative` beneath `root`; a link or `..` that would leave it is an error of the system call.
fn open_beneath(root: BorrowedFd<'_>, relative: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let path = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
    // Paths come resolved: a link met now was put in place after the decision.
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
    for _ in 0..8 {
        match openat2(root, path, flags, Mode::empty(), resolve) {
            // A rename somewhere while the path was walked: the kernel asks to try again.
            Err(Errno::AGAIN) => {}
            // Not known to this kernel, or kept from us by a filter that does not know it.
            Err(Errno::NOSYS | Errno::PERM) => return open_by_component(root, path, flags),
            other => return Ok(other?),
        }
    }
    Err(Errno::AGAIN.into())
}

/// The same without `openat2`: one component at a time, following no link at all.
fn open_by_component(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let names: Vec<&OsStr> = path
        .components()
        .filter(|component| *component != Component::CurDir)
        .map(|component| match component {
            Component::Normal(name) => Ok(name),
            _ => Err(io::Error::from(Errno::XDEV)),
        })
        .collect::<io::Result<_>>()?;
    let Some((last, folders)) = names.split_last() else {
        return Ok(openat(root, ".", flags, Mode::empty())?);
    };
    let mut current: Option<OwnedFd> = None;
    for name in folders {
        let at = current.as_ref().map_or(root, AsFd::as_fd);
        let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        current = Some(openat(at, *name, step, Mode::empty())?);
    }
    let at = current.as_ref().map_or(root, AsFd::as_fd);
    Ok(openat(at, *last, flags | OFlags::NOFOLLOW, Mode::empty())?)
}

/// `~` and `~/…` with the home folder in place.
fn expand_home(path: &str) -> PathBuf {
    match (path.strip_prefix('~'), std::env::home_dir()) {
        (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => home.join(rest.trim_start_matches('/')),
        _ => PathBuf::from(path),
    }
}

/// Follows every link of an absolute path; components that do not exist are appended as they are. `None`: too many
/// links, or `..` after something that does not exist.
fn resolve(path: &Path) -> Option<PathBuf> {
    let mut done = PathBuf::from("/");
    let mut todo: Vec<PathBuf> = vec![path.to_path_buf()];
    let mut links = 0;
    let mut is_missing = false;
    while let Some(part) = todo.pop() {
        let mut components = part.components();
        let Some(component) = components.next() else { continue };
        let rest = components.as_path();
        if !rest.as_os_str().is_empty() {
            todo.push(rest.to_path_buf());
        }
        match component {
            Component::RootDir => done = PathBuf::from("/"),
            Component::CurDir | Component::Prefix(_) => {}
            Component::ParentDir if is_missing => return None,
            Component::ParentDir => {
                done.pop();
            }
            Component::Normal(name) => {
                done.push(name);
                if is_missing {
                    continue;
                }
                match statat(CWD, &done, AtFlags::SYMLINK_NOFOLLOW) {
                    Err(_) => is_missing = true,
                    Ok(stat) if rustix::fs::FileType::from_raw_mode(stat.st_mode).is_symlink() => {
                        links += 1;
                        if links > MAX_LINKS {
                            return None;
                        }
                        let link = std::fs::read_link(&done).ok()?;
                        done.pop();
                        todo.push(link);
                    }
                    Ok(_) => {}
                }
            }
        }
    }
    Some(done)
}

/// What tells a folder from another one that stands in its place later.
pub struct Identity {
    /// Canonical.
    pub path: PathBuf,
    /// Of its file system.
    pub inode: u64,
    /// Nanoseconds since 1970; 0 where the file system does not keep it. Inodes alone are given away anew.
    pub created_at_ns: u64,
}

/// Fails where `path` is no folder.
pub fn folder_identity(path: &Path) -> io::Result<Identity> {
    use std::os::unix::fs::MetadataExt as _;
    let path = path.canonicalize()?;
    let metadata = path.metadata()?;
    if !metadata.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    let created = metadata.created().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    let created_at_ns = created.and_then(|since| u64::try_from(since.as_nanos()).ok()).unwrap_or_default();
    Ok(Identity { path, inode: metadata.ino(), created_at_ns })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn place() -> (tempfile::TempDir, Workspace) {
        let dir = tempfile::tempdir().unwrap();
        let (work, out) = (dir.path().join("work"), dir.path().join("out"));
        std::fs::create_dir_all(work.join("sub")).unwrap();
        std::fs::create_dir_all(&out).unwrap();
        std::fs::write(work.join("sub/in.txt"), "in").unwrap();
        std::fs::write(out.join("secret"), "out").unwrap();
        let workspace = Workspace::new(&work, &[], &[]).unwrap();
        (dir, workspace)
    }

    #[test]
    fn links_that_stay_inside_work_and_those_that_leave_do_not() {
        let (_dir, workspace) = place();
        let root = workspace.path().to_path_buf();
        symlink("sub/in.txt", root.join("relative")).unwrap();
        symlink(root.join("sub"), root.join("absolute")).unwrap();
        symlink("../out", root.join("leaves")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        for path in ["relative", "absolute/in.txt", "sub/../sub/in.txt"] {
            let location = workspace.locate(path);
            assert_eq!(location.target, root.join("sub/in.txt"), "{path}");
            assert!(workspace.open_file(&location).is_ok(), "{path}");
        }
        for path in ["leaves/secret", "../out/secret", "leaves/new", "/proc/self/root/etc/passwd", "/etc/passwd"] {
            let location = workspace.locate(path);
            assert!(location.root.is_none(), "{path}");
            assert!(workspace.open_file(&location).is_err(), "{path}");
        }
        assert!(workspace.open_file(&workspace.locate("loop")).is_err());
    }

    #[test]
    fn a_link_swapped_in_after_the_decision_is_refused() {
        let (dir, workspace) = place();
        let location = workspace.locate("sub/in.txt");
        std::fs::rename(workspace.path().join("sub"), workspace.path().join("old")).unwrap();
        symlink(dir.path().join("out"), workspace.path().join("sub")).unwrap();
        std::fs::write(dir.path().join("out/in.txt"), "outside").unwrap();
        assert!(workspace.open_file(&location).is_err());
        assert!(workspace.open_parent(&location).is_err());
        let root = &workspace.roots[0];
        assert!(open_by_component(root.fd.as_fd(), Path::new("sub/in.txt"), OFlags::RDONLY).is_err());
        assert!(open_by_component(root.fd.as_fd(), Path::new("../out/secret"), OFlags::RDONLY).is_err());
        assert!(open_by_component(root.fd.as_fd(), Path::new("old/in.txt"), OFlags::RDONLY).is_ok());
    }

    #[test]
    fn missing_folders_are_created_beneath_the_root_only() {
        let (dir, workspace) = place();
        assert!(workspace.open_parent(&workspace.locate("a/b/c.txt")).is_ok());
        assert!(workspace.path().join("a/b").is_dir());
        assert!(workspace.open_parent(&workspace.locate("../fresh/c.txt")).is_err());
        assert!(!dir.path().join("fresh").exists());
    }

    #[test]
    fn protection_holds_for_the_name_and_for_what_it_points_to() {
        let (_dir, workspace) = place();
        std::fs::create_dir(workspace.path().join(".git")).unwrap();
        symlink(".git", workspace.path().join("innocent")).unwrap();
        assert!(workspace.locate("innocent/config").is_protected);
        assert!(workspace.locate(".git/hooks/post-commit").is_protected);
        assert!(!workspace.locate("sub/in.txt").is_protected);
    }
}
