//! Every tool the product has, and the other names under which calls and rules may speak of it: the one table of names,
//! also for tools that are written in Python.

use serde_json::{Map, Value};

/// A tool's own name, and the names it also answers to. Letter case, `_` and `-` never matter, so that `web_fetch` needs
/// no entry.
pub const TOOLS: &[(&str, &[&str])] = &[
    ("Bash", &["shell", "run_command"]),
    ("BashOutput", &["TaskOutput"]),
    ("KillShell", &["KillBash", "TaskStop"]),
    ("PowerShell", &["pwsh"]),
    ("Read", &["read_file", "view_file"]),
    ("Write", &["write_file", "create_file"]),
    ("Edit", &["edit_file", "MultiEdit", "str_replace"]),
    ("NotebookEdit", &["edit_notebook"]),
    ("Glob", &["glob_search"]),
    ("Grep", &["grep_search"]),
    ("Git", &[]),
    ("Python", &["execute_code"]),
    ("Inspect", &[]),
    ("Agent", &["Task"]),
    ("AskUserQuestion", &[]),
    ("Config", &[]),
    ("EnterPlanMode", &[]),
    ("ExitPlanMode", &[]),
    ("LSP", &[]),
    ("REPL", &[]),
    ("SendUserMessage", &["Brief"]),
    ("Skill", &[]),
    ("Sleep", &[]),
    ("StructuredOutput", &[]),
    ("TodoWrite", &[]),
    ("ToolSearch", &[]),
    ("WebFetch", &["fetch"]),
    ("WebSearch", &[]),
];

/// Names that models give to arguments, and the argument that is meant. Used only where the call does not fit as it is,
/// so that no schema has to know of them.
const ARGUMENTS: &[(&str, &[(&str, &str)])] = &[
    ("Bash", &[("cmd", "command"), ("script", "command"), ("dangerouslyDisableSandbox", "without_sandbox")]),
    ("PowerShell", &[("cmd", "command"), ("script", "command")]),
    ("BashOutput", &[("shell_id", "bash_id"), ("task_id", "bash_id"), ("id", "bash_id")]),
    ("KillShell", &[("bash_id", "shell_id"), ("task_id", "shell_id"), ("id", "shell_id")]),
    ("Read", &[("path", "file_path"), ("filename", "file_path"), ("notebook_path", "file_path")]),
    (
        "Write",
        &[
            ("path", "file_path"),
            ("filename", "file_path"),
            ("contents", "content"),
            ("file_text", "content"),
            ("text", "content"),
        ],
    ),
    (
        "Edit",
        &[
            ("path", "file_path"),
            ("filename", "file_path"),
            ("old_str", "old_string"),
            ("new_str", "new_string"),
            ("old_text", "old_string"),
            ("new_text", "new_string"),
        ],
    ),
    (
        "NotebookEdit",
        &[("path", "notebook_path"), ("file_path", "notebook_path"), ("mode", "edit_mode"), ("source", "new_source")],
    ),
    ("Glob", &[("directory", "path"), ("glob", "pattern")]),
    ("Grep", &[("directory", "path"), ("regex", "pattern"), ("query", "pattern")]),
    ("Python", &[("source", "code")]),
    ("REPL", &[("source", "code")]),
    ("LSP", &[("operation", "action"), ("filePath", "file_path"), ("path", "file_path")]),
    ("WebFetch", &[("uri", "url"), ("link", "url")]),
    ("WebSearch", &[("q", "query"), ("search_query", "query")]),
];

/// The same for times that others give in milliseconds, the argument that takes seconds, and whether only whole ones.
const MILLISECONDS: &[(&str, &str, &str, bool)] =
    &[("Sleep", "duration_ms", "seconds", false), ("REPL", "timeout_ms", "timeout_seconds", true)];

/// Arguments that models know from other programs, and that change nothing here: the page comes whole, a search is short.
const IGNORED: &[(&str, &[&str])] =
    &[("BashOutput", &["block"]), ("ToolSearch", &["max_results"]), ("WebFetch", &["prompt"])];

/// The own name of the tool that is called so; `None`: there is none.
pub fn canonical(name: &str) -> Option<&'static str> {
    let asked = folded(name);
    TOOLS
        .iter()
        .find(|(own, others)| folded(own) == asked || others.iter().any(|other| folded(other) == asked))
        .map(|(own, _)| *own)
}

/// The other names of a tool.
pub fn aliases(name: &str) -> &'static [&'static str] {
    TOOLS.iter().find(|(own, _)| *own == name).map_or(&[], |(_, others)| others)
}

/// Gives arguments their own names where others were used and the own one is free, and drops what changes nothing. True
/// where something changed.
pub fn rename_arguments(tool: &str, arguments: &mut Map<String, Value>) -> bool {
    let names = ARGUMENTS.iter().find(|(own, _)| *own == tool).map_or(&[] as &[_], |(_, names)| names);
    let mut is_changed = rename(names, arguments);
    for (_, other, own, is_whole) in MILLISECONDS.iter().filter(|(name, ..)| *name == tool) {
        if !arguments.contains_key(*own)
            && let Some(milliseconds) = arguments.get(*other).and_then(Value::as_f64)
        {
            arguments.shift_remove(*other);
            let seconds = milliseconds / 1000.0;
            arguments.insert((*own).to_owned(), if *is_whole { seconds.ceil() } else { seconds }.into());
            is_changed = true;
        }
    }
    for other in IGNORED.iter().filter(|(name, _)| *name == tool).flat_map(|(_, others)| *others) {
        is_changed |= arguments.shift_remove(*other).is_some();
    }
    if tool == "Edit"
        && let Some(Value::Array(edits)) = arguments.get_mut("edits")
    {
        for edit in edits.iter_mut().filter_map(Value::as_object_mut) {
            is_changed |= rename(names, edit);
        }
    }
    is_changed
}

fn rename(names: &[(&str, &str)], arguments: &mut Map<String, Value>) -> bool {
    let mut is_changed = false;
    for (other, own) in names {
        if !arguments.contains_key(*own)
            && let Some(value) = arguments.shift_remove(*other)
        {
            arguments.insert((*own).to_owned(), value);
            is_changed = true;
        }
    }
    is_changed
}

fn folded(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-')).map(|c| c.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_are_unique_and_found_in_any_spelling() {
        let mut all: Vec<String> = TOOLS
            .iter()
            .flat_map(|(own, others)| std::iter::once(own).chain(*others))
            .map(|name| folded(name))
            .collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
        for (name, own) in [
            ("Read", "Read"),
            ("read_file", "Read"),
            ("READ", "Read"),
            ("bash", "Bash"),
            ("glob-search", "Glob"),
            ("grep_search", "Grep"),
            ("MultiEdit", "Edit"),
            ("multi_edit", "Edit"),
            ("web_fetch", "WebFetch"),
            ("Brief", "SendUserMessage"),
            ("todo_write", "TodoWrite"),
        ] {
            assert_eq!(canonical(name), Some(own), "{name}");
        }
        for name in ["", "_", "Rea", "mcp__read", "mcp__server__read_file", "Read "] {
            assert_eq!(canonical(name), None, "{name}");
        }
    }

    #[test]
    fn arguments_get_their_own_names_only_where_these_are_free() {
        let rename = |tool: &str, arguments: Value| {
            let Value::Object(mut map) = arguments else { unreachable!() };
            rename_arguments(tool, &mut map);
            Value::Object(map)
        };
        assert_eq!(rename("Read", json!({"path": "a"})), json!({"file_path": "a"}));
        assert_eq!(rename("Read", json!({"path": "a", "file_path": "b"})), json!({"path": "a", "file_path": "b"}));
        assert_eq!(
            rename("Edit", json!({"path": "a", "edits": [{"old_str": "x", "new_str": "y"}]})),
            json!({"file_path": "a", "edits": [{"old_string": "x", "new_string": "y"}]})
        );
        assert_eq!(rename("Grep", json!({"path": "a"})), json!({"path": "a"}));
        assert_eq!(rename("Sleep", json!({"duration_ms": 1500})), json!({"seconds": 1.5}));
        assert_eq!(rename("REPL", json!({"timeout_ms": 1500})), json!({"timeout_seconds": 2.0}));
        assert_eq!(rename("WebFetch", json!({"link": "a", "prompt": "b"})), json!({"url": "a"}));
        assert_eq!(rename("Read", json!({"prompt": "b"})), json!({"prompt": "b"}));
    }
}
