//! Tests of the log that can share a process: one program, which is sooner linked than one for each file. A file that is not
//! listed here is a program of its own, named in `Cargo.toml`.

mod common;

mod copy;
mod fixtures;
mod flipped;
mod forged;
mod log;
mod lookup;
mod positions;
mod python;
mod repair;
mod replica;
mod retention;
mod reverse;
