//! A slice of a text as numbered lines, in memory bounded by the slice, however large the file and however long its lines.
//!
//! Line numbers need every line end before the slice to be counted. Of a large file they are counted once, a MiB at a time
//! and by several threads (1 GiB in the page cache: about 40 ms with two cores), and remembered until the file changes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::super::change::Fingerprint;
use super::super::encoding::decode_line;
use super::super::{Context, ToolError};
use super::{MAX_CHARS, MAX_LINE_CHARS};

const SEGMENT: u64 = 1 << 20;
/// Read at once while counting.
const BUFFER: usize = 256 << 10;
const PAGE: usize = 4096;
const MAX_THREADS: usize = 8;
/// Files whose line ends are remembered.
const MAX_INDEXES: usize = 16;
/// A file that changed less than this before it was counted may change again without its time showing it.
const SETTLED: Duration = Duration::from_millis(100);

/// The part of a text that was asked for.
pub struct Lines {
    /// Each line after its number and a tab.
    pub text: String,
    /// Number of the first line given, from 1.
    pub first: u64,
    /// Lines given.
    pub count: u64,
    /// There are lines after it.
    pub has_more: bool,
    /// Some line was too long.
    pub has_cut: bool,
    /// Lines there are, where the text ended before the part.
    pub ended_at: Option<u64>,
}

impl Lines {
    fn none(first: u64) -> Self {
        Self { text: String::new(), first, count: 0, has_more: false, has_cut: false, ended_at: None }
    }
}

/// The line ends of large files, by how the files looked when they were counted.
#[derive(Default)]
pub struct LineIndexes(Mutex<Vec<LineIndex>>);

struct LineIndex {
    file: Fingerprint,
    size: u64,
    /// Line ends up to the end of each segment.
    ends: Vec<u64>,
}

impl LineIndexes {
    /// A large file from the line `offset` on; below zero, that many lines before its end. Also how many lines it has,
    /// where that is known.
    pub fn slice(
        &self,
        mut file: File,
        offset: i64,
        limit: u64,
        context: &Context<'_>,
    ) -> Result<(Lines, Option<u64>), ToolError> {
        if (0..=1).contains(&offset) {
            return Ok((slice(file, 1, 1, limit, context)?, None));
        }
        let mut index = self.take(&file)?;
        let counted = match u64::try_from(offset) {
            Ok(first) => index.count(&file, Some(first - 1), context).map(|()| first),
            Err(_) => index.count(&file, None, context).and_then(|()| Ok(resolve(offset, index.total(&file)?))),
        };
        let first = counted?;
        // The segment that holds the line end before the slice: all of those before it are known by number.
        let segment = index.ends.partition_point(|ends| *ends < first - 1);
        let before = segment.checked_sub(1).map_or(0, |last| index.ends[last]);
        let total = if index.is_whole() { Some(index.total(&file)?) } else { None };
        self.put(index, &file);
        if let Some(total) = total.filter(|total| first > *total) {
            let nothing = Lines { ended_at: Some(total), ..Lines::none(first) };
            return Ok((nothing, Some(total)));
        }
        file.seek(SeekFrom::Start(segment as u64 * SEGMENT)).map_err(read_error)?;
        // A line that runs across segments begins in an earlier one; here it only counts as the rest of one.
        let lines = slice(file, before + 1, first, limit, context)?;
        Ok((lines, total))
    }

    fn take(&self, file: &File) -> Result<LineIndex, ToolError> {
        let fingerprint = Fingerprint::of(file, None).map_err(read_error)?;
        let mut indexes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = indexes.iter().position(|index| index.file == fingerprint).map(|at| indexes.remove(at));
        let size = file.metadata().map_err(read_error)?.size();
        Ok(known.unwrap_or(LineIndex { file: fingerprint, size, ends: Vec::new() }))
    }

    fn put(&self, index: LineIndex, file: &File) {
        let modified = file.metadata().and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        let is_settled = modified.elapsed().is_ok_and(|age| age > SETTLED);
        if is_settled && Fingerprint::of(file, None).is_ok_and(|now| now == index.file) {
            let mut indexes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if indexes.len() == MAX_INDEXES {
                indexes.remove(0);
            }
            indexes.push(index);
        }
    }
}

impl LineIndex {
    fn segments(&self) -> usize {
        usize::try_from(self.size.div_ceil(SEGMENT)).unwrap_or(usize::MAX)
    }

    fn is_whole(&self) -> bool {
        self.ends.len() == self.segments()
    }

    /// Lines of the whole file, a last one without an end included. Only after all was counted.
    fn total(&self, file: &File) -> Result<u64, ToolError> {
        let mut last = [b'\n'];
        if self.size > 0 {
            file.read_at(&mut last, self.size - 1).map_err(read_error)?;
        }
        Ok(self.ends.last().copied().unwrap_or(0) + u64::from(last != [b'\n']))
    }

    /// Counts on until `wanted` line ends are known, or to the end.
    fn count(&mut self, file: &File, wanted: Option<u64>, context: &Context<'_>) -> Result<(), ToolError> {
        let is_enough = |ends: &[u64]| wanted.is_some_and(|wanted| ends.last().is_some_and(|ends| *ends >= wanted));
        if self.is_whole() || is_enough(&self.ends) {
            return Ok(());
        }
        let segments = self.segments();
        let threads = std::thread::available_parallelism()
            .map_or(1, std::num::NonZero::get)
            .min(MAX_THREADS)
            .min(segments - self.ends.len());
        let next = AtomicUsize::new(self.ends.len());
        let is_done = AtomicBool::new(false);
        let failure = Mutex::new(None);
        // The known ends, and counts of segments whose predecessors are still being counted.
        let known = Mutex::new((std::mem::take(&mut self.ends), BTreeMap::new()));
        let work = || {
            // The kernel copies to the beginning of a page faster than to its middle.
            let mut space = vec![0; BUFFER + PAGE];
            let start = space.as_ptr().align_offset(PAGE).min(PAGE);
            let buffer = &mut space[start..start + BUFFER];
            while !is_done.load(Ordering::Relaxed) {
                let segment = next.fetch_add(1, Ordering::Relaxed);
                if segment >= segments {
                    return;
                }
                let counted = if context.cancel.is_cancelled() {
                    Err(ToolError::Cancelled)
                } else {
                    count_segment(file, segment as u64 * SEGMENT, buffer)
                };
                match counted {
                    Err(error) => {
                        *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                        is_done.store(true, Ordering::Relaxed);
                    }
                    Ok(count) => {
                        let (ends, later) = &mut *known.lock().unwrap_or_else(PoisonError::into_inner);
                        later.insert(segment, count);
                        while let Some(count) = later.remove(&ends.len()) {
                            ends.push(ends.last().unwrap_or(&0) + count);
                        }
                        if is_enough(ends) {
                            is_done.store(true, Ordering::Relaxed);
                        }
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..threads {
                // Where no thread can be had, this one does all.
                let _ = std::thread::Builder::new().name("claw-count".into()).spawn_scoped(scope, work);
            }
            work();
        });
        self.ends = known.into_inner().unwrap_or_else(PoisonError::into_inner).0;
        failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }
}

fn count_segment(file: &File, start: u64, buffer: &mut [u8]) -> Result<u64, ToolError> {
    let (mut at, mut count) = (start, 0);
    while at < start + SEGMENT {
        let room = usize::try_from(start + SEGMENT - at).unwrap_or(BUFFER).min(buffer.len());
        match file.read_at(&mut buffer[..room], at) {
            Ok(0) => break, // it has become shorter meanwhile
            Ok(read) => {
                count += bytecount::count(&buffer[..read], b'\n') as u64;
                at += read as u64;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(read_error(error)),
        }
    }
    Ok(count)
}

/// The line an offset means in a text of so many lines.
pub fn resolve(offset: i64, total: u64) -> u64 {
    u64::try_from(offset).map_or_else(|_| total.saturating_sub(offset.unsigned_abs()) + 1, |offset| offset.max(1))
}

/// Lines as editors count them.
pub fn count_lines(content: &[u8]) -> u64 {
    let ends = bytecount::count(content, b'\n') as u64;
    ends + u64::from(content.last().is_some_and(|byte| *byte != b'\n'))
}

/// Up to `limit` lines from the line `first` on, of a source that begins with the line `number`. Reads only as far as
/// needed, and holds no more than the result.
pub fn slice(
    source: impl std::io::Read,
    number: u64,
    first: u64,
    limit: u64,
    context: &Context<'_>,
) -> Result<Lines, ToolError> {
    let mut reader = BufReader::with_capacity(BUFFER, source);
    let mut found = Lines::none(first);
    let mut number = number;
    let mut chars = 0;
    let mut line = Vec::new();
    loop {
        if found.count == limit || chars >= MAX_CHARS {
            // What follows may be without end; that there is something is enough to know.
            found.has_more = reader.fill_buf().is_ok_and(|buffer| !buffer.is_empty());
            return Ok(found);
        }
        line.clear();
        // A line cut here is cut again below, at a character: four bytes are the longest.
        let keep = if number >= first { 4 * MAX_LINE_CHARS + 4 } else { 0 };
        match read_line(&mut reader, &mut line, keep, context)? {
            Part::End => {
                found.ended_at = (number <= first && first > 1 || found.count == 0).then_some(number - 1);
                return Ok(found);
            }
            Part::Line => {}
        }
        if number >= first {
            if number == 1 && line.starts_with(b"\xef\xbb\xbf") {
                line.drain(..3);
            }
            let mut text = decode_line(line.strip_suffix(b"\r").unwrap_or(&line));
            if let Some((at, _)) = text.char_indices().nth(MAX_LINE_CHARS) {
                text.truncate(at);
                text.push_str(" … [line cut]");
                found.has_cut = true;
            }
            let numbered = format!("{number}\t{text}\n");
            chars += numbered.len();
            if chars > MAX_CHARS && found.count > 0 {
                found.has_more = true;
                return Ok(found);
            }
            found.text.push_str(&numbered);
            found.count += 1;
        }
        number += 1;
    }
}

enum Part {
    Line,
    End,
}

/// One line without its end, at most `keep` bytes of it kept.
fn read_line(
    reader: &mut impl BufRead,
    line: &mut Vec<u8>,
    keep: usize,
    context: &Context<'_>,
) -> Result<Part, ToolError> {
    let mut has_any = false;
    loop {
        if context.cancel.is_cancelled() {
            return Err(ToolError::Cancelled);
        }
        let buffer = match reader.fill_buf() {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(read_error(error)),
            Ok(buffer) => buffer,
        };
        if buffer.is_empty() {
            return Ok(if has_any { Part::Line } else { Part::End });
        }
        has_any = true;
        let end = memchr::memchr(b'\n', buffer);
        let part = &buffer[..end.unwrap_or(buffer.len())];
        line.extend_from_slice(&part[..part.len().min(keep.saturating_sub(line.len()))]);
        let used = part.len() + usize::from(end.is_some());
        reader.consume(used);
        if end.is_some() {
            return Ok(Part::Line);
        }
    }
}

fn read_error(error: std::io::Error) -> ToolError {
    ToolError::failed(format!("The file cannot be read: {error}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_as_editors_count() {
        assert_eq!([count_lines(b""), count_lines(b"a"), count_lines(b"a\n"), count_lines(b"a\nb")], [0, 1, 1, 2]);
    }

    #[test]
    fn offsets_below_zero_count_from_the_end() {
        assert_eq!([resolve(0, 9), resolve(1, 9), resolve(7, 9), resolve(70, 9)], [1, 1, 7, 70]);
        assert_eq!([resolve(-1, 9), resolve(-9, 9), resolve(-10, 9), resolve(i64::MIN, 0)], [9, 1, 1, 1]);
    }
}
