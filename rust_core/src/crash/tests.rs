//! kill -9 at each step: a process of its own runs the very code and ends itself at a named point (see `crash`); then the
//! next start must find every file whole, and must leave nothing behind.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::cancel::CancelToken;
use crate::checkpoint::{Checkpoints, Scope};
use crate::effect::Effect;
use crate::gate::{Core, Setup};
use crate::workspace::Workspace;

const POLICY: &str = r#"{"mode": "bypassPermissions"}"#;

fn core(dir: &Path) -> Core {
    let core =
        Core::new(&dir.join("work"), Setup { state: Some(&dir.join("state")), session: "s", ..Setup::default() })
            .unwrap();
    core.set_policy(POLICY).unwrap();
    core.begin_turn("s", "t");
    core
}

fn call(core: &Core, tool: &str, arguments: &Value) {
    let prepared = core.prepare(tool, &arguments.to_string(), None).unwrap();
    let output = core.run(&prepared, &CancelToken::default().into(), &|_| {}, &Vec::new(), "call");
    core.finish(&prepared, output, "");
}

/// What the process that is killed does. Not a test of its own.
#[test]
#[ignore = "run by the tests below, in a process of its own"]
fn victim() {
    let dir = PathBuf::from(std::env::var_os("CLAW_TEST_DIR").unwrap());
    let core = core(&dir);
    match std::env::var("CLAW_TEST_ACT").unwrap().as_str() {
        "write" => call(&core, "Write", &json!({"file_path": "new/file", "content": "NEW"})),
        "edit" => {
            call(&core, "Read", &json!({"file_path": "a"}));
            call(&core, "Edit", &json!({"file_path": "a", "old_string": "old", "new_string": "NEW"}));
        }
        // In the sandbox no command reaches this process.
        "bash" => {
            let command = "rm a; kill -9 $PPID; sleep 5";
            call(&core, "Bash", &json!({"command": command, "without_sandbox": true}));
        }
        "undo" => drop(core.restore(r#"{"kind": "undo"}"#, false)),
        other => panic!("{other}"),
    }
}

/// Runs `act` in a process that kills itself at `point`; false where it came to its end without passing that.
fn kill_at(dir: &Path, act: &str, point: &str) -> bool {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::tests::victim", "--ignored", "--quiet"])
        .env("CLAW_TEST_DIR", dir)
        .env("CLAW_TEST_ACT", act)
        .env("CLAW_TEST_CRASH_AT", point)
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success() || status.signal() == Some(9), "{act} {point}: {status}");
    status.signal() == Some(9)
}

fn place() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let work = dir.path().join("work");
    fs::create_dir_all(work.join("sub")).unwrap();
    fs::create_dir(dir.path().join("state")).unwrap();
    fs::write(work.join("a"), "old text").unwrap();
    fs::write(work.join("sub/b"), "b").unwrap();
    symlink("a", work.join("link")).unwrap();
    dir
}

fn contents(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_symlink() {
            found.insert(path.clone(), format!("-> {}", fs::read_link(path).unwrap().display()));
        } else if path.is_dir() {
            found.insert(path.clone(), "folder".into());
            found.extend(contents(&path));
        } else {
            found.insert(path.clone(), fs::read_to_string(path).unwrap());
        }
    }
    found
}

fn assert_nothing_is_left(dir: &Path, what: &str) {
    let names = contents(&dir.join("work"));
    assert!(!names.keys().any(|path| path.to_string_lossy().contains(".claw-")), "{what}: {names:?}");
    let intents: Vec<_> =
        fs::read_dir(dir.join("state/intents")).unwrap().flatten().map(|entry| entry.path()).collect();
    assert!(intents.is_empty(), "{what}: {intents:?}");
}

#[test]
fn write_and_edit_are_whole_or_not_at_all() {
    let points = ["draft written", "draft noted", "draft named", "draft placed"];
    for (act, file, before, after) in [("write", "new/file", None, "NEW"), ("edit", "a", Some("old text"), "NEW text")]
    {
        let mut kills = 0;
        for point in points {
            let dir = place();
            kills += usize::from(kill_at(dir.path(), act, point));
            let now = fs::read_to_string(dir.path().join("work").join(file)).ok();
            assert!(now.as_deref() == before || now.as_deref() == Some(after), "{act} {point}: {now:?}");
            let core = core(dir.path());
            // A write that was done is known, and can be taken back, although its call never ended.
            let known = core.checkpoints().unwrap();
            if now.as_deref() == Some(after) {
                assert_eq!(known[0]["tool"].as_str().map(str::to_lowercase).as_deref(), Some(act), "{known}");
                core.restore(r#"{"kind": "undo"}"#, false).unwrap();
                let undone = fs::read_to_string(dir.path().join("work").join(file)).ok();
                assert_eq!(undone.as_deref(), before, "{act} {point}");
            }
            assert_nothing_is_left(dir.path(), &format!("{act} at {point}"));
        }
        assert!(kills >= 2, "{act} was killed {kills} times only");
    }
}

#[test]
fn a_command_that_outlived_its_kernel_can_be_taken_back() {
    let dir = place();
    let before = contents(&dir.path().join("work"));
    assert!(kill_at(dir.path(), "bash", "never"));
    let core = core(dir.path());
    let known = core.checkpoints().unwrap();
    assert_eq!(known[0]["is_interrupted"], true, "{known}");
    assert!(!dir.path().join("work/a").exists());
    core.restore(r#"{"kind": "undo"}"#, false).unwrap();
    assert_eq!(contents(&dir.path().join("work")), before);
    assert_nothing_is_left(dir.path(), "bash");
}

#[test]
fn an_undo_that_was_killed_is_finished_by_the_next_start() {
    let changes = "rm -r sub; echo new > a; ln -sf /etc link; mkdir -p x/y; echo z > x/y/z; chmod 700 a";
    let points = ["restore noted", "restore applied", "restore journaled", "restore done", "link named"]
        .map(str::to_owned)
        .into_iter()
        .chain((1..20).map(|n| format!("restore step:{n}")))
        .chain((1..3).flat_map(|n| ["draft written", "draft named", "draft placed"].map(|at| format!("{at}:{n}"))));
    let mut kills = 0;
    for point in points {
        let dir = place();
        let work = dir.path().join("work");
        let before = contents(&work);
        {
            let workspace = Workspace::new(&work, &[], &[]).unwrap();
            let checkpoints = Checkpoints::new(&dir.path().join("state"), "s", &workspace).unwrap();
            checkpoints.begin_turn("s", "t");
            let scope = Scope::of(&[Effect::Run { command: changes.to_owned() }]).unwrap();
            let open = checkpoints.begin(&workspace, &scope, "call", "Bash", "changes").unwrap();
            let done = Command::new("bash").args(["-c", changes]).current_dir(&work).status().unwrap();
            assert!(done.success());
            checkpoints.end(&workspace, open);
        }
        let after = contents(&work);
        if !kill_at(dir.path(), "undo", &point) {
            assert_eq!(contents(&work), before, "{point}");
            continue;
        }
        kills += 1;
        for (path, text) in contents(&work) {
            let is_whole = before.get(&path) == Some(&text) || after.get(&path) == Some(&text);
            let is_draft = path.to_string_lossy().contains(".claw-");
            assert!(is_whole || is_draft, "{point}: {} is {text:?}", path.display());
        }
        let core = core(dir.path());
        assert_eq!(contents(&work), before, "{point}");
        let known = core.checkpoints().unwrap();
        assert_eq!(known.as_array().unwrap().len(), 2, "{point}: {known}");
        assert_nothing_is_left(dir.path(), &point);
        core.restore(&json!({"kind": "undo"}).to_string(), false).unwrap();
        assert_eq!(contents(&work), after, "{point}");
    }
    assert!(kills > 12, "killed {kills} times only");
}
