//! Tests of the streams that can share a process: one program, which is sooner linked than one for each file. A file that is not
//! listed here is a program of its own, named in `Cargo.toml`.

mod common;

mod ahead;
mod asked;
mod dispatch;
mod dispatch_hazards;
mod dispatch_index;
mod ends;
mod events;
mod missing_images;
mod reading;
mod selection;
mod shaping;
mod splitting;
mod starting;
mod subscriptions;
mod tokens;
