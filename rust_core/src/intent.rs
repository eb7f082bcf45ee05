//! What is under way, noted in the state folder before it begins: whoever finds a note whose writer is dead finishes its
//! work or cleans up behind it. A note is locked by its writer as long as that lives; the kernel lets go of the lock, also
//! after kill -9.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::output::random_name;

/// The folder of notes.
#[derive(Debug, Clone)]
pub struct Intents(PathBuf);

/// One note; it goes away with the value, because what it announced is then over, well or not.
#[derive(Debug)]
pub struct Intent {
    path: PathBuf,
    _lock: File,
}

impl Intent {
    /// Leaves the note for the next start.
    pub fn keep(mut self) {
        self.path = PathBuf::new();
    }
}

impl Drop for Intent {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl Intents {
    /// The folder below `state`, created where it is missing.
    pub fn new(state: &Path) -> io::Result<Self> {
        let folder = state.join("intents");
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        Ok(Self(folder))
    }

    /// Writes a note. `is_durable`: it must outlive a power failure too.
    pub fn note(&self, kind: &str, content: &impl Serialize, is_durable: bool) -> io::Result<Intent> {
        let name = format!("{kind}-{}.json", random_name());
        // Under its name only when it is locked and whole: nobody may take it for one whose writer is dead.
        let draft = self.0.join(format!(".{name}"));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        let path = self.0.join(name);
        let written = flock(&file, FlockOperation::LockExclusive)
            .map_err(io::Error::from)
            .and_then(|()| file.write_all(&serde_json::to_vec(content)?))
            .and_then(|()| if is_durable { file.sync_all() } else { Ok(()) })
            .and_then(|()| fs::rename(&draft, &path));
        if let Err(error) = written {
            let _ = fs::remove_file(&draft);
            return Err(error);
        }
        Ok(Intent { path, _lock: file })
    }

    /// The notes of this kind whose writers are dead, each taken over (and removed when dropped). One that cannot be read
    /// is removed.
    pub fn abandoned<T: DeserializeOwned>(&self, kind: &str, is_wanted: impl Fn(&T) -> bool) -> Vec<(Intent, T)> {
        let prefix = format!("{kind}-");
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.0).into_iter().flatten().flatten() {
            if !entry.file_name().to_string_lossy().starts_with(&prefix) {
                continue;
            }
            let Ok(mut file) = File::open(entry.path()) else { continue };
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
                continue;
            }
            let mut text = Vec::new();
            let content = file.read_to_end(&mut text).ok().and_then(|_| serde_json::from_slice(&text).ok());
            match content {
                Some(content) if !is_wanted(&content) => {}
                Some(content) => found.push((Intent { path: entry.path(), _lock: file }, content)),
                None => drop(Intent { path: entry.path(), _lock: file }),
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_found_only_when_its_writer_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let intents = Intents::new(dir.path()).unwrap();
        let note = intents.note("draft", &"here", false).unwrap();
        assert!(intents.abandoned::<String>("draft", |_| true).is_empty());
        let kept = note.path.clone();
        std::fs::write(kept.with_file_name("draft-dead.json"), "\"there\"").unwrap();
        std::fs::write(kept.with_file_name("draft-torn.json"), "\"the").unwrap();
        let found = intents.abandoned::<String>("draft", |_| true);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].1, "there");
        drop(found);
        drop(note);
        assert_eq!(std::fs::read_dir(dir.path().join("intents")).unwrap().count(), 0);
    }
}
