//! A restore in words and numbers, before it is done.

use serde_json::{Value, json};
use similar::{ChangeTag, TextDiff};

use super::journal::Entry;
use super::pack::Pack;
use super::plan::{Step, Way};
use super::state::{Content, State};

const MAX_DIFF_BYTES: u64 = 1 << 20;

/// See `preview_restore` in `claw_kernel/_core.pyi`.
pub fn preview(entries: &[Entry], steps: &[Step], pack: &Pack) -> Value {
    let files: Vec<Value> = steps.iter().filter_map(|step| file(step, pack)).collect();
    let conflicts = steps.iter().filter(|step| step.is_conflict).count();
    let not_restored: Vec<Value> = steps
        .iter()
        .filter_map(|step| {
            let (action, why, state) = match &step.way {
                Way::Lose(why) => ("lost", why, &step.to),
                Way::Leave(why) => ("left", why, &step.from),
                Way::Restore | Way::Move(_) => return None,
            };
            Some(json!({"path": step.path.to_string_lossy(), "action": action, "reason": why.reason(), "size": state.size()}))
        })
        .collect();
    json!({
        "restored_to": entries.first().map_or(0, |entry| entry.number),
        "is_redo": entries.first().is_some_and(|entry| entry.restored_to.is_some()),
        "calls": entries.iter().map(describe).collect::<Vec<_>>(),
        "files": files,
        "not_restored": not_restored,
        "conflicts": conflicts,
    })
}

/// One entry as a person sees it.
pub fn describe(entry: &Entry) -> Value {
    let shown = entry.changes.iter().filter(|change| is_shown(&change.before, &change.after));
    let unsaved: Vec<Value> = entry
        .changes
        .iter()
        .filter_map(|change| {
            let why = change.before.unsaved()?;
            Some(json!({"path": change.path.to_string_lossy(), "reason": why.reason(), "size": change.before.size()}))
        })
        .collect();
    json!({
        "id": format!("c{}", entry.number),
        "at": entry.at,
        "turn_id": entry.turn,
        "call_id": entry.call,
        "tool": entry.tool,
        "title": entry.title,
        "paths": shown.map(|change| change.path.to_string_lossy()).collect::<Vec<_>>(),
        "not_saved": unsaved,
        "restored_to": entry.restored_to,
        "git": entry.git,
        "is_interrupted": entry.is_interrupted,
        "gap": entry.gap,
    })
}

/// The time of a folder changes with all that lies in it; nobody wants to read that, nor of names of a file.
fn is_shown(before: &State, after: &State) -> bool {
    let is_folder = matches!((before, after), (State::Folder { .. } | State::Skipped { .. }, State::Folder { .. }));
    !before.is_same(after) || (!is_folder && !before.is_identical(after))
}

fn file(step: &Step, pack: &Pack) -> Option<Value> {
    if !matches!(step.way, Way::Restore | Way::Move(_)) || !is_shown(&step.from, &step.to) {
        return None;
    }
    let (action, counted) = match (&step.way, &step.from, &step.to) {
        (Way::Move(_), ..) => ("move", false),
        (_, State::Absent, _) => ("create", true),
        (_, _, State::Absent) => ("delete", true),
        (_, from, to) if from.is_same(to) => ("touch", false),
        (_, State::File(from), State::File(to)) if from.content == to.content => ("mode", false),
        (_, State::Folder { .. }, State::Folder { .. }) => ("mode", false),
        (_, from, to) if std::mem::discriminant(from) != std::mem::discriminant(to) => ("replace", false),
        _ => ("change", true),
    };
    let lines = counted.then(|| count_lines(&step.from, &step.to, pack)).flatten();
    let kind = match if step.to == State::Absent { &step.from } else { &step.to } {
        State::Folder { .. } | State::Skipped { .. } => "folder",
        State::Link { .. } => "link",
        _ => "file",
    };
    // What is overwritten without having been saved cannot be brought again.
    let is_final = matches!(step.way, Way::Restore) && action == "change" && step.from.unsaved().is_some();
    Some(json!({
        "path": step.path.to_string_lossy(),
        "action": action,
        "kind": kind,
        "added": lines.map(|lines| lines.0),
        "removed": lines.map(|lines| lines.1),
        "moved_from": match &step.way { Way::Move(from) => Some(from.to_string_lossy()), _ => None },
        "is_conflict": step.is_conflict,
        "is_final": is_final,
    }))
}

/// Lines that come and go; `None` for what is no text.
fn count_lines(from: &State, to: &State, pack: &Pack) -> Option<(usize, usize)> {
    let text = |state: &State| match state {
        State::Absent => Some(String::new()),
        State::File(file) if file.size <= MAX_DIFF_BYTES => match file.content {
            Content::Saved(hash) => {
                let bytes = pack.get(hash).ok()?;
                // Lines are counted in whatever encoding; what holds a NUL is no text.
                (!bytes.contains(&0)).then(|| String::from_utf8_lossy(&bytes).into_owned())
            }
            Content::Cloned(_) | Content::Unsaved(_) => None,
        },
        _ => None,
    };
    let (from, to) = (text(from)?, text(to)?);
    let diff =
        TextDiff::configure().timeout(std::time::Duration::from_millis(200)).diff_lines(from.as_str(), to.as_str());
    let count = |tag| diff.iter_all_changes().filter(|change| change.tag() == tag).count();
    Some((count(ChangeTag::Insert), count(ChangeTag::Delete)))
}
