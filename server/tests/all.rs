//! Tests of the server that can share a process: one program, which is sooner linked than one for each file. A file that is not
//! listed here is a program of its own, named in `Cargo.toml`.

mod common;

mod bulk_write;
mod change_streams;
mod commands;
mod document_limits;
mod fail_points;
mod limits;
mod login;
mod members;
mod operations;
mod oplog;
mod privileges;
mod sessions;
mod topology;
