//! Where a repository keeps its things, and their stand-in.

use std::fs::Permissions;
use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use super::super::{Context, ToolError};

/// Of a file in `.git` that is copied.
const MAX_COPY_BYTES: u64 = 1 << 20;

/// Where a repository keeps its things.
pub struct Folder {
    /// What belongs to this working tree: HEAD and index.
    pub own: PathBuf,
    /// What all its working trees share; mostly the same folder.
    pub common: PathBuf,
    head: Vec<u8>,
}

impl Folder {
    /// Of the working tree whose top this is; nothing of it may lie outside the workspace.
    pub fn find(context: &Context<'_>, top: &Path) -> Result<Self, ToolError> {
        let inside = |path: PathBuf| {
            let location = context.workspace.locate(&path.to_string_lossy());
            if location.root.is_none() {
                let place = location.target.display();
                return Err(ToolError::failed(format!(
                    "The repository of {} keeps its things in {place}, outside the workspace, where Git does not \
                     follow; use git in Bash.",
                    top.display()
                )));
            }
            Ok(location.target)
        };
        let mut own = inside(top.join(".git"))?;
        if !own.is_dir() {
            let text = read_small(context, &own).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let to = text.strip_prefix("gitdir:").map(str::trim);
            let to = to.ok_or_else(|| ToolError::failed(format!("{} is no repository.", own.display())))?;
            own = inside(top.join(to))?;
        }
        let common = match read_small(context, &own.join("commondir")) {
            Some(text) => inside(own.join(String::from_utf8_lossy(&text).trim()))?,
            None => own.clone(),
        };
        let head = read_small(context, &own.join("HEAD"));
        let head = head.ok_or_else(|| ToolError::failed(format!("{} is no repository.", own.display())))?;
        for path in [own.join("index"), common.join("objects"), common.join("refs"), common.join("packed-refs")] {
            inside(path)?;
        }
        if let Some(text) = read_small(context, &common.join("objects/info/alternates")) {
            for line in String::from_utf8_lossy(&text).lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
            {
                inside(common.join("objects").join(line))?;
            }
        }
        let is_plain = |path: &Path| path.symlink_metadata().map_or(true, |found| found.is_file());
        if !is_plain(&own.join("index")) || !is_plain(&common.join("packed-refs")) {
            return Err(ToolError::failed("The repository is damaged: its index is no plain file."));
        }
        Ok(Self { own, common, head })
    }

    /// Puts into `stand_in` what git looks for in `.git`, but for the configuration.
    pub fn link(&self, stand_in: &Path) -> std::io::Result<()> {
        std::fs::write(stand_in.join("HEAD"), &self.head)?;
        std::fs::set_permissions(stand_in.join("HEAD"), Permissions::from_mode(0o600))?;
        for name in ["refs", "packed-refs", "reftable", "shallow"] {
            link_existing(&self.common.join(name), &stand_in.join(name))?;
        }
        for name in ["logs", "ORIG_HEAD", "FETCH_HEAD", "MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD"] {
            link_existing(&self.own.join(name), &stand_in.join(name))?;
        }
        for entry in std::fs::read_dir(&self.own)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with("sharedindex.") {
                link_existing(&entry.path(), &stand_in.join(entry.file_name()))?;
            }
        }
        std::fs::create_dir(stand_in.join("info"))?;
        link_existing(&self.common.join("info/exclude"), &stand_in.join("info/exclude"))
    }
}

fn link_existing(from: &Path, to: &Path) -> std::io::Result<()> {
    // What is itself a link is left out: it may lead anywhere.
    if from.symlink_metadata().is_ok_and(|found| found.is_file() || found.is_dir()) {
        symlink(from, to)
    } else {
        Ok(())
    }
}

/// A plain file of the workspace that is not large; never waits.
pub fn read_small(context: &Context<'_>, path: &Path) -> Option<Vec<u8>> {
    let file = context.workspace.open_file(&context.workspace.locate(path.to_str()?)).ok()?;
    let size = file.metadata().ok().filter(std::fs::Metadata::is_file)?.len();
    let mut content = Vec::new();
    (size <= MAX_COPY_BYTES).then(|| file.take(MAX_COPY_BYTES).read_to_end(&mut content).ok()).flatten()?;
    Some(content)
}
