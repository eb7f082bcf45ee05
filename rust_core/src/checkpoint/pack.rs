//! Contents, each once, found by their SHA-256. Small files by the thousand would cost a system call or three each, so they
//! are appended to one file; each process writes a file of its own and reads those of all.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use super::clones::Clones;
use crate::output::random_name;

const MAGIC: &[u8; 4] = b"CLAW";
/// Magic, hash, length.
const HEAD: usize = 4 + 32 + 8;

/// The SHA-256 of a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash([u8; 32]);

impl Hash {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use std::fmt::Write as _;
        let mut text = String::with_capacity(64);
        for byte in self.0 {
            let _ = write!(text, "{byte:02x}");
        }
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return Err(D::Error::custom("a hash has 64 hexadecimal digits"));
        }
        for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(D::Error::custom)?;
        }
        Ok(Self(bytes))
    }
}

#[derive(Clone, Copy)]
struct Place {
    file: usize,
    offset: u64,
    length: u64,
}

#[derive(Default)]
struct Inner {
    files: Vec<File>,
    /// Index of the file this process appends to, and its length.
    own: Option<(usize, u64)>,
    places: HashMap<Hash, Place>,
    /// Bytes in all files.
    total: u64,
    is_unsynced: bool,
}

/// The contents of one session.
pub struct Pack {
    /// Of files that are too large for it.
    pub clones: Clones,
    folder: PathBuf,
    max_bytes: u64,
    inner: Mutex<Inner>,
}

impl Pack {
    /// Reads what lies in `folder`, which exists. No more than `max_bytes` are kept.
    pub fn open(folder: &Path, max_bytes: u64) -> io::Result<Self> {
        let mut inner = Inner::default();
        for entry in fs::read_dir(folder)?.flatten() {
            if entry.path().extension().is_some_and(|end| end == "pack") {
                inner.read(File::open(entry.path())?)?;
            }
        }
        Ok(Self { clones: Clones::new(folder), folder: folder.to_path_buf(), max_bytes, inner: Mutex::new(inner) })
    }

    /// Keeps `content`. Fails where there is no room.
    pub fn put(&self, content: &[u8]) -> io::Result<Hash> {
        let hash = Hash::of(content);
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.places.contains_key(&hash) {
            return Ok(hash);
        }
        let length = content.len() as u64;
        if inner.total + length + HEAD as u64 > self.max_bytes {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        let (file, at) = if let Some(own) = inner.own {
            own
        } else {
            let path = self.folder.join(format!("{}.pack", random_name()));
            inner.files.push(OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?);
            (inner.files.len() - 1, 0)
        };
        let mut record = Vec::with_capacity(HEAD + content.len());
        record.extend_from_slice(MAGIC);
        record.extend_from_slice(&hash.0);
        record.extend_from_slice(&length.to_le_bytes());
        record.extend_from_slice(content);
        // Written at its place: a record that failed half-way is overwritten by the next.
        inner.own = Some((file, at));
        inner.files[file].write_all_at(&record, at)?;
        inner.own = Some((file, at + record.len() as u64));
        inner.total += record.len() as u64;
        inner.places.insert(hash, Place { file, offset: at + HEAD as u64, length });
        inner.is_unsynced = true;
        Ok(hash)
    }

    /// A content, checked against its hash.
    pub fn get(&self, hash: Hash) -> io::Result<Vec<u8>> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let place = inner.places.get(&hash).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let mut content = vec![0; usize::try_from(place.length).map_err(io::Error::other)?];
        inner.files[place.file].read_exact_at(&mut content, place.offset)?;
        drop(inner);
        if Hash::of(&content) == hash { Ok(content) } else { Err(io::Error::from(io::ErrorKind::InvalidData)) }
    }

    /// It is there.
    #[cfg(test)]
    pub fn has(&self, hash: Hash) -> bool {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).places.contains_key(&hash)
    }

    /// Bytes in all files.
    pub fn total(&self) -> u64 {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).total
    }

    /// Bytes a content takes, 0 where it is not there.
    pub fn length(&self, hash: Hash) -> u64 {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.places.get(&hash).map_or(0, |place| place.length + HEAD as u64)
    }

    /// Everything kept so far outlives a power failure.
    pub fn sync(&self) -> io::Result<()> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let (true, Some((file, _))) = (inner.is_unsynced, inner.own) {
            inner.files[file].sync_data()?;
            inner.is_unsynced = false;
        }
        Ok(())
    }

    /// A new pack in the same folder that holds only these contents; the old files go. Nobody else may be using them.
    pub fn rewritten(&self, wanted: impl Iterator<Item = Hash>) -> io::Result<Self> {
        let old: Vec<PathBuf> = fs::read_dir(&self.folder)?
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|end| end == "pack"))
            .collect();
        let path = self.folder.join(format!("{}.pack", random_name()));
        let draft = path.with_extension("new");
        let mut file = io::BufWriter::new(OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?);
        let mut done = std::collections::HashSet::new();
        for hash in wanted.filter(|hash| done.insert(*hash)) {
            let Ok(content) = self.get(hash) else { continue };
            file.write_all(MAGIC)?;
            file.write_all(&hash.0)?;
            file.write_all(&(content.len() as u64).to_le_bytes())?;
            file.write_all(&content)?;
        }
        file.into_inner()?.sync_all()?;
        fs::rename(&draft, &path)?;
        for path in old {
            let _ = fs::remove_file(path);
        }
        Self::open(&self.folder, self.max_bytes)
    }
}

impl Inner {
    /// Takes in a file, up to where its writer was stopped.
    fn read(&mut self, file: File) -> io::Result<()> {
        let end = file.metadata()?.len();
        let index = self.files.len();
        let mut at = 0;
        let mut head = [0; HEAD];
        while at + (HEAD as u64) <= end && file.read_exact_at(&mut head, at).is_ok() && head.starts_with(MAGIC) {
            let mut hash = [0; 32];
            hash.copy_from_slice(&head[4..36]);
            let mut length = [0; 8];
            length.copy_from_slice(&head[36..]);
            let (offset, length) = (at + HEAD as u64, u64::from_le_bytes(length));
            if length > end - offset {
                break;
            }
            self.places.insert(Hash(hash), Place { file: index, offset, length });
            at = offset + length;
        }
        self.total += end;
        self.files.push(file);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_are_kept_once_and_found_by_the_next_process() {
        let dir = tempfile::tempdir().unwrap();
        let pack = Pack::open(dir.path(), 1000).unwrap();
        let hash = pack.put(b"one").unwrap();
        assert_eq!(pack.put(b"one").unwrap(), hash);
        assert_eq!(pack.total(), (HEAD + 3) as u64);
        assert!(pack.put(&[0; 1000]).is_err());
        let empty = pack.put(b"").unwrap();
        let next = Pack::open(dir.path(), 1000).unwrap();
        assert_eq!(next.get(hash).unwrap(), b"one");
        assert_eq!(next.get(empty).unwrap(), b"");
        assert!(next.get(Hash::of(b"two")).is_err());
        let next = next.rewritten(std::iter::once(hash)).unwrap();
        assert_eq!(next.get(hash).unwrap(), b"one");
        assert!(!next.has(empty));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_torn_end_and_a_changed_byte_are_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = {
            let pack = Pack::open(dir.path(), 1000).unwrap();
            (pack.put(b"one").unwrap(), pack.put(b"two").unwrap())
        };
        let path = fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        bytes.pop();
        bytes[HEAD] ^= 1;
        fs::write(&path, bytes).unwrap();
        let pack = Pack::open(dir.path(), 1000).unwrap();
        assert!(pack.get(one).is_err());
        assert!(!pack.has(two));
    }
}
