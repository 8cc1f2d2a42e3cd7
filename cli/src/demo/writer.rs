//! The writer's process: it carries out the plan, and acknowledges each operation once that is on disk.
//!
//! # Exactly once, across kills
//!
//! A kill may hit between a write and its acknowledgement; then the operation is done, and nobody knows. To do it again
//! would be as wrong as to leave it out. The log decides: every operation of the plan makes exactly one entry in the
//! collection, so the number of entries is the number of the next operation. Nothing else is kept, and so nothing else can
//! disagree.
//!
//! # Pace
//!
//! Operations fall due at an even pace, for somebody to watch. Steps that are due together, because the disk is slower than
//! the pace, go into the log one after the other and share the sync of the last: what is on disk is always a prefix.
//!
//! Around the operation at which it is to be killed the writer hurries, so that the kill finds it at work and not asleep.

use std::path::Path;
use std::time::{Duration, Instant};

use bson::{Document, RawDocumentBuf, doc, rawdoc};
use tailwater::oplog::entry::{EntryKind, StoreEntry};
use tailwater::oplog::{Options, SEGMENT_BYTES_MIN};
use tailwater::{Collection, Durability, LogView, OpId, ReadConcern, Store, StoreOptions, WriteOutcome};

use super::plan::{COLLECTION, DATABASE, Operation, Plan};
use super::wire::{Message, Orders, tell};
use crate::failure::{Exit, Failure, Outcome};

/// Operations that share a sync at the most, so that there is always a middle to be killed in.
const OPERATIONS_PER_SYNC: usize = 128;

/// How many operations the writer gets beyond the one at which it is to be killed, at the most.
pub(crate) const OPERATIONS_BEYOND_KILL: usize = 600;
/// How many operations before that one it begins to hurry.
const OPERATIONS_HURRIED: usize = 64;

/// How the demo's store is opened: with segments so small that the log comes to more than one.
pub(crate) fn store_options() -> StoreOptions {
    StoreOptions {
        oplog: Options {
            segment_bytes: SEGMENT_BYTES_MIN,
            ..Options::default()
        },
        cache_bytes: 8 << 20,
        ..StoreOptions::default()
    }
}

/// Carries out the plan from where the store stands, at a pace of `total` for the whole of it. Before the operation `until`
/// it waits, to be killed there at the latest.
pub(crate) fn run(dir: &Path, plan: &Plan, total: Duration, until: usize) -> Outcome {
    Orders::listen()?;
    let store = Store::open_with(dir, &store_options())?;
    let done = operations_in(&store.log())?;
    tell([Message::Ready { found: done as u64 }])?;

    let durable = store.collection(DATABASE, COLLECTION)?;
    let early = durable.clone().with_durability(Durability::Memory);
    let started = Instant::now();
    let per_operation = total / u32::try_from(plan.operations.len().max(1)).unwrap_or(u32::MAX);
    let hurry = until.saturating_sub(OPERATIONS_BEYOND_KILL + OPERATIONS_HURRIED);
    let mut next = done;
    let mut steps = plan.steps.iter().filter(|step| step.end > done).peekable();
    while let Some(step) = steps.peek() {
        let in_time = done + (started.elapsed().as_nanos() / per_operation.as_nanos().max(1)) as usize;
        let due = if next >= hurry { until } else { in_time };
        if step.start > due || step.start >= until {
            std::thread::sleep(per_operation.max(Duration::from_micros(200)));
            continue;
        }
        let mut acks = Vec::new();
        while let Some(step) = steps.next() {
            let more = steps
                .peek()
                .is_some_and(|next| next.start <= due.min(until.saturating_sub(1)));
            let last = !more || acks.len() >= OPERATIONS_PER_SYNC;
            let operations = &plan.operations[next.max(step.start)..step.end];
            let op_id = carry_out(if last { &durable } else { &early }, operations)?;
            let first = op_id.get() + 1 - operations.len() as u64;
            acks.extend((first..).zip(next..step.end).map(|(op_id, index)| Message::Ack {
                index,
                op_id: OpId::new(op_id),
            }));
            next = step.end;
            if last {
                break;
            }
        }
        tell(acks)?;
    }
    drop((durable, early));
    store.close()?;
    tell([Message::Done])
}

/// How many operations of the plan the log holds.
fn operations_in(log: &LogView) -> Outcome<usize> {
    let mut cursor = log.cursor_from_oldest(ReadConcern::Local);
    let mut count = 0;
    while let Some(entry) = cursor.try_next()? {
        let kind = EntryKind::from_number(entry.kind());
        let store = StoreEntry::decode(entry.payload())?;
        let of_plan = store.document.is_some() || kind == Some(EntryKind::Delete);
        count += usize::from(of_plan && (store.database, store.collection) == (DATABASE, COLLECTION));
    }
    Ok(count)
}

/// Carries out one step; returns its last OpID.
fn carry_out(collection: &Collection, operations: &[Operation]) -> Outcome<OpId> {
    if let [operation] = operations {
        return carry_out_one(collection, operation);
    }
    let documents: Vec<RawDocumentBuf> = operations
        .iter()
        .map(|operation| match operation {
            Operation::Insert { document, .. } => raw(document),
            _ => Err(Failure::new(
                Exit::Failure,
                "the plan has a batch that is not of inserts",
            )),
        })
        .collect::<Outcome<_>>()?;
    Ok(collection.insert_many(documents.iter().map(AsRef::as_ref))?.op_id)
}

fn carry_out_one(collection: &Collection, operation: &Operation) -> Outcome<OpId> {
    let key = rawdoc! { "_id": operation.day() };
    let outcome = match operation {
        Operation::Insert { document, .. } => return Ok(collection.insert_one(&raw(document)?)?.op_id),
        Operation::Set { field, value, .. } => {
            collection.update_one(&key, &raw(&doc! { "$set": { *field: value.clone() } })?)?
        }
        Operation::Increment { field, by, .. } => {
            collection.update_one(&key, &raw(&doc! { "$inc": { *field: by.clone() } })?)?
        }
        Operation::Replace { document, .. } => collection.replace_one(&key, &raw(document)?)?,
        Operation::Delete { .. } => collection.delete_one(&key)?,
    };
    match outcome {
        WriteOutcome {
            modified: 1,
            op_id: Some(op_id),
            ..
        } => Ok(op_id),
        other => {
            let what = format!(
                "{} of day {} changed {} documents",
                operation.name(),
                operation.day(),
                other.modified
            );
            Err(Failure::new(Exit::Damage, format!("the {what} instead of one")))
        }
    }
}

fn raw(document: &Document) -> Outcome<RawDocumentBuf> {
    let encoded = RawDocumentBuf::try_from(document);
    encoded.map_err(|e| Failure::new(Exit::Failure, format!("cannot encode a document: {e}")))
}
