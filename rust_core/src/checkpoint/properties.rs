//! Whatever calls do to a workspace, taking them back gives the same bytes, modes, links and times; and so does taking that
//! back.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use proptest::prelude::*;
use serde_json::json;

use super::Target;
use super::tests::{ANYWHERE, Place};

/// One thing a call may do.
#[derive(Debug, Clone)]
enum Act {
    Write(usize, Vec<u8>),
    Remove(usize),
    Rename(usize, usize),
    Link(usize, usize),
    HardLink(usize, usize),
    /// `ln -f`.
    Replace(usize, usize),
    /// `cp -p`, in a new file.
    Copy(usize, usize),
    Folder(usize),
    Mode(usize, u32),
}

const NAMES: &[&str] = &["a", "b c", "dä/e", "dä/f", "dä/g/h", "i", "dä", "dä/g"];

fn act() -> impl Strategy<Value = Act> {
    let name = || 0..NAMES.len();
    prop_oneof![
        3 => (name(), proptest::collection::vec(any::<u8>(), 0..64)).prop_map(|(n, bytes)| Act::Write(n, bytes)),
        1 => name().prop_map(|n| Act::Write(n, b"same".to_vec())),
        2 => name().prop_map(Act::Remove),
        3 => (name(), name()).prop_map(|(a, b)| Act::Rename(a, b)),
        1 => (name(), name()).prop_map(|(a, b)| Act::Link(a, b)),
        3 => (name(), name()).prop_map(|(a, b)| Act::HardLink(a, b)),
        1 => (name(), name()).prop_map(|(a, b)| Act::Replace(a, b)),
        1 => (name(), name()).prop_map(|(a, b)| Act::Copy(a, b)),
        1 => name().prop_map(Act::Folder),
        1 => (name(), 0o400_u32..0o1000).prop_map(|(n, mode)| Act::Mode(n, mode | 0o600)),
    ]
}

fn play(root: &Path, acts: &[Act]) {
    for act in acts {
        let at = |n: &usize| root.join(NAMES[*n]);
        // What cannot be done is not done, as in a shell.
        let _ = match act {
            Act::Write(n, bytes) => fs::create_dir_all(at(n).parent().unwrap()).and_then(|()| fs::write(at(n), bytes)),
            Act::Remove(n) => fs::remove_file(at(n)).or_else(|_| fs::remove_dir_all(at(n))),
            Act::Rename(a, b) => fs::rename(at(a), at(b)),
            Act::Link(a, b) => symlink(NAMES[*a], at(b)),
            Act::HardLink(a, b) => fs::hard_link(at(a), at(b)),
            Act::Replace(a, b) if a != b => {
                let draft = root.join("draft");
                // Of two names of one file `rename` does nothing.
                let done = fs::hard_link(at(a), &draft).and_then(|()| fs::rename(&draft, at(b)));
                let _ = fs::remove_file(&draft);
                done
            }
            Act::Copy(a, b) if a != b => copy(&at(a), &at(b)),
            Act::Replace(..) | Act::Copy(..) => Ok(()),
            Act::Folder(n) => fs::create_dir_all(at(n)),
            Act::Mode(n, mode) => match fs::symlink_metadata(at(n)) {
                Ok(found) if found.is_file() => fs::set_permissions(at(n), fs::Permissions::from_mode(*mode)),
                _ => Ok(()),
            },
        };
    }
}

/// More of them for a long run: `PROPTEST_CASES`.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(60)
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    let found = fs::symlink_metadata(from)?;
    if !found.is_file() || fs::symlink_metadata(to).is_ok_and(|found| !found.is_file()) {
        return Ok(());
    }
    let content = fs::read(from)?;
    let _ = fs::remove_file(to);
    fs::write(to, content)?;
    let file = fs::File::options().write(true).open(to)?;
    file.set_permissions(found.permissions())?;
    file.set_modified(found.modified()?)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn every_round_trip_is_identical(
        first in proptest::collection::vec(act(), 0..12),
        turns in proptest::collection::vec(proptest::collection::vec(act(), 1..8), 1..4),
        is_restarted in any::<bool>(),
    ) {
        let mut place = Place::new();
        play(&place.root(), &first);
        let before = place.look();
        for (n, acts) in turns.iter().enumerate() {
            place.checkpoints.begin_turn("s", &format!("t{n}"));
            let open = place.checkpoints.begin(&place.workspace, &ANYWHERE, "", "Bash", "").unwrap();
            play(&place.root(), acts);
            place.checkpoints.end(&place.workspace, open);
        }
        let after = place.look();
        if is_restarted {
            place = place.restarted();
        }
        let first = Target::Checkpoint { number: 1 };
        if place.checkpoints.list(&place.workspace).unwrap() == json!([]) {
            prop_assert_eq!(before, after);
            return Ok(());
        }
        let done = place.checkpoints.restore(&place.workspace, &first, false).unwrap();
        prop_assert_eq!(&done["failures"], &json!([]));
        prop_assert_eq!(&place.look(), &before);
        if done["id"].is_string() {
            place.undo();
            prop_assert_eq!(&place.look(), &after);
        }
    }
}
