//! The end of a server, as those see it who serve.

use tokio::sync::watch;

/// Tells everybody that the server ends.
#[derive(Debug)]
pub(crate) struct Stopper(watch::Sender<bool>);

/// Notices it.
#[derive(Clone, Debug)]
pub(crate) struct Stop(watch::Receiver<bool>);

impl Stopper {
    pub(crate) fn new() -> Stopper {
        Stopper(watch::Sender::new(false))
    }

    pub(crate) fn stop(&self) {
        self.0.send_replace(true);
    }

    pub(crate) fn subscribe(&self) -> Stop {
        Stop(self.0.subscribe())
    }
}

impl Stop {
    /// Comes back when the server ends.
    pub(crate) async fn stopped(&mut self) {
        // Without a sender nobody is left to serve for.
        let _ = self.0.wait_for(|stopped| *stopped).await;
    }

    pub(crate) fn is_stopped(&self) -> bool {
        *self.0.borrow()
    }
}
