//! How a durable consumer is made.

use std::sync::Arc;
use std::time::Duration;

use super::begin::{self, ConsumerSnapshot};
use super::group;
use super::member::Consumer;
use crate::error::{Error, Result};
use crate::options::Watch;
use crate::subscription::{StreamHandle, StreamReceiver, subscribe};

/// Longest name of a consumer in bytes.
pub const CONSUMER_NAME_BYTES_MAX: usize = 100;

/// Options of a durable consumer. All have defaults. They are those of the member that joins first; nothing of them is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConsumerOptions {
    /// Over how many partitions documents are spread: how many members can share the work. Default 64.
    pub partitions: usize,
    /// How often an event may fail before it goes to the dead letters; for ever when `None`. Default 5.
    pub max_failures: Option<u32>,
    /// How long after a failure an event is delivered again, and with it the later ones of its document. Default 1 s.
    pub retry_delay: Duration,
    /// Where dead letters go, as database and collection. Default `tailwater.dead_letters`.
    pub dead_letters: (String, String),
    /// How long a member may be silent before others take its partitions over. Default 30 s.
    pub lease: Duration,
    /// Most events behind the first that is not dealt with. Default 10,000.
    pub window_events: usize,
    /// Most bytes of entries of events that are not dealt with. Default 16 MiB.
    pub window_bytes: usize,
    /// Most bytes of log that are kept for the consumer, against the log's retention. Default 1 GiB.
    pub max_lag_bytes: u64,
    /// What to do when history that the consumer still needed is gone. Default [`LostHistory::Fail`].
    pub lost_history: LostHistory,
}

impl Default for ConsumerOptions {
    fn default() -> ConsumerOptions {
        ConsumerOptions {
            partitions: 64,
            max_failures: Some(5),
            retry_delay: Duration::from_secs(1),
            dead_letters: (
                crate::document_store::INTERNAL_DATABASE.to_owned(),
                super::record::DEAD_LETTERS.to_owned(),
            ),
            lease: Duration::from_secs(30),
            window_events: 10_000,
            window_bytes: 16 << 20,
            max_lag_bytes: 1 << 30,
            lost_history: LostHistory::Fail,
        }
    }
}

/// What a consumer does that has lost history.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LostHistory {
    /// Joining fails with [`Error::ConsumerLostHistory`].
    #[default]
    Fail,
    /// It goes on with the oldest event the log still has. What was trimmed is skipped.
    SkipToOldest,
    /// It goes on with the next event that is written. Everything before is skipped.
    SkipToNewest,
}

/// Builds a member of a durable consumer: [`Watch::consumer`].
#[derive(Clone, Debug)]
#[must_use = "a consumer does nothing before it is joined"]
pub struct ConsumerBuilder {
    watch: Watch,
    name: String,
    options: ConsumerOptions,
}

impl Watch {
    /// A durable consumer: its name stands for its position, which the store keeps. A new one begins where the watch says; one
    /// that is there goes on where it was, whatever the watch says of that.
    pub fn consumer(self, name: impl Into<String>) -> ConsumerBuilder {
        ConsumerBuilder {
            watch: self.whole_for("a durable consumer"),
            name: name.into(),
            options: ConsumerOptions::default(),
        }
    }
}

impl ConsumerBuilder {
    /// With these options.
    pub fn options(mut self, options: ConsumerOptions) -> ConsumerBuilder {
        self.options = options;
        self
    }

    /// Joins the consumer as a new member.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidConsumerName`]; [`Error::NoStore`] when the watch is one of a log without its store;
    /// [`Error::ConsumerMismatch`] when the consumer watches something else, its other members watch otherwise, or this thread is
    /// joining it already;
    /// [`Error::ConsumerLostHistory`]; [`Error::MalformedConsumer`]; as [`Watch::start`]; [`Error::Store`].
    pub fn join(self) -> Result<Consumer> {
        check_name(&self.name)?;
        let store = Arc::clone(self.watch.store().ok_or(Error::NoStore)?);
        let turn = store.groups().turn(&self.name)?;
        let joined = group::join(&turn, self.watch, self.options);
        drop(turn);
        Ok(joined?.told())
    }

    /// Joins the consumer as a new member. One that is new, or has lost history, begins with a snapshot: `begin` is given the
    /// documents that match, all as of one OpID, and what is delivered are the changes behind that OpID. So one call serves the
    /// first start, every later one, and the return after too long.
    ///
    /// Only when `begin` is through is the position written down: if it fails, or the program dies in it, the next call begins with
    /// a snapshot of then. The log is kept for it meanwhile, up to [`ConsumerOptions::max_lag_bytes`]. Others who join under the
    /// name wait until it is through, and join behind it.
    ///
    /// # Errors
    ///
    /// What `begin` fails with. As [`ConsumerBuilder::join`]; [`Error::ConflictingStart`] when the watch has a starting point of
    /// its own, or [`ConsumerOptions::lost_history`] says how to go on without a snapshot.
    pub fn join_with_snapshot<E: From<Error>>(
        self,
        begin: impl FnOnce(&mut ConsumerSnapshot) -> Result<(), E>,
    ) -> Result<Consumer, E> {
        begin::join((self.watch, &self.name, self.options), begin)
    }

    /// Joins the consumer as a new member, with a handle that ends its deliveries and a receiver. The member leaves with the
    /// receiver: what that has by then can still be acknowledged.
    ///
    /// # Errors
    ///
    /// As [`ConsumerBuilder::join`].
    pub fn subscribe(self) -> Result<(StreamHandle, StreamReceiver<Consumer>)> {
        let member = self.join()?;
        let stop = member.stop();
        Ok(subscribe(member, stop))
    }
}

pub(super) fn check_name(name: &str) -> Result<()> {
    let what = match name.len() {
        0 => "it is empty",
        1..=CONSUMER_NAME_BYTES_MAX if !name.chars().any(char::is_control) => return Ok(()),
        1..=CONSUMER_NAME_BYTES_MAX => "it has a control character",
        _ => "it is longer than 100 bytes",
    };
    let name = name.to_owned();
    Err(Error::InvalidConsumerName { name, what })
}
