//! `git status --porcelain=v2 -z` in few words.

use std::fmt::Write as _;

use crate::visible::visible;

/// More of one kind are counted, not named.
pub const MAX_ENTRIES: usize = 200;

#[derive(Default)]
struct Group {
    entries: Vec<String>,
    count: usize,
}

impl Group {
    fn add(&mut self, entry: impl FnOnce() -> String) {
        self.count += 1;
        if self.entries.len() < MAX_ENTRIES {
            self.entries.push(entry());
        }
    }
}

/// Without its sign.
fn count(text: &str) -> String {
    text.trim_start_matches(['+', '-']).to_owned()
}

/// What the model reads.
pub fn render(listed: &[u8]) -> String {
    let (mut head, mut upstream, mut ahead_behind, mut is_unborn) = (String::new(), None, None, false);
    let mut commit = String::new();
    let mut groups: [Group; 4] = Default::default();
    let mut fields = listed.split(|byte| *byte == 0).filter(|field| !field.is_empty());
    while let Some(field) = fields.next() {
        let line = String::from_utf8_lossy(field);
        let (kind, rest) = line.split_once(' ').unwrap_or((&line, ""));
        match kind {
            "#" => match rest.split_once(' ') {
                Some(("branch.head", name)) => visible(name).clone_into(&mut head),
                Some(("branch.upstream", name)) => upstream = Some(visible(name)),
                Some(("branch.ab", counts)) => {
                    ahead_behind = counts.split_once(' ').map(|(a, b)| (count(a), count(b)));
                }
                Some(("branch.oid", "(initial)")) => is_unborn = true,
                Some(("branch.oid", id)) => commit = id.chars().take(10).collect(),
                _ => {}
            },
            "1" | "2" => {
                // 1 XY sub mH mI mW hH hI path; 2 has a score before the path, and the old path behind it.
                let mut parts = rest.splitn(if kind == "1" { 8 } else { 9 }, ' ');
                let states = parts.next().unwrap_or_default().to_owned();
                let path = visible(parts.last().unwrap_or_default());
                let from =
                    (kind == "2").then(|| fields.next().map(|old| visible(&String::from_utf8_lossy(old)))).flatten();
                let mut states = states.chars();
                for group in &mut groups[..2] {
                    if let Some(state) = states.next().filter(|state| *state != '.') {
                        let old = from.as_ref().filter(|_| matches!(state, 'R' | 'C'));
                        group.add(|| match old {
                            Some(old) => format!("{state} {old} -> {path}"),
                            None => format!("{state} {path}"),
                        });
                    }
                }
            }
            "u" => {
                let states = rest.split(' ').next().unwrap_or_default();
                let path = visible(rest.splitn(10, ' ').last().unwrap_or_default());
                groups[2].add(|| format!("{states} {path}"));
            }
            "?" => groups[3].add(|| visible(rest)),
            _ => {}
        }
    }
    let mut text =
        if head == "(detached)" { format!("On no branch (detached HEAD at {commit})") } else { format!("On {head}") };
    if is_unborn {
        text.push_str(", no commits yet");
    }
    if let Some(upstream) = upstream {
        let _ = match ahead_behind {
            Some((ahead, behind)) if ahead == "0" && behind == "0" => write!(text, ", even with {upstream}"),
            Some((ahead, behind)) => write!(text, ", {ahead} ahead of and {behind} behind {upstream}"),
            None => write!(text, ", following {upstream}, which is gone"),
        };
    }
    for (name, group) in ["Staged", "Not staged", "In conflict", "Untracked"].iter().zip(&groups) {
        if group.count > 0 {
            let _ = write!(text, "\n{name}:");
            for entry in &group.entries {
                let _ = write!(text, "\n  {entry}");
            }
            if group.count > MAX_ENTRIES {
                let _ = write!(text, "\n  … and {} more", group.count - MAX_ENTRIES);
            }
        }
    }
    if groups.iter().all(|group| group.count == 0) {
        text.push_str("\nNothing has changed.");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_kinds_of_entries_are_told() {
        let listed = "# branch.oid abc\0# branch.head main\0# branch.upstream origin/main\0# branch.ab +2 -1\0\
            1 M. N... 100644 100644 100644 aa bb in index.py\0\
            1 .M N... 100644 100644 100644 aa bb not\u{202e}.py\0\
            2 RM N... 100644 100644 100644 aa bb R100 new name\0old name\0\
            u UU N... 100644 100644 100644 100644 aa bb cc both sides.py\0\
            ? fresh file\0";
        assert_eq!(
            render(listed.as_bytes()),
            "On main, 2 ahead of and 1 behind origin/main\nStaged:\n  M in index.py\n  R old name -> new name\n\
             Not staged:\n  M not\\u{202e}.py\n  M new name\nIn conflict:\n  UU both sides.py\nUntracked:\n  fresh file"
        );
        assert_eq!(
            render(b"# branch.oid (initial)\0# branch.head main\0"),
            "On main, no commits yet\nNothing has changed."
        );
        assert_eq!(
            render(b"# branch.oid 0123456789abcdef\0# branch.head (detached)\0? a\0"),
            "On no branch (detached HEAD at 0123456789)\nUntracked:\n  a"
        );
        render(b"1\0" as &[u8]);
        render(b"2 RM\0# branch.ab\0# branch.ab  \0u\0\xff\0#\0" as &[u8]);
    }

    #[test]
    fn many_entries_are_counted() {
        let listed = (0..300).map(|n| format!("? {n}\0")).collect::<Vec<_>>().concat();
        assert!(render(listed.as_bytes()).ends_with("  199\n  … and 100 more"));
    }
}
