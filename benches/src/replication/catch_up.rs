//! A follower that comes to a log that others have written meanwhile: how many entries a second until the primary hears that all of
//! them are durable there, and until they are in the follower's state besides. From when the primary lets it on: what its opening
//! takes is another workload's.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bson::{RawDocumentBuf, rawdoc};
use tailwater::replication::{FollowerEvent, WriteConcern};
use tailwater::{Durability, Store};

use super::{PATIENCE, follower, primary};
use crate::harness::{Plan, Result, millions_per_second};
use crate::report::{Comparison, Unit};

const BATCH: u64 = 1000;
const CHUNK: usize = 1 << 20;

pub(super) fn run(plan: &Plan) -> Result<Vec<Comparison>> {
    let small = Entries {
        count: plan.pick(1_000_000, 200_000),
        note: 120,
    };
    let large = Entries {
        count: plan.pick(300_000, 60_000),
        note: 1000,
    };
    Ok(vec![
        measure(plan, "catch-up", small, Until::Durable)?,
        measure(plan, "catch-up-applied", small, Until::Applied)?,
        measure(plan, "catch-up-1k", large, Until::Durable)?,
    ])
}

fn measure(plan: &Plan, name: &'static str, entries: Entries, until: Until) -> Result<Comparison> {
    let (limits, rates) = plan.alternate(
        || Ok(through_loopback(entries)?.min(onto_disk(plan, entries)?)),
        || caught_up(plan, entries, until),
    )?;
    Ok(Comparison::new(name, Unit::MillionsPerSecond, limits, rates))
}

/// When the follower has caught up.
#[derive(Clone, Copy)]
enum Until {
    /// The primary knows that everything is durable there.
    Durable,
    /// Readers there find everything.
    Applied,
}

/// So many insertions, of documents with a text of so many bytes.
#[derive(Clone, Copy)]
struct Entries {
    count: u64,
    note: usize,
}

impl Entries {
    fn document(self, number: u64) -> RawDocumentBuf {
        rawdoc! { "_id": number as i64, "name": "Ada Lovelace", "note": "x".repeat(self.note) }
    }

    /// As many bytes as they have with their frames.
    fn bytes(self) -> u64 {
        self.count * (self.document(0).as_bytes().len() as u64 + 80)
    }
}

/// Those bytes through a connection, by the slower of its two sides.
fn through_loopback(entries: Entries) -> Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let sender = std::thread::spawn(move || -> std::io::Result<()> {
        let chunk = vec![7; CHUNK];
        let mut stream = TcpStream::connect(address)?;
        let mut left = entries.bytes();
        while left > 0 {
            let bytes = left.min(CHUNK as u64);
            stream.write_all(&chunk[..bytes as usize])?;
            left -= bytes;
        }
        Ok(())
    });
    let (mut stream, _) = listener.accept()?;
    let start = Instant::now();
    let mut chunk = vec![0; CHUNK];
    while stream.read(&mut chunk)? > 0 {}
    let time = start.elapsed();
    sender.join().expect("the sender does not panic")?;
    Ok(millions_per_second(entries.count, time))
}

/// The same into a file, and one sync.
fn onto_disk(plan: &Plan, entries: Entries) -> Result<f64> {
    let dir = plan.scratch()?;
    let mut file = File::create(dir.path().join("bytes"))?;
    let chunk = vec![7; CHUNK];
    let start = Instant::now();
    let mut left = entries.bytes();
    while left > 0 {
        let bytes = left.min(CHUNK as u64);
        file.write_all(&chunk[..bytes as usize])?;
        left -= bytes;
    }
    file.sync_data()?;
    Ok(millions_per_second(entries.count, start.elapsed()))
}

fn caught_up(plan: &Plan, entries: Entries, until: Until) -> Result<f64> {
    let (here, there) = (plan.scratch()?, plan.scratch()?);
    let store = Store::open(here.path())?;
    let collection = store
        .collection("bench", "documents")?
        .with_durability(Durability::Memory);
    let first = collection.insert_one(&entries.document(0))?;
    let serving = primary(&store, &[])?;
    // So that it is the log that it lacks, and not a copy of the state.
    let following = follower(there.path(), "b", serving.address(), &[])?;
    following.wait_for(first.op_id, PATIENCE)?;
    following.stop();
    drop(following);
    let mut number = 1;
    while number < entries.count {
        let batch: Vec<_> = (number..entries.count.min(number + BATCH))
            .map(|number| entries.document(number))
            .collect();
        number += batch.len() as u64;
        collection.insert_many(batch.iter().map(AsRef::as_ref))?;
    }
    store.sync()?;
    // Removes nothing, and returns when the engine has everything: the primary has no work of its own left meanwhile.
    store.trim_log(first.op_id)?;
    let last = store.log().watermarks().durable;
    let begun = Arc::new(OnceLock::new());
    let clock = Arc::clone(&begun);
    let following = Store::follower(there.path(), "b", serving.address().to_string())
        .on_event(move |event| {
            if let FollowerEvent::Following { .. } = event {
                let _ = clock.set(Instant::now());
            }
        })
        .start()?;
    match until {
        Until::Durable => serving.wait(last, WriteConcern::members(2).ok_or("two are some")?, PATIENCE)?,
        Until::Applied => drop(following.wait_for(last, PATIENCE)?),
    }
    let end = Instant::now();
    let begun = *begun.get().ok_or("it has followed")?;
    Ok(millions_per_second(entries.count, end - begun))
}
