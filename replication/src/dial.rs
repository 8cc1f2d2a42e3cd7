//! Making a connection that somebody else can give up at any moment, also before there is one.
//!
//! To look up a name and to connect are calls that wait for as long as the system likes, and that nobody can end: to a machine
//! that is not there it is ten seconds for each of its addresses, and names have no limit at all. So a thread of its own makes
//! them. When they are given up it is left to itself: it has nothing but the address, and what it makes is closed.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};
use crate::link::{self, Hangup, Raw, Security};

/// Where one thread connects, again and again, and others end what it has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dial(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    ended: bool,
    /// What was made and nobody has taken yet.
    made: Option<Result<Raw>>,
    /// Of the connection there is.
    hangup: Option<Hangup>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Dial {
    /// Connects to the member at `HOST:PORT`.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`] once [`Dial::end`] was called; otherwise those of [`link::connect`].
    pub(crate) fn connect(&self, address: &str, security: &Security) -> Result<Raw> {
        let (address, security) = (address.to_owned(), security.clone());
        self.make(move || link::connect(&address, &security))
    }

    fn make(&self, make: impl FnOnce() -> Result<Raw> + Send + 'static) -> Result<Raw> {
        let maker = Arc::clone(&self.0);
        let thread = std::thread::Builder::new().name("tailwater-connect".into());
        let thread = thread.spawn(move || {
            let made = make();
            let mut state = maker.lock();
            if !state.ended {
                state.made = Some(made);
                maker.changed.notify_all();
            }
        });
        thread.map_err(Error::network("this member", "starting a thread"))?;
        let mut state = self.0.lock();
        loop {
            if state.ended {
                return Err(Error::Stopped);
            }
            if let Some(made) = state.made.take() {
                let raw = made?;
                state.hangup = Some(raw.hangup()?);
                return Ok(raw);
            }
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends the connection there is, if any.
    pub(crate) fn hang_up(&self) {
        if let Some(hangup) = &self.0.lock().hangup {
            hangup.now();
        }
    }

    /// The connection is over.
    pub(crate) fn over(&self) {
        self.0.lock().hangup = None;
    }

    /// Ends the connection there is, or is being made, and has no other made.
    pub(crate) fn end(&self) {
        let mut state = self.0.lock();
        state.ended = true;
        state.made = None;
        if let Some(hangup) = &state.hangup {
            hangup.now();
        }
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::mpsc::channel;

    use super::*;

    const LOCAL: Security = Security::Plaintext { anywhere: false };

    #[test]
    fn who_waits_for_a_connection_that_does_not_come_about_can_be_told_to_stop() {
        let dial = Dial::default();
        let (begun, begins) = channel();
        let (let_go, go) = channel::<()>();
        let (over, ended) = channel::<()>();
        let waiting = std::thread::spawn({
            let dial = dial.clone();
            move || {
                dial.make(move || {
                    begun.send(()).unwrap();
                    // As a machine that does not answer.
                    let _ = go.recv();
                    drop(over);
                    Err(Error::Panicked)
                })
            }
        });
        begins.recv().unwrap();
        dial.end();
        assert!(matches!(waiting.join().unwrap(), Err(Error::Stopped)));
        // Though that one has not come back.
        drop(let_go);
        assert!(ended.recv().is_err());
        assert!(matches!(dial.connect("127.0.0.1:1", &LOCAL), Err(Error::Stopped)));
    }

    #[test]
    fn a_connection_that_was_made_is_ended_from_elsewhere() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let dial = Dial::default();
        for _ in 0..2 {
            let raw = dial.connect(&address, &LOCAL).unwrap();
            let (mut other, _) = listener.accept().unwrap();
            dial.hang_up();
            assert_eq!(std::io::Read::read(&mut other, &mut [0]).unwrap(), 0);
            dial.over();
            drop(raw);
        }
        drop(listener);
        assert!(matches!(dial.connect(&address, &LOCAL), Err(Error::Network { .. })));
    }
}
