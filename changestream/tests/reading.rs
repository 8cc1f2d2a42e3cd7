//! What is seen when, and the ways of reading a stream.

use crate::common;

use bson::rawdoc;
use common::{ORDERS, PATIENCE, Writer, collection, database, drain, ids, insert_orders, orders, shorts, temporary};
use futures::StreamExt;
use tailwater_changestream::{Error, Scope, Watch};
use tailwater_oplog::{self as oplog, Durability, OplogView, ReadConcern};

// What is seen when.

#[test]
fn an_event_is_seen_when_it_is_durable_and_with_local_at_once() {
    let dir = temporary();
    let options = oplog::Options {
        segment_bytes: 1 << 20,
        sync_interval: std::time::Duration::from_secs(3600),
        ..oplog::Options::default()
    };
    let log = options.open(dir.path()).unwrap();
    let writer = Writer {
        log,
        durability: Durability::Memory,
    };
    let mut durable = writer.watch(Scope::Everything).start().unwrap();
    let mut local = writer
        .watch(Scope::Everything)
        .read_concern(ReadConcern::Local)
        .start()
        .unwrap();
    let last = writer.insert(ORDERS, &rawdoc! { "_id": 1 }).last;
    assert_eq!(ids(&drain(&mut local)), [1]);
    assert_eq!(ids(&drain(&mut durable)), [0; 0]);
    let ahead = local.resume_token();
    // A token from one who sees more is good for one who sees less, who then waits.
    let mut waiting = writer.watch(Scope::Everything).resume_after(ahead).start().unwrap();
    writer.log.sync(last).unwrap();
    assert_eq!(ids(&drain(&mut durable)), [1]);
    assert_eq!(ids(&drain(&mut waiting)), [0; 0]);
}

#[test]
fn a_view_of_another_process_sees_the_same_events() {
    let (dir, writer) = orders(3);
    let view = OplogView::open(dir.path()).unwrap();
    let mut stream = Watch::new(view, collection(ORDERS)).start_at_oldest().start().unwrap();
    assert_eq!(ids(&drain(&mut stream)), [1, 2, 3]);
    let later = std::thread::spawn(move || {
        insert_orders(&writer, 4..=2000);
        writer
    });
    let mut seen = Vec::new();
    while seen.last() != Some(&2000) {
        let event = stream.wait_next(Some(PATIENCE)).unwrap().expect("an event in time");
        seen.extend(ids(&[event]));
    }
    assert_eq!(seen, (4..=2000).collect::<Vec<_>>());
    // It outlives the writer, and meets the next one.
    later.join().unwrap().log.close().unwrap();
    let writer = Writer::open(dir.path());
    insert_orders(&writer, 2001..=2001);
    let event = stream.wait_next(Some(PATIENCE)).unwrap().expect("an event in time");
    assert_eq!(ids(&[event]), [2001]);
}

// Ways of reading.

#[tokio::test]
async fn a_stream_is_awaited() {
    let (_dir, writer) = orders(3);
    let mut stream = writer.watch(collection(ORDERS)).start_at_oldest().start().unwrap();
    for id in 1..=3 {
        assert_eq!(ids(&[stream.next().await.unwrap().unwrap()]), [id]);
    }
    let writing = std::thread::spawn(move || {
        insert_orders(&writer, 4..=500);
        writer.drop_collection(ORDERS);
        writer
    });
    let rest: Vec<_> = stream.by_ref().map(Result::unwrap).collect().await;
    assert_eq!(ids(&rest[..497]), (4..=500).collect::<Vec<_>>());
    assert_eq!(shorts(&rest[497..]), ["drop shop.orders", "invalidate shop.orders"]);
    assert!(stream.next().await.is_none());
    drop(writing.join().unwrap());
}

#[tokio::test]
async fn a_stream_of_another_processs_log_is_awaited() {
    let (dir, writer) = orders(0);
    let view = OplogView::open(dir.path()).unwrap();
    let mut stream = Watch::new(view, collection(ORDERS)).start().unwrap();
    let writing = std::thread::spawn(move || {
        insert_orders(&writer, 1..=200);
        writer
    });
    for id in 1..=200 {
        let event = tokio::time::timeout(PATIENCE, stream.next())
            .await
            .expect("an event in time");
        assert_eq!(ids(&[event.unwrap().unwrap()]), [id]);
    }
    drop(writing.join().unwrap());
}

#[tokio::test]
async fn an_awaited_stream_ends_by_name_when_the_log_closes() {
    let (_dir, writer) = orders(1);
    let mut stream = writer.watch(collection(ORDERS)).start_at_oldest().start().unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    let closing = std::thread::spawn(move || writer.log.close().unwrap());
    let last = stream.next().await.unwrap();
    assert!(matches!(last, Err(Error::Log(oplog::Error::Closed))), "{last:?}");
    assert!(stream.next().await.is_none());
    closing.join().unwrap();
}

#[tokio::test]
async fn a_stopper_ends_an_awaited_stream() {
    let (_dir, writer) = orders(1);
    let mut stream = writer.watch(collection(ORDERS)).start_at_oldest().start().unwrap();
    let stopper = stream.stopper();
    assert!(stream.next().await.unwrap().is_ok());
    let stopping = std::thread::spawn(move || stopper.stop());
    assert!(stream.next().await.is_none());
    stopping.join().unwrap();
}

#[test]
fn a_blocking_iterator_ends_with_its_stream_or_its_stopper() {
    let (_dir, writer) = orders(2);
    let mut stream = writer.watch(collection(ORDERS)).start_at_oldest().start().unwrap();
    let stopper = stream.stopper();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            insert_orders(&writer, 3..=4);
            writer.drop_collection(ORDERS);
        });
        assert_eq!(stream.blocking_iter().map(Result::unwrap).count(), 6);
    });
    let mut stream = writer.watch(collection(ORDERS)).start().unwrap();
    stopper.stop();
    assert!(stopper.is_stopped());
    let stopper = stream.stopper();
    std::thread::scope(|scope| {
        scope.spawn(|| stopper.stop());
        assert!(stream.blocking_iter().next().is_none());
    });
}

#[test]
fn a_stopped_stream_does_not_first_look_through_the_whole_log() {
    let (_dir, mut writer) = orders(0);
    writer.durability = Durability::Memory;
    insert_orders(&writer, 1..=20_000);
    writer.insert("town.people", &rawdoc! { "_id": 7 });
    writer.log.sync(writer.log.watermarks().appended).unwrap();
    let mut stream = writer.watch(database("town")).start_at_oldest().start().unwrap();
    stream.stopper().stop();
    assert!(stream.wait_next(None).unwrap().is_none());
    assert!(stream.resume_token().op_id() < writer.newest());
    // What is there can still be read.
    assert_eq!(ids(&drain(&mut stream)), [7]);
}

#[test]
fn waiting_ends_when_the_time_is_up() {
    let (_dir, writer) = orders(1);
    let mut stream = writer.watch(collection(ORDERS)).start().unwrap();
    assert!(
        stream
            .wait_next(Some(std::time::Duration::from_millis(5)))
            .unwrap()
            .is_none()
    );
    assert!(!stream.is_ended());
    insert_orders(&writer, 2..=2);
    assert!(stream.wait_next(Some(PATIENCE)).unwrap().is_some());
}
