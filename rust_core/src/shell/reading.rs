//! Commands that only read, and what they read. Known are few programs, each with the options that keep it so (`grammar`): an
//! option that is not listed there, also one of a newer version or shortened, and the command is not known. Patterns that the
//! shell would expand are known where paths stand. Nothing here looks at files; who relies on it does (`crate::subjects`).

use super::SimpleCommand;
use super::git::{GIT, GIT_CHOICES, GIT_LISTING};
use super::grammar::{
    FIND_TESTS, FIND_VALUED, GRAMMARS, Grammar, JQ, OPTIONAL_VALUES, Operands, PIP, TESTS, WITH_ONE_ARGUMENT,
};
use super::sed::plain_sed;
use super::words::Word;

/// How far a command reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// What the command before it in the pipe wrote, or nothing.
    Input,
    /// The files it names.
    Files,
    /// The same, but of a folder also what its links lead to: none may be named.
    Contents,
    /// Folders with all below, by default the one it runs in.
    Tree,
    /// A git repository.
    Repository,
}

/// What a command reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// How far.
    pub extent: Extent,
    /// Its arguments that are paths, or may be.
    pub paths: Vec<String>,
}

/// Of the programs known here, those that bash does itself; for the others it looks for a program.
const BUILTINS: &[&str] = &["command", "echo", "false", "printf", "pwd", "test", "true", "type"];

/// Whether the shell does this without starting a program.
pub fn is_builtin(program: &str) -> bool {
    BUILTINS.contains(&program)
}

/// What the command reads, where it is known to do nothing else.
pub fn reading(command: &SimpleCommand) -> Option<Reading> {
    let (program, arguments) = command.words.split_first()?;
    if command.has_assignment || program.has_glob {
        return None;
    }
    let found = read(program.text.as_str(), arguments)?;
    // What the shell expands may become several words: then each must be a path, and any number of them.
    let is_path = |word: &&Word| found.paths.contains(&word.text) && !word.text.starts_with('-');
    let takes_any = !matches!(program.text.as_str(), "uniq" | "xxd" | "test");
    let mut patterns = arguments.iter().filter(|word| word.has_glob).peekable();
    // `--include=*.py`: whatever it finds is a value of the same option.
    let is_choice = |word: &&Word| {
        let name = word.text.split_once('=').map_or("", |(name, _)| name);
        matches!(program.text.as_str(), "grep" | "rg") && name.starts_with("--") && !name.contains(['*', '?', '['])
    };
    (patterns.peek().is_none() || (takes_any && patterns.all(|word| is_path(&word) || is_choice(&word))))
        .then_some(found)
}

fn read(program: &str, words: &[Word]) -> Option<Reading> {
    let arguments: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
    let input = || Some(Reading { extent: Extent::Input, paths: Vec::new() });
    let is_known = |(option, programs): &(&str, &[&str])| arguments == [*option] && programs.contains(&program);
    if WITH_ONE_ARGUMENT.iter().any(is_known) {
        return input();
    }
    match program {
        "echo" => input(),
        "find" => find(&arguments),
        "sed" => sed(words),
        "git" => git(&arguments),
        "test" => {
            let operands: Vec<&str> = arguments.into_iter().filter(|word| !TESTS.contains(word)).collect();
            (!operands.iter().any(|word| word.starts_with('-'))).then(|| files(operands.into_iter()))
        }
        "jq" => jq(&arguments),
        "date" => date(&arguments).then(input)?,
        // Says what a name stands for.
        "command" => matches!(arguments.as_slice(), ["-v" | "-V", names @ ..] if !names.is_empty()).then(input)?,
        "pip" | "pip3" => {
            let (subcommand, rest) = arguments.split_first()?;
            PIP.programs.contains(subcommand).then(|| PIP.read(rest))?
        }
        // `@file` holds more arguments.
        "strings" if arguments.iter().any(|word| word.starts_with('@')) => None,
        "xxd" => xxd(&arguments),
        "tar" | "unzip" => archive(program, &arguments),
        "zcat" | "bzcat" | "xzcat" | "zstdcat" => packed(&arguments),
        "gzip" | "gunzip" | "bzip2" | "xz" | "zstd" => match (program, *arguments.first()?) {
            (_, "-dc" | "-cd") | ("gunzip", "-c") | ("gzip" | "xz" | "zstd", "-l") => packed(&arguments[1..]),
            _ => None,
        },
        // One word of the old kind; `auxe` would show variables.
        "ps" if arguments.first() == Some(&"aux") => read(program, &words[1..]),
        name => GRAMMARS.iter().find(|grammar| grammar.programs.contains(&name))?.read(&arguments),
    }
}

fn files<'a>(paths: impl Iterator<Item = &'a str>) -> Reading {
    let paths: Vec<String> = paths.map(str::to_owned).collect();
    Reading { extent: if paths.is_empty() { Extent::Input } else { Extent::Files }, paths }
}

impl Grammar {
    fn read(&self, arguments: &[&str]) -> Option<Reading> {
        let (options, operands) = self.split(arguments)?;
        let is_given = |names: &[&str]| options.iter().any(|option| names.contains(option));
        let is_pattern_given = is_given(&["e", "--regexp", "--files", "--type-list"]);
        let paths = match self.operands {
            Operands::None if !operands.is_empty() => return None,
            Operands::OnePath if operands.len() > 1 => return None,
            Operands::None | Operands::Text => &[],
            Operands::Pattern if !is_pattern_given => operands.get(1..).unwrap_or_default(),
            Operands::Paths | Operands::Files | Operands::OnePath | Operands::Pattern => operands.as_slice(),
        };
        let is_tree = self.by_default == Extent::Tree || (self.programs == ["grep"] && is_given(&["r", "--recursive"]));
        let extent = match paths {
            _ if is_tree => Extent::Tree,
            [] => self.by_default,
            _ if self.operands == Operands::Files => Extent::Contents,
            _ => Extent::Files,
        };
        Some(Reading { extent, paths: paths.iter().map(|path| (*path).to_owned()).collect() })
    }

    /// Options (letters and long ones) and operands; `None` where an option is not known.
    fn split<'a>(&self, arguments: &[&'a str]) -> Option<(Vec<&'a str>, Vec<&'a str>)> {
        let (mut options, mut operands) = (Vec::new(), Vec::new());
        let mut rest = arguments.iter();
        while let Some(word) = rest.next() {
            if *word == "--" {
                operands.extend(rest.by_ref());
            } else if word.starts_with("--") {
                let (name, value) = word.split_once('=').map_or((*word, None), |(name, value)| (name, Some(value)));
                if self.settings.contains(&name) {
                    // `--color` alone takes no value: then the word behind it is an operand, and must pass as one too.
                    if value.is_none() && !OPTIONAL_VALUES.contains(&name) {
                        rest.next()?;
                    }
                } else if value.is_some() || !self.words.contains(&name) {
                    return None;
                }
                options.push(name);
            } else if let Some(letters) = word.strip_prefix('-').filter(|letters| !letters.is_empty()) {
                if self.valued.contains('n') && letters.bytes().all(|byte| byte.is_ascii_digit()) {
                    continue; // `head -20`
                }
                for (at, letter) in letters.char_indices() {
                    let option = letters.get(at..at + letter.len_utf8())?;
                    options.push(option);
                    if self.valued.contains(letter) {
                        if at + letter.len_utf8() == letters.len() {
                            rest.next()?;
                        }
                        break;
                    }
                    if !self.flags.contains(letter) {
                        return None;
                    }
                }
            } else {
                operands.push(*word);
            }
        }
        Some((options, operands))
    }
}

/// Without actions but printing, and without files to compare with.
fn find(arguments: &[&str]) -> Option<Reading> {
    let begins = |word: &&&str| word.starts_with(['-', '(', ')', '!', ',']);
    let count = arguments.iter().position(|word| begins(&word)).unwrap_or(arguments.len());
    let (paths, tests) = arguments.split_at(count);
    let mut paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
    let mut rest = tests.iter();
    while let Some(word) = rest.next() {
        if matches!(*word, "-newer" | "-anewer" | "-cnewer") {
            paths.push((*rest.next()?).to_owned());
        } else if FIND_VALUED.contains(word) {
            rest.next()?;
        } else if !FIND_TESTS.contains(word) {
            return None;
        }
    }
    Some(Reading { extent: Extent::Tree, paths })
}

/// Lines by number, and plain substitutions: what is printed, not what is written back.
fn sed(words: &[Word]) -> Option<Reading> {
    plain_sed(words).map(|paths| files(paths.into_iter().map(|word| word.text.as_str())))
}

/// `+%F`, `-u`, `-d 'last monday'`: what sets the clock or reads a file is left out.
fn date(arguments: &[&str]) -> bool {
    let mut rest = arguments.iter();
    while let Some(word) = rest.next() {
        let is_fine = match *word {
            "-d" | "--date" => rest.next().is_some(),
            "-u" | "--utc" | "-R" | "-I" => true,
            other => other.starts_with('+') || other.starts_with("-I") || other.starts_with("--date="),
        };
        if !is_fine {
            return false;
        }
    }
    true
}

/// What an archive holds, listed or printed; all options stand in the first word, and names of what is in it behind it.
fn archive(program: &str, arguments: &[&str]) -> Option<Reading> {
    let (first, names) = arguments.split_first()?;
    let (archive, members) = names.split_first()?;
    let is_known = if program == "tar" {
        // `tzf x.tgz`: the archive stands behind the last letter, and a colon in its name would be a machine.
        let letters = first.strip_prefix('-').unwrap_or(first).strip_suffix('f')?;
        letters.contains('t') && letters.bytes().all(|byte| b"tvzjJ".contains(&byte)) && !archive.contains(':')
    } else {
        matches!(*first, "-l" | "-v" | "-Z" | "-Z1" | "-p" | "-t")
    };
    let is_plain = !archive.starts_with('-') && !members.iter().any(|name| name.starts_with('-'));
    // A name without an ending is looked for with one.
    let paths = [(*archive).to_owned(), format!("{archive}.zip"), format!("{archive}.ZIP")];
    let paths = paths.into_iter().take(if program == "tar" { 1 } else { 3 }).collect();
    (is_known && is_plain).then_some(Reading { extent: Extent::Files, paths })
}

/// Packed files, printed or listed. One whose name does not end so is looked for under others.
fn packed(names: &[&str]) -> Option<Reading> {
    let is_packed = |name: &&str| {
        let endings = [".gz", ".tgz", ".bz2", ".xz", ".zst"];
        !name.starts_with('-') && endings.iter().any(|ending| name.ends_with(ending))
    };
    (!names.is_empty() && names.iter().all(is_packed)).then(|| files(names.iter().copied()))
}

/// Its options are words and no clusters of letters (`-ps` takes no value); a second file is where it writes.
fn xxd(arguments: &[&str]) -> Option<Reading> {
    let mut paths = Vec::new();
    let mut rest = arguments.iter();
    while let Some(word) = rest.next() {
        match *word {
            "-a" | "-b" | "-e" | "-i" | "-p" | "-ps" | "-u" => {}
            "-c" | "-g" | "-l" | "-s" => _ = rest.next()?,
            option if option.starts_with('-') => {
                let number = ["-c", "-g", "-l", "-s"].iter().find_map(|name| option.strip_prefix(name))?;
                number.bytes().all(|byte| byte.is_ascii_digit()).then_some(())?;
            }
            path => paths.push(path),
        }
    }
    (paths.len() <= 1).then(|| files(paths.into_iter()))
}

/// Code that reads nothing but what it is given: no modules, no environment, no further input.
fn jq(arguments: &[&str]) -> Option<Reading> {
    let reaches_out = ["input", "env", "ENV", "include", "import", "modulemeta", "$__prog_args"];
    if reaches_out.iter().any(|code| arguments.iter().any(|word| word.contains(code))) {
        return None;
    }
    JQ.read(arguments)
}

/// What shows the state and history of the repository. Whether its configuration runs programs meanwhile is for
/// `crate::plain_repository`.
fn git(arguments: &[&str]) -> Option<Reading> {
    let arguments = arguments.strip_prefix(&["--no-pager"]).unwrap_or(arguments);
    let lists = |rest: &[&str]| rest.iter().any(|word| GIT_LISTING.contains(word));
    let (subcommand, rest) = match arguments {
        ["stash" | "worktree" | "remote", second @ ("list" | "show" | "get-url"), rest @ ..] => {
            (format!("{} {second}", arguments[0]), rest)
        }
        ["config", "--get", rest @ ("user.name" | "user.email")] => ("config --get".to_owned(), &[*rest][..]),
        // `git branch -l x` made a branch, once.
        ["tag", rest @ ..] if rest.contains(&"-l") || lists(rest) => ("for-each-ref".to_owned(), rest),
        ["branch", rest @ ..] if lists(rest) => ("for-each-ref".to_owned(), rest),
        [first, rest @ ..] => ((*first).to_owned(), rest),
        [] => return None,
    };
    let grammar = GIT.iter().find(|grammar| grammar.programs.contains(&subcommand.as_str()))?;
    // `%G…` in a format checks signatures, with a program. Values of git's long options are only read behind `=`.
    let is_odd = |word: &&str| {
        word.contains("%G")
            || word.contains("%(signature")
            || GIT_CHOICES.contains(word)
            || *word == "--untracked-files"
    };
    if rest.iter().any(is_odd) {
        return None;
    }
    Some(Reading { extent: Extent::Repository, paths: grammar.read(rest)?.paths })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::parse;

    fn read(line: &str) -> Option<Reading> {
        let script = parse(line);
        assert_eq!(script.doubt, None, "{line}");
        reading(&script.commands[0])
    }

    #[test]
    fn what_commands_read() {
        for (line, extent, paths) in [
            ("ls", Extent::Tree, ""),
            ("ls -la src", Extent::Tree, "src"),
            ("cat a.txt b.txt", Extent::Files, "a.txt b.txt"),
            ("cat -- -n", Extent::Files, "-n"),
            ("head -20", Extent::Input, ""),
            ("head -n 5 a", Extent::Files, "a"),
            ("grep -rn 'a*b' src", Extent::Tree, "src"),
            ("grep -e x a", Extent::Files, "a"),
            ("grep x", Extent::Input, ""),
            ("rg --files src", Extent::Tree, "src"),
            ("rg -tpy -A3 def src", Extent::Tree, "src"),
            ("find . -name '*.py' -not -path './x/*'", Extent::Tree, "."),
            ("sed -n 5,10p a", Extent::Files, "a"),
            ("sort -t, -k2 a", Extent::Files, "a"),
            ("git status --short", Extent::Repository, ""),
            ("git --no-pager log --oneline -5 main..x", Extent::Repository, "main..x"),
            ("git diff HEAD~1 -- src", Extent::Repository, "HEAD~1 src"),
            ("echo -e x", Extent::Input, ""),
            ("wc -l *.py a", Extent::Files, "*.py a"),
            ("sed -E s/a/b/g a", Extent::Files, "a"),
            ("diff -u a b", Extent::Contents, "a b"),
            ("jq -r '.a[]' a", Extent::Files, "a"),
            ("date -u +%F", Extent::Input, ""),
            ("test -f a -a b -nt c", Extent::Files, "a b c"),
            ("command -v python", Extent::Input, ""),
            ("python3 --version", Extent::Input, ""),
            ("pip list --format=freeze", Extent::Input, ""),
            ("git stash list", Extent::Repository, ""),
            ("git status --porcelain=v1", Extent::Repository, ""),
            ("git grep -n x src", Extent::Repository, "src"),
            ("git branch --merged main", Extent::Repository, ""),
            ("git tag -l 'v*' --sort=-creatordate", Extent::Repository, ""),
            ("git remote get-url origin", Extent::Repository, ""),
            ("git worktree list", Extent::Repository, ""),
            ("git config --get user.name", Extent::Repository, ""),
            ("git symbolic-ref --short HEAD", Extent::Repository, "HEAD"),
            ("git ls-tree -r HEAD src", Extent::Repository, "HEAD src"),
            ("find . \\( -name a -o -name b \\) -newer c", Extent::Tree, ". c"),
            ("grep -rn x --include=*.py .", Extent::Tree, "."),
            ("tar tzf a.tgz b", Extent::Files, "a.tgz"),
            ("unzip -p a.zip b", Extent::Files, "a.zip a.zip.zip a.zip.ZIP"),
            ("gzip -dc a.gz b.tgz", Extent::Files, "a.gz b.tgz"),
            ("xxd -ps a", Extent::Files, "a"),
            ("xxd -l 16 -c8 a", Extent::Files, "a"),
            ("od -w a", Extent::Files, "a"),
            ("ps aux --sort=-rss", Extent::Input, ""),
        ] {
            let expected = Reading { extent, paths: paths.split_whitespace().map(str::to_owned).collect() };
            assert_eq!(read(line), Some(expected), "{line}");
        }
    }

    const UNKNOWN: &[&str] = &[
        "rm x",
        "ls -I *.py",
        "grep *.py a",
        "head -n * a",
        "uniq *",
        "echo *",
        "sed -n * a",
        "diff -r a b",
        "md5sum -c a",
        "jq input a",
        "jq -f a b",
        "jq 'env' a",
        "jq 'import \"a\" as $a; 1' b",
        "date -s 1",
        "date 010100002020",
        "date -r a",
        "test -v x",
        "command ls",
        "python --version -c 1",
        "pytest --version",
        "pip install x",
        "pip list -o",
        "pip list --index-url=x",
        "xxd a b",
        "xxd -ps a b",
        "xxd -bc a b",
        "xxd -rl 1 a",
        "strings @a",
        "od -w16 a",
        "tar xf a",
        "tar tf",
        "tar tf h:a",
        "tar tf a --to-command=id",
        "tar -ft a",
        "unzip a",
        "unzip -l a -d b",
        "gzip a.gz",
        "gzip -d a.gz",
        "bzip2 -l a.bz2",
        "zcat a",
        "zcat -f a.gz",
        "gunzip a.gz",
        "zstd -d a.zst",
        "git list",
        "git get-url origin",
        "ps aux e",
        "git branch -l x",
        "git branch --list -d x",
        "git tag -l -d x",
        "git tag --format='%(signature)'",
        "git symbolic-ref HEAD refs/heads/x",
        "git config user.name x",
        "git config --get core.pager",
        "git worktree add x",
        "git remote set-url a b",
        "grep -n --*=x a",
        "find . -newerXY a",
        "jq -n '\"a\" | modulemeta'",
        "xxd -r a",
        "git stash",
        "git stash drop",
        "git tag x",
        "git remote add a b",
        "git reflog expire",
        "git cat-file --filters a",
        "git grep -Oid x",
        "FOO=1 ls",
        "./ls",
        "/bin/ls",
        "cat --sho",
        "tail -f a",
        "sort -o a b",
        "sort -no a b",
        "sort --output=a b",
        "sort --compress-program=x a",
        "sort -T . a",
        "uniq a b",
        "file -C -m x",
        "grep -R x .",
        "grep -f a b",
        "rg --pre x y",
        "rg -z x",
        "rg -L x",
        "rg --hostname-bin=x y",
        "find . -exec rm x",
        "find . -execdir rm x",
        "find . -ok rm",
        "find . -delete",
        "find . -fprint a",
        "find . -fprintf a x",
        "find . -fls a",
        "find -L .",
        "find . -files0-from x",
        "sed -n '5w x' a",
        "sed -n 5p -i a",
        "sed -i s/a/b/ x",
        "sed s/a/b/e x",
        "sed s/a/b/w x",
        "sed -n '1e id' x",
        "tree -o x",
        "date -s 1",
        "wc --files0-from=x",
        "printf -v x y",
        "tee x",
        "xargs ls",
        "git push",
        "git -C x status",
        "git -c core.pager=x status",
        "git --git-dir=x status",
        "git diff --ext-diff",
        "git diff --textconv",
        "git diff --output=x",
        "git diff --no-index a b",
        "git log --format=%G?",
        "git log --format %H",
        "git log --show-signature",
        "git branch x",
        "git branch -D x",
        "git grep -O x",
        "git status --ignore-submodules=none",
    ];

    #[test]
    fn one_unknown_word_and_a_command_is_not_known() {
        for line in UNKNOWN {
            assert_eq!(read(line), None, "{line}");
        }
    }
}
