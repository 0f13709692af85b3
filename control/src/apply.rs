//! Takes the steps of a [plan](crate::plan): all or none ([`all_or_nothing`]), or as many as possible
//! ([`tear_down`]).

use std::sync::{PoisonError, RwLock};

use crate::error::Error;
use crate::failpoint;
use crate::plan::Step;
use crate::state::State;
use crate::store::Store;
use crate::world::World;

/// Where steps are taken.
#[derive(Clone, Copy)]
pub struct Site<'a> {
    /// Namespaces, devices and the engine.
    pub world: &'a dyn World,
    /// What survives.
    pub store: &'a Store,
    /// What is known.
    pub state: &'a RwLock<State>,
}

impl Site<'_> {
    fn take(&self, step: &Step) -> Result<(), Error> {
        failpoint::step();
        let Step::Store(changes) = step else {
            return self.world.perform(step);
        };
        self.store.commit(changes)?;
        // A panic while the lock is held leaves whole records only.
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        changes.iter().for_each(|change| state.apply(change));
        Ok(())
    }
}

/// Takes all steps. When one fails, takes back those before it, last one first.
///
/// # Errors
/// Why a step failed. What could not be taken back is in the log.
pub fn all_or_nothing(site: Site<'_>, steps: &[Step]) -> Result<(), Error> {
    for (number, step) in steps.iter().enumerate() {
        if let Err(error) = site.take(step) {
            take_back(site, &steps[..number]);
            return Err(error);
        }
    }
    Ok(())
}

/// Like [`tear_down`]: what could not be removed keeps its record, and the next start tries again.
fn take_back(site: Site<'_>, done: &[Step]) {
    let steps: Vec<Step> = done.iter().rev().filter_map(Step::inverse).collect();
    if let Err(error) = tear_down(site, &steps) {
        tracing::error!(%error, "cannot undo all of it");
    }
}

/// Takes every step that can be taken. A step that writes to the store is left out once another failed, so that
/// what could not be removed is not forgotten.
///
/// # Errors
/// All that failed.
pub fn tear_down(site: Site<'_>, steps: &[Step]) -> Result<(), Error> {
    let mut errors = Vec::new();
    for step in steps {
        if matches!(step, Step::Store(_)) && !errors.is_empty() {
            continue;
        }
        errors.extend(site.take(step).err());
    }
    match errors.len() {
        0 => Ok(()),
        1 => errors.pop().map_or(Ok(()), Err),
        _ => Err(Error::Several(errors)),
    }
}
