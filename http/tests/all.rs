//! Tests of the HTTP server that can share a process: one program, which is sooner linked than one for each file. A file that is not
//! listed here is a program of its own, named in `Cargo.toml`.

mod common;

mod events;
mod logins;
mod monitoring;
mod pressure;
mod refusals;
mod websocket;
