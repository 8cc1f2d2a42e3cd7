//! A Tailwater store over HTTP: change streams for browsers and for whatever else reads lines, metrics, and a dashboard.
//!
//! | path | what |
//! |---|---|
//! | `/v1/watch`, `/v1/watch/{database}`, `/v1/watch/{database}/{collection}` | every change in that scope, as Server-Sent Events, as newline-delimited JSON, or over a WebSocket |
//! | `/v1/stats`, `/metrics` | how things are, as JSON and for Prometheus |
//! | `/healthz`, `/readyz` | whether the server runs, and whether it is of use |
//! | `/` | the dashboard |
//!
//! `docs/http.md` tells how to use them.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use tailwater::Store;
//! use tailwater_auth::{Authentication, Authority};
//! use tailwater_http::{HttpOptions, HttpServer};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Store::open("./store")?;
//! let authority = Authority::open(store.clone(), Authentication::OnceThereAreUsers)?;
//! let server = HttpServer::bind(store, Arc::new(authority), HttpOptions::default())?;
//! println!("http://{}/", server.local_addr());
//! server.run()?;
//! # Ok(())
//! # }
//! ```
//!
//! # Tasks and threads
//!
//! A connection is a task, and so is its watch: a watch waits in its channel for the store's one reader of the log, so ten
//! thousand of them have no thread of their own, and some kibibytes each. What may wait for a disk (beginning a watch, looking at
//! the log) is done in a few threads beside.
//!
//! # What it trusts
//!
//! Nothing that comes over a socket. Heads of requests are bounded in bytes, fields and time, bodies are not read, filters and
//! pipelines are bounded by those who compile them, and what waits for a client that does not read is bounded by its socket and
//! its channel. Connections are encrypted where [`HttpOptions::tls`] says so (`encryption.rs`). Pages of other origins are refused unless they are allowed (`origin.rs`), and who may do what is asked of the
//! store's [`Authority`](tailwater_auth::Authority) (`gate.rs`), again and again while a watch goes on: where nobody has to log in,
//! only loopback addresses can be bound.

mod body;
mod budget;
mod connection;
mod dashboard;
mod encryption;
mod envelope;
mod error;
mod extjson;
mod gate;
mod metrics;
mod options;
mod origin;
mod patience;
mod places;
mod problem;
mod router;
mod server;
mod stats;
mod stop;
mod watch;

pub use error::{HttpError, HttpResult};
pub use options::HttpOptions;
pub use server::{HttpHandle, HttpServer};
pub use stats::WireStats;
