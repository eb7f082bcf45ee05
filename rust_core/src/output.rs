//! Limits of what a call may say: head and tail for the model, the whole in a file it can read on.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Characters of one result the model gets.
pub const MAX_CHARS: usize = 30_000;
/// Bytes of one output that are kept in a file; more is dropped with a notice.
pub const MAX_SPILL_BYTES: u64 = 64 << 20;
/// A command that prints more is ended.
pub const MAX_OUTPUT_BYTES: u64 = 5 << 30;

/// The folder for whole outputs; each file is readable by its owner alone.
#[derive(Debug, Clone)]
pub struct SpillFolder(pub PathBuf);

impl SpillFolder {
    /// A new empty file with a name nobody can guess.
    pub fn create(&self) -> io::Result<(File, PathBuf)> {
        let path = self.0.join(format!("{}.txt", random_name()));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        Ok((file, path))
    }

    /// Removes what is older than `days`: records point to these files, but not forever.
    pub fn prune(&self, days: u64) {
        let is_old = |entry: &std::fs::DirEntry| {
            let age = entry.metadata().and_then(|metadata| metadata.modified()).ok().and_then(|at| at.elapsed().ok());
            age.is_some_and(|age| age.as_secs() > days * 24 * 3600)
        };
        for entry in std::fs::read_dir(&self.0).into_iter().flatten().flatten().filter(is_old) {
            let _ = std::fs::remove_file(entry.path()).or_else(|_| std::fs::remove_dir_all(entry.path()));
        }
    }
}

/// 64 random bits in hexadecimal.
pub fn random_name() -> String {
    let mut bytes = [0u8; 8];
    let is_filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).is_ok_and(|n| n == 8);
    if !is_filled {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        #[expect(clippy::cast_possible_truncation, reason = "the low bits are the ones that differ")]
        let nanos = now.as_nanos() as u64;
        bytes = (nanos ^ u64::from(std::process::id()).rotate_left(40)).to_ne_bytes();
    }
    format!("{:016x}", u64::from_ne_bytes(bytes))
}

/// Takes a stream of bytes in bounded memory: its head, its tail, and the whole in a file where it is long.
pub struct Capture {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    /// Bytes each of head and tail may hold.
    half: usize,
    /// All bytes that came.
    pub total: u64,
    folder: SpillFolder,
    spill: Option<(File, PathBuf)>,
    is_spill_failed: bool,
}

impl Capture {
    /// Keeps `limit` bytes, half from each end.
    pub fn new(limit: usize, folder: SpillFolder) -> Self {
        Self {
            head: Vec::new(),
            tail: VecDeque::new(),
            half: limit / 2,
            total: 0,
            folder,
            spill: None,
            is_spill_failed: false,
        }
    }

    /// More of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        let before = self.total;
        self.total += bytes.len() as u64;
        let room = self.half - self.head.len();
        let (first, rest) = bytes.split_at(bytes.len().min(room));
        self.head.extend_from_slice(first);
        if self.total > 2 * self.half as u64 {
            self.write_spill(before, bytes);
        }
        let rest = &rest[rest.len().saturating_sub(self.half)..];
        let surplus = (self.tail.len() + rest.len()).saturating_sub(self.half);
        self.tail.drain(..surplus);
        self.tail.extend(rest);
    }

    fn write_spill(&mut self, before: u64, bytes: &[u8]) {
        if self.is_spill_failed || before >= MAX_SPILL_BYTES {
            return;
        }
        if self.spill.is_none() {
            // Nothing has been lost yet: head and tail still hold all that came before.
            let started = self.folder.create().and_then(|(mut file, path)| {
                let kept = usize::try_from(before).unwrap_or(usize::MAX).min(self.head.len());
                file.write_all(&self.head[..kept])?;
                let (a, b) = self.tail.as_slices();
                file.write_all(a)?;
                file.write_all(b)?;
                Ok((file, path))
            });
            self.is_spill_failed = started.is_err();
            self.spill = started.ok();
        }
        let room = usize::try_from(MAX_SPILL_BYTES - before).unwrap_or(usize::MAX);
        if let Some((file, _)) = &mut self.spill {
            self.is_spill_failed |= file.write_all(&bytes[..bytes.len().min(room)]).is_err();
        }
    }

    /// What the model gets, and the file that holds the whole where there is one.
    pub fn finish(self) -> (String, Option<PathBuf>) {
        let (a, b) = self.tail.as_slices();
        let tail = [a, b].concat();
        let omitted = self.total - (self.head.len() + tail.len()) as u64;
        if omitted == 0 {
            return (String::from_utf8_lossy(&[self.head, tail].concat()).into_owned(), None);
        }
        let path = self.spill.map(|(_, path)| path);
        // Cut where a line ends, if one ends near.
        let head = &self.head[..line_end(&self.head)];
        let tail = &tail[line_start(&tail)..];
        let omitted = self.total - (head.len() + tail.len()) as u64;
        let notice = notice(omitted, path.as_deref(), self.total > MAX_SPILL_BYTES);
        let text = format!(
            "{}\n{notice}\n{}",
            String::from_utf8_lossy(head).trim_end_matches('\n'),
            String::from_utf8_lossy(tail)
        );
        (text, path)
    }
}

fn notice(omitted: u64, path: Option<&Path>, is_cut: bool) -> String {
    let place = match path {
        Some(path) if is_cut => format!("its first {} MiB are in {}", MAX_SPILL_BYTES >> 20, path.display()),
        Some(path) => format!("read all of it in {}", path.display()),
        None => "it could not be kept".to_owned(),
    };
    format!("[… {omitted} bytes left out; {place} …]")
}

fn line_end(bytes: &[u8]) -> usize {
    let from = bytes.len().saturating_sub(500);
    bytes[from..]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or_else(|| char_start(bytes, bytes.len()), |at| from + at + 1)
}

fn line_start(bytes: &[u8]) -> usize {
    let to = bytes.len().min(500);
    bytes[..to]
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or_else(|| (0..to.min(4)).find(|at| !is_continuation(bytes[*at])).unwrap_or(0), |at| at + 1)
}

fn char_start(bytes: &[u8], mut at: usize) -> usize {
    while at > 0 && bytes.len() - at < 4 && is_continuation(bytes[at - 1]) {
        at -= 1;
    }
    if at > 0 && bytes[at - 1] >= 0xc0 { at - 1 } else { bytes.len() }
}

fn is_continuation(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

/// `text` within `limit` characters, and the file with the whole where it was longer.
pub fn cap(text: &str, limit: usize, folder: &SpillFolder) -> Option<(String, Option<PathBuf>)> {
    if text.len() <= limit || text.chars().count() <= limit {
        return None;
    }
    let spilled = folder.create().and_then(|(mut file, path)| {
        let room = usize::try_from(MAX_SPILL_BYTES).unwrap_or(usize::MAX).min(text.len());
        file.write_all(&text.as_bytes()[..room]).map(|()| path)
    });
    let half = limit / 2;
    let start = text.char_indices().nth(half).map_or(text.len(), |(at, _)| at);
    let end = text.char_indices().rev().nth(half.saturating_sub(1)).map_or(0, |(at, _)| at);
    let path = spilled.ok();
    let notice = notice((end - start) as u64, path.as_deref(), text.len() as u64 > MAX_SPILL_BYTES);
    Some((format!("{}\n{notice}\n{}", &text[..start], &text[end..]), path))
}

/// Up to where the bytes are whole UTF-8 characters; bytes that are wrong anyway count as whole.
pub fn complete_end(bytes: &[u8]) -> usize {
    let from = bytes.len().saturating_sub(3);
    for at in (from..bytes.len()).rev() {
        let need = match bytes[at] {
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            0x80..=0xbf => continue,
            _ => return bytes.len(),
        };
        return if bytes.len() - at < need { at } else { bytes.len() };
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_characters_wait_for_their_rest() {
        assert_eq!(complete_end("aé".as_bytes()), 3);
        assert_eq!(complete_end(&"aé".as_bytes()[..2]), 1);
        assert_eq!(complete_end(&"a𝄞".as_bytes()[..4]), 1);
        assert_eq!(complete_end(&[b'a', 0xff]), 2);
        assert_eq!(complete_end(&[0x80, 0x80, 0x80, 0x80]), 4);
        assert_eq!(complete_end(b""), 0);
    }

    fn folder() -> (tempfile::TempDir, SpillFolder) {
        let dir = tempfile::tempdir().unwrap();
        let folder = SpillFolder(dir.path().to_path_buf());
        (dir, folder)
    }

    #[test]
    fn short_output_is_whole_and_makes_no_file() {
        let (dir, folder) = folder();
        let mut capture = Capture::new(100, folder);
        capture.push(b"one\n");
        capture.push(&[0xff, b'x']);
        assert_eq!(capture.finish(), ("one\n\u{fffd}x".to_owned(), None));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn long_output_keeps_both_ends_and_the_whole_in_a_file() {
        for chunk in [1, 7, 100, 5000] {
            let (_dir, folder) = folder();
            let whole = (0..1000).map(|n| format!("line {n}")).collect::<Vec<_>>().join("\n") + "\n";
            let mut capture = Capture::new(1000, folder);
            whole.as_bytes().chunks(chunk).for_each(|bytes| capture.push(bytes));
            let (text, path) = capture.finish();
            assert!(text.starts_with("line 0\n") && text.ends_with("line 999\n"), "{chunk}");
            assert!(text.len() < 1300);
            assert_eq!(std::fs::read_to_string(path.unwrap()).unwrap(), whole, "{chunk}");
        }
    }

    #[test]
    fn text_is_capped_at_characters() {
        let (_dir, folder) = folder();
        assert!(cap("äöü", 3, &folder).is_none());
        let (text, path) = cap(&"ä".repeat(100), 10, &folder).unwrap();
        assert!(text.starts_with("äääää\n[…") && text.ends_with("\näääää"));
        assert_eq!(std::fs::read_to_string(path.unwrap()).unwrap().chars().count(), 100);
    }
}
