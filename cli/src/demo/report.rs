//! What the demo says before and after: who plays, and what the proof found.

use std::time::Duration;

use indicatif::HumanCount;

use super::dataset::Day;
use super::director::Record;
use super::plan::Plan;
use super::proof::Proof;
use super::stage::Stage;
use super::watcher::WATCHERS;

/// Characters of a digest that are shown.
const DIGEST_SHOWN: usize = 8;

/// The introduction.
pub(crate) fn prologue(stage: &Stage, days: &[Day], plan: &Plan) -> String {
    let count = |name| HumanCount(plan.count(name));
    let removed = if stage.is_temporary() {
        " (removed at the end)"
    } else {
        ""
    };
    let mut text = format!(
        "Tailwater demo: kill a writer and a watcher at their work, and lose nothing.\n\n\
         store     {}{removed}\n\
         data      the weather in Seattle, {} days\n\
         writer    a process that makes {} writes, each acknowledged when on disk:\n\
         {:10}{} inserts, {} updates, {} replacements, {} deletions\n",
        stage.dir().display(),
        HumanCount(days.len() as u64),
        HumanCount(plan.operations.len() as u64),
        "",
        count("insert"),
        count("update"),
        count("replace"),
        count("delete"),
    );
    for watcher in WATCHERS {
        text.push_str(&format!(
            "{:9} a process that watches {}\n",
            watcher.name(),
            watcher.filter()
        ));
    }
    text
}

/// The result of the proof.
pub(crate) fn epilogue(plan: &Plan, record: &Record, proof: &Proof, elapsed: Duration) -> String {
    let planned = plan.operations.len() as u64;
    let good = |good: bool| if good { "ok" } else { "WRONG" };
    let mut text = format!(
        "\n{:8} {:40} {:>8} {:>8}  {}\n",
        "watcher", "filter", "expected", "received", "SHA-256"
    );
    for watcher in &proof.watchers {
        text.push_str(&format!(
            "{:8} {:40} {:>8} {:>8}  {} {}\n",
            watcher.watcher.name(),
            watcher.watcher.filter(),
            HumanCount(watcher.expected).to_string(),
            HumanCount(watcher.received).to_string(),
            watcher.digest.get(..DIGEST_SHOWN).unwrap_or_default(),
            good(watcher.faults.is_empty()),
        ));
    }
    text.push_str(&format!(
        "\nwrites    {} of {} acknowledged, {} cut off by a kill, yet in the log\n\
         log       {} entries in {} segments, every checksum verified: {}\n\
         store     {} documents, byte for byte as planned: {}\n\
         kills     {}; each went on where it was\n\
         time      {:.1} s\n\n",
        HumanCount(record.acks.len() as u64),
        HumanCount(planned),
        record.found,
        HumanCount(proof.entries),
        proof.segments,
        good(proof.log_faults.is_empty()),
        HumanCount(proof.documents),
        good(proof.state_faults.is_empty()),
        record.killed.join(", "),
        elapsed.as_secs_f64(),
    ));
    text.push_str(if proof.all_faults().is_empty() {
        "Each acknowledged write reached each matching watcher exactly once, in order."
    } else {
        "NOT PROVED."
    });
    text
}

/// What to do with a store that stays.
pub(crate) fn invitation(stage: &Stage) -> String {
    let dir = stage.dir().display();
    format!(
        "\nThe store is in {dir}. Look at it:\n  \
         tailwater log inspect --dir {dir}\n  \
         tailwater watch --dir {dir} --from oldest --no-follow --filter '{}'",
        WATCHERS[0].filter()
    )
}
