//! Taking calls back: shown first, then done, noted as a checkpoint itself, and finished by the next start where it was
//! killed.

use std::io;

use serde_json::{Value, json};

use super::journal::Entry;
use super::plan::{Plan, Target, plan};
use super::restore::{Failure, Noted, Restorer};
use super::state::Saving;
use super::store::Store;
use super::{Checkpoints, MAX_EXPLICIT_BYTES, preview};
use crate::audit::now;
use crate::crash;
use crate::workspace::Workspace;

/// A restore of more is written to the disk as a whole, not file by file.
const BULK_STEPS: usize = 64;

impl Checkpoints {
    /// What a restore would do. The error is for a person.
    pub fn preview(&self, workspace: &Workspace, target: &Target) -> Result<Value, String> {
        let mut session = self.lock();
        let store = self.store(&mut session, workspace).map_err(unreadable)?;
        let at = target.resolve(&store.journal.entries)?;
        let plan = self.plan(store, workspace, at).map_err(unreadable)?;
        let entries = &store.journal.entries[at..];
        Ok(preview::preview(entries, &plan.steps, &store.pack))
    }

    /// Does it. With `is_forced` also where somebody else has changed a file since; else nothing at all is done then.
    pub fn restore(&self, workspace: &Workspace, target: &Target, is_forced: bool) -> Result<Value, String> {
        let mut session = self.lock();
        let store = self.store(&mut session, workspace).map_err(unreadable)?;
        let at = target.resolve(&store.journal.entries)?;
        let plan = self.plan(store, workspace, at).map_err(unreadable)?;
        let entries = &store.journal.entries[at..];
        let mut shown = preview::preview(entries, &plan.steps, &store.pack);
        let conflicts = plan.steps.iter().filter(|step| step.is_conflict).count();
        if conflicts > 0 && !is_forced {
            return Err(format!(
                "Nothing was changed: {} been edited since by someone else. Use --force to overwrite.",
                if conflicts == 1 { "1 file has".to_owned() } else { format!("{conflicts} files have") }
            ));
        }
        let calls = entries.iter().filter(|entry| entry.restored_to.is_none()).count();
        let title = match entries {
            [only] if only.restored_to.is_some() => format!("take back c{}", only.number),
            _ => format!("take back {calls} call{} from c{}", if calls == 1 { "" } else { "s" }, entries[0].number),
        };
        let last = entries.last().map_or(0, |entry| entry.number);
        let noted = Noted { owner: store.owner.clone(), restored_to: entries[0].number, last, title, plan };
        store.pack.sync().map_err(unreadable)?;
        let intent = self.intents.note("restore", &noted, true).map_err(unreadable)?;
        crash::point("restore noted");
        let (entry, failures) = self.finish(store, workspace, noted).map_err(unreadable)?;
        drop(intent);
        crash::point("restore done");
        shown["id"] = json!(entry.map(|number| format!("c{number}")));
        shown["failures"] = failures
            .into_iter()
            .map(|(path, reason)| json!({"path": path.to_string_lossy(), "reason": reason}))
            .collect();
        Ok(shown)
    }

    /// What takes back the entries from this index on.
    fn plan(&self, store: &mut Store, workspace: &Workspace, at: usize) -> io::Result<Plan> {
        if store.tree.is_complete {
            // Which names files have now; where that cannot be seen, what was known is used.
            let _ = self.look(store, workspace)?;
        }
        let saving = Saving { pack: Some(&store.pack), max_bytes: MAX_EXPLICIT_BYTES, refusal: None };
        plan(workspace, &store.journal.entries[at..], &store.tree.names, saving)
    }

    fn finish(
        &self,
        store: &mut Store,
        workspace: &Workspace,
        noted: Noted,
    ) -> io::Result<(Option<u64>, Vec<Failure>)> {
        let mut names = store.tree.names.clone();
        for step in &noted.plan.steps {
            names.add(&step.from, || step.path.clone());
        }
        let restorer = Restorer {
            workspace,
            pack: &store.pack,
            plan: &noted.plan,
            names,
            intents: &self.intents,
            is_bulk: noted.plan.steps.len() > BULK_STEPS,
        };
        let (mut changes, failures) = restorer.apply();
        crash::point("restore applied");
        if changes.is_empty() {
            return Ok((None, failures));
        }
        changes.sort_by(|a, b| a.path.cmp(&b.path));
        let entry = Entry {
            number: 0,
            at: now(),
            turn: String::new(),
            call: String::new(),
            tool: "undo".into(),
            title: noted.title,
            families: restorer.names.families(&changes),
            changes,
            restored_to: Some(noted.restored_to),
            git: None,
            is_interrupted: false,
            gap: String::new(),
        };
        let number = store.append(entry)?.number;
        crash::point("restore journaled");
        Ok((Some(number), failures))
    }

    /// Finishes the restores that a killed process left half done.
    pub(super) fn finish_restores(&self, workspace: &Workspace) {
        let is_ours = |noted: &Noted| noted.owner.workspace == workspace.path();
        for (intent, noted) in self.intents.abandoned::<Noted>("restore", is_ours) {
            let opened = Store::open(&self.folder, noted.owner.clone(), self.limits().megabytes << 20);
            let finished = opened.and_then(|mut store| {
                // Killed after its last word: done.
                let is_done = store.journal.entries.last().is_some_and(|entry| entry.number > noted.last);
                if is_done { Ok(()) } else { self.finish(&mut store, workspace, noted).map(|_| ()) }
            });
            if finished.is_err() {
                intent.keep(); // for the next start
            }
        }
    }
}

fn unreadable(error: io::Error) -> String {
    format!("The checkpoints cannot be used: {error}.")
}
