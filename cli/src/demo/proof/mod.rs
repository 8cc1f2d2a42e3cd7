//! The proof: from what was acknowledged, over the log, to what every watcher has in its file and what the store holds.
//!
//! ```text
//!   plan ──── model ────┐ each write byte for byte
//!   acks (director) ────┤ each at its OpID                 ┌── watchers' files: the same events, once, in order
//!                       └────► log, read entry by entry ───┤
//!                              every checksum verified     └── store, opened once more: the same documents
//! ```
//!
//! It decides with plain Rust on decoded documents, and shares no code with what it judges but the reading of log and store.

mod log;
mod sequence;
mod state;

use super::director::Record;
use super::effect::Effect;
use super::journal;
use super::model::Model;
use super::plan::Plan;
use super::stage::Stage;
use super::watcher::{WATCHERS, Watcher};
use super::written::{Seen, digest_of_all};
use crate::failure::Outcome;

/// How many faults of a kind are named; the rest is counted.
const FAULTS_NAMED_MAX: usize = 5;

/// What was compared, and what is wrong.
#[derive(Debug)]
pub(crate) struct Proof {
    pub(crate) entries: u64,
    pub(crate) segments: usize,
    pub(crate) documents: u64,
    pub(crate) watchers: Vec<WatcherProof>,
    /// What is wrong with the log; empty when all is well.
    pub(crate) log_faults: Vec<String>,
    /// What is wrong with the store's documents.
    pub(crate) state_faults: Vec<String>,
}

/// One watcher's part of it.
#[derive(Debug)]
pub(crate) struct WatcherProof {
    pub(crate) watcher: Watcher,
    pub(crate) expected: u64,
    pub(crate) received: u64,
    /// SHA-256 over all that was received.
    pub(crate) digest: String,
    /// What is wrong with it; empty when all is well.
    pub(crate) faults: Vec<String>,
}

impl Proof {
    /// Everything that is wrong.
    pub(crate) fn all_faults(&self) -> Vec<String> {
        let of_watchers = self.watchers.iter().flat_map(|proof| {
            let name = proof.watcher.name();
            proof.faults.iter().map(move |fault| format!("watcher {name}: {fault}"))
        });
        let of_store = self.log_faults.iter().chain(&self.state_faults).cloned();
        of_store.chain(of_watchers).collect()
    }
}

/// Compares everything. An error means that something could not be read at all.
pub(crate) fn prove(stage: &Stage, plan: &Plan, record: &Record) -> Outcome<Proof> {
    let log = log::read(stage.dir())?;
    let mut log_faults = log.faults.clone();
    let mut model = Model::default();
    log_faults.extend(log::compare(plan, &mut model, &record.acks, &log.writes)?);
    let accounted = record.acks.len() as u64 + record.found;
    if accounted != plan.operations.len() as u64 {
        log_faults.push(format!(
            "{accounted} writes were acknowledged or cut off by a kill, not as many as planned"
        ));
    }
    let watchers = WATCHERS.map(|watcher| prove_watcher(stage, watcher, &log));
    let watchers = watchers.into_iter().collect::<Outcome<_>>()?;
    let (documents, state_faults) = state::compare(stage.dir(), &model)?;
    Ok(Proof {
        entries: log.entries,
        segments: log.segments,
        documents,
        watchers,
        log_faults,
        state_faults,
    })
}

fn prove_watcher(stage: &Stage, watcher: Watcher, log: &log::Log) -> Outcome<WatcherProof> {
    let mut expected = Vec::new();
    for (op_id, written) in log.writes.iter().filter(|(_, written)| watcher.wants(written)) {
        expected.push(written.seen(op_id.get(), watcher.is_shown_document(written))?);
    }
    let effects = journal::read(&journal::path(stage.dir(), watcher))?;
    let mut faults = sequence::compare_tokens(&effects, log.id);
    let received: Vec<Seen> = effects.into_iter().map(|Effect { seen, .. }| seen).collect();
    faults.extend(sequence::compare(&expected, &received));
    let digest = digest_of_all(&received);
    if faults.is_empty() && digest != digest_of_all(&expected) {
        faults.push("the digest over all events differs".to_owned());
    }
    Ok(WatcherProof {
        watcher,
        expected: expected.len() as u64,
        received: received.len() as u64,
        digest,
        faults,
    })
}

/// Names the first few of the faults of a kind and counts the rest.
fn summary(what: &str, cases: &[String]) -> Option<String> {
    if cases.is_empty() {
        return None;
    }
    let named = cases
        .iter()
        .take(FAULTS_NAMED_MAX)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    let more = cases.len().saturating_sub(FAULTS_NAMED_MAX);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    Some(format!("{what}: {} ({named}{more})", cases.len()))
}
