//! What happens on a watch, one thing after the other, whatever it is written as.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::{Stream, StreamExt};
use tailwater::{ChangeEvent, ListedWatch, Receiver, ResumeToken, WatchError, WatchHandle};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::budget::{Budget, Eviction, Place, is_small};
use crate::envelope::Writing;
use crate::gate::Warrant;
use crate::problem::Problem;
use crate::stop::Stop;

/// What happens.
pub(crate) enum Step {
    /// With its place in memory.
    Event(ChangeEvent, Place),
    /// Nothing has come for a while.
    Quiet,
    /// What was watched has ended, and the event that says so was delivered.
    Ended,
    /// The watch has failed.
    Failed(Problem),
    /// The server ends.
    Stopping,
}

/// A watch that is being served.
pub(crate) struct Feed {
    pub(crate) writing: Writing,
    /// Whether the client has asked to be told where it is while nothing comes.
    pub(crate) tells_place: bool,
    receiver: Receiver,
    listed: ListedWatch,
    heartbeat: Duration,
    quiet_at: Instant,
    stop: Stop,
    /// What the client was let in for; looked at before each batch.
    warrant: Warrant,
    /// Comes next: it was met while there was something to be written first. Never an event.
    met: Option<Step>,
    /// A large event that has been received, until there is a place for it.
    waiting: Option<Waiting>,
    /// Where the client goes on from while an event waits.
    given: ResumeToken,
    budget: Arc<Budget>,
    eviction: Eviction,
    over: bool,
    /// Ends the watch when it goes.
    _handle: WatchHandle,
}

/// See [`Feed::waiting`].
struct Waiting {
    event: ChangeEvent,
    place: Turn,
}

/// A task that waits for a place, and ends with this.
///
/// Not the feed itself: it does not look while its client takes a heartbeat, which may last. The place would be given to it all
/// the same, and as it would not be among the holders, no one could have it evicted.
struct Turn(JoinHandle<Place>);

impl Turn {
    fn queue(place: impl Future<Output = Place> + Send + 'static) -> Turn {
        Turn(tokio::spawn(place))
    }

    async fn come(&mut self) -> Place {
        // It does not end otherwise: nobody else aborts it.
        (&mut self.0).await.unwrap_or_default()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Feed {
    /// `heartbeat` is how often the client wants to hear of the watch, if it has said so, and how often it does if not.
    pub(crate) fn new(
        (handle, receiver, listed): (WatchHandle, Receiver, ListedWatch),
        writing: Writing,
        (asked, default): (Option<Duration>, Duration),
        (stop, warrant): (Stop, Warrant),
        (budget, eviction): (Arc<Budget>, Eviction),
    ) -> Feed {
        let heartbeat = asked.unwrap_or(default);
        Feed {
            writing,
            tells_place: asked.is_some(),
            given: receiver.resume_token(),
            receiver,
            listed,
            heartbeat,
            quiet_at: Instant::now() + heartbeat,
            stop,
            warrant,
            met: None,
            waiting: None,
            budget,
            eviction,
            over: false,
            _handle: handle,
        }
    }

    /// Where the client goes on from when it has all that was written so far.
    pub(crate) fn token(&self) -> ResumeToken {
        match self.waiting {
            Some(_) => self.given,
            None => self.receiver.resume_token(),
        }
    }

    /// What happens next, waiting for it; nothing behind an end. Whoever gives up waiting comes back for it.
    pub(crate) async fn next(&mut self) -> Option<Step> {
        if let Some(met) = self.met.take() {
            return Some(met);
        }
        if self.over {
            return None;
        }
        let step = match self.waiting {
            Some(_) => self.placed().await,
            None => match self.received().await {
                Step::Event(event, _) if !is_small(&event) => {
                    self.wait_for(event);
                    self.placed().await
                }
                step => step,
            },
        };
        self.quiet_at = Instant::now() + self.heartbeat;
        // What the client may see can have changed while nothing came.
        let step = match (step, self.warrant.check()) {
            (Step::Event(..) | Step::Quiet, Err(problem)) => Step::Failed(problem),
            (step, _) => step,
        };
        Some(self.noted(step))
    }

    async fn received(&mut self) -> Step {
        // The end of the server comes first: events that wait are still in the log.
        tokio::select! {
            biased;
            () = self.stop.stopped() => Step::Stopping,
            received = self.receiver.next() => step(received),
            () = sleep_until(self.quiet_at) => Step::Quiet,
        }
    }

    /// A large event has been received, which comes when there is a place for it.
    fn wait_for(&mut self, event: ChangeEvent) {
        let budget = Arc::clone(&self.budget);
        let place = budget.place(self.writing.length(&event), event.entry_bytes(), self.eviction.clone());
        self.waiting = Some(Waiting {
            event,
            place: Turn::queue(place),
        });
    }

    /// The event that waits, with its place in memory, or what comes before there is one. The client is still told that it is
    /// waited for, and goes on before the event when the server ends.
    async fn placed(&mut self) -> Step {
        // It stays where it is as long as this waits, so that whoever gives up waiting keeps its turn.
        let Some(Waiting { event, place }) = &mut self.waiting else {
            return Step::Quiet;
        };
        let step = tokio::select! {
            biased;
            place = place.come() => Step::Event(event.clone(), place),
            () = self.stop.stopped() => return Step::Stopping,
            () = sleep_until(self.quiet_at) => return Step::Quiet,
        };
        self.waiting = None;
        step
    }

    /// The next event if there is one by now that needs no place of its own. What else there is comes with [`Feed::next`].
    pub(crate) async fn next_if_any(&mut self) -> Option<ChangeEvent> {
        if self.over || self.met.is_some() || self.waiting.is_some() || self.stop.is_stopped() {
            return None;
        }
        let received = poll_fn(|context| {
            Poll::Ready(match Pin::new(&mut self.receiver).poll_next(context) {
                Poll::Ready(received) => Some(step(received)),
                Poll::Pending => None,
            })
        });
        match received.await? {
            Step::Event(event, place) if is_small(&event) => match self.noted(Step::Event(event, place)) {
                Step::Event(event, _) => Some(event),
                _ => None,
            },
            Step::Event(event, _) => {
                self.wait_for(event);
                None
            }
            other => {
                self.met = Some(self.noted(other));
                None
            }
        }
    }

    fn noted(&mut self, step: Step) -> Step {
        match &step {
            Step::Event(event, _) => {
                self.given = event.resume_token();
                self.listed.delivered(1, self.given);
            }
            Step::Quiet if self.waiting.is_none() => self.given = self.receiver.resume_token(),
            Step::Quiet => {}
            Step::Ended | Step::Failed(_) | Step::Stopping => self.over = true,
        }
        step
    }
}

fn step(received: Option<Result<ChangeEvent, WatchError>>) -> Step {
    match received {
        Some(Ok(event)) => Step::Event(event, Place::default()),
        Some(Err(error)) => Step::Failed(error.into()),
        None => Step::Ended,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_turn_has_come_can_be_evicted_though_it_does_not_look() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.unwrap().block_on(async {
            let budget = Arc::new(Budget::new(1, Duration::from_millis(1)));
            let place = |client: &Eviction| Arc::clone(&budget).place(1, 0, client.clone());
            let first = place(&Eviction::default()).await;
            let away = Eviction::default();
            let turn = Turn::queue(place(&away));
            tokio::task::yield_now().await;
            drop(first);
            let third = tokio::spawn(place(&Eviction::default()));
            // As the connection does while it writes.
            away.told().await;
            drop(turn);
            assert!(!third.await.unwrap().is_none());
        });
    }
}
