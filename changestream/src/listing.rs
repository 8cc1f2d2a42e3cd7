//! Who is watching: a list that those who serve watches to others keep, for whoever looks at a running program.
//!
//! A watch is on the list as long as its [`ListedWatch`] lives. Nothing is listed by itself, so a program with a million watches
//! of its own pays for none of this; one that is listed costs its description and some hundred bytes, and two counters each time
//! events are handed out. What is told of a [`Receiver`] is read from its channel when it is asked for, and is current also
//! while nothing comes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::SystemTime;

use crate::dispatch::Channel;
use crate::scope::Scope;
use crate::subscription::Receiver;
use crate::token::ResumeToken;

/// What a listed watch is, in words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WatchDescription {
    /// What it watches.
    pub scope: Scope,
    /// How its events leave the program, such as `sse`.
    pub transport: &'static str,
    /// Who gets them, such as an address.
    pub client: String,
    /// The text filter, if there is one.
    pub filter: Option<String>,
    /// The pipeline as JSON, if there is one.
    pub pipeline: Option<String>,
}

/// A listed watch as it stands.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WatchStatus {
    /// Its number in the list; not used again.
    pub id: u64,
    /// What it is.
    pub description: Arc<WatchDescription>,
    /// When it was listed.
    pub since: SystemTime,
    /// Events that have been handed out.
    pub delivered: u64,
    /// Events that have been found for it and wait to be handed out.
    pub waiting: u64,
    /// Where it would be resumed; see [`Receiver::resume_token`].
    pub token: ResumeToken,
}

impl WatchStatus {
    /// Events that its filter has let through so far.
    #[must_use]
    pub fn matched(&self) -> u64 {
        self.delivered + self.waiting
    }
}

/// The list. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct WatchList(Arc<Mutex<Lines>>);

#[derive(Debug, Default)]
struct Lines {
    last: u64,
    live: BTreeMap<u64, Arc<Line>>,
}

#[derive(Debug)]
struct Line {
    description: Arc<WatchDescription>,
    since: SystemTime,
    delivered: AtomicU64,
    /// Where it was when it last said so.
    token: Mutex<ResumeToken>,
    /// Whom to ask instead, where there is a channel.
    channel: Option<Weak<Channel>>,
}

/// A place in the list, given up when it is dropped.
#[derive(Debug)]
#[must_use = "a watch is listed as long as this lives"]
pub struct ListedWatch {
    list: WatchList,
    id: u64,
    line: Arc<Line>,
}

impl WatchList {
    /// Lists a watch that stands at `token`, and says by [`ListedWatch::delivered`] where it has come to.
    pub fn enter(&self, description: WatchDescription, token: ResumeToken) -> ListedWatch {
        self.add(description, token, None)
    }

    /// Lists a watch that is delivered into a channel.
    pub fn enter_receiver(&self, description: WatchDescription, receiver: &Receiver) -> ListedWatch {
        let channel = Arc::downgrade(receiver.channel());
        self.add(description, receiver.resume_token(), Some(channel))
    }

    fn add(&self, description: WatchDescription, token: ResumeToken, channel: Option<Weak<Channel>>) -> ListedWatch {
        let line = Arc::new(Line {
            description: Arc::new(description),
            since: SystemTime::now(),
            delivered: AtomicU64::new(0),
            token: Mutex::new(token),
            channel,
        });
        let mut lines = self.lock();
        lines.last += 1;
        let id = lines.last;
        lines.live.insert(id, Arc::clone(&line));
        drop(lines);
        let list = self.clone();
        ListedWatch { list, id, line }
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many are listed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().live.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The listed watches as they stand, the oldest first.
    #[must_use]
    pub fn statuses(&self) -> Vec<WatchStatus> {
        // Channels are asked outside of the list's lock.
        let live: Vec<_> = self
            .lock()
            .live
            .iter()
            .map(|(id, line)| (*id, Arc::clone(line)))
            .collect();
        live.into_iter().map(|(id, line)| line.status(id)).collect()
    }
}

impl Line {
    fn status(&self, id: u64) -> WatchStatus {
        let channel = self.channel.as_ref().and_then(Weak::upgrade);
        // The token first: an event that is taken meanwhile is told of twice rather than not at all.
        let (token, waiting) = match channel {
            Some(channel) => (channel.resume_token(), channel.len() as u64),
            None => (*self.token.lock().unwrap_or_else(PoisonError::into_inner), 0),
        };
        WatchStatus {
            id,
            description: Arc::clone(&self.description),
            since: self.since,
            delivered: self.delivered.load(Ordering::Relaxed),
            waiting,
            token,
        }
    }
}

impl ListedWatch {
    /// Says that so many more events have been handed out, and that the watch would be resumed with `token` now.
    pub fn delivered(&self, events: u64, token: ResumeToken) {
        self.line.delivered.fetch_add(events, Ordering::Relaxed);
        if self.line.channel.is_none() {
            *self.line.token.lock().unwrap_or_else(PoisonError::into_inner) = token;
        }
    }

    /// Its number in the list.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for ListedWatch {
    fn drop(&mut self) {
        self.list.lock().live.remove(&self.id);
    }
}
