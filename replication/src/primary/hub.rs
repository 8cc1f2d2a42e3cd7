//! What the threads of a primary share: its decisions, and what is to be said to whom.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tailwater_oplog::{OpId, ReadConcern, Term};
use tailwater_storage::{Error as StoreError, Selection, Sharing, Store};

use crate::decision::{
    Hello, History, MemberList, MemberNumber, PeerId, Position, Primary as Decisions, PrimaryInput, PrimaryOutput,
    Refusal, Report, Run, Status, WriteConcern,
};
use crate::error::{Error, Result};
use crate::link::Hangup;
use crate::standby;
use crate::summary::{history_of, terms_from};
use crate::wire::{Message, Taken};

use super::status::{MemberStatus, PrimaryStatus};

/// While followers are connected, entries that no writer syncs are synced within this time: they travel when a sync begins, and
/// with the log's own interval a follower would always be that much behind.
const SYNC_PACE: Duration = Duration::from_millis(2);

/// How long a sender waits before it says that what it has sent is durable here, where a majority counts: most often somebody soon
/// says to hold it as well, and one message says both.
const NEWS_DELAY: Duration = Duration::from_micros(500);

/// How long one who waits for a majority looks before he sleeps: about as long as a follower's disk takes longer than this one's.
/// To be woken would take a good part of that.
const GLANCE: Duration = Duration::from_micros(200);

/// Shared by the threads of a primary.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) store: Store,
    state: Mutex<State>,
    /// Whether somebody looks, without the lock, for what a majority holds. One at a time: more would keep the others from the
    /// processors.
    glancing: AtomicBool,
    /// Something was decided, or is held by more members.
    decided: Condvar,
    /// There may be something to send. Apart from the other, so that what concerns the senders only wakes no writer.
    sendable: Condvar,
}

#[derive(Debug)]
struct State {
    decisions: Decisions,
    outboxes: BTreeMap<PeerId, Outbox>,
    next_peer: u64,
    /// How many wait for an entry that is not on this member's own disk yet.
    awaiting_disk: usize,
    stopped: bool,
    failure: Option<Error>,
}

#[derive(Debug)]
struct Outbox {
    messages: VecDeque<Message>,
    hangup: Arc<Hangup>,
    closing: bool,
}

/// What a sender has said last.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Told {
    /// The last entry it has sent.
    pub(crate) sent: OpId,
    /// What is on this disk, as far as it was said.
    pub(crate) durable: OpId,
    /// What a majority holds.
    pub(crate) majority: OpId,
}

/// What a sender does next.
#[derive(Debug)]
pub(crate) enum Work {
    /// Say this.
    Say(Vec<Message>),
    /// Send entries from this one on, so many bytes at most.
    Send(OpId, u64),
    /// Say how things stand.
    Tell(Status),
    /// The connection is over.
    End,
}

impl Hub {
    pub(crate) fn new(store: Store, decisions: Decisions) -> Hub {
        Hub {
            store,
            state: Mutex::new(State {
                decisions,
                outboxes: BTreeMap::new(),
                next_peer: 0,
                awaiting_disk: 0,
                stopped: false,
                failure: None,
            }),
            glancing: AtomicBool::new(false),
            decided: Condvar::new(),
            sendable: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries out what was decided when the primary began.
    pub(crate) fn begin(&self, outputs: Vec<PrimaryOutput>) -> Result<()> {
        let mut state = self.lock();
        self.carry_out(&mut state, outputs)
    }

    /// A follower has introduced itself.
    pub(crate) fn hello(&self, hello: Hello, hangup: Arc<Hangup>) -> Result<PeerId> {
        let mut state = self.lock();
        if state.stopped {
            // It was in its greeting when the others were disconnected. Nothing would be decided for it any more.
            return Err(state.failure.clone().unwrap_or(Error::NotPrimary { promised: None }));
        }
        state.next_peer += 1;
        let peer = PeerId(state.next_peer);
        let outbox = Outbox {
            messages: VecDeque::new(),
            hangup,
            closing: false,
        };
        // Before there is anything of it that would stay when this fails.
        self.look_at_log(&mut state)?;
        state.outboxes.insert(peer, outbox);
        self.store.set_sync_pace(Some(SYNC_PACE));
        self.step(&mut state, PrimaryInput::Hello(peer, hello))?;
        Ok(peer)
    }

    /// Whether the connection was let on.
    pub(crate) fn is_served(&self, peer: PeerId) -> bool {
        self.lock().decisions.is_served(peer)
    }

    /// Why a member of that name and list is turned away, whatever it has.
    pub(crate) fn refusal_of(&self, name: &str, members: &MemberList) -> Option<Refusal> {
        self.lock().decisions.refusal_of(name, members)
    }

    /// How entries are shared with a follower that wants `part` of them, nothing for all; a refusal when this member has only a
    /// part itself that may not have all of it.
    pub(crate) fn sharing(&self, name: &str, part: Option<&[u8]>) -> Result<Result<Option<Sharing>, Refusal>> {
        if part.is_some() && self.lock().decisions.lists(name) {
            return Ok(Err(Refusal::ListedPart));
        }
        let wanted = part.map(Selection::from_bytes).transpose().map_err(StoreError::from)?;
        let own = self.store.selection()?;
        let within = match (&own, &wanted) {
            (Some(own), Some(wanted)) => wanted.is_within(own),
            (Some(_), None) => false,
            (None, _) => true,
        };
        Ok(match own.filter(|_| !within) {
            Some(own) => Err(Refusal::WiderPart(own.to_bytes())),
            None => Ok(wanted.map(Sharing::new)),
        })
    }

    /// Whether a copy may be given to a member in place of what it has.
    pub(crate) fn may_replace(&self, promised: Term, rank: Position) -> bool {
        self.lock().decisions.may_replace(promised, rank)
    }

    pub(crate) fn report(&self, peer: PeerId, report: Report) -> Result<()> {
        let has_room = matches!(report, Report::Credit(_));
        let reported = self.step(&mut self.lock(), PrimaryInput::Report(peer, report));
        if has_room {
            self.sendable.notify_all();
        }
        reported
    }

    pub(crate) fn gone(&self, peer: PeerId) {
        let mut state = self.lock();
        if let Some(outbox) = state.outboxes.remove(&peer) {
            outbox.hangup.now();
        }
        if state.outboxes.is_empty() {
            self.store.set_sync_pace(None);
        }
        // Nothing is decided when somebody leaves.
        let _ = self.step(&mut state, PrimaryInput::Gone(peer));
        // Its sender.
        self.sendable.notify_all();
    }

    /// This cannot go on as primary: says so to whoever asks, and ends the connections.
    pub(crate) fn fail(&self, error: Error) {
        tracing::error!(%error, "a primary cannot go on");
        let mut state = self.lock();
        state.failure.get_or_insert(error);
        stop(&mut state);
        self.notify_all();
    }

    /// Looks at what the log has by now.
    pub(crate) fn advance(&self) -> Result<()> {
        let mut state = self.lock();
        let looked = self.look_at_log(&mut state);
        let awaited = state.awaiting_disk > 0;
        drop(state);
        if awaited {
            self.decided.notify_all();
        }
        self.sendable.notify_all();
        looked
    }

    /// A sync has begun: has those send that wait for something. Not while another has the lock, whom the caller must not wait
    /// for; whether it has.
    pub(crate) fn sync_begun(&self) -> bool {
        // Under it, nobody is between looking and waiting.
        let free = self.state.try_lock().is_ok();
        if free {
            self.sendable.notify_all();
        }
        free
    }

    fn notify_all(&self) {
        self.decided.notify_all();
        self.sendable.notify_all();
    }

    fn look_at_log(&self, state: &mut State) -> Result<()> {
        let log = self.store.log();
        let (durable, oldest) = (log.newest(ReadConcern::Durable), log.oldest());
        self.note_entries(state, log.syncing().max(durable))?;
        self.step(state, PrimaryInput::Trimmed(oldest))?;
        self.step(state, PrimaryInput::Durable(durable))
    }

    /// Tells the decisions of the entries up to `last`.
    fn note_entries(&self, state: &mut State, last: OpId) -> Result<()> {
        let history = state.decisions.history();
        let (first, known, name) = (history.last.next(), history.end().term, history.log);
        if last < first {
            return Ok(());
        }
        let log = self.store.log();
        // Of what is durable nothing has to be moved out of the log buffer first, which is the writers'.
        let concern = match last <= log.newest(ReadConcern::Durable) {
            true => ReadConcern::Durable,
            false => ReadConcern::Local,
        };
        let newest = log.get(last, concern)?;
        if newest.term() == known {
            let input = PrimaryInput::Appended {
                term: known,
                first,
                timestamp: newest.timestamp(),
                last,
            };
            return self.step(state, input);
        }
        let terms = terms_from(&log, first)?;
        // What lies between was trimmed before anybody looked at it: it must not be taken for more of the last term.
        if terms.first().is_some_and(|oldest| oldest.first > first) {
            return self.step(state, PrimaryInput::Looked(history_of(&log, name)?));
        }
        for (at, begin) in terms.iter().enumerate() {
            let end = terms.get(at + 1).map_or(last, |next| next.first.previous()).min(last);
            if begin.first.max(first) > end {
                continue;
            }
            let input = PrimaryInput::Appended {
                term: begin.term,
                first: begin.first.max(first),
                timestamp: begin.timestamp,
                last: end,
            };
            self.step(state, input)?;
        }
        Ok(())
    }

    fn step(&self, state: &mut State, input: PrimaryInput) -> Result<()> {
        let outputs = state.decisions.step(input);
        if outputs.is_empty() {
            return Ok(());
        }
        self.carry_out(state, outputs)
    }

    fn carry_out(&self, state: &mut State, outputs: Vec<PrimaryOutput>) -> Result<()> {
        let done = outputs
            .into_iter()
            .try_for_each(|output| self.carry_out_one(state, output));
        if let Err(error) = &done {
            // What was decided and could not be done must not be gone by: this is no primary any more.
            tracing::error!(%error, "a primary cannot go on");
            state.failure.get_or_insert_with(|| error.clone());
            stop(state);
        }
        self.notify_all();
        done
    }

    fn carry_out_one(&self, state: &mut State, output: PrimaryOutput) -> Result<()> {
        match output {
            PrimaryOutput::Welcome(peer, welcome) => say(state, peer, Message::Welcome(welcome)),
            PrimaryOutput::Refuse(peer, refusal) => {
                tracing::warn!(?refusal, "turning a follower away");
                say(state, peer, Message::Refuse(refusal));
                close(state, peer);
            }
            PrimaryOutput::Close(peer) => close(state, peer),
            PrimaryOutput::Taken(peer, member, name) => {
                tracing::warn!(
                    name,
                    "a member behind a relay has the number of another, and is to be turned away"
                );
                say(state, peer, Message::Taken(Taken { member, name }));
            }
            PrimaryOutput::Promise(term) => self.store.promise(term)?,
            PrimaryOutput::BeginTerm(term) => {
                let begun = self.store.begin_term(term)?;
                tracing::info!(%term, first = %begun.first, "elected: a majority of the members counts from here on");
                self.note_entries(state, begun.last)?;
                self.store.sync()?;
            }
            PrimaryOutput::StepDown(term) => {
                tracing::warn!(%term, "stepping down: a member has promised a newer term to another");
                self.store.follow()?;
                self.store.promise(term)?;
                // Whoever it follows next knows for whom the log is to be held.
                standby::step_back(&self.store, u64::MAX);
            }
            // Not to follow, nor to promise anything: the store is the other one's.
            PrimaryOutput::Superseded(term) => return Err(Error::Superseded { term }),
            PrimaryOutput::Majority(op_id) => self.store.set_majority(Some(op_id)),
            PrimaryOutput::Held => {}
        }
        Ok(())
    }

    /// What the sender of a connection does next, waiting for `heartbeat` at most. `told` is what it last said of what is on this
    /// disk, and of what a majority holds.
    pub(crate) fn work(&self, peer: PeerId, told: Told, heartbeat: Duration) -> Work {
        let deadline = Instant::now() + heartbeat;
        let mut state = self.lock();
        let mut durable_since = None;
        loop {
            let last = self.store.log().syncing();
            let sendable = state.decisions.sendable(peer).filter(|(next, _)| *next <= last);
            let (status, counts) = (state.decisions.status(), state.decisions.counts());
            let Some(outbox) = state.outboxes.get_mut(&peer) else {
                return Work::End;
            };
            if !outbox.messages.is_empty() {
                return Work::Say(outbox.messages.drain(..).collect());
            }
            if outbox.closing {
                return Work::End;
            }
            if let Some((next, bytes)) = sendable {
                return Work::Send(next, bytes);
            }
            let now = Instant::now();
            let left = deadline.saturating_duration_since(now);
            if status.majority > told.majority || left.is_zero() {
                return Work::Tell(status);
            }
            let is_durable = told.durable < told.sent && status.newest > told.durable;
            let left = match is_durable {
                true => {
                    let since = *durable_since.get_or_insert(now);
                    let delay = if counts { NEWS_DELAY } else { Duration::ZERO };
                    delay.saturating_sub(now - since).min(left)
                }
                false => left,
            };
            if left.is_zero() {
                return Work::Tell(status);
            }
            let waited = self.sendable.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Says that entries are on their way; returns what goes in front of them.
    pub(crate) fn sending(&self, peer: PeerId, first: OpId, last: OpId, bytes: u64) -> Result<Run> {
        let mut state = self.lock();
        // More may have become durable than was looked at, also of a term that is not this primary's: that is an error.
        self.note_entries(&mut state, last)?;
        let run = state.decisions.run(first, last);
        self.step(&mut state, PrimaryInput::Sent(peer, last, bytes))?;
        Ok(run)
    }

    /// Waits until as many members as `concern` asks for hold an entry.
    pub(crate) fn wait(&self, op_id: OpId, concern: WriteConcern, timeout: Duration) -> Result<()> {
        let begun = Instant::now();
        let mut state = self.lock();
        if op_id > state.decisions.status().newest && op_id <= self.store.log().newest(ReadConcern::Durable) {
            // It is on this disk already, most likely since a moment ago: the senders need not wait until another thread has seen it.
            // Of an error that thread makes what is to be made.
            let _ = self.look_at_log(&mut state);
            self.sendable.notify_all();
            if state.awaiting_disk > 0 {
                self.decided.notify_all();
            }
        }
        if concern == WriteConcern::Majority && state.decisions.is_held(op_id, concern) == Some(false) {
            drop(state);
            self.glance(op_id, timeout);
            state = self.lock();
        }
        loop {
            if let Some(error) = &state.failure {
                return Err(error.clone());
            }
            if state.decisions.is_deposed() || state.stopped {
                let promised = state.decisions.is_deposed().then(|| self.store.promised());
                return Err(Error::NotPrimary { promised });
            }
            match state.decisions.is_held(op_id, concern) {
                None => return Err(Error::NoMembers),
                Some(true) => return Ok(()),
                Some(false) => {}
            }
            let left = timeout.saturating_sub(begun.elapsed());
            if left.is_zero() {
                let waited = timeout;
                return Err(Error::WriteConcernTimeout { op_id, waited });
            }
            let awaits_disk = usize::from(op_id > state.decisions.status().newest);
            state.awaiting_disk += awaits_disk;
            let waited = self.decided.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.awaiting_disk -= awaits_disk;
        }
    }

    /// Looks for a moment whether a majority comes to hold an entry that is on this disk already.
    fn glance(&self, op_id: OpId, timeout: Duration) {
        let log = self.store.log();
        if log.newest(ReadConcern::Durable) < op_id || self.glancing.swap(true, Ordering::Relaxed) {
            return;
        }
        let until = Instant::now() + GLANCE.min(timeout);
        while log.newest(ReadConcern::Majority) < op_id && Instant::now() < until {
            // Whoever can run is to run.
            std::thread::yield_now();
        }
        self.glancing.store(false, Ordering::Relaxed);
    }

    /// Whether anybody can ever tell that as many members hold something.
    pub(crate) fn can_tell(&self, concern: WriteConcern) -> bool {
        self.lock().decisions.is_held(OpId::ZERO, concern).is_some()
    }

    /// Waits until this is a primary no longer, and says why.
    pub(crate) fn join(&self) -> Result<()> {
        let mut state = self.lock();
        loop {
            if let Some(error) = &state.failure {
                return Err(error.clone());
            }
            if state.decisions.is_deposed() {
                let promised = Some(self.store.promised());
                return Err(Error::NotPrimary { promised });
            }
            if state.stopped {
                return Ok(());
            }
            state = self.decided.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// To a relay, what the primary that it follows says.
    pub(crate) fn told(&self, input: PrimaryInput) {
        // A relay takes note of it, and closes connections at most: nothing that could fail.
        let _ = self.step(&mut self.lock(), input);
        self.notify_all();
    }

    /// Waits until a primary is followed, and members that are here hold something else than is `known`, or it is `due`; returns
    /// what they hold. Nothing when this has stopped, or `ended` is set and [`Hub::nudge`] called.
    pub(crate) fn held_beyond(
        &self,
        known: &BTreeMap<MemberNumber, OpId>,
        due: Instant,
        ended: &AtomicBool,
    ) -> Option<BTreeMap<MemberNumber, OpId>> {
        let mut state = self.lock();
        while !state.stopped && !ended.load(Ordering::SeqCst) {
            if !state.decisions.is_following() {
                state = self.decided.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let held = state.decisions.held_here();
            let left = due.saturating_duration_since(Instant::now());
            if held != *known || left.is_zero() {
                return Some(held);
            }
            let waited = self.decided.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        None
    }

    /// For whom it is time to speak again.
    pub(crate) fn held_again(&self) -> BTreeSet<MemberNumber> {
        self.lock().decisions.held_again()
    }

    /// Name of a member that this one has heard of.
    pub(crate) fn name_of(&self, member: MemberNumber) -> Option<String> {
        self.lock().decisions.name_of(member).map(str::to_owned)
    }

    /// Has everybody look again.
    pub(crate) fn nudge(&self) {
        // Whoever has looked before waits by now.
        drop(self.lock());
        self.decided.notify_all();
    }

    /// Another member writes in this term.
    pub(crate) fn heard(&self, term: Term) -> Result<()> {
        self.step(&mut self.lock(), PrimaryInput::Heard(term))
    }

    pub(crate) fn history(&self) -> History {
        self.lock().decisions.history().clone()
    }

    /// Sleeps for so long, or until this is a primary no longer.
    pub(crate) fn pause(&self, length: Duration) {
        let until = Instant::now() + length;
        let mut state = self.lock();
        while !state.stopped && !state.decisions.is_deposed() && state.failure.is_none() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self
                .decided
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// The newest binding term that it knows of.
    pub(crate) fn promised(&self) -> Term {
        self.lock().decisions.promised()
    }

    pub(crate) fn term(&self) -> Term {
        self.lock().decisions.term()
    }

    pub(crate) fn majority(&self) -> OpId {
        self.lock().decisions.majority()
    }

    pub(crate) fn status(&self) -> PrimaryStatus {
        let state = self.lock();
        let decisions = &state.decisions;
        let durable = self.store.log().newest(ReadConcern::Durable);
        let members = decisions.held().iter().map(|(&member, &held)| MemberStatus {
            number: member.0,
            name: decisions.name_of(member).map(str::to_owned),
            connected: decisions.is_connected(member),
            here: decisions.is_here(member),
            partial: decisions.is_partial(member),
            held,
            entries_behind: durable.get().saturating_sub(held.get()),
        });
        PrimaryStatus {
            term: decisions.term(),
            durable,
            majority: decisions.majority(),
            members: members.collect(),
        }
    }

    pub(crate) fn followers(&self) -> usize {
        self.lock().outboxes.len()
    }

    pub(crate) fn is_primary(&self) -> bool {
        let state = self.lock();
        !state.stopped && !state.decisions.is_deposed() && state.failure.is_none()
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    pub(crate) fn stop(&self) {
        stop(&mut self.lock());
        self.notify_all();
    }
}

fn say(state: &mut State, peer: PeerId, message: Message) {
    if let Some(outbox) = state.outboxes.get_mut(&peer) {
        outbox.messages.push_back(message);
    }
}

/// The connection ends when what is to be said has been said.
fn close(state: &mut State, peer: PeerId) {
    if let Some(outbox) = state.outboxes.get_mut(&peer) {
        outbox.closing = true;
    }
}

fn stop(state: &mut State) {
    state.stopped = true;
    for outbox in state.outboxes.values_mut() {
        outbox.closing = true;
        outbox.hangup.now();
    }
}

#[cfg(test)]
mod tests {
    use tailwater_oplog::Member;
    use tailwater_storage::StoreOptions;

    use super::*;
    use crate::decision::LogName;

    #[test]
    fn terms_that_were_trimmed_before_they_were_looked_at_are_not_taken_for_others() {
        let dir = tempfile::tempdir().unwrap();
        let mut options = StoreOptions::default();
        options.oplog.segment_bytes = 1 << 20;
        let store = options.open(dir.path()).unwrap();
        let member = Member::new(40).unwrap();
        store.promote(member).unwrap();
        let write = |count| {
            let things = store.collection("db", "things").unwrap();
            for _ in 0..count {
                things
                    .insert_one(&bson::rawdoc! { "text": "x".repeat(200_000) })
                    .unwrap();
            }
            store.sync().unwrap();
        };
        write(2);
        let log = store.log();
        let name = LogName::from(log.log_id());
        let decisions = Decisions::relay(
            member,
            Vec::new(),
            history_of(&log, name).unwrap(),
            log.watermarks().durable,
        );
        let hub = Hub::new(store.clone(), decisions);
        write(3);
        for _ in 0..2 {
            store.promote(member).unwrap();
            write(12);
        }
        store.trim_log(log.watermarks().durable).unwrap();
        assert!(log.watermarks().oldest > OpId::new(20), "{:?}", log.watermarks());
        hub.advance().unwrap();
        assert_eq!(hub.history(), history_of(&log, name).unwrap());
    }

    #[test]
    fn who_introduces_himself_to_a_hub_that_has_ended_is_turned_away() {
        let dir = tempfile::tempdir().unwrap();
        let store = StoreOptions::default().open(dir.path()).unwrap();
        let log = store.log();
        let history = history_of(&log, LogName::from(log.log_id())).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let hello = || {
            let (member, name) = (crate::decision::number_of("b", &[]), "b".to_owned());
            let (members, promised, durable) = (Vec::new(), Term::default(), OpId::ZERO);
            let history = history.clone();
            let (part, marks) = (None, Vec::new());
            Hello {
                member,
                name,
                members,
                promised,
                history,
                durable,
                part,
                marks,
            }
        };
        let hangup = || {
            let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            Arc::new(Hangup(stream))
        };
        for fails in [false, true] {
            let decisions = Decisions::relay(Member::new(1).unwrap(), Vec::new(), history.clone(), OpId::ZERO);
            let hub = Hub::new(store.clone(), decisions);
            hub.hello(hello(), hangup()).unwrap();
            match fails {
                true => hub.fail(Error::Panicked),
                false => hub.stop(),
            }
            assert!(hub.hello(hello(), hangup()).is_err());
            assert_eq!(hub.followers(), 1);
        }
    }

    #[test]
    fn a_relay_notes_every_term_however_many_came_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = StoreOptions::default().open(dir.path()).unwrap();
        let member = Member::new(0).unwrap();
        let mut term = store.promote(member).unwrap();
        store.sync().unwrap();
        let log = store.log();
        let noted = || history_of(&log, LogName::from(log.log_id())).unwrap();
        let decisions = Decisions::relay(Member::new(1).unwrap(), Vec::new(), noted(), OpId::ZERO);
        let hub = Hub::new(store.clone(), decisions);
        for _ in 0..50 {
            term = member.term_after(term, true).unwrap();
            store.begin_term(term).unwrap();
        }
        store.sync().unwrap();
        hub.advance().unwrap();
        assert_eq!(hub.history(), noted());
        assert!(hub.history().terms.len() >= 50);
    }
}
