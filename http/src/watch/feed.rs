//! What happens on a watch, one thing after the other, whatever it is written as.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::{Stream, StreamExt};
use tailwater::{ChangeEvent, ListedWatch, Receiver, ResumeToken, WatchError, WatchHandle};
use tokio::time::{Instant, sleep_until};

use crate::budget::{Budget, Place, is_small};
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
    /// Comes next: it was met while there was something to be written first.
    met: Option<Step>,
    budget: Arc<Budget>,
    over: bool,
    /// Ends the watch when it goes.
    _handle: WatchHandle,
}

impl Feed {
    /// `heartbeat` is how often the client wants to hear of the watch, if it has said so, and how often it does if not.
    pub(crate) fn new(
        (handle, receiver, listed): (WatchHandle, Receiver, ListedWatch),
        writing: Writing,
        (asked, default): (Option<Duration>, Duration),
        (stop, warrant): (Stop, Warrant),
        budget: Arc<Budget>,
    ) -> Feed {
        let heartbeat = asked.unwrap_or(default);
        Feed {
            writing,
            tells_place: asked.is_some(),
            receiver,
            listed,
            heartbeat,
            quiet_at: Instant::now() + heartbeat,
            stop,
            warrant,
            met: None,
            budget,
            over: false,
            _handle: handle,
        }
    }

    /// Where the client goes on from when it has all that was written so far.
    pub(crate) fn token(&self) -> ResumeToken {
        self.receiver.resume_token()
    }

    /// What happens next, waiting for it; nothing behind an end.
    pub(crate) async fn next(&mut self) -> Option<Step> {
        let step = match self.met.take() {
            Some(Step::Event(event, _)) => self.placed(event).await?,
            Some(met) => return Some(met),
            None if self.over => return None,
            // The end of the server comes first: events that wait are still in the log.
            None => tokio::select! {
                biased;
                () = self.stop.stopped() => Step::Stopping,
                received = self.receiver.next() => match step(received) {
                    Step::Event(event, _) => self.placed(event).await?,
                    other => other,
                },
                () = sleep_until(self.quiet_at) => Step::Quiet,
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

    /// An event with its place in memory, waiting for it. Nothing when the server ends meanwhile: the client goes on with the token
    /// that it has, before the event.
    async fn placed(&mut self, event: ChangeEvent) -> Option<Step> {
        // Whoever gives up waiting here, to look for what its client says, comes back for it.
        self.met = Some(Step::Event(event.clone(), Place::default()));
        let place = tokio::select! {
            biased;
            place = self.budget.place(&event) => Some(place),
            () = self.stop.stopped() => None,
        };
        self.met = None;
        self.over |= place.is_none();
        place.map(|place| Step::Event(event, place))
    }

    /// Whether the server ends, and with it the watch.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.is_stopped()
    }

    /// The next event if there is one by now that needs no place of its own. What else there is comes with [`Feed::next`].
    pub(crate) async fn next_if_any(&mut self) -> Option<ChangeEvent> {
        if self.over || self.stop.is_stopped() {
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
            large @ Step::Event(..) => {
                self.met = Some(large);
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
            Step::Event(event, _) => self.listed.delivered(1, event.resume_token()),
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
