//! Reading the log once more from its first entry, and holding it against the plan and the acknowledgements.

use std::collections::BTreeMap;
use std::path::Path;

use bson::{Document, RawDocument};
use tailwater::oplog::entry::{EntryKind, StoreEntry};
use tailwater::oplog::{Finding, LogId, verify};
use tailwater::{LogView, OpId, ReadConcern, log_directory};

use super::summary;
use crate::demo::model::Model;
use crate::demo::plan::{COLLECTION, DATABASE, Plan};
use crate::demo::written::Written;
use crate::failure::{Exit, Failure, Outcome};

/// What the log has.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) id: LogId,
    pub(super) entries: u64,
    pub(super) segments: usize,
    /// The writes of the demo's collection, in order.
    pub(super) writes: Vec<(OpId, Written)>,
    pub(super) faults: Vec<String>,
}

/// Reads the log of the store in `dir`, with every checksum.
pub(super) fn read(dir: &Path) -> Outcome<Log> {
    let report = verify(log_directory(dir))?;
    let view = LogView::open(log_directory(dir))?;
    let mut log = Log {
        id: view.log_id(),
        entries: 0,
        segments: report.segments.len(),
        writes: Vec::new(),
        faults: Vec::new(),
    };
    for finding in &report.findings {
        log.faults.push(match finding {
            Finding::Damage(error) => format!("the log is damaged: {error}"),
            other => format!("the log is not as its writer left it: {other:?}"),
        });
    }
    let mut cursor = view.cursor_from_oldest(ReadConcern::Durable);
    while let Some(entry) = cursor.try_next()? {
        log.entries += 1;
        if entry.op_id().get() != log.entries {
            log.faults
                .push(format!("entry {} of the log has OpID {}", log.entries, entry.op_id()));
        }
        let store = StoreEntry::decode(entry.payload())?;
        match written(entry.kind(), &store)? {
            Some(written) => log.writes.push((entry.op_id(), written)),
            None if EntryKind::from_number(entry.kind()) == Some(EntryKind::Create) => {}
            None => log
                .faults
                .push(format!("entry {} of the log is nobody's", entry.op_id())),
        }
    }
    if report.newest.get() != log.entries {
        log.faults.push(format!(
            "the log ends at OpID {} and has {} entries",
            report.newest, log.entries
        ));
    }
    Ok(log)
}

/// The write that an entry describes, if it is one of the demo's collection.
fn written(kind: u8, entry: &StoreEntry<'_>) -> Outcome<Option<Written>> {
    let decoded = |document: Option<&RawDocument>| {
        let malformed = |e| Failure::new(Exit::Damage, format!("a document in the log is malformed: {e}"));
        document.map(Document::try_from).transpose().map_err(malformed)
    };
    let operation = match EntryKind::from_number(kind) {
        Some(EntryKind::Insert) => "insert",
        Some(EntryKind::Update) => "update",
        Some(EntryKind::Replace) => "replace",
        Some(EntryKind::Delete) => "delete",
        _ => return Ok(None),
    };
    if (entry.database, entry.collection) != (DATABASE, COLLECTION) {
        return Ok(None);
    }
    let document = decoded(entry.document)?;
    let key = decoded(entry.key)?;
    let day = key
        .as_ref()
        .or(document.as_ref())
        .and_then(|key| key.get_str("_id").ok());
    Ok(Some(Written {
        operation,
        day: day.unwrap_or_default().to_owned(),
        diff: decoded(entry.diff)?,
        document,
    }))
}

/// Holds the log's writes against the plan, which the model carries out, and against the acknowledgements.
pub(super) fn compare(
    plan: &Plan,
    model: &mut Model,
    acks: &BTreeMap<usize, OpId>,
    writes: &[(OpId, Written)],
) -> Outcome<Vec<String>> {
    let (mut different, mut lost, mut misplaced) = (Vec::new(), Vec::new(), Vec::new());
    for (index, operation) in plan.operations.iter().enumerate() {
        let planned = model.apply(operation)?;
        let name = || format!("{} of {} (operation {index})", planned.operation, planned.day);
        let Some((op_id, written)) = writes.get(index) else {
            if acks.contains_key(&index) {
                lost.push(name());
            }
            continue;
        };
        if !planned.equals(written)? {
            different.push(name());
        }
        if acks.get(&index).is_some_and(|acknowledged| acknowledged != op_id) {
            misplaced.push(name());
        }
    }
    let planned = plan.operations.len();
    let count = (writes.len() != planned).then(|| format!("the plan has {planned} writes, the log {}", writes.len()));
    let faults = [
        count,
        summary("acknowledged writes that are lost", &lost),
        summary("acknowledged writes that stand elsewhere in the log", &misplaced),
        summary("writes that are not in the log as the plan has them", &different),
    ];
    Ok(faults.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::dataset::days;

    /// A plan for the first weeks, its acknowledgements, and the log it has to leave.
    fn sound() -> (Plan, BTreeMap<usize, OpId>, Vec<(OpId, Written)>) {
        let plan = Plan::new(&days().unwrap()[..60]);
        let mut model = Model::default();
        let op_ids = (2..).map(OpId::new);
        let writes: Vec<_> = op_ids
            .zip(plan.operations.iter().map(|operation| model.apply(operation).unwrap()))
            .collect();
        let acks = writes.iter().map(|(op_id, _)| *op_id).enumerate().collect();
        (plan, acks, writes)
    }

    fn faults(plan: &Plan, acks: &BTreeMap<usize, OpId>, writes: &[(OpId, Written)]) -> Vec<String> {
        compare(plan, &mut Model::default(), acks, writes).unwrap()
    }

    #[test]
    fn a_sound_log_has_no_faults_even_if_some_writes_were_never_acknowledged() {
        let (plan, mut acks, writes) = sound();
        assert_eq!(faults(&plan, &acks, &writes), Vec::<String>::new());
        acks.remove(&17);
        assert_eq!(faults(&plan, &acks, &writes), Vec::<String>::new());
    }

    #[test]
    fn a_lost_write_at_the_end_is_found() {
        let (plan, acks, mut writes) = sound();
        writes.pop();
        let faults = faults(&plan, &acks, &writes);
        assert!(
            faults
                .iter()
                .any(|fault| fault.starts_with("acknowledged writes that are lost: 1 (")),
            "{faults:?}"
        );
    }

    #[test]
    fn a_write_done_twice_is_found() {
        let (plan, acks, mut writes) = sound();
        writes.insert(30, writes[29].clone());
        assert!(faults(&plan, &acks, &writes).len() >= 2);
    }

    #[test]
    fn a_changed_value_and_a_wrong_place_are_found() {
        let (plan, acks, mut writes) = sound();
        writes[5].1.document.as_mut().unwrap().insert("wind", 99.5);
        writes[9].0 = OpId::new(999);
        let faults = faults(&plan, &acks, &writes);
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].contains("elsewhere") && faults[1].contains("as the plan has them"));
    }
}
