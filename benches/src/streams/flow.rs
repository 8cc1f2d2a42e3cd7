//! One watch that gets everything, and watches that come and go.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tailwater::Watch;
use tailwater_oplog::ReadConcern;

use super::events::{Bench, document, insert, scope};
use crate::harness::{Dice, Plan, Result, millions_per_second, timed};
use crate::report::{Comparison, Unit};

/// From the first append to the last event in the receiver's hands.
pub(super) fn unfiltered(plan: &Plan) -> Result<Vec<Comparison>> {
    let mut dice = Dice::new();
    let payloads: Vec<_> = (0..plan.pick(1_000_000_u64, 200_000))
        .map(|n| insert(&document(&mut dice, n)))
        .collect();
    let count = payloads.len() as u64;
    let (limits, watches) = plan.alternate(
        || {
            let bench = Bench::new(plan)?;
            let watch = Watch::new(bench.log.view(), scope()).read_concern(ReadConcern::Local);
            let mut stream = watch.start()?;
            let (time, received) = timed(|| -> Result<u64> {
                let mut received = 0;
                for payloads in payloads.chunks(1024) {
                    bench.append_all(payloads)?;
                    while stream.next_if_any()?.is_some() {
                        received += 1;
                    }
                }
                Ok(received)
            });
            expect(received?, count)?;
            Ok(millions_per_second(count, time))
        },
        || {
            let bench = Bench::new(plan)?;
            let (_handle, receiver) = bench.watch().channel_capacity(100_000, 1 << 30).subscribe()?;
            let (time, received) = timed(|| -> Result<u64> {
                thread::scope(|scope| {
                    let receiving = scope.spawn(|| -> Result<u64> {
                        for _ in 0..count {
                            receiver.recv()?;
                        }
                        Ok(count)
                    });
                    bench.append_all(&payloads)?;
                    receiving.join().map_err(|_| "the receiver panicked")?
                })
            });
            expect(received?, count)?;
            Ok(millions_per_second(count, time))
        },
    )?;
    Ok(vec![Comparison::new(
        "watch-unfiltered",
        Unit::MillionsPerSecond,
        limits,
        watches,
    )])
}

/// Subscriptions, with a filter of their own, begun and ended beside a hundred others while events flow.
pub(super) fn churn(plan: &Plan) -> Result<Vec<Comparison>> {
    let count = plan.pick(50_000_u64, 10_000);
    let filter = |n: u64| [bson::doc! { "$match": { "fullDocument.userId": n as i64 } }];
    let flowing = |bench: &Bench, work: &dyn Fn() -> Result<()>| -> Result<f64> {
        let done = AtomicBool::new(false);
        let mut dice = Dice::new();
        let payloads: Vec<_> = (0..1000).map(|n| insert(&document(&mut dice, n))).collect();
        thread::scope(|scope| {
            let writing = scope.spawn(|| -> Result<()> {
                while !done.load(Ordering::Relaxed) {
                    bench.append_all(&payloads[..64])?;
                    thread::sleep(std::time::Duration::from_millis(1));
                }
                Ok(())
            });
            let (time, worked) = timed(work);
            done.store(true, Ordering::Relaxed);
            writing.join().map_err(|_| "the writer panicked")??;
            worked?;
            Ok(millions_per_second(count, time))
        })
    };
    let (limits, churned) = plan.alternate(
        || {
            let bench = Bench::new(plan)?;
            flowing(&bench, &|| {
                for n in 0..count {
                    let watch = Watch::new(bench.log.view(), scope()).read_concern(ReadConcern::Local);
                    drop(watch.pipeline(filter(n)).start()?);
                }
                Ok(())
            })
        },
        || {
            let bench = Bench::new(plan)?;
            let standing: Vec<_> = (0..100)
                .map(|n| bench.watch().pipeline(filter(n + count)).subscribe())
                .collect::<std::result::Result<_, _>>()?;
            let rate = flowing(&bench, &|| {
                for n in 0..count {
                    drop(bench.watch().pipeline(filter(n)).subscribe()?);
                }
                Ok(())
            });
            drop(standing);
            rate
        },
    )?;
    Ok(vec![Comparison::new("churn", Unit::MillionsPerSecond, limits, churned)])
}

fn expect(received: u64, count: u64) -> Result<()> {
    if received == count {
        return Ok(());
    }
    Err(format!("{received} events where {count} were written").into())
}
