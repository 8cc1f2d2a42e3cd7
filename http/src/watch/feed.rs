//! What happens on a watch, one thing after the other, whatever it is written as.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use futures::{Stream, StreamExt};
use tailwater::{ChangeEvent, ListedWatch, Receiver, ResumeToken, WatchError, WatchHandle};
use tokio::time::{Instant, sleep_until};

use crate::envelope::Writing;
use crate::gate::Warrant;
use crate::problem::Problem;
use crate::stop::Stop;

/// What happens.
pub(crate) enum Step {
    Event(ChangeEvent),
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
        if let Some(met) = self.met.take() {
            return Some(met);
        }
        if self.over {
            return None;
        }
        // The end of the server comes first: events that wait are still in the log.
        let step = tokio::select! {
            biased;
            () = self.stop.stopped() => Step::Stopping,
            received = self.receiver.next() => step(received),
            () = sleep_until(self.quiet_at) => Step::Quiet,
        };
        self.quiet_at = Instant::now() + self.heartbeat;
        // What the client may see can have changed while nothing came.
        let step = match (step, self.warrant.check()) {
            (Step::Event(_) | Step::Quiet, Err(problem)) => Step::Failed(problem),
            (step, _) => step,
        };
        Some(self.noted(step))
    }

    /// The next event if there is one by now. What else there is comes with [`Feed::next`].
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
        match received.await.map(|step| self.noted(step))? {
            Step::Event(event) => Some(event),
            other => {
                self.met = Some(other);
                None
            }
        }
    }

    fn noted(&mut self, step: Step) -> Step {
        match &step {
            Step::Event(event) => self.listed.delivered(1, event.resume_token()),
            Step::Quiet => {}
            Step::Ended | Step::Failed(_) | Step::Stopping => self.over = true,
        }
        step
    }
}

fn step(received: Option<Result<ChangeEvent, WatchError>>) -> Step {
    match received {
        Some(Ok(event)) => Step::Event(event),
        Some(Err(error)) => Step::Failed(error.into()),
        None => Step::Ended,
    }
}
