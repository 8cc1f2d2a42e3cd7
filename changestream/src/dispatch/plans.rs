//! One plan for all who ask for the same: watches are hash-consed by what they were asked with.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tailwater_matcher::Path;

use crate::error::Result;
use crate::plan::Plan;
use crate::scope::Scope;

/// The plans in use. See the module documentation.
#[derive(Debug, Default)]
pub(crate) struct Plans {
    known: Mutex<Known>,
    keys: (RandomState, RandomState),
}

#[derive(Debug, Default)]
struct Known {
    plans: HashMap<(u64, u64), Weak<Plan>>,
    scopes: HashMap<Scope, Weak<Scope>>,
    /// Paths that plans share.
    paths: HashSet<Path>,
    /// The tables are swept when one has grown to this.
    sweep_at: usize,
}

impl Plans {
    /// The plan for `question`, which says everything that decides it; compiled when there is none.
    ///
    /// Questions are told apart by 128 bits of keyed hash, so that their texts need not be kept.
    pub(crate) fn intern(&self, question: &impl Hash, compile: impl FnOnce() -> Result<Plan>) -> Result<Arc<Plan>> {
        let key = (self.keys.0.hash_one(question), self.keys.1.hash_one(question));
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plan) = known().plans.get(&key).and_then(Weak::upgrade) {
            return Ok(plan);
        }
        let mut plan = compile()?;
        let mut known = known();
        if let Some(plan) = known.plans.get(&key).and_then(Weak::upgrade) {
            return Ok(plan);
        }
        known.sweep();
        match known.scopes.get(&*plan.scope).and_then(Weak::upgrade) {
            Some(scope) => plan.scope = scope,
            None => {
                let scope = Arc::downgrade(&plan.scope);
                known.scopes.insert(Scope::clone(&plan.scope), scope);
            }
        }
        plan.share_paths(&mut known.paths);
        let plan = Arc::new(plan);
        known.plans.insert(key, Arc::downgrade(&plan));
        Ok(plan)
    }
}

impl Known {
    /// Forgets what nobody uses, each time the tables have doubled.
    fn sweep(&mut self) {
        if self.plans.len().max(self.scopes.len()) >= self.sweep_at {
            self.plans.retain(|_, plan| plan.strong_count() > 0);
            self.scopes.retain(|_, scope| scope.strong_count() > 0);
            if self.paths.len() > self.plans.len() {
                // Some of them nobody uses; which, they do not tell. Those in use go on being shared by who shares them.
                self.paths.clear();
            }
            self.sweep_at = 2 * self.plans.len().max(self.scopes.len()).max(64);
        }
    }
}
