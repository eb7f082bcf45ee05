//! Round trips: whatever a call does to a workspace, undoing it gives the same bytes, modes, links, times and attributes.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{XattrFlags, fsetxattr};
use serde_json::{Map, json};

use super::journal::Entry;
use super::pack::Hash;
use super::*;
use crate::attribute::read_xattrs;

pub struct Place {
    pub dir: tempfile::TempDir,
    pub workspace: Workspace,
    pub checkpoints: Checkpoints,
}

pub const ANYWHERE: Scope = Scope { paths: Vec::new(), is_workspace: true };
const UNDO: Target = Target::Undo { count: None };

impl Place {
    pub fn new() -> Self {
        Self::within(tempfile::tempdir().unwrap())
    }

    pub fn within(dir: tempfile::TempDir) -> Self {
        fs::create_dir(dir.path().join("work")).unwrap();
        fs::create_dir(dir.path().join("state")).unwrap();
        Self::open(dir)
    }

    fn open(dir: tempfile::TempDir) -> Self {
        let workspace = Workspace::new(&dir.path().join("work"), &[], &[]).unwrap();
        let checkpoints = Checkpoints::new(&dir.path().join("state"), "s", &workspace).unwrap();
        checkpoints.begin_turn("s", "t1");
        Self { dir, workspace, checkpoints }
    }

    /// As a fresh kernel finds it.
    pub fn restarted(self) -> Self {
        let Self { dir, checkpoints, .. } = self;
        drop(checkpoints);
        Self::open(dir)
    }

    pub fn root(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root().join(path)).unwrap()
    }

    /// A call that may write anywhere and runs this shell line.
    pub fn bash(&self, line: &str) -> Map<String, Value> {
        let open = self.checkpoints.begin(&self.workspace, &ANYWHERE, "call", "Bash", line).unwrap();
        let done = Command::new("bash").args(["-c", line]).current_dir(self.root()).status().unwrap();
        assert!(done.success(), "{line}");
        self.checkpoints.end(&self.workspace, open)
    }

    pub fn undo(&self) -> Value {
        let done = self.checkpoints.restore(&self.workspace, &UNDO, false).unwrap();
        assert_eq!(done["failures"], json!([]), "{done}");
        done
    }

    /// Everything that is to come back, by path; of a file with several names also the first of them.
    pub fn look(&self) -> BTreeMap<PathBuf, String> {
        let (mut found, mut files) = (BTreeMap::new(), BTreeMap::new());
        look(&self.root(), Path::new(""), &mut found, &mut files);
        for names in files.values_mut() {
            names.sort();
            for name in names.iter() {
                write!(found.get_mut(name).unwrap(), " of {:?}", names[0]).unwrap();
            }
        }
        found
    }
}

fn look(root: &Path, folder: &Path, found: &mut BTreeMap<PathBuf, String>, files: &mut BTreeMap<u64, Vec<PathBuf>>) {
    for entry in fs::read_dir(root.join(folder)).unwrap().flatten() {
        let path = folder.join(entry.file_name());
        let metadata = fs::symlink_metadata(entry.path()).unwrap();
        let time = (metadata.mtime(), metadata.mtime_nsec());
        let seen = if metadata.is_symlink() {
            format!("link {:?}", fs::read_link(entry.path()).unwrap())
        } else if metadata.is_dir() {
            look(root, &path, found, files);
            format!("folder {:o} {time:?}", metadata.mode())
        } else {
            files.entry(metadata.ino()).or_default().push(path.clone());
            let file = fs::File::open(entry.path()).unwrap();
            let xattrs = read_xattrs(file.as_fd());
            let mut content = fs::read(entry.path()).unwrap();
            if content.len() > 100 {
                content = format!("{:?}", Hash::of(&content)).into();
            }
            format!(
                "file {:o} {time:?} {} {xattrs:?} {:?}",
                metadata.mode(),
                metadata.nlink(),
                content.escape_ascii().to_string()
            )
        };
        found.insert(path, seen);
    }
}

#[test]
fn what_a_command_removes_overwrites_and_moves_comes_back() {
    let place = Place::new();
    place.write("a.txt", "one\n");
    place.write("sub/deep/b.txt", "two\n");
    place.write("sub/run.sh", "#!/bin/sh\n");
    place.write("big.bin", vec![7; 3 << 20]);
    fs::set_permissions(place.root().join("sub/run.sh"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::create_dir(place.root().join("empty")).unwrap();
    symlink("a.txt", place.root().join("link")).unwrap();
    symlink("/nowhere", place.root().join("dangling")).unwrap();
    let before = place.look();
    place.bash(
        "rm -r sub empty; echo new > a.txt; mv big.bin large.bin; ln -sfn /etc link; rm dangling; mkdir -p x/y; echo z > x/y/z",
    );
    let after = place.look();
    let preview = place.checkpoints.preview(&place.workspace, &UNDO).unwrap();
    assert_eq!(preview["conflicts"], 0);
    assert_eq!(preview["not_restored"], json!([]));
    let files = preview["files"].as_array().unwrap();
    let file =
        |path: &str| files.iter().find(|file| file["path"] == path).unwrap_or_else(|| panic!("{path}: {files:#?}"));
    assert_eq!((file("a.txt")["added"].as_u64(), file("a.txt")["removed"].as_u64()), (Some(1), Some(1)));
    assert_eq!(file("big.bin")["moved_from"], "large.bin");
    assert_eq!(file("x/y/z")["action"], "delete");
    place.undo();
    assert_eq!(place.look(), before);
    // The undo is a checkpoint itself.
    let done = place.undo();
    assert_eq!(done["is_redo"], true);
    assert_eq!(place.look(), after);
    place.undo();
    assert_eq!(place.look(), before);
}

#[test]
fn kinds_change_and_come_back() {
    let place = Place::new();
    place.write("file", "x");
    place.write("folder/in", "y");
    place.write("real/in", "z");
    symlink("real", place.root().join("link")).unwrap();
    let before = place.look();
    place.bash(
        "rm file; mkdir file; echo 1 > file/in; rm -r folder; echo 2 > folder; rm link; mkdir link; echo 3 > link/in",
    );
    place.undo();
    assert_eq!(place.look(), before);
    place.bash("mv real elsewhere; ln -s /etc real");
    place.undo();
    assert_eq!(place.look(), before);
}

#[test]
fn modes_times_and_attributes_alone_come_back() {
    let place = Place::new();
    place.write("a", "x");
    let file = fs::File::options().write(true).open(place.root().join("a")).unwrap();
    let has_xattrs = fsetxattr(&file, "user.note", b"kept", XattrFlags::empty()).is_ok();
    let before = place.look();
    place.bash("chmod 600 a; touch -d 2001-01-01 a; setfattr -x user.note a 2>/dev/null; true");
    assert_ne!(place.look(), before);
    place.undo();
    assert_eq!(place.look(), before);
    place.bash("rm a");
    place.undo();
    assert_eq!(place.look(), before);
    assert!(!has_xattrs || before[Path::new("a")].contains(&format!("{:?}", b"kept".to_vec())));
}

#[test]
fn hard_links_stay_links_of_one_file() {
    let place = Place::new();
    place.write("a", "x");
    fs::hard_link(place.root().join("a"), place.root().join("b")).unwrap();
    fs::hard_link(place.root().join("a"), place.root().join("c")).unwrap();
    let before = place.look();
    let is_one = || {
        let inode = |name: &str| fs::metadata(place.root().join(name)).unwrap().ino();
        inode("a") == inode("b") && inode("b") == inode("c")
    };
    place.bash("rm b");
    place.undo();
    assert_eq!(place.look(), before);
    assert!(is_one());
    place.bash("echo other > a");
    place.undo();
    assert_eq!(place.look(), before);
    assert!(is_one());
}

#[test]
fn links_come_back_whatever_became_of_the_names() {
    let place = Place::new();
    place.write("dä/g", "x");
    fs::hard_link(place.root().join("dä/g"), place.root().join("i")).unwrap();
    place.write("copy", "x");
    place.write("large", vec![1; 3 << 20]);
    fs::hard_link(place.root().join("large"), place.root().join("large too")).unwrap();
    let before = place.look();
    for line in [
        // The last name goes, and the number of its file is given to another.
        "mv i a; rm dä/g a; echo other > new; ln new i",
        // An equal file, that is another: with the same times, too.
        "cp -p i j; mv j i",
        "ln -f copy i; ln -f copy dä/g",
        "rm i; ln -s dä/g i; chmod 600 copy",
        // Too large to be saved, but there under its other name.
        "rm large",
        "rm 'large too'; chmod 600 large; ln -f copy large\\ too",
    ] {
        place.bash(line);
        let after = place.look();
        assert_ne!(after, before, "{line}");
        place.undo();
        assert_eq!(place.look(), before, "{line}");
        place.undo();
        assert_eq!(place.look(), after, "{line}");
        place.undo();
        assert_eq!(place.look(), before, "{line}");
    }
    // One by one, and all at once.
    place.checkpoints.begin_turn("s", "t2");
    place.bash("rm i");
    place.checkpoints.begin_turn("s", "t3");
    place.bash("rm dä/g");
    place.undo();
    let first = place.checkpoints.list(&place.workspace).unwrap().as_array().unwrap().len() as u64 - 2;
    place.checkpoints.restore(&place.workspace, &Target::Checkpoint { number: first }, false).unwrap();
    assert_eq!(place.look(), before);
}

#[test]
fn names_that_are_no_text_come_back() {
    let place = Place::new();
    let name = OsStr::from_bytes(b"b\xff\n\"name");
    fs::write(place.root().join(name), "x").unwrap();
    let before = place.look();
    let place = {
        place.bash("rm *name");
        place.restarted()
    };
    place.undo();
    assert_eq!(place.look(), before);
}

#[test]
fn an_edit_by_someone_else_is_not_overwritten_unless_told() {
    let place = Place::new();
    place.write("a", "one\n");
    place.write("b", "one\n");
    place.bash("echo two > a; echo two > b");
    place.write("a", "three\n");
    let preview = place.checkpoints.preview(&place.workspace, &UNDO).unwrap();
    assert_eq!(preview["conflicts"], 1);
    let refused = place.checkpoints.restore(&place.workspace, &UNDO, false).unwrap_err();
    assert!(refused.contains("1 file has been edited"), "{refused}");
    assert_eq!(place.read("b"), "two\n");
    place.checkpoints.restore(&place.workspace, &UNDO, true).unwrap();
    assert_eq!((place.read("a"), place.read("b")), ("one\n".into(), "one\n".into()));
    // Their edit is not lost either.
    place.undo();
    assert_eq!(place.read("a"), "three\n");
}

#[test]
fn an_edit_between_two_calls_is_a_conflict_for_both_but_not_for_the_last() {
    let place = Place::new();
    place.write("a", "1");
    place.bash("printf 2 > a");
    place.write("a", "theirs");
    place.checkpoints.begin_turn("s", "t2");
    place.bash("printf 3 > a");
    let both = Target::Undo { count: Some(2) };
    assert_eq!(place.checkpoints.preview(&place.workspace, &both).unwrap()["conflicts"], 1);
    assert_eq!(place.checkpoints.preview(&place.workspace, &UNDO).unwrap()["conflicts"], 0);
    place.undo();
    assert_eq!(place.read("a"), "theirs");
}

#[test]
fn what_is_not_saved_is_named_and_never_removed_for_good() {
    let place = Place::new();
    place.write(".gitignore", "*.log\nout/\n");
    place.write("large.bin", vec![0; 3 << 20]);
    place.write("a.log", "x");
    place.write("out/result", "x");
    let details =
        place.bash("rm large.bin; echo y > a.log; rm -r out; head -c 34000000 /dev/zero > new.bin; mkdir node_modules; echo > node_modules/x; echo > new.log");
    let said = details["not_undoable"].as_str().unwrap();
    assert!(said.contains("large.bin (3.1 MB, too large)") && said.contains("a.log (1 B, ignored)"), "{said}");
    assert!(said.contains("out (ignored)"), "{said}");
    let done = place.undo();
    let not_restored: Vec<(&str, &str)> = done["not_restored"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| (file["path"].as_str().unwrap(), file["action"].as_str().unwrap()))
        .collect();
    let expected =
        [("a.log", "lost"), ("large.bin", "lost"), ("new.bin", "left"), ("node_modules", "left"), ("out", "lost")];
    assert_eq!(not_restored, expected);
    assert!(place.root().join("new.bin").exists());
    assert!(!place.root().join("new.log").exists());
    place.undo();
    assert!(place.root().join("new.log").exists());
}

/// A call that names `path` among what it may write, and does this.
fn named(place: &Place, path: &str, line: &str) -> Map<String, Value> {
    let scope = Scope { paths: vec![path.into()], is_workspace: true };
    let open = place.checkpoints.begin(&place.workspace, &scope, "call", "Bash", line).unwrap();
    assert!(Command::new("bash").args(["-c", line]).current_dir(place.root()).status().unwrap().success());
    place.checkpoints.end(&place.workspace, open)
}

#[test]
fn an_ignored_folder_that_is_removed_is_named_as_lost_although_the_command_named_it() {
    let place = Place::new();
    place.write(".gitignore", "out/\n");
    place.write("out/o", "o");
    let said = named(&place, "out", "rm -r out");
    assert_eq!(said["not_undoable"], "out (ignored)");
    let done = place.undo();
    assert_eq!(done["files"], json!([]), "{done}");
    assert_eq!(done["not_restored"][0]["path"], "out");
}

#[test]
fn a_pipe_that_is_gone_is_named_as_lost() {
    let place = Place::new();
    assert!(Command::new("mkfifo").arg(place.root().join("pipe")).status().unwrap().success());
    assert_eq!(place.bash("rm pipe")["not_undoable"], "pipe (no plain file)");
    let done = place.undo();
    assert_eq!((&done["files"], &done["not_restored"][0]["path"]), (&json!([]), &json!("pipe")), "{done}");
}

#[test]
fn what_happens_to_a_path_is_said_by_its_kind() {
    let place = Place::new();
    place.write("d/x", "x");
    place.write("file", "x");
    symlink("file", place.root().join("link")).unwrap();
    fs::create_dir(place.root().join("open")).unwrap();
    place.bash("rm -r d; echo y > d; rm file; mkdir file; ln -sfn d link; chmod 700 open");
    let shown = place.checkpoints.preview(&place.workspace, &UNDO).unwrap();
    let shown: Vec<(&str, &str)> = shown["files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| (file["path"].as_str().unwrap(), file["action"].as_str().unwrap()))
        .collect();
    assert_eq!(shown, [("d", "replace"), ("d/x", "create"), ("file", "replace"), ("link", "change"), ("open", "mode")]);
}

#[test]
fn an_ignored_folder_that_was_moved_is_moved_back() {
    let place = Place::new();
    place.write("node_modules/x/index.js", "1");
    place.write("a", "1");
    let before = place.look();
    place.bash("mv node_modules old; echo 2 > a");
    place.undo();
    assert_eq!(place.look(), before);
    // Rules that come and go are no change of files.
    place.write("out/keep", "1");
    place.bash("echo out/ > .gitignore");
    place.bash("rm .gitignore");
    place.undo();
    assert_eq!(place.read("out/keep"), "1");
}

#[test]
fn a_fresh_kernel_goes_on_and_other_sessions_are_apart() {
    let place = Place::new();
    place.write("a", "one");
    place.bash("echo two > a");
    let place = place.restarted();
    place.write("b", "made between");
    place.bash("rm a");
    assert_eq!(place.checkpoints.list(&place.workspace).unwrap().as_array().unwrap().len(), 2);
    place.checkpoints.begin_turn("other", "t9");
    assert_eq!(place.checkpoints.list(&place.workspace).unwrap(), json!([]));
    assert_eq!(place.checkpoints.sessions(&place.workspace), ["s"]);
    place.checkpoints.begin_turn("s", "t2");
    place.undo();
    assert_eq!(place.read("a"), "one");
    assert_eq!(place.read("b"), "made between");
}

#[test]
fn a_named_file_is_saved_whatever_is_ignored_and_its_new_folders_go() {
    let place = Place::new();
    place.write(".gitignore", "*.log\n");
    place.write("a.log", vec![1; 5 << 20]);
    let before = place.look();
    for (path, content) in [("a.log", "short"), ("new/deep/b.log", "x")] {
        let scope = Scope { paths: vec![path.into()], is_workspace: false };
        let open = place.checkpoints.begin(&place.workspace, &scope, "call", "Write", path).unwrap();
        place.write(path, content);
        assert!(!place.checkpoints.end(&place.workspace, open).contains_key("not_undoable"));
    }
    place.undo();
    assert_eq!(place.look(), before);
}

#[test]
fn limits_are_kept_and_said() {
    let place = Place::new();
    place.checkpoints.set_limits(Limits { megabytes: 1, seconds: 3.0 });
    for n in 0..4 {
        place.write(&format!("{n}.bin"), vec![n; 400_000]);
    }
    let details = place.bash("rm *.bin");
    assert!(details["not_undoable"].as_str().unwrap().contains("room is used up"), "{details:?}");
    place.checkpoints.set_limits(Limits { megabytes: 0, seconds: 3.0 });
    assert!(place.checkpoints.begin(&place.workspace, &ANYWHERE, "", "Bash", "").is_none());
    let place = Place::new();
    place.checkpoints.set_limits(Limits { megabytes: 512, seconds: 0.0 });
    place.write("a", "x");
    let open = place.checkpoints.begin(&place.workspace, &ANYWHERE, "", "Bash", "").unwrap();
    let details = place.checkpoints.end(&place.workspace, open);
    assert!(details["not_undoable"].as_str().unwrap().contains("too long"), "{details:?}");
}

#[test]
fn a_call_that_nobody_could_look_at_is_not_passed_over() {
    let place = Place::new();
    place.bash("echo one > a");
    place.checkpoints.begin_turn("s", "t2");
    let mut open = place.checkpoints.begin(&place.workspace, &ANYWHERE, "", "Bash", "").unwrap();
    open.reaches_beyond();
    place.checkpoints.end(&place.workspace, open);
    let plan = place.checkpoints.preview(&place.workspace, &UNDO).unwrap();
    assert_eq!((plan["calls"].as_array().unwrap().len(), &plan["files"]), (1, &json!([])));
    assert!(plan["calls"][0]["gap"].as_str().unwrap().contains("outside the workspace"));
    let both = place.checkpoints.preview(&place.workspace, &Target::Undo { count: Some(2) }).unwrap();
    assert_eq!(both["files"][0]["path"], "a");
}

#[test]
fn the_store_is_private_and_forgets_the_oldest() {
    let place = Place::new();
    place.checkpoints.set_limits(Limits { megabytes: 2, seconds: 3.0 });
    for n in 0..4_u8 {
        place.checkpoints.begin_turn("s", &format!("t{n}"));
        place.write("a.bin", vec![n; 400_000]);
        place.bash("echo x > a.bin");
    }
    for entry in walk(&place.dir.path().join("state")) {
        let mode = fs::metadata(&entry).unwrap().mode() & 0o077;
        assert!(mode == 0 || entry == place.dir.path().join("state"), "{}", entry.display());
    }
    let Place { dir, workspace, checkpoints } = place;
    drop(checkpoints);
    let owner = Owner { session: "s".into(), workspace: workspace.path().to_path_buf() };
    let store = Store::open(&dir.path().join("state/checkpoints"), owner, 2 << 20).unwrap();
    let numbers: Vec<u64> = store.journal.entries.iter().map(|entry| entry.number).collect();
    assert_eq!(numbers, [2, 3, 4]);
    for hash in store.journal.entries.iter().flat_map(Entry::hashes) {
        assert!(store.pack.get(hash).is_ok());
    }
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![folder.to_path_buf()];
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() {
            found.extend(walk(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

#[test]
fn a_link_put_in_the_way_is_not_followed() {
    let place = Place::new();
    place.write("sub/a", "one");
    place.bash("echo two > sub/a");
    let outside = place.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("a"), "theirs").unwrap();
    fs::rename(place.root().join("sub"), place.root().join("moved")).unwrap();
    symlink(&outside, place.root().join("sub")).unwrap();
    let done = place.checkpoints.restore(&place.workspace, &UNDO, true).unwrap();
    assert!(done["failures"][0]["reason"].as_str().unwrap().contains("link"), "{done}");
    assert_eq!(fs::read_to_string(outside.join("a")).unwrap(), "theirs");
}
