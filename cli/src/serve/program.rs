//! The program around the servers: what happens to it, one thing after the other.
//!
//! A store is served until somebody asks for the end. That of a follower may be closed before, to be cut back or replaced: then the
//! servers end, as for a stop, and begin anew over the store that is opened next, at the same addresses; drivers connect again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::thread::{self, JoinHandle};

use signal_hook::consts::SIGHUP;
use tailwater::Store;
use tailwater_auth::{Authentication, Authority, Tls};
use tailwater_server::{MemberEvent, Server, ServerHandle, ServerOptions, ServerResult};

use super::control::Control;
use super::http::{self, HttpArguments};
use super::member::Standing;
use crate::failure::{Exit, Failure, Outcome};
use crate::output;

/// What happens.
pub(super) enum Event {
    /// A signal of the system's.
    Signal(i32),
    /// Something has become of the member.
    Member(MemberEvent),
    /// MongoDB's protocol is served no more.
    Served,
}

/// What is served, and how.
pub(super) struct Program<'a> {
    pub(super) options: ServerOptions,
    pub(super) authentication: Authentication,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) http: &'a HttpArguments,
    pub(super) says: Sender<Event>,
    pub(super) events: Receiver<Event>,
    /// Where HTTP is served, once it is.
    pub(super) http_address: Option<SocketAddr>,
    /// Whether it was said where it listens.
    pub(super) is_announced: bool,
}

/// The servers over one store.
struct Life {
    handle: ServerHandle,
    server: JoinHandle<ServerResult<()>>,
    http: Option<http::Serving>,
}

/// Says that a thread is over, however that is.
struct Over(Sender<Event>);

impl Drop for Over {
    fn drop(&mut self) {
        // Whoever would be told has ended.
        let _ = self.0.send(Event::Served);
    }
}

impl Program<'_> {
    /// Serves until it is to end.
    pub(super) fn run(mut self, standing: Standing, control: Option<Control>) -> Outcome {
        self.options.member = standing.member().cloned();
        let served = self.serve(&standing);
        drop(control);
        let ended = standing.end();
        served.and(ended)
    }

    fn serve(&mut self, standing: &Standing) -> Outcome {
        let mut life = self.begin(standing)?;
        let (mut stopping, mut closed, mut failure) = (false, false, None);
        loop {
            if life.is_none() && stopping {
                return failure.map_or(Ok(()), Err);
            }
            // The program holds one end itself.
            let Ok(event) = self.events.recv() else { return Ok(()) };
            match event {
                Event::Signal(SIGHUP) => self.reload(),
                // Whoever asks again does not want to wait for its end.
                Event::Signal(_) if stopping => std::process::exit(i32::from(Exit::Failure as u8)),
                Event::Signal(_) => stopping = true,
                Event::Member(MemberEvent::Opened) if life.is_none() => life = self.begin(standing)?,
                Event::Member(MemberEvent::Closed) => {
                    closed = life.is_some();
                    life.iter().for_each(Life::stop);
                }
                Event::Member(MemberEvent::Ended) => {
                    if let Some(error) = standing.member().and_then(|member| member.failure()) {
                        failure.get_or_insert(Failure::from(error));
                        stopping = true;
                    }
                }
                Event::Member(_) => {}
                Event::Served => {
                    life.take().map_or(Ok(()), Life::end)?;
                    // By itself it ends when it cannot go on.
                    stopping |= !closed;
                    if std::mem::take(&mut closed) && !stopping {
                        life = self.begin(standing)?;
                    }
                }
            }
            if stopping {
                life.iter().for_each(Life::stop);
            }
        }
    }

    /// Serves the store that there is; nothing if there is none.
    fn begin(&mut self, standing: &Standing) -> Outcome<Option<Life>> {
        let Some(store) = standing.store() else {
            return Ok(None);
        };
        match self.begin_over(standing, &store) {
            // It has been closed meanwhile. There will be another.
            Err(_) if standing.member().is_some() && store.log().is_closed() => Ok(None),
            begun => begun.map(Some),
        }
    }

    fn begin_over(&mut self, standing: &Standing, store: &Store) -> Outcome<Life> {
        let authority = Authority::open(store.clone(), self.authentication).map(Arc::new)?;
        if authority.has_users() && !authority.is_required() {
            tracing::warn!("there are users, and nobody has to log in (--no-auth)");
        }
        let server = Server::bind(store.clone(), Arc::clone(&authority), self.options.clone())?;
        let handle = server.handle();
        let counts_majority = standing.member().is_some_and(|member| member.has_majority());
        let encryption = (self.tls.as_ref(), self.options.handshake_timeout);
        let http = self.http.begin(
            self.http_address,
            store,
            &authority,
            &handle,
            encryption,
            counts_majority,
        )?;
        let address = server.local_addr();
        let http_address = http.as_ref().map(|http| http.address);
        let over = Over(self.says.clone());
        let thread = thread::Builder::new().name("tailwater-serve".into()).spawn(move || {
            let _over = over;
            server.run()
        });
        let server = thread.map_err(|error| Failure::io("start a thread", &error))?;
        if !std::mem::replace(&mut self.is_announced, true) {
            self.announce(standing, address, http.as_ref())?;
        }
        // Ports that were free are taken again by the next.
        (self.options.bind, self.http_address) = (address, http_address);
        Ok(Life { handle, server, http })
    }

    fn announce(&self, standing: &Standing, address: SocketAddr, http: Option<&http::Serving>) -> Outcome {
        let encrypted = if self.tls.is_some() { "&tls=true" } else { "" };
        let mut listening = format!("listening on mongodb://{address}/?directConnection=true{encrypted}\n");
        if let Some(http) = http {
            let scheme = if http.is_encrypted { "https" } else { "http" };
            listening += &format!("listening on {scheme}://{}/\n", http.address);
        }
        if let Some(address) = standing.member().and_then(|member| member.address()) {
            listening += &format!("listening for followers on {address}\n");
        }
        output::print(&listening)
    }

    fn reload(&self) {
        match self.tls.as_deref().map(Tls::reload) {
            Some(Ok(())) => tracing::info!("certificates were read again"),
            Some(Err(error)) => tracing::error!(%error, "certificates stay as they were"),
            None => {}
        }
    }
}

impl Life {
    fn stop(&self) {
        self.handle.stop();
        self.http.iter().for_each(|http| http.handle.stop());
    }

    /// Waits for its end.
    fn end(self) -> Outcome {
        self.stop();
        let served = self.server.join();
        self.http.map_or(Ok(()), http::Serving::end)?;
        match served {
            Ok(served) => Ok(served?),
            Err(_) => Err(Failure::new(Exit::Failure, "serving has panicked")),
        }
    }
}
