//! What three followers cost a writer that does not wait for them.
//!
//! Members have machines of their own. Here the primary's threads have one half of the processors, with followers and without, and
//! those of the followers the other half: so what is measured is what it takes to serve them, and what they do to the disk, which
//! they share. With a single processor they share that, too.

use std::time::{Duration, Instant};

use bson::{RawDocumentBuf, rawdoc};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tailwater::{Durability, OpId, Store};

use super::{PATIENCE, follower, primary};
use crate::harness::{Plan, Result};
use crate::report::{Comparison, Unit};

const BATCH: i64 = 100;

pub(super) fn run(plan: &Plan) -> Result<Vec<Comparison>> {
    let dirs = [
        plan.scratch()?,
        plan.scratch()?,
        plan.scratch()?,
        plan.scratch()?,
        plan.scratch()?,
    ];
    let halves = Halves::of_the_processors()?;
    // Every thread that these start is where this one is meanwhile.
    halves.go_to(Half::Primary)?;
    let alone = Store::open(dirs[0].path())?;
    let store = Store::open(dirs[1].path())?;
    let serving = primary(&store, &[])?;
    halves.go_to(Half::Followers)?;
    let followers = ["b", "c", "d"].iter().zip(&dirs[2..]);
    let followers: Result<Vec<_>> = followers
        .map(|(name, dir)| follower(dir.path(), name, serving.address(), &[]))
        .collect();
    let followers = followers?;
    halves.go_to(Half::Primary)?;
    let (mut local, mut shared) = (0, 0);
    let (limits, rates) = plan.alternate(
        || {
            let rate = written(plan, &alone, &mut local)?;
            at_rest(&alone)?;
            Ok(rate)
        },
        || {
            let rate = written(plan, &store, &mut shared)?;
            at_rest(&store)?;
            // The next round begins with followers that have all of this one.
            store.sync()?;
            for follower in &followers {
                follower.wait_for(store.log().watermarks().durable, PATIENCE)?;
            }
            Ok(rate)
        },
    )?;
    let name = "writers-three-followers";
    Ok(vec![Comparison::new(name, Unit::ThousandsPerSecond, limits, rates)])
}

/// Waits until the engine has everything, which it would take while the next round is measured.
fn at_rest(store: &Store) -> Result<()> {
    store.trim_log(OpId::FIRST)?;
    Ok(())
}

/// Thousands of documents a second, in batches, at the pace that the store takes them.
fn written(plan: &Plan, store: &Store, number: &mut i64) -> Result<f64> {
    let collection = store
        .collection("bench", "documents")?
        .with_durability(Durability::Memory);
    let span = plan.pick(Duration::from_secs(2), Duration::from_millis(700));
    let (start, mut count) = (Instant::now(), 0.0);
    while start.elapsed() < span {
        let batch: Vec<RawDocumentBuf> = (0..BATCH)
            .map(|n| rawdoc! { "_id": *number + n, "name": "Ada Lovelace", "note": "x".repeat(120) })
            .collect();
        *number += BATCH;
        collection.insert_many(batch.iter().map(AsRef::as_ref))?;
        count += BATCH as f64;
    }
    Ok(count / start.elapsed().as_secs_f64() / 1e3)
}

#[derive(Clone, Copy, Debug)]
enum Half {
    Primary,
    Followers,
}

/// The processors that this process may use, halved. Dropping it gives this thread all of them back.
#[derive(Debug)]
struct Halves {
    all: CpuSet,
    primary: CpuSet,
    followers: CpuSet,
}

impl Halves {
    fn of_the_processors() -> Result<Halves> {
        let all = sched_getaffinity(None)?;
        let mut halves = Halves {
            all,
            primary: CpuSet::new(),
            followers: CpuSet::new(),
        };
        let allowed = (0..CpuSet::MAX_CPU).filter(|&processor| all.is_set(processor));
        for (number, processor) in allowed.enumerate() {
            match number % 2 {
                0 => halves.primary.set(processor),
                _ => halves.followers.set(processor),
            }
        }
        if halves.followers.count() == 0 {
            halves.followers = all;
        }
        Ok(halves)
    }

    fn go_to(&self, half: Half) -> Result<()> {
        let processors = match half {
            Half::Primary => &self.primary,
            Half::Followers => &self.followers,
        };
        Ok(sched_setaffinity(None, processors)?)
    }
}

impl Drop for Halves {
    fn drop(&mut self) {
        // It was allowed before.
        let _ = sched_setaffinity(None, &self.all);
    }
}
