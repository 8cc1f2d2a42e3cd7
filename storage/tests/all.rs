//! Tests of the store that can share a process: one program, which is sooner linked than one for each file. A file that is not
//! listed here is a program of its own, named in `Cargo.toml`.

mod common;

mod aggregate;
mod backup;
mod builds;
mod compatibility;
mod definitions;
mod digest;
mod following;
mod index_model;
mod indexes;
mod lookups;
mod model;
mod plans;
mod selection;
mod sessions;
mod transaction_model;
mod transactions;
mod ttl;
