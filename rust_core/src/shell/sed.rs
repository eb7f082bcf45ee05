//! What of sed's language only prints: lines by number or pattern, and substitutions without the flags that run or write.

use super::Word;

/// The files that such a call reads; `None` for any other.
pub fn plain_sed(arguments: &[Word]) -> Option<Vec<&Word>> {
    let (mut scripts, mut files): (Vec<&str>, Vec<&Word>) = (Vec::new(), Vec::new());
    let mut rest = arguments.iter();
    while let Some(word) = rest.next() {
        match word.text.as_str() {
            "-n" | "-E" | "-r" | "-nE" | "-En" | "-nr" | "-rn" => {}
            "-e" | "-ne" | "-Ee" | "-re" => scripts.push(&rest.next()?.text),
            option if option.starts_with('-') => return None,
            _ => files.push(word),
        }
    }
    if scripts.is_empty() {
        if files.is_empty() {
            return None;
        }
        scripts.push(&files.remove(0).text);
    }
    scripts.into_iter().all(|script| is_plain(script).is_some()).then_some(files)
}

/// Commands with their addresses, until none is left; `None` for what is not known.
fn is_plain(script: &str) -> Option<()> {
    let is_between = |c: char| matches!(c, ' ' | '\t' | ';' | '\n');
    let mut rest = script.trim_start_matches(is_between);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        rest = command(addresses(rest)?)?.trim_start_matches([' ', '\t']);
        let following = rest.trim_start_matches(is_between);
        if !following.is_empty() && !rest.starts_with([';', '\n']) {
            return None;
        }
        rest = following;
    }
    Some(())
}

/// What stands behind `5`, `$`, `/x/`, `5,10`, `/x/,+3`, `1!`.
fn addresses(text: &str) -> Option<&str> {
    let mut rest = address(text)?;
    if let Some(second) = rest.strip_prefix(',') {
        rest = address(second.trim_start_matches(['+', '~']))?;
        if rest.len() == second.len() {
            return None;
        }
    }
    let rest = rest.trim_start_matches(' ');
    Some(rest.strip_prefix('!').unwrap_or(rest).trim_start_matches(' '))
}

fn address(text: &str) -> Option<&str> {
    if let Some(pattern) = text.strip_prefix('/') {
        return Some(until(pattern, '/')?.trim_start_matches('I'));
    }
    Some(text.strip_prefix('$').unwrap_or_else(|| text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '~')))
}

/// What stands behind a command that prints, leaves out, ends or substitutes.
fn command(text: &str) -> Option<&str> {
    let rest = text.get(1..)?;
    match text.as_bytes()[0] {
        b'p' | b'd' | b'q' | b'=' => Some(rest),
        b's' => {
            let delimiter = rest.chars().next().filter(|c| c.is_ascii_punctuation() && *c != '\\')?;
            let replacement = until(rest.get(1..)?, delimiter)?;
            let flags = until(replacement, delimiter)?;
            Some(flags.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, 'g' | 'p' | 'i' | 'I')))
        }
        _ => None,
    }
}

/// What stands behind the first `delimiter` that no backslash keeps. Where a bracket is open there, seds differ.
fn until(text: &str, delimiter: char) -> Option<&str> {
    let mut is_kept = false;
    for (at, c) in text.char_indices() {
        match c {
            '\n' => return None,
            _ if is_kept => is_kept = false,
            '\\' => is_kept = true,
            _ if c == delimiter => {
                let before = &text[..at];
                let is_open = before.rfind('[') > before.rfind(']');
                return if is_open { None } else { text.get(at + 1..) };
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(line: &str) -> Option<String> {
        let script = crate::shell::parse(line);
        assert_eq!(script.doubt, None, "{line}");
        let found = plain_sed(&script.commands[0].words[1..])?;
        Some(found.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn what_only_prints_is_told_from_what_runs_or_writes() {
        for line in [
            "sed -n 1,20p x",
            "sed -n '10,20p;30,40p' x",
            "sed -n '/def main/,/^def /p' x",
            "sed -n '10,+5p' x",
            "sed -n '$p' x",
            "sed '/^#/d' x",
            "sed '/^$/ d; s/a/b/gI' x",
            "sed 's#a/b#c#g' x",
            "sed 's|/|_|2' x",
            "sed 's/[^,]*,/&\\t/' x",
            "sed -e s/a/b/ -e 's/c/d/p' x",
            "sed -n -e 1p x",
            "sed '1!d' x",
            "sed -E 's/(a)\\/b/\\1/' x",
            "sed 5q x",
        ] {
            assert_eq!(files(line), Some("x".to_owned()), "{line}");
        }
        for line in [
            "sed 's/a/b/e' x",
            "sed 's/a/b/w y' x",
            "sed 's/a/b/ge' x",
            "sed 's/a/b/;w y' x",
            "sed 's/a/b/;e id' x",
            "sed '1e id' x",
            "sed '/x/e id' x",
            "sed -n '/a/w y' x",
            "sed 's/[/]/b/e;s/]/x/' x",
            "sed 's/a/b' x",
            "sed 's/a/b\nw y\n/' x",
            "sed 1r/etc/shadow x",
            "sed 'y/a/b/;1w x' x",
            "sed -i s/a/b/ x",
            "sed s/a/b/ x -i",
            "sed -e s/a/b/ --in-place x",
            "sed -f y x",
            "sed -s 1p x",
            "sed '1,p' x",
            "sed '{p}' x",
            "sed ''",
            "sed '#n' x",
            "sed '\\%a%e' x",
            "sed pp x",
            "sed 'p w y' x",
            "sed p}",
            "sed 's\\a\\b\\e' x",
            "sed sübüe x",
        ] {
            assert_eq!(files(line), None, "{line}");
        }
    }
}
