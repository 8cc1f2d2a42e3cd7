//! A follower that comes to a log that others have written meanwhile: how many entries a second until it has all of them, applied
//! and durable.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use bson::{RawDocumentBuf, rawdoc};
use tailwater::{Durability, Store};

use super::{PATIENCE, follower, primary};
use crate::harness::{Plan, Result, millions_per_second, timed};
use crate::report::{Comparison, Unit};

const BATCH: u64 = 1000;
const CHUNK: usize = 1 << 20;

pub(super) fn run(plan: &Plan) -> Result<Vec<Comparison>> {
    let some = |name, count, note| measure(plan, name, Entries { count, note });
    Ok(vec![
        some("catch-up", plan.pick(1_000_000, 200_000), 120)?,
        some("catch-up-1k", plan.pick(300_000, 60_000), 1000)?,
    ])
}

fn measure(plan: &Plan, name: &'static str, entries: Entries) -> Result<Comparison> {
    let (limits, rates) = plan.alternate(
        || Ok(through_loopback(entries)?.min(onto_disk(plan, entries)?)),
        || caught_up(plan, entries),
    )?;
    Ok(Comparison::new(name, Unit::MillionsPerSecond, limits, rates))
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

fn caught_up(plan: &Plan, entries: Entries) -> Result<f64> {
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
    let following = follower(there.path(), "b", serving.address(), &[])?;
    let (time, caught_up) = timed(|| following.wait_for(last, PATIENCE));
    caught_up?;
    Ok(millions_per_second(entries.count, time))
}
