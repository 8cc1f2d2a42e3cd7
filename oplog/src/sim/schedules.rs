//! Random schedules of appends, batches, syncs, rolls, trims, slots, closes, faults and crashes, against a model that knows what
//! was appended and what was acknowledged.
//!
//! A failing schedule prints its seed; `TAILWATER_SEED=<seed> cargo test -p tailwater-oplog schedules` runs it alone, and
//! `TAILWATER_SCHEDULES=<number>` makes a run longer. Two runs take the same seeds each time, and one others each time, which
//! it prints. The log's own threads (sync, housekeeping) run freely, and so does another that syncs now and then, so a seed
//! fixes what the test does and which sectors a crash keeps, but not how far those threads had come. In half of the
//! schedules the sync interval is an hour, with which only housekeeping is left to chance.

#[path = "schedules/acts.rs"]
mod acts;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::{Rng, SimDisk};
use crate::cursor::Entry;
use crate::error::ErrorKind;
use crate::ids::{OpId, Term};
use crate::oplog::Oplog;
use crate::options::Options;
use crate::tail::Tail;
use crate::view::{OplogView, ReadConcern};

/// One appended entry, from which its payload can be made again.
#[derive(Clone, Copy, Debug)]
struct Written {
    seed: u64,
    bytes: usize,
    ends_batch: bool,
}

impl Written {
    fn payload(&self) -> Vec<u8> {
        let mut rng = Rng::new(self.seed);
        let mut payload: Vec<u8> = Vec::with_capacity(self.bytes + 8);
        while payload.len() < self.bytes {
            payload.extend_from_slice(&rng.next().to_le_bytes());
        }
        payload.truncate(self.bytes);
        payload
    }

    fn kind(&self) -> u8 {
        128 + (self.seed % 128) as u8
    }
}

/// The one retention slot of a log.
#[derive(Clone, Copy, Debug)]
struct Held {
    /// A position that was written.
    low: OpId,
    /// Where it stands.
    high: OpId,
    /// Whether a crash must leave it.
    surely: bool,
}

/// Counts over a whole run.
#[derive(Debug, Default)]
struct Tally {
    schedules: u64,
    crashes: u64,
    crashes_while_opening: u64,
    kills: u64,
    /// Times that an operation of an open failed, and nothing worse happened.
    failed_openings: u64,
    torn: u64,
    /// Times that a log was open before everything in it was durable.
    opened_ahead: u64,
    entries_lost: u64,
}

struct World {
    seed: u64,
    rng: Rng,
    options: Options,
    disk: SimDisk,
    /// Entry n stands at index n - 1.
    model: Vec<Written>,
    /// Everything up to this OpID was acknowledged as durable, or shown to readers as such.
    acknowledged: u64,
    /// Everything up to this OpID was appended when the process was last killed; no power has been lost since.
    survives_kill: u64,
    /// A trim that was under way when power failed may have been done or not.
    oldest: [OpId; 2],
    term: Term,
    held: Option<Held>,
    /// A call that was to create or drop the slot failed, and may have done it on the disk.
    doubtful: bool,
}

impl World {
    fn new(seed: u64) -> World {
        let mut rng = Rng::new(seed);
        let options = Options {
            segment_bytes: rng.pick(&[16 << 10, 16 << 10, 32 << 10]),
            sync_interval: if rng.percent(50) {
                Duration::from_micros(rng.pick(&[100, 1_000, 5_000]))
            } else {
                Duration::from_secs(3600)
            },
            ..Options::default()
        };
        World {
            seed,
            rng,
            options,
            disk: SimDisk::new(),
            model: Vec::new(),
            acknowledged: 0,
            survives_kill: 0,
            oldest: [OpId::FIRST; 2],
            term: Term::default(),
            held: None,
            doubtful: false,
        }
    }

    fn run(&mut self, tally: &mut Tally) {
        tally.schedules += 1;
        let mut log = self.open(tally);
        for _ in 0..self.rng.below(5) + 1 {
            for _ in 0..self.rng.below(40) + 1 {
                self.act(&log);
                if self.disk.after_power_loss().is_some() {
                    break;
                }
            }
            log = self.end(log, tally);
        }
    }

    /// Ends a life of the log in one of the possible ways, and opens it again.
    fn end(&mut self, log: Oplog, tally: &mut Tally) -> Oplog {
        let image = match (self.disk.after_power_loss(), self.rng.below(10)) {
            (Some(image), _) => {
                tally.crashes += 1;
                image
            }
            (None, 0..6) => {
                self.note(&log);
                tally.crashes += 1;
                self.disk.crash(&mut self.rng)
            }
            (None, 6..8) => {
                self.note(&log);
                // Everything appended survives the process, unless the log was poisoned.
                if !log.view().shared.any_tail().is_some_and(Tail::is_poisoned) {
                    self.survives_kill = appended(&log).get();
                }
                tally.kills += 1;
                self.disk.kill()
            }
            (None, _) => {
                self.disk.heal();
                let appended = appended(&log).get();
                match log.close() {
                    Ok(()) => self.acknowledged = appended,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Poisoned, "schedule {}: {error:?}", self.seed),
                }
                return self.open(tally);
            }
        };
        self.disk = image;
        drop(log);
        self.open(tally)
    }

    /// Opens the log, with power failing on the way now and then, and checks what is found.
    fn open(&mut self, tally: &mut Tally) -> Oplog {
        loop {
            if self.rng.percent(40) {
                let seed = self.rng.next();
                self.disk.lose_power_after(self.rng.below(14), seed);
            }
            let fails = self.rng.percent(25);
            if fails {
                self.fail_operation(40);
            }
            let seen = self.rng.percent(25).then(|| OplogView::on(Box::new(self.disk.kill())));
            match Oplog::on(Box::new(self.disk.clone()), &self.options) {
                Ok(log) => {
                    self.disk.has_operation_failed();
                    let lost = self.check(&log, tally);
                    tally.entries_lost += lost;
                    tally.torn += u64::from(lost > 0);
                    if let Some(Ok(view)) = seen {
                        let (seen, found) = (view.newest(ReadConcern::Durable), appended(&log));
                        assert!(seen <= found, "schedule {}: a reader saw {seen} of {found}", self.seed);
                        self.acknowledged = self.acknowledged.max(seen.get());
                    }
                    return log;
                }
                Err(error) => match self.disk.after_power_loss() {
                    Some(image) => {
                        self.disk = image;
                        self.survives_kill = 0;
                        tally.crashes_while_opening += 1;
                    }
                    // Nothing else is wrong, so nothing else may be said to be; and the next open finds all there was.
                    None => {
                        let failed = fails && self.disk.has_operation_failed();
                        let told = failed && error.kind() == ErrorKind::Environment;
                        assert!(told, "schedule {}: refused: {error:?}", self.seed);
                        tally.failed_openings += 1;
                        self.disk.open_directory_anew();
                    }
                },
            }
        }
    }

    /// Checks a log that has just been opened against the model; returns how many entries at the end were lost.
    fn check(&mut self, log: &Oplog, tally: &mut Tally) -> u64 {
        let seed = self.seed;
        let marks = log.watermarks();
        let last = marks.appended.get();
        assert!(marks.durable <= marks.appended, "schedule {seed}: {marks:?}");
        let expected = self.acknowledged.max(self.survives_kill);
        assert!(last >= expected, "schedule {seed}: {last} of {expected} entries");
        self.survives_kill = 0;
        assert!(
            last <= self.model.len() as u64,
            "schedule {seed}: {last} of {} appended entries",
            self.model.len()
        );
        assert!(
            log.term() > self.term,
            "schedule {seed}: {:?} after {:?}",
            log.term(),
            self.term
        );
        assert!(
            self.oldest.contains(&marks.oldest),
            "schedule {seed}: oldest {} of {:?}",
            marks.oldest,
            self.oldest
        );
        self.check_slot(log);
        if last > 0 {
            assert!(
                self.model[last as usize - 1].ends_batch,
                "schedule {seed}: half a batch, up to {last}"
            );
        }
        let mut cursor = log.view().cursor_from_oldest(ReadConcern::Local);
        let mut next = marks.oldest.get();
        let mut before = None;
        while let Some(entry) = cursor.try_next().unwrap_or_else(|e| panic!("schedule {seed}: {e:?}")) {
            self.check_entry(&entry, next);
            assert!(
                before <= Some((entry.term(), entry.timestamp())),
                "schedule {seed}: entry {next} is older"
            );
            before = Some((entry.term(), entry.timestamp()));
            next += 1;
        }
        assert_eq!(next, last + 1, "schedule {seed}");
        let lost = self.model.len() as u64 - last;
        self.term = log.term();
        self.oldest = [marks.oldest; 2];
        // From here on readers may have seen it.
        self.acknowledged = self.acknowledged.max(marks.durable.get());
        self.model.truncate(last as usize);
        // What is not durable yet becomes so in the background; now and then somebody waits for that, or it fails.
        if marks.durable < marks.appended {
            match self.rng.below(4) {
                0 if log.sync(marks.appended).is_ok() => self.acknowledged = last,
                1 => self.disk.fail_sync(self.rng.below(2), self.rng.clone().percent(30)),
                2 => {
                    let seed = self.rng.next();
                    self.disk.lose_power_after(self.rng.below(4), seed);
                }
                _ => {}
            }
            tally.opened_ahead += 1;
        }
        lost
    }

    fn check_entry(&self, entry: &Entry<'_>, op_id: u64) {
        let written = self.model[op_id as usize - 1];
        assert_eq!(entry.op_id().get(), op_id, "schedule {}", self.seed);
        assert_eq!(entry.kind(), written.kind(), "schedule {}: kind of {op_id}", self.seed);
        assert!(
            entry.payload() == written.payload(),
            "schedule {}: payload of {op_id}",
            self.seed
        );
        assert_eq!(
            entry.ends_batch(),
            written.ends_batch,
            "schedule {}: batch of {op_id}",
            self.seed
        );
    }

    /// Notes what readers of this log could see as durable before a crash.
    fn note(&mut self, log: &Oplog) {
        // Not the watermarks: asking for them drains the log buffer, and a kill is to find something in it.
        self.acknowledged = self.acknowledged.max(log.view().newest(ReadConcern::Durable).get());
    }
}

/// What was appended, whether it can be read or not.
fn appended(log: &Oplog) -> OpId {
    let shared = log.view().shared;
    shared.any_tail().map_or(OpId::ZERO, Tail::accepted)
}

fn run_schedules(base: u64, schedules: u64) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let mut tally = Tally::default();
    let start = Instant::now();
    if let Some(seed) = number("TAILWATER_SEED") {
        World::new(seed).run(&mut tally);
        return;
    }
    for i in 0..number("TAILWATER_SCHEDULES").unwrap_or(schedules) {
        World::new(base + i).run(&mut tally);
    }
    let seconds = start.elapsed().as_secs_f64();
    let states = tally.crashes + tally.crashes_while_opening;
    #[expect(clippy::print_stdout, reason = "shown with --nocapture, for the track record")]
    {
        println!(
            "{tally:?}: {states} crash states in {seconds:.1} s, {:.0} a second",
            states as f64 / seconds
        );
    }
    // A few schedules say nothing about how often each thing happens.
    assert!(
        tally.schedules < 1_000
            || [
                tally.crashes_while_opening,
                tally.failed_openings,
                tally.torn,
                tally.opened_ahead
            ]
            .iter()
            .all(|count| count * 20 > tally.schedules),
        "{tally:?}"
    );
}

#[test]
fn no_schedule_of_faults_and_crashes_loses_what_was_acknowledged() {
    run_schedules(1 << 32, 4_000);
}

#[test]
fn no_other_schedule_does_either() {
    run_schedules(2 << 32, 4_000);
}

/// Where the others may have been lucky.
#[test]
fn no_schedule_of_seeds_that_nobody_has_seen_does_either() {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // Room for the schedules of a run, and for a minute of them between two runs.
    let base = (3 << 32) + ((since_1970.as_millis() as u64) << 20);
    #[expect(clippy::print_stdout, reason = "what the run can be repeated with")]
    {
        println!("the first seed is {base}");
    }
    run_schedules(base, 2_000);
}
