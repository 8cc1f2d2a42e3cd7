//! Tests of the members that can share a process: one program, which is sooner linked than one for each file. A file that is not
//! listed here is a program of its own, named in `Cargo.toml`.

#[path = "../../tests/src/certificates.rs"]
#[allow(dead_code, unreachable_pub, reason = "other tests use the rest, from another crate")]
mod certificates;
#[allow(dead_code, unused_imports, reason = "the simulation uses the rest")]
mod cluster;
#[allow(dead_code, unused_imports, reason = "other tests use the rest")]
mod stores;

mod chains;
mod cluster_of_stores;
mod copies;
mod copying;
mod filtered;
mod index_builds;
mod leftovers;
mod links;
mod progress;
mod reading;
mod relays;
mod restored;
mod scenarios;
mod standby;
mod tls;
mod write_concern;
