//! From an entry to the watchers that want it: the part that the tail and the laps behind it share.
//!
//! One thread owns a [`Matching`]; nothing in it is locked. For each entry: the namespaces name the spaces it concerns, the
//! index of each space names the groups whose filter could hold, each of those is evaluated once, and what matches is put
//! into the channels of the group's members. An event is made once for all groups that show it alike.

use std::collections::HashMap;
use std::sync::Arc;

use tailwater_oplog::entry::{EntryKind, StoreEntry};
use tailwater_oplog::{Entry, OpId};

use crate::dispatch::channel::Channel;
use crate::dispatch::groups::{Group, Member, seated};
use crate::dispatch::index::Index;
use crate::dispatch::namespaces::Namespaces;
use crate::dispatch::slab::Slab;
use crate::dispatch::space::Space;
use crate::dispatch::stats::Counts;
use crate::error::{Error, Result};
use crate::event::{ChangeEvent, OperationType};
use crate::fields::EventFields;
use crate::missing::Missing;
use crate::plan::{Plan, Verdict};

/// A group that was looked at in vain so many times more often than not is indexed anew.
const IN_VAIN_MAX: u16 = 512;

/// How many times in vain one match makes up for.
const MATCH_WORTH: u16 = 8;

/// Entries of one kind, of the namespace that was asked for last: they concern one space, and their document says whether
/// anybody there wants them.
#[derive(Clone, Copy, Debug)]
struct Alike {
    kind: u8,
    space: u32,
}

/// The watchers of one reader, and what finds them. See the module documentation.
#[derive(Debug, Default)]
pub(crate) struct Matching {
    groups: Slab<Group>,
    /// By the address of the plan, which the group keeps alive.
    by_plan: HashMap<usize, u32>,
    spaces: Slab<Space>,
    namespaces: Namespaces,
    index: Index,
    members: usize,
    turn: u32,
    /// What the last entry was like, when it was passed over for what its document has. Whoever joins or leaves ends that.
    alike: Option<Alike>,
    /// Receivers to wake.
    bells: Vec<Arc<Channel>>,
    pub(crate) counts: Counts,
    concerned: Vec<u32>,
    candidates: Vec<u32>,
}

impl Matching {
    pub(crate) fn is_empty(&self) -> bool {
        self.members == 0
    }

    pub(crate) fn members(&self) -> usize {
        self.members
    }

    pub(crate) fn groups(&self) -> usize {
        self.groups.len()
    }

    /// Whether the watcher is the only one here.
    pub(crate) fn is_alone(&self, channel: &Arc<Channel>) -> bool {
        let (number, at) = seated(channel.seated());
        let group = self.groups.get(number as u32).filter(|_| self.members == 1);
        group
            .and_then(|group| group.members.get(at))
            .is_some_and(|member| Arc::ptr_eq(&member.channel, channel))
    }

    /// Adds a watcher, whom entries from `from` on concern.
    pub(crate) fn join(&mut self, channel: Arc<Channel>, from: OpId) {
        if channel.is_ended() {
            return;
        }
        self.alike = None;
        self.members += 1;
        let plan = Arc::clone(&channel.plan);
        let address = Arc::as_ptr(&plan).addr();
        if let Some(&number) = self.by_plan.get(&address) {
            if let Some(group) = self.groups.get_mut(number) {
                group.join(number, channel, from);
            }
            return;
        }
        let space_number = self.space(&plan);
        let Some(space) = self.spaces.get_mut(space_number) else {
            return;
        };
        let number = self.groups.insert(Group {
            plan: Arc::clone(&plan),
            members: Vec::with_capacity(1),
            accesses: Box::default(),
            space: space_number,
            place: space.groups.len() as u32,
            turn: self.turn,
            in_vain: 0,
        });
        space.groups.push(number);
        self.by_plan.insert(address, number);
        let unindexed = match space.outgrows() {
            true => space.groups.clone(),
            false => vec![number],
        };
        for other in unindexed {
            if let Some(group) = self.groups.get_mut(other) {
                group.accesses = self.index.insert((space_number, space), other, &group.plan);
            }
        }
        if let Some(group) = self.groups.get_mut(number) {
            group.join(number, channel, from);
        }
    }

    /// The space of a plan.
    fn space(&mut self, plan: &Plan) -> u32 {
        let same = |number: &&u32| {
            self.spaces
                .get(**number)
                .is_some_and(|space| space.images == plan.images)
        };
        if let Some(&number) = self.namespaces.of(&plan.scope).iter().find(same) {
            return number;
        }
        let number = self.spaces.insert(Space::new(Arc::clone(&plan.scope), plan.images));
        self.namespaces.insert(&plan.scope, number);
        number
    }

    /// Takes a watcher out, if it is here.
    pub(crate) fn leave(&mut self, channel: &Arc<Channel>) {
        let (number, at) = seated(channel.seated());
        let number = number as u32;
        let Some(group) = self.groups.get_mut(number) else {
            return;
        };
        // A watcher that has left by itself may have had a seat elsewhere since.
        if group
            .members
            .get(at)
            .is_some_and(|member| Arc::ptr_eq(&member.channel, channel))
        {
            group.leave(number, at);
            self.members -= 1;
            self.tidy(number);
        }
    }

    /// Takes all watchers out.
    pub(crate) fn take(&mut self) -> Vec<Member> {
        let counts = self.counts;
        let emptied = std::mem::take(self);
        self.counts = counts;
        self.bells = emptied.bells;
        emptied.groups.into_values().flat_map(|group| group.members).collect()
    }

    /// Removes a group that has no members left.
    fn tidy(&mut self, number: u32) {
        if self.groups.get(number).is_none_or(|group| !group.members.is_empty()) {
            return;
        }
        let Some(group) = self.groups.remove(number) else {
            return;
        };
        self.alike = None;
        self.by_plan.remove(&Arc::as_ptr(&group.plan).addr());
        let Some(space) = self.spaces.get_mut(group.space) else {
            return;
        };
        self.index.remove(space, number, &group.accesses);
        space.groups.swap_remove(group.place as usize);
        if let Some(moved) = space.groups.get(group.place as usize)
            && let Some(moved) = self.groups.get_mut(*moved)
        {
            moved.place = group.place;
        }
        if space.groups.is_empty() {
            self.namespaces.remove(&space.scope, group.space);
            self.spaces.remove(group.space);
        }
    }

    /// Puts what an entry means for each watcher into its channel. What nobody watches is not looked into.
    #[inline]
    pub(crate) fn dispatch(&mut self, entry: &Entry<'_>) {
        self.counts.entries += 1;
        if !self.passes_over_alike(entry) {
            self.dispatch_closely(entry);
        }
    }

    /// Whether the entry is like the last one, which was passed over, and nobody wants it either. Who lags behind meets little
    /// else, so this asks for nothing that was found out about the last one.
    #[inline]
    fn passes_over_alike(&mut self, entry: &Entry<'_>) -> bool {
        let Some(Alike { kind, space }) = self.alike else {
            return false;
        };
        let payload = entry.payload();
        if kind != entry.kind() || !self.namespaces.is_last(payload) {
            return false;
        }
        let (Some(space), Ok(Some(document))) = (self.spaces.get_mut(space), StoreEntry::document_bytes(payload))
        else {
            return false;
        };
        space.passes_over(document)
    }

    fn dispatch_closely(&mut self, entry: &Entry<'_>) {
        self.alike = None;
        let Some(kind) = EntryKind::from_number(entry.kind()) else {
            return;
        };
        let mut concerned = std::mem::take(&mut self.concerned);
        let found = match self.namespaces.find_again(entry.payload(), &mut concerned) {
            true => Ok(()),
            false => self.namespaces.find(entry.payload(), &mut concerned),
        };
        let found = found.and_then(|()| match kind {
            EntryKind::Rename => self.namespaces.find_target(entry.payload(), &mut concerned),
            _ => Ok(()),
        });
        let mut dispatched = found.map_err(Error::from);
        for &space in &concerned {
            if dispatched.is_err() {
                break;
            }
            dispatched = self.dispatch_to(space, entry, kind);
        }
        if let Err(error) = dispatched {
            self.fail_all(entry, &error);
        }
        if concerned.len() > 1 {
            self.alike = None;
        }
        self.concerned = concerned;
    }

    /// An entry of a space. Where no filter asks for more than the document, no more of the entry is read until one may hold.
    fn dispatch_to(&mut self, number: u32, entry: &Entry<'_>, kind: EntryKind) -> Result<()> {
        let Some(space) = self.spaces.get_mut(number) else {
            return Ok(());
        };
        let (images, ends) = (space.images, space.scope.ends_with(kind));
        let Some(operation) = OperationType::of(kind).filter(|&operation| images.include(operation)) else {
            if ends {
                for group in space.groups.clone() {
                    self.end(group, entry);
                }
            }
            return Ok(());
        };
        // The index asks the event's fields, where the deleted document is not.
        let by_deleted = images.match_deleted && operation == OperationType::Delete;
        let counted = self.index.counts_next(space);
        let in_document = !(space.asks_beyond_document() || counted || ends || by_deleted || images.requires_any());
        let mut candidates = std::mem::take(&mut self.candidates);
        candidates.clear();
        if in_document {
            let bytes = match images.shows_document(operation) {
                true => StoreEntry::document_bytes(entry.payload())?,
                false => None,
            };
            if bytes.is_some_and(|bytes| space.passes_over(bytes)) {
                let kind = kind.number();
                self.alike = Some(Alike { kind, space: number });
            } else {
                let document = match bytes {
                    Some(_) => StoreEntry::decode_document(entry.payload())?,
                    None => None,
                };
                let found = &mut candidates;
                self.index.find((number, &mut *space), document, None, false, found);
            }
            if candidates.is_empty() {
                self.candidates = candidates;
                return Ok(());
            }
        }
        let store = StoreEntry::decode(entry.payload())?;
        let Some(first) = space.groups.first().and_then(|first| self.groups.get(*first)) else {
            return Ok(());
        };
        let fields = EventFields::new(*entry, store, operation, first.plan.log_id, images);
        if ends || by_deleted || Missing::required(images, operation, &store).is_any() {
            candidates.extend_from_slice(&space.groups);
        } else if !in_document {
            let document = store.document.filter(|_| images.shows_document(operation));
            let (fields, found) = (Some(&fields), &mut candidates);
            self.index.find((number, space), document, fields, counted, found);
        }
        self.next_turn();
        self.counts.candidates += candidates.len() as u64;
        let mut shared = None;
        for &group in &candidates {
            self.evaluate(group, entry, (operation, &store, &fields), &mut shared);
        }
        if ends {
            for &group in &candidates {
                self.end(group, entry);
            }
        }
        self.candidates = candidates;
        Ok(())
    }

    /// Evaluates the filter of a group, unless that was done in this turn, and delivers what matches. `shared` is the event
    /// as it is shown to every group of the space.
    fn evaluate(
        &mut self,
        number: u32,
        entry: &Entry<'_>,
        (operation, store, fields): (OperationType, &StoreEntry<'_>, &EventFields<'_>),
        shared: &mut Option<ChangeEvent>,
    ) {
        let Some(group) = self.groups.get_mut(number).filter(|group| group.turn != self.turn) else {
            return;
        };
        group.turn = self.turn;
        self.counts.evaluations += 1;
        let plan = &group.plan;
        let before = group.members.len();
        match plan.judge_event(entry.op_id(), operation, store, fields) {
            Ok(Verdict::Passed) => {
                group.in_vain = group.in_vain.saturating_add(1);
                if group.in_vain >= IN_VAIN_MAX {
                    group.in_vain = 0;
                    if let Some(space) = self.spaces.get_mut(group.space) {
                        let again = self
                            .index
                            .choose_again((group.space, space), number, plan, &group.accesses);
                        if let Some(accesses) = again {
                            group.accesses = accesses;
                            self.counts.reindexed += 1;
                        }
                    }
                }
                return;
            }
            Ok(Verdict::Event(operation, shape)) => {
                let make = || ChangeEvent::new(entry.share(), operation, plan.log_id, plan.images);
                let event = match shape {
                    None => shared.get_or_insert_with(make).clone(),
                    Some(_) => make().shaped(shape),
                };
                group.in_vain = group.in_vain.saturating_sub(MATCH_WORTH);
                self.counts.matches += 1;
                let delivered = group.deliver(number, entry, &event, &mut self.bells);
                self.counts.delivered += delivered.taken;
                self.counts.parks += delivered.parked;
            }
            Err(error) => group.fail(number, entry, &error),
        }
        self.members -= before - group.members.len();
        self.tidy(number);
    }

    /// Ends the members of a group with the `invalidate` event of an entry.
    fn end(&mut self, number: u32, entry: &Entry<'_>) {
        let Some(group) = self.groups.get_mut(number) else {
            return;
        };
        let before = group.members.len();
        match group.plan.judge_invalidate(entry) {
            Ok(Verdict::Passed) => group.invalidate(number, entry, None),
            Ok(Verdict::Event(operation, shape)) => {
                let event = ChangeEvent::new(entry.share(), operation, group.plan.log_id, group.plan.images);
                group.invalidate(number, entry, Some(&event.shaped(shape)));
            }
            Err(error) => group.fail(number, entry, &error),
        }
        self.members -= before - group.members.len();
        self.tidy(number);
    }

    fn fail_all(&mut self, entry: &Entry<'_>, error: &Error) {
        for number in self.groups.numbers() {
            if let Some(group) = self.groups.get_mut(number) {
                let before = group.members.len();
                group.fail(number, entry, error);
                self.members -= before - group.members.len();
                self.tidy(number);
            }
        }
    }

    fn next_turn(&mut self) {
        self.turn = self.turn.wrapping_add(1);
        if self.turn == 0 {
            // The number of a turn long past must not be taken for this one's.
            self.groups.values_mut().for_each(|group| group.turn = 0);
            self.turn = 1;
        }
    }

    /// Wakes the receivers that waited for what was delivered since.
    pub(crate) fn ring(&mut self) {
        for channel in self.bells.drain(..) {
            channel.ring();
        }
    }
}
