//! Streams of one dispatcher, which wait together once there are several: from outside each is as it would be alone.

mod common;

use std::time::Duration;

use bson::{Document, doc, rawdoc};
use common::{
    ORDERS, PATIENCE, Writer, collection, drain, eventually, ids, insert_orders, orders, short, shorts, temporary,
};
use futures::{FutureExt, StreamExt};
use tailwater_changestream::{ChangeStream, Dispatcher, Error, Scope, Watch};
use tailwater_oplog::{self as oplog, Durability, ReadConcern};

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(future)
}

/// Waits no longer than it takes to find nothing and join the others.
const BRIEFLY: Duration = Duration::from_millis(1);

fn dispatcher(writer: &Writer) -> Dispatcher {
    Dispatcher::new(writer.log.view())
}

fn of_orders(dispatcher: &Dispatcher) -> Watch {
    dispatcher.watch(collection(ORDERS))
}

/// Streams that wait together, nothing having come yet.
fn joined<const N: usize>(dispatcher: &Dispatcher, watch: impl Fn(Watch) -> Watch) -> [ChangeStream; N] {
    let mut streams: [ChangeStream; N] = std::array::from_fn(|_| watch(of_orders(dispatcher)).start().unwrap());
    for stream in &mut streams {
        assert!(stream.wait_next(Some(BRIEFLY)).unwrap().is_none());
    }
    streams
}

/// How many watch at the tail, as of its last run; a run comes with an entry.
fn live(dispatcher: &Dispatcher) -> usize {
    dispatcher.stats(ReadConcern::Durable).live
}

fn waited(stream: &mut ChangeStream, count: usize) -> Vec<i32> {
    let events: Vec<_> = (0..count)
        .map(|_| stream.wait_next(Some(PATIENCE)).unwrap().expect("an event in time"))
        .collect();
    ids(&events)
}

fn matching(stage: Document) -> [Document; 1] {
    [doc! { "$match": stage }]
}

#[test]
fn an_entry_is_read_once_for_all_and_evaluated_for_whom_it_concerns() {
    let (_dir, writer) = orders(0);
    let dispatcher = dispatcher(&writer);
    let waiting: Vec<_> = (1..=50)
        .map(|n| {
            let watch = of_orders(&dispatcher).pipeline(matching(doc! { "fullDocument.n": n }));
            let mut stream = watch.start().unwrap();
            std::thread::spawn(move || {
                let event = stream.wait_next(Some(PATIENCE)).unwrap();
                (ids(&[event.expect("an event in time")]), n)
            })
        })
        .collect();
    eventually("all of them wait at the tail", || {
        writer.insert(ORDERS, &rawdoc! { "_id": 0, "n": 0 });
        live(&dispatcher) == 50
    });
    eventually("the tail is behind", || {
        dispatcher.stats(ReadConcern::Durable).position == writer.newest()
    });
    let before = dispatcher.stats(ReadConcern::Durable).tail;
    // Who waits would leave if it looked for itself.
    for n in 0..100 {
        writer.insert("shop.other", &rawdoc! { "_id": n, "n": 1 });
    }
    insert_orders(&writer, 1..=50);
    for thread in waiting {
        let (seen, n) = thread.join().unwrap();
        assert_eq!(seen, [n]);
    }
    eventually("the tail is behind", || {
        let stats = dispatcher.stats(ReadConcern::Durable);
        stats.position == writer.newest() || stats.live == 0
    });
    let after = dispatcher.stats(ReadConcern::Durable).tail;
    assert_eq!((after.delivered - before.delivered, after.parks), (50, 0));
    assert!(after.evaluations - before.evaluations <= 50, "{after:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn nobody_is_woken_for_what_is_somebody_elses() {
    let switches = || {
        let task = std::fs::read_dir("/proc/self/task").unwrap();
        let of_thread = |task: std::io::Result<std::fs::DirEntry>| {
            let path = task.ok()?.path();
            let name = std::fs::read_to_string(path.join("comm")).ok()?;
            let status = std::fs::read_to_string(path.join("status")).ok()?;
            let line = status
                .lines()
                .find(|line| line.starts_with("voluntary_ctxt_switches"))?;
            let count: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
            (name.trim() == "selective").then_some(count)
        };
        task.filter_map(of_thread).sum::<u64>()
    };
    let (_dir, writer) = orders(0);
    let dispatcher = dispatcher(&writer);
    let mut streams: Vec<_> = (0..20)
        .map(|_| of_orders(&dispatcher).filter("n = -1").start().unwrap())
        .collect();
    let stoppers: Vec<_> = streams.iter().map(ChangeStream::stopper).collect();
    let waiting: Vec<_> = streams
        .drain(..)
        .map(|mut stream| {
            let thread = std::thread::Builder::new().name("selective".into());
            thread.spawn(move || stream.wait_next(None).unwrap().is_none()).unwrap()
        })
        .collect();
    let memory = Writer {
        durability: Durability::Disk,
        ..writer
    };
    // Once all of them have gone to sleep, no number of writes wakes one.
    eventually("somebody wakes up again and again", || {
        let before = switches();
        insert_orders(&memory, 1..=50);
        live(&dispatcher) == 20 && switches() == before
    });
    stoppers.iter().for_each(tailwater_changestream::Stopper::stop);
    assert!(waiting.into_iter().all(|thread| thread.join().unwrap()));
}

#[test]
fn what_nobody_reads_is_not_kept_and_not_lost() {
    let (_dir, writer) = orders(0);
    let dispatcher = dispatcher(&writer);
    let mut streams: [ChangeStream; 3] = {
        let watch = |capacity| of_orders(&dispatcher).channel_capacity(capacity, usize::MAX);
        [1, 3, usize::MAX].map(|capacity| watch(capacity).start().unwrap())
    };
    for stream in &mut streams {
        assert!(stream.wait_next(Some(BRIEFLY)).unwrap().is_none());
    }
    insert_orders(&writer, 1..=1100);
    eventually("the tail is behind, or alone", || live(&dispatcher) == 0);
    assert_eq!(dispatcher.stats(ReadConcern::Durable).tail.parks, 3);
    for stream in &mut streams {
        assert_eq!(waited(stream, 1100), (1..=1100).collect::<Vec<_>>());
        assert!(stream.wait_next(Some(BRIEFLY)).unwrap().is_none());
    }
    // They are back.
    insert_orders(&writer, 1101..=1101);
    eventually("they have joined", || live(&dispatcher) == 3);
    for stream in &mut streams {
        assert_eq!(waited(stream, 1), [1101]);
    }
}

#[test]
fn what_is_there_is_read_at_once() {
    let (_dir, writer) = orders(0);
    let dispatcher = dispatcher(&writer);
    let [mut one, mut other] = joined(&dispatcher, |watch| watch);
    for n in 1..=300 {
        insert_orders(&writer, n..=n);
        let seen = match n % 3 {
            0 => one.next_if_any().unwrap(),
            1 => one.wait_next(Some(Duration::ZERO)).unwrap(),
            _ => {
                assert!(one.wait_ready(Some(PATIENCE)));
                one.next_if_any().unwrap()
            }
        };
        assert_eq!(ids(&[seen.expect("it was durable before")]), [n]);
        assert!(one.next_if_any().unwrap().is_none());
        assert!(one.wait_next(Some(Duration::from_micros(1))).unwrap().is_none());
    }
    assert_eq!(ids(&drain(&mut other)), (1..=300).collect::<Vec<_>>());
}

#[test]
fn what_is_at_hand_comes_without_looking_for_more() {
    let (_dir, writer) = orders(0);
    let dispatcher = dispatcher(&writer);
    let [mut one, _other] = joined(&dispatcher, |watch| watch);
    insert_orders(&writer, 1..=10);
    assert_eq!(waited(&mut one, 1), [1]);
    let mut seen = 1;
    eventually("the rest is told", || {
        while let Some(event) = one.next_at_hand().unwrap() {
            seen += 1;
            assert_eq!(ids(&[event]), [seen]);
        }
        seen == 10
    });
}

#[test]
fn a_token_moves_while_nothing_matches() {
    let (_dir, writer) = orders(0);
    let dispatcher = dispatcher(&writer);
    let [one, other] = joined(&dispatcher, |watch| watch.filter("n = -1"));
    for n in 0..20 {
        writer.insert("shop.other", &rawdoc! { "_id": n });
    }
    let newest = writer.newest();
    let mut alone = writer.watch(collection(ORDERS)).filter("n = -1").start().unwrap();
    assert!(drain(&mut alone).is_empty());
    for stream in [one, other] {
        eventually("the token moves", || stream.resume_token().op_id() == newest);
        assert_eq!(stream.resume_token(), alone.resume_token());
    }
}

#[test]
fn a_wait_is_ended_by_its_stopper_and_nothing_is_lost() {
    let (_dir, writer) = orders(0);
    let dispatcher = dispatcher(&writer);
    let [mut one, mut other] = joined(&dispatcher, |watch| watch);
    let (stopper, of_other) = (one.stopper(), other.stopper());
    let waiting = std::thread::spawn(move || {
        let stopped = one.wait_next(None).unwrap();
        (one, stopped)
    });
    stopper.stop();
    let (mut one, stopped) = waiting.join().unwrap();
    assert!(stopped.is_none() && !one.is_ended());
    insert_orders(&writer, 1..=3);
    assert!(one.wait_ready(None));
    assert_eq!(ids(&drain(&mut one)), [1, 2, 3]);
    assert!(one.wait_next(None).unwrap().is_none());
    // As a stream it ends.
    of_other.stop();
    assert_eq!(block_on(other.by_ref().count()), 3);
}

#[test]
fn a_task_is_woken_by_its_event_and_by_its_stopper() {
    let (_dir, writer) = orders(0);
    let dispatcher = dispatcher(&writer);
    let [mut one, mut other] = joined(&dispatcher, |watch| watch);
    assert!(one.next().now_or_never().is_none());
    let tasks = std::thread::spawn(move || {
        block_on(async {
            let first = one.next().await.unwrap().unwrap();
            let second = other.next().await.unwrap().unwrap();
            (ids(&[first, second]), one, other)
        })
    });
    insert_orders(&writer, 1..=1);
    let (seen, one, other) = tasks.join().unwrap();
    assert_eq!(seen, [1, 1]);
    let stoppers = [one.stopper(), other.stopper()];
    let tasks = std::thread::spawn(move || block_on(async { (one.count().await, other.count().await) }));
    stoppers.iter().for_each(tailwater_changestream::Stopper::stop);
    assert_eq!(tasks.join().unwrap(), (0, 0));
}

#[test]
fn a_close_ends_them_behind_what_was_released() {
    let (_dir, writer) = orders(0);
    let dispatcher = dispatcher(&writer);
    let streams: [ChangeStream; 3] = joined(&dispatcher, |watch| watch.channel_capacity(2, usize::MAX));
    insert_orders(&writer, 1..=5);
    writer.log.clone().close().unwrap();
    for mut stream in streams {
        assert_eq!(waited(&mut stream, 5), [1, 2, 3, 4, 5]);
        let closed = stream.wait_next(Some(PATIENCE));
        assert!(matches!(closed, Err(Error::Log(oplog::Error::Closed))), "{closed:?}");
        assert!(stream.is_ended());
    }
}

#[test]
fn an_error_is_met_where_it_is_and_nobody_else_meets_it() {
    let (_dir, writer) = orders(0);
    let dispatcher = dispatcher(&writer);
    let divides = doc! { "$expr": { "$eq": [{ "$divide": [6, "$fullDocument.n"] }, 2] } };
    let [mut stream, mut beside] = joined(&dispatcher, |watch| watch);
    let mut failing = of_orders(&dispatcher)
        .pipeline(matching(divides.clone()))
        .start()
        .unwrap();
    // Whose other part says that the event is not for it.
    let mut both = divides;
    both.insert("fullDocument.n", doc! { "$gt": 0 });
    let mut spared = of_orders(&dispatcher).pipeline(matching(both.clone())).start().unwrap();
    let mut alone = writer
        .watch(collection(ORDERS))
        .pipeline(matching(both))
        .start()
        .unwrap();
    for stream in [&mut failing, &mut spared] {
        assert!(stream.wait_next(Some(BRIEFLY)).unwrap().is_none());
    }
    for n in [3, 0, 3] {
        writer.insert(ORDERS, &rawdoc! { "_id": n, "n": n });
    }
    for _ in 0..2 {
        assert_eq!(waited(&mut spared, 1), [3]);
    }
    assert_eq!(ids(&drain(&mut alone)), [3, 3]);
    assert_eq!(waited(&mut failing, 1), [3]);
    let token = failing.resume_token();
    for _ in 0..3 {
        assert!(matches!(failing.wait_next(Some(PATIENCE)), Err(Error::Evaluate(_))));
        assert_eq!(failing.resume_token(), token);
    }
    for stream in [&mut stream, &mut beside] {
        assert_eq!(waited(stream, 3), [3, 0, 3]);
    }
    let mut as_task = failing;
    assert!(matches!(block_on(as_task.next()), Some(Err(Error::Evaluate(_)))));
    assert!(block_on(as_task.next()).is_none());
}

#[test]
fn an_end_is_the_same_also_where_nobody_wants_to_hear_of_it() {
    let pipelines = [
        doc! {},
        doc! { "operationType": { "$ne": "invalidate" } },
        doc! { "operationType": { "$nin": ["drop", "invalidate"] } },
        doc! { "operationType": "insert" },
    ];
    for stage in pipelines {
        let (_dir, writer) = orders(0);
        let dispatcher = dispatcher(&writer);
        let watch = |watch: Watch| watch.pipeline(matching(stage.clone()));
        let [mut one, mut slow] = joined(&dispatcher, watch);
        let mut alone = watch(writer.watch(collection(ORDERS))).start().unwrap();
        insert_orders(&writer, 1..=1);
        writer.drop_collection(ORDERS);
        insert_orders(&writer, 2..=2);
        let expected = shorts(&drain(&mut alone));
        assert!(alone.is_ended());
        for stream in [&mut one, &mut slow] {
            let mut seen = Vec::new();
            while let Some(event) = stream.wait_next(Some(PATIENCE)).unwrap() {
                seen.push(short(&event));
            }
            assert!(stream.is_ended(), "{stage}");
            assert_eq!(seen, expected, "{stage}");
            assert_eq!(stream.resume_token(), alone.resume_token(), "{stage}");
        }
    }
}

#[test]
fn the_only_stream_needs_no_thread() {
    let (_dir, writer) = orders(0);
    let dispatcher = dispatcher(&writer);
    let mut only = of_orders(&dispatcher).start().unwrap();
    // One that has gone is no other.
    drop(of_orders(&dispatcher).start().unwrap());
    assert!(only.wait_next(Some(BRIEFLY)).unwrap().is_none());
    insert_orders(&writer, 1..=1);
    assert_eq!(waited(&mut only, 1), [1]);
    assert_eq!(dispatcher.stats(ReadConcern::Durable).tail.entries, 0);
}

#[test]
fn whoever_goes_takes_its_place_along() {
    let (_dir, writer) = orders(0);
    let dispatcher = dispatcher(&writer);
    let [mut stays, goes, leaves, parts] = joined(&dispatcher, |watch| watch);
    drop([goes, leaves, parts]);
    insert_orders(&writer, 1..=1);
    assert_eq!(waited(&mut stays, 1), [1]);
    eventually("the others have gone", || {
        dispatcher.stats(ReadConcern::Durable).position == writer.newest()
    });
    assert_eq!(live(&dispatcher), 1);
    // What is left of the dispatcher is the stream's.
    drop(dispatcher);
    insert_orders(&writer, 2..=2);
    assert_eq!(waited(&mut stays, 1), [2]);
}

#[test]
fn a_stream_from_another_directory_handle_waits_with_its_own() {
    let dir = temporary();
    let writer = Writer::open(dir.path());
    let elsewhere = Dispatcher::new(oplog::OplogView::open(dir.path()).unwrap());
    let mut streams: Vec<_> = (0..2)
        .map(|_| elsewhere.watch(Scope::Everything).start().unwrap())
        .collect();
    for stream in &mut streams {
        assert!(stream.wait_next(Some(BRIEFLY)).unwrap().is_none());
    }
    insert_orders(&writer, 1..=3);
    for stream in &mut streams {
        assert_eq!(waited(stream, 3), [1, 2, 3]);
    }
}
