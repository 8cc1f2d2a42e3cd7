//! A Tailwater store that MongoDB's drivers can talk to.
//!
//! [`Server`] listens on a socket and answers MongoDB's commands from a [`Store`](tailwater::Store). It presents itself as the
//! primary of a replica set of one member, because drivers ask for that before change streams, transactions and retryable
//! writes.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use tailwater::Store;
//! use tailwater_auth::{Authentication, Authority};
//! use tailwater_server::{Server, ServerOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Store::open("./store")?;
//! let authority = Authority::open(store.clone(), Authentication::OnceThereAreUsers)?;
//! let server = Server::bind(store, Arc::new(authority), ServerOptions::default())?;
//! println!("mongodb://{}/?directConnection=true", server.local_addr());
//! server.run()?;
//! # Ok(())
//! # }
//! ```
//!
//! # Threads
//!
//! Each connection has a thread of its own, which reads a request, runs it and writes the answer: the store's calls block, and
//! wait for the disk and for the tail of the log by themselves. Cursors and change streams that nobody asks for more have no
//! thread. [`ServerOptions::connections_max`] bounds the threads.
//!
//! # What it trusts
//!
//! Nothing that comes over a socket: messages are checked by `tailwater-wire`, documents before they are looked into, and
//! every field of a command is known or refused. Every command says what its client has to be allowed, and an
//! [`Authority`](tailwater_auth::Authority) whether it is. An address that other machines reach is only served where clients have
//! to log in.

mod command;
mod commands;
mod concern;
mod connection;
mod context;
mod cursor;
mod election;
mod error;
mod fail_points;
mod login;
mod member;
mod needs;
mod operations;
mod oplog_view;
mod options;
mod reply;
mod request;
mod secondary;
mod server;
mod session;
mod share;
mod staged;
mod statements;
mod stats;
mod topology;
mod transport;
mod users;
mod value;

pub use commands::help;
pub use error::{ServerError, ServerResult};
pub use member::{Member, MemberEvent, MemberOptions};
pub use options::ServerOptions;
pub use server::{Server, ServerHandle};
pub use stats::ServerStats;
