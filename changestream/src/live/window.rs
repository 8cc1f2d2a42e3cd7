//! The result of a live query, and for a limited one what comes next behind it.
//!
//! ```text
//!   first in the order                        limit                 2 × limit
//!   ├──────────────── shown ────────────────────┼──────── spare ────────┼ · · · more · · ·
//! ```
//!
//! Invariant: every rank of `spare` is above every rank of `shown`, and what the store has beyond both (`more`) is above all
//! of them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;

use bson::{RawDocument, RawDocumentBuf};

use super::LiveEvent;

/// Bytes by which a document comes in the order; no two documents have the same.
pub(super) type Rank = Vec<u8>;

/// A document of the result.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Item {
    /// `{_id: …}`.
    pub(super) key: RawDocumentBuf,
    /// Empty where it need not be told again.
    pub(super) document: RawDocumentBuf,
}

/// See the module documentation.
#[derive(Debug)]
pub(super) struct Window {
    limit: Option<usize>,
    shown: BTreeMap<Rank, Item>,
    spare: BTreeMap<Rank, Item>,
    /// The ranks of both, by the key's bytes.
    ranks: HashMap<Vec<u8>, Rank>,
    /// Whether the store may have more that match.
    more: bool,
}

type Told = VecDeque<LiveEvent>;

impl Window {
    pub(super) fn new(limit: Option<usize>) -> Window {
        let (shown, spare, ranks) = Default::default();
        Window {
            limit,
            shown,
            spare,
            ranks,
            more: false,
        }
    }

    /// How many documents are in the result.
    pub(super) fn len(&self) -> usize {
        self.shown.len()
    }

    /// Whether there is room in the result that the store may have documents for.
    pub(super) fn is_short(&self) -> bool {
        self.more && self.has_room()
    }

    fn has_room(&self) -> bool {
        self.limit.is_none_or(|limit| self.shown.len() < limit)
    }

    /// Takes in the next document of a result that is read in order.
    pub(super) fn load(&mut self, rank: Rank, item: Item, told: &mut Told) {
        if self.has_room() {
            self.show(rank, item, told);
        } else {
            self.keep(rank, item);
        }
    }

    /// Takes in what has become of a document: nothing when it does not match, or is gone.
    pub(super) fn put(&mut self, key: &RawDocument, now: Option<(Rank, Item)>, told: &mut Told) {
        let was_shown = self.take_out(key);
        let removed = || LiveEvent::Removed {
            document_key: key.to_owned(),
        };
        let Some((rank, item)) = now else {
            if was_shown {
                told.push_back(removed());
                self.fill(told);
            }
            return;
        };
        if self.belongs_to_result(&rank) {
            if was_shown {
                self.change(rank, item, told);
                return;
            }
            self.evict(told);
            self.show(rank, item, told);
            return;
        }
        self.keep(rank, item);
        if was_shown {
            told.push_back(removed());
            self.fill(told);
        }
    }

    /// Takes the place of all there is, and tells the difference: first what goes, then what comes, from the end on, so that
    /// each finds the one before which it comes.
    pub(super) fn replace(&mut self, found: Vec<(Rank, Item)>, told: &mut Told) {
        let before = std::mem::take(&mut self.shown);
        let mut old: HashMap<Vec<u8>, (Rank, Item)> = HashMap::new();
        for (rank, item) in before {
            old.insert(item.key.as_bytes().to_vec(), (rank, item));
        }
        *self = Window::new(self.limit);
        for (rank, item) in found {
            self.load(rank, item, &mut Told::new());
        }
        for (key, (_, item)) in &old {
            if self.ranks.get(key).is_none_or(|rank| !self.shown.contains_key(rank)) {
                let document_key = item.key.clone();
                told.push_back(LiveEvent::Removed { document_key });
            }
        }
        let mut before = None;
        for (rank, item) in self.shown.iter().rev() {
            let document = item.document.clone();
            match old.get(item.key.as_bytes()) {
                None => told.push_back(LiveEvent::Added { document, before }),
                Some((was, old)) if was != rank || old.document != item.document => {
                    told.push_back(LiveEvent::Changed { document, before });
                }
                Some(_) => {}
            }
            before = Some(item.key.clone());
        }
    }

    /// Lets go of everything.
    pub(super) fn clear(&mut self, told: &mut Told) {
        let shown = std::mem::take(&mut self.shown);
        told.extend(
            shown
                .into_values()
                .map(|item| LiveEvent::Removed { document_key: item.key }),
        );
        *self = Window::new(self.limit);
    }

    /// Takes a document out of where it is; whether it was shown.
    fn take_out(&mut self, key: &RawDocument) -> bool {
        let Some(rank) = self.ranks.remove(key.as_bytes()) else {
            return false;
        };
        self.spare.remove(&rank);
        self.shown.remove(&rank).is_some()
    }

    /// Whether a document of that rank, which is in neither part, is among the first.
    fn belongs_to_result(&self, rank: &Rank) -> bool {
        if let Some((last, _)) = self.shown.last_key_value()
            && rank < last
        {
            return true;
        }
        // Behind all that are shown: there must be room, and nothing that comes first.
        let first_spare = self.spare.first_key_value().map(|(first, _)| first);
        self.has_room() && first_spare.map_or(!self.more, |first| rank < first)
    }

    fn before(&self, rank: &Rank) -> Option<RawDocumentBuf> {
        let behind = (Bound::Excluded(rank), Bound::Unbounded);
        let next = self.shown.range::<Rank, _>(behind).next();
        next.map(|(_, item)| item.key.clone())
    }

    fn insert(&mut self, rank: Rank, mut item: Item) {
        if self.limit.is_none() {
            // Nothing is ever asked again or shown again.
            item.document = RawDocumentBuf::new();
        }
        self.ranks.insert(item.key.as_bytes().to_vec(), rank.clone());
        self.shown.insert(rank, item);
    }

    fn show(&mut self, rank: Rank, item: Item, told: &mut Told) {
        let before = self.before(&rank);
        let document = item.document.clone();
        told.push_back(LiveEvent::Added { document, before });
        self.insert(rank, item);
    }

    fn change(&mut self, rank: Rank, item: Item, told: &mut Told) {
        let before = self.before(&rank);
        let document = item.document.clone();
        told.push_back(LiveEvent::Changed { document, before });
        self.insert(rank, item);
    }

    /// Makes room in the result.
    fn evict(&mut self, told: &mut Told) {
        if self.has_room() {
            return;
        }
        if let Some((rank, item)) = self.shown.pop_last() {
            told.push_back(LiveEvent::Removed {
                document_key: item.key.clone(),
            });
            self.ranks.remove(item.key.as_bytes());
            self.keep(rank, item);
        }
    }

    /// Fills the room in the result with what comes next.
    fn fill(&mut self, told: &mut Told) {
        while self.has_room()
            && let Some((rank, item)) = self.spare.pop_first()
        {
            self.show(rank, item, told);
        }
    }

    /// Keeps a document that is not among the first, as far as there is room and nothing unknown comes before it.
    fn keep(&mut self, rank: Rank, item: Item) {
        let beyond = self.spare.last_key_value().is_none_or(|(last, _)| *last < rank);
        if self.more && beyond {
            return;
        }
        self.ranks.insert(item.key.as_bytes().to_vec(), rank.clone());
        self.spare.insert(rank, item);
        if self.spare.len() > self.limit.unwrap_or(usize::MAX)
            && let Some((_, last)) = self.spare.pop_last()
        {
            self.ranks.remove(last.key.as_bytes());
            self.more = true;
        }
    }
}
