//! What is checked at every step.

use tailwater_oplog::OpId;
use tailwater_replication::decision::MemberNumber;

use super::{Cluster, Entry, Role};

impl Cluster {
    pub(super) fn append(&mut self, at: usize, entry: Entry) -> OpId {
        let part = self.nodes[at].part;
        let disk = &mut self.nodes[at].disk;
        disk.known = disk.known.max(entry.term);
        let log = &mut disk.log;
        assert!(log.last().is_none_or(|last| last.term <= entry.term), "terms go back");
        log.push(entry);
        let op_id = log.len() as u64;
        // What is written is written whole, and comes to those that are filtered from who has it whole or as much of it.
        let written = *self.ledger.written.entry((entry.term, op_id)).or_insert(entry);
        assert!(
            written.share(part) == entry,
            "two entries {op_id} of term {}, or not the part that {} is to have",
            entry.term,
            self.nodes[at].name
        );
        OpId::new(op_id)
    }

    pub(super) fn commit(&mut self, at: usize, op_id: OpId) {
        self.note(at, &format!("majority holds {op_id}"));
        let Role::Primary(primary) = &self.nodes[at].role else {
            unreachable!("only a primary counts");
        };
        let term = primary.term();
        let log = &self.nodes[at].disk.log;
        for (number, entry) in (1..=op_id.get()).zip(log) {
            self.ledger.committed_in.entry(number).or_insert(term);
            let before = self.ledger.committed.insert(number, *entry);
            assert!(
                before.is_none_or(|before| before == *entry),
                "entry {number} acknowledged twice"
            );
        }
    }

    /// What a follower shows at majority is what was acknowledged.
    pub(super) fn check_majority(&self, at: usize, op_id: OpId) {
        let part = self.nodes[at].part;
        for number in self.nodes[at].disk.trimmed as u64 + 1..=op_id.get() {
            let own = self.nodes[at].disk.log.get(number as usize - 1);
            let committed = self.ledger.committed.get(&number).map(|held| held.share(part));
            assert_eq!(own.copied(), committed, "shown at majority: {number}");
        }
    }

    /// Who has only a part counts for nothing, whoever speaks for it.
    pub(super) fn check_counted(&mut self, at: usize) {
        let filtered: Vec<MemberNumber> = self
            .nodes
            .iter()
            .filter(|node| node.part.is_some())
            .map(|node| MemberNumber(node.number))
            .collect();
        let node = &mut self.nodes[at];
        let Some(hub) = node.role.hub(&mut node.relay) else {
            return;
        };
        for member in filtered {
            let counts = hub.held().contains_key(&member) && !hub.is_partial(member);
            assert!(!counts, "{} counts {member:?}, which has a part", node.name);
        }
    }
}
