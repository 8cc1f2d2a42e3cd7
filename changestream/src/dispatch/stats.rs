//! What a dispatcher has done, in numbers.

use tailwater_oplog::OpId;

/// What a dispatcher has done for the watches of one read concern, and whom it serves. Numbers count since its first watch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct DispatcherStats {
    /// The last entry that the shared tail has dispatched.
    pub position: OpId,
    /// Who reads the log there.
    pub leader: Leader,
    /// Watches on the shared tail.
    pub live: usize,
    /// Distinct watches on the shared tail: those that ask for the same are one.
    pub distinct: usize,
    /// Watches that catch up behind it. Those that wait for room in their channel are not counted.
    pub catching_up: usize,
    /// What the shared tail has done.
    pub tail: Counts,
    /// What was done for watches that caught up.
    pub behind: Counts,
}

/// Who reads the log at the shared tail.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Leader {
    /// The dispatcher's thread.
    #[default]
    Thread,
    /// The receiver of the only watch, in the thread that waits for the next event.
    Receiver,
    /// Nobody just now: that receiver has gone away with an event. If it does not come back soon, the thread goes on.
    Nobody,
}

/// Work of one kind of reader.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Counts {
    /// Entries read.
    pub entries: u64,
    /// Distinct watches that the index found for them, some more than once.
    pub candidates: u64,
    /// Filters evaluated.
    pub evaluations: u64,
    /// Filters that held.
    pub matches: u64,
    /// Events put into channels.
    pub delivered: u64,
    /// Channels found full, whose watches then left.
    pub parks: u64,
    /// Watches that were given another place in the index because they were looked at in vain.
    pub reindexed: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: Counts) {
        self.entries += other.entries;
        self.candidates += other.candidates;
        self.evaluations += other.evaluations;
        self.matches += other.matches;
        self.delivered += other.delivered;
        self.parks += other.parks;
        self.reindexed += other.reindexed;
    }
}
