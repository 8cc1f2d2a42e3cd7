//! The workloads of the log's suite, for those that have an equivalent. As there: rounds in turn, data removed afterwards.

use std::hint::black_box;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tailwater_benches::harness::{Dice, Histogram, Plan, Result, millions_per_second, timed};
use tailwater_benches::log::{GIBIBYTE, MORE, ROLL_QUANTILE, kill_a_writer, payload};
use tailwater_benches::report::Series;

use crate::engines;
use crate::peer::{Guarantee, Log, Memory, Peer};

/// Entries of a batch in `append-memory-batch64`.
const BATCH: usize = 64;
/// Writers of `append-disk-64`.
const WRITERS: u64 = 64;
/// Entries of a batch that fills a log to be read, as for Tailwater.
const FILL: usize = 50;
/// Entries of a batch that fills a log to be opened: large, because some peers can only fill it with a sync for each.
const FILL_MANY: usize = 1000;

/// How long rounds of opening go on; some peers take many seconds for one.
const PATIENCE: Duration = Duration::from_secs(15);

/// The peers' figures; none for a workload that has no equivalent anywhere.
pub(crate) fn measure(plan: &Plan, workload: &str) -> Result<Vec<Series>> {
    let memory = |peer: &dyn Peer| peer.memory() != Memory::Absent;
    match workload {
        "append-memory-1" => rounds(plan, memory, |peer| burst(plan, peer, 1)),
        "append-memory-batch64" => rounds(plan, memory, |peer| burst(plan, peer, BATCH)),
        "append-memory-2threads" => rounds(plan, memory, |peer| beside_each_other(plan, peer)),
        "append-disk-1" => durable(plan, 1),
        "append-disk-64" => durable(plan, WRITERS),
        "scan-crc" => scans(plan),
        "scan-verified" => scans_again(plan),
        "lookup" => lookups(plan),
        // Filling a gibibyte takes some of them a minute.
        "open-1g" if !plan.pick(false, true) => opens(plan, GIBIBYTE),
        "open-10g" if !plan.pick(false, true) => opens(plan, 10 * GIBIBYTE),
        "roll" => rounds(plan, memory, |peer| pauses(plan, peer)),
        _ => Ok(Vec::new()),
    }
}

/// One figure of every peer that can, round after round.
fn rounds(
    plan: &Plan,
    can: impl Fn(&'static dyn Peer) -> bool,
    mut figure: impl FnMut(&'static dyn Peer) -> Result<f64>,
) -> Result<Vec<Series>> {
    let peers: Vec<_> = engines::ALL.into_iter().filter(|peer| can(*peer)).collect();
    let mut series: Vec<_> = peers
        .iter()
        .map(|peer| Series {
            engine: peer.name(),
            values: Vec::new(),
        })
        .collect();
    for _ in 0..plan.rounds {
        for (peer, series) in peers.iter().zip(&mut series) {
            let value = figure(*peer).map_err(|error| format!("{}: {error}", peer.name()))?;
            series.values.push(value);
        }
    }
    Ok(series)
}

/// Millions of entries a second in batches of that size, for a short while or as many as in a round of Tailwater's.
fn burst(plan: &Plan, peer: &dyn Peer, batch: usize) -> Result<f64> {
    let dir = plan.scratch()?;
    let log = peer.open(dir.path(), Guarantee::Process)?;
    let payload = black_box(payload());
    let (most, span) = (
        plan.pick(900_000, 220_000),
        plan.pick(Duration::from_secs(1), Duration::from_millis(300)),
    );
    let (start, mut count) = (Instant::now(), 0);
    // Looking at the clock once for every 64 entries.
    while count < most && start.elapsed() < span {
        for _ in 0..BATCH / batch {
            match batch {
                1 => log.append(0, &payload)?,
                _ => log.append_batch(&payload, batch)?,
            }
        }
        count += BATCH as u64;
    }
    Ok(millions_per_second(count, start.elapsed()))
}

/// Millions of entries a second of two threads together.
fn beside_each_other(plan: &Plan, peer: &dyn Peer) -> Result<f64> {
    let dir = plan.scratch()?;
    let log = peer.open(dir.path(), Guarantee::Process)?;
    let span = plan.pick(Duration::from_secs(1), Duration::from_millis(300));
    Ok(appends_of(&*log, 2, span)? / 1e6)
}

/// How many microseconds the longest appends but one in ten thousand take, at full speed across many of the peer's files.
fn pauses(plan: &Plan, peer: &dyn Peer) -> Result<f64> {
    let dir = plan.scratch()?;
    let log = peer.open(dir.path(), Guarantee::Process)?;
    let payload = black_box(payload());
    let span = plan.pick(Duration::from_secs(10), Duration::from_secs(1));
    let mut latencies = Histogram::new();
    let start = Instant::now();
    let mut last = start;
    while last - start < span {
        log.append(0, &payload)?;
        let now = Instant::now();
        latencies.push(now - last);
        last = now;
    }
    Ok(latencies.quantile(ROLL_QUANTILE))
}

/// Appends a second of so many writers, each append durable when it returns. The logs stay open from round to round, as
/// Tailwater's does: making and removing files of one of them would slow the syncs of the next.
fn durable(plan: &Plan, writers: u64) -> Result<Vec<Series>> {
    let mut open = Vec::new();
    for peer in engines::ALL.into_iter().filter(|peer| peer.disk()) {
        let dir = plan.scratch()?;
        let log = peer.open(dir.path(), Guarantee::Power)?;
        // The first append makes what there is to be made.
        log.append(0, &payload())?;
        // In this order: the directory is removed when nothing is open in it.
        open.push((peer.name(), log, dir));
    }
    plan.settle()?;
    let log = |peer: &dyn Peer| {
        open.iter()
            .find(|(name, ..)| *name == peer.name())
            .map(|(_, log, _)| log)
    };
    rounds(plan, Peer::disk, |peer| {
        let span = plan.pick(Duration::from_secs(1), Duration::from_millis(400));
        appends_of(&**log(peer).ok_or("a peer that is not open")?, writers, span)
    })
}

/// Appends a second, of so many threads for so long.
fn appends_of(log: &dyn Log, writers: u64, span: Duration) -> Result<f64> {
    let payload = payload();
    let (total, start) = (AtomicU64::new(0), Instant::now());
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..writers)
            .map(|writer| {
                let (total, payload) = (&total, &payload);
                scope.spawn(move || -> Result<()> {
                    while start.elapsed() < span {
                        log.append(writer, payload)?;
                        total.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(())
                })
            })
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().expect("a writer does not panic"))
    })?;
    Ok(total.into_inner() as f64 / start.elapsed().as_secs_f64())
}

/// With the guarantee that its entries need to be there when the process is dead.
fn kept(peer: &dyn Peer) -> Guarantee {
    match peer.memory() {
        Memory::Kept => Guarantee::Process,
        Memory::Lost | Memory::Absent => Guarantee::Power,
    }
}

fn fill(peer: &dyn Peer, dir: &Path, entries: u64) -> Result<()> {
    let log = peer.open(dir, kept(peer))?;
    let payload = payload();
    for _ in 0..entries / FILL as u64 {
        log.append_batch(&payload, FILL)?;
    }
    Ok(())
}

fn scans(plan: &Plan) -> Result<Vec<Series>> {
    let entries = plan.pick(1_000_000, 250_000);
    let mut all = Vec::new();
    for peer in engines::ALL {
        let dir = plan.scratch()?;
        fill(peer, dir.path(), entries)?;
        plan.settle()?;
        all.extend(rounds(
            plan,
            |one| one.name() == peer.name(),
            |peer| {
                let (count, time) = peer.scan(dir.path())?;
                if count != entries {
                    return Err(format!("{count} entries where {entries} were appended").into());
                }
                Ok(millions_per_second(count, time))
            },
        )?);
    }
    Ok(all)
}

/// As [`scans`], by the same open log for the second time: what it need not check or load again is its own affair.
fn scans_again(plan: &Plan) -> Result<Vec<Series>> {
    let entries = plan.pick(1_000_000, 250_000);
    let mut all = Vec::new();
    for peer in engines::ALL.into_iter().filter(|peer| peer.reads_again()) {
        let dir = plan.scratch()?;
        fill(peer, dir.path(), entries)?;
        let log = peer.open(dir.path(), kept(peer))?;
        log.read_all()?;
        all.extend(rounds(
            plan,
            |one| one.name() == peer.name(),
            |_| {
                let (time, count) = timed(|| log.read_all());
                if count? != entries {
                    return Err("entries are missing".into());
                }
                Ok(millions_per_second(entries, time))
            },
        )?);
    }
    Ok(all)
}

fn lookups(plan: &Plan) -> Result<Vec<Series>> {
    let entries = plan.pick(1_000_000, 250_000);
    let mut all = Vec::new();
    for peer in engines::ALL {
        let dir = plan.scratch()?;
        fill(peer, dir.path(), entries)?;
        let log = peer.open(dir.path(), Guarantee::Process)?;
        if log.get(1)?.is_none() {
            continue;
        }
        log.read_all()?;
        all.extend(rounds(
            plan,
            |one| one.name() == peer.name(),
            |_| reads(plan, &*log, entries),
        )?);
    }
    Ok(all)
}

/// As for Tailwater: each place depends on what was read before.
fn reads(plan: &Plan, log: &dyn Log, entries: u64) -> Result<f64> {
    let span = plan.pick(Duration::from_secs(1), Duration::from_millis(300));
    let expected = u64::from(payload()[payload().len() - 1]);
    let (mut dice, mut last) = (Dice::new(), expected);
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < span {
        for _ in 0..20 {
            let number = 1 + dice.below(entries) + last - expected;
            last = u64::from(log.get(number)?.ok_or("an entry that is not there")?);
        }
        count += 20;
    }
    Ok(millions_per_second(count, start.elapsed()))
}

/// Milliseconds to open what a killed writer has left, some `entries`.
fn opens(plan: &Plan, entries: u64) -> Result<Vec<Series>> {
    let mut all = Vec::new();
    for peer in engines::ALL {
        let dir = plan.scratch()?;
        kill_a_writer(Some(peer.name()), dir.path(), entries)?;
        plan.settle()?;
        let (start, mut values) = (Instant::now(), Vec::new());
        while values.is_empty() || (values.len() < plan.rounds && start.elapsed() < PATIENCE) {
            kill_a_writer(Some(peer.name()), dir.path(), MORE)?;
            let (time, log) = timed(|| peer.open(dir.path(), kept(peer)));
            log.map(drop)?;
            values.push(time.as_secs_f64() * 1e3);
        }
        all.push(Series {
            engine: peer.name(),
            values,
        });
    }
    Ok(all)
}

/// In the child: what [`opens`] kills.
pub(crate) fn fill_until_killed(peer: &dyn Peer, dir: &Path, entries: u64, ready: &dyn Fn()) -> Result<()> {
    let log = peer.open(dir, kept(peer))?;
    let payload = payload();
    for _ in 0..entries.div_ceil(FILL_MANY as u64) {
        log.append_batch(&payload, FILL_MANY)?;
    }
    ready();
    for _ in 0..GIBIBYTE / 4 {
        log.append(0, &payload)?;
    }
    Ok(())
}
