//! The second layer over files: the kernel's Landlock, which also holds where mounts cannot be had.
//!
//! Stops: writing outside the places; with namespaces missing also reading what is hidden, and TCP; from version 6 on signals
//! and abstract sockets to processes outside; in every version looking into their memory, files and variables.

use ::landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, PathBeneath, Ruleset,
    RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, RulesetStatus, Scope,
};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use crate::order::{Ground, Treatment};
use crate::system::open_path;

/// Ready to be put up, again and again.
pub struct Rules(RulesetCreated);

impl Rules {
    /// Puts this process and all it starts under them. Fails where they are not enforced to the letter.
    pub fn restrict(&self) -> Result<(), String> {
        let rules = self.0.try_clone().map_err(|error| format!("Landlock: {error}"))?;
        match rules.restrict_self().map_err(failed)?.ruleset {
            RulesetStatus::FullyEnforced => Ok(()),
            other => Err(format!("Landlock is not enforced as asked: {other:?}")),
        }
    }
}

/// The rules of the order; `None`: the machine has no Landlock.
pub fn rules(ground: &Ground) -> Result<Option<Rules>, String> {
    let abi = match ground.layers.landlock {
        0 => return Ok(None),
        1 => ABI::V1,
        2 => ABI::V2,
        3 => ABI::V3,
        4 => ABI::V4,
        5 => ABI::V5,
        6..=8 => ABI::V6, // 7 and 8 only change logging and threads
        _ => ABI::V9,
    };
    let is_alone = !ground.layers.namespaces;
    let write = AccessFs::from_write(abi);
    let handled = if is_alone && !ground.readable.is_empty() { AccessFs::from_all(abi) } else { write };
    let mut rules = Builder { created: create(abi, handled, is_alone).map_err(failed)?, abi, handled };
    for place in ground.places.iter().filter(|place| place.treatment == Treatment::Write) {
        rules.allow(if is_alone { &place.source } else { &place.path }, handled)?;
    }
    // Without namespaces this is the machine's own /dev: its files may be used, none made.
    let device_access = (AccessFs::from_file(abi) | AccessFs::ReadDir) & handled;
    if is_alone {
        for name in ["null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts"] {
            rules.allow(&Path::new("/dev").join(name), device_access)?;
        }
        for device in &ground.devices {
            rules.allow(Path::new(device), device_access)?;
        }
    } else {
        rules.allow(Path::new("/dev"), handled)?;
    }
    for path in &ground.readable {
        rules.allow(Path::new(path), AccessFs::from_read(abi) & handled)?;
    }
    Ok(Some(Rules(rules.created)))
}

fn create(abi: ABI, handled: BitFlags<AccessFs>, is_alone: bool) -> Result<RulesetCreated, ::landlock::RulesetError> {
    let mut rules = Ruleset::default().set_compatibility(CompatLevel::HardRequirement).handle_access(handled)?;
    if is_alone && abi >= ABI::V4 {
        rules = rules.handle_access(AccessNet::from_all(abi))?;
    }
    if abi >= ABI::V6 {
        rules = rules.scope(Scope::from_all(abi))?;
    }
    rules.create()
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn failed(error: ::landlock::RulesetError) -> String {
    format!("Landlock: {error}")
}

struct Builder {
    created: RulesetCreated,
    abi: ABI,
    handled: BitFlags<AccessFs>,
}

impl Builder {
    /// Places that are not there need no rule.
    fn allow(&mut self, path: &Path, access: BitFlags<AccessFs>) -> Result<(), String> {
        let Ok(fd): Result<OwnedFd, _> = open_path(path, true) else { return Ok(()) };
        let access = if path.is_dir() { access } else { access & AccessFs::from_file(self.abi) };
        let access = access & self.handled;
        if !access.is_empty() {
            (&mut self.created).add_rule(PathBeneath::new(fd.as_fd(), access)).map_err(failed)?;
        }
        Ok(())
    }
}
