//! Tests of the library that can share a process: one program, which is sooner linked than one for each file. A file that is not
//! listed here is a program of its own, named in `Cargo.toml`.

mod common;

mod consumer_effects;
mod consumer_faults;
mod consumer_hazards;
mod consumer_model;
mod consumer_snapshot;
mod consumers;
mod filtered_deletes;
mod listing;
mod live;
mod majority;
mod partial;
mod practices;
mod snapshot;
mod snapshot_model;
mod styles;
mod subscribe;
mod watch;
