//! A log for the model: the entries are a real log's, and who appends is a thread of the model that makes one after the other
//! visible.

use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use log::{
    AppendOutcome, Durability, Entry, LogId, OpId, ReadConcern, Result, SharedEntry, Term, Timestamp, WaitOutcome,
    Watermarks,
};

use crate::primitives::{Condvar, Mutex};

#[derive(Debug, Default)]
struct Visible {
    appended: OpId,
    released: OpId,
    closed: bool,
}

impl Visible {
    fn newest(&self, concern: ReadConcern) -> OpId {
        match concern {
            ReadConcern::Local => self.appended,
            ReadConcern::Durable | ReadConcern::Majority => self.released,
        }
    }
}

/// As the log's of that name. The crate's unit tests, which are compiled with it and not run, write with it.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub segment_bytes: u64,
}

/// As the log's of that name.
#[derive(Clone, Debug)]
pub struct Oplog(log::Oplog);

/// As the log's of that name.
#[derive(Clone, Debug)]
pub struct OplogView {
    real: log::OplogView,
    visible: Arc<(Mutex<Visible>, Condvar)>,
}

/// As the log's of that name.
#[derive(Clone, Debug)]
pub struct Interrupt(Arc<Mutex<bool>>);

/// As the log's of that name.
#[derive(Debug)]
pub struct Cursor {
    real: log::Cursor,
    view: OplogView,
}

impl Options {
    pub fn open(&self, dir: impl AsRef<Path>) -> Result<Oplog> {
        let options = log::Options {
            segment_bytes: self.segment_bytes,
            ..log::Options::default()
        };
        options.open(dir).map(Oplog)
    }
}

impl Oplog {
    pub fn append(&self, kind: u8, payload: &[u8], durability: Durability) -> Result<AppendOutcome> {
        self.0.append(kind, payload, durability)
    }

    pub fn log_id(&self) -> LogId {
        self.0.log_id()
    }

    pub fn view(&self) -> OplogView {
        OplogView::new(self.0.view())
    }
}

impl OplogView {
    /// Of which nothing can be seen yet.
    pub fn new(real: log::OplogView) -> OplogView {
        let visible = Arc::default();
        OplogView { real, visible }
    }

    /// What an append that waits for the disk does: one more entry can be seen.
    pub fn append(&self) {
        self.change(|visible| {
            visible.appended = visible.appended.next();
            visible.released = visible.appended;
        });
    }

    /// What an append that does not wait does: one more entry can be seen by who does not wait either.
    pub fn append_unsynced(&self) {
        self.change(|visible| visible.appended = visible.appended.next());
    }

    pub fn close(&self) {
        self.change(|visible| visible.closed = true);
    }

    fn change(&self, change: impl FnOnce(&mut Visible)) {
        change(&mut self.visible.0.lock().unwrap());
        self.visible.1.notify_all();
    }

    pub fn open(_: impl AsRef<Path>) -> Result<OplogView> {
        unreachable!("a model has its log")
    }

    pub fn log_id(&self) -> LogId {
        self.real.log_id()
    }

    pub fn newest(&self, concern: ReadConcern) -> OpId {
        self.visible.0.lock().unwrap().newest(concern)
    }

    /// Who brings an entry is as good as another member.
    pub fn is_following(&self) -> Result<bool> {
        Ok(true)
    }

    pub fn newest_known(&self, concern: ReadConcern) -> Result<OpId> {
        Ok(self.newest(concern))
    }

    pub fn watermarks(&self) -> Watermarks {
        self.real.watermarks()
    }

    pub fn cursor(&self, from: OpId, concern: ReadConcern) -> Result<Cursor> {
        self.cursor_of(self.real.cursor(from, concern)?)
    }

    pub fn cursor_from_oldest(&self, concern: ReadConcern) -> Cursor {
        let (real, view) = (self.real.cursor_from_oldest(concern), self.clone());
        Cursor { real, view }
    }

    pub fn cursor_from_time(&self, time: Timestamp, concern: ReadConcern) -> Result<Cursor> {
        self.cursor_of(self.real.cursor_from_time(time, concern)?)
    }

    fn cursor_of(&self, real: log::Cursor) -> Result<Cursor> {
        let view = self.clone();
        Ok(Cursor { real, view })
    }

    pub fn get(&self, op_id: OpId, concern: ReadConcern) -> Result<SharedEntry> {
        self.real.get(op_id, concern)
    }

    pub fn check_position(&self, op_id: OpId, term: Term, timestamp: Timestamp) -> Result<()> {
        self.real.check_position(op_id, term, timestamp)
    }

    /// Until the entry can be seen. Time stands still here: who sleeps is woken, or the model stands still too.
    pub fn wait(&self, op_id: OpId, concern: ReadConcern, _: Option<Instant>, interrupt: &Interrupt) -> WaitOutcome {
        let (visible, changed) = &*self.visible;
        let mut visible = visible.lock().unwrap();
        loop {
            // Also while there is something to be read: it is up to the caller to look.
            if visible.closed {
                return WaitOutcome::Closed;
            }
            if visible.newest(concern) >= op_id {
                return WaitOutcome::Ready;
            }
            if interrupt.is_raised() {
                return WaitOutcome::Interrupted;
            }
            visible = changed.wait(visible).unwrap();
        }
    }

    pub fn is_closed(&self) -> bool {
        self.visible.0.lock().unwrap().closed
    }

    pub fn interrupt(&self, interrupt: &Interrupt) {
        self.change(|_| *interrupt.0.lock().unwrap() = true);
    }
}

impl Interrupt {
    #[expect(clippy::new_without_default, reason = "as the log's")]
    pub fn new() -> Interrupt {
        Interrupt(Arc::new(Mutex::new(false)))
    }

    pub fn is_raised(&self) -> bool {
        *self.0.lock().unwrap()
    }
}

impl Cursor {
    pub fn position(&self) -> OpId {
        self.real.position()
    }

    pub fn concern(&self) -> ReadConcern {
        self.real.concern()
    }

    pub fn expecting_to_read(self, bytes: usize) -> Cursor {
        Cursor {
            real: self.real.expecting_to_read(bytes),
            ..self
        }
    }

    pub fn try_next(&mut self) -> Result<Option<Entry<'_>>> {
        match self.real.position() <= self.view.newest(self.real.concern()) {
            true => self.real.try_next(),
            false => Ok(None),
        }
    }

    pub fn wait(&self, deadline: Option<Instant>, interrupt: &Interrupt) -> WaitOutcome {
        self.view.wait(self.position(), self.concern(), deadline, interrupt)
    }

    pub fn poll_ready(&self, _: &mut Context<'_>) -> Poll<Result<()>> {
        unreachable!("streams with a cursor of their own are no part of the model")
    }
}
