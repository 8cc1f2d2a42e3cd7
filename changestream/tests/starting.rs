//! Where streams begin.

use crate::common;

use bson::rawdoc;
use common::{
    ORDERS, PATIENCE, Writer, collection, database, decoded, drain, from_oldest, ids, insert_orders, orders, shorts,
};
use tailwater_changestream::{Error, ResumeToken, Scope, TokenKind};
use tailwater_oplog::{Durability, ReadConcern};

#[test]
fn a_stream_begins_with_what_is_written_after_it() {
    let (_dir, writer) = orders(3);
    let mut stream = writer.watch(collection(ORDERS)).start().unwrap();
    assert!(stream.next_if_any().unwrap().is_none());
    insert_orders(&writer, 4..=5);
    assert_eq!(ids(&drain(&mut stream)), [4, 5]);
}

#[test]
fn a_stream_goes_on_behind_any_events_token() {
    let (_dir, writer) = orders(5);
    let events = from_oldest(&writer);
    for (i, event) in events.iter().enumerate() {
        let text = event.resume_token().to_string();
        let token: ResumeToken = text.parse().unwrap();
        for watch in [
            writer.watch(Scope::Everything).resume_after(token),
            writer.watch(Scope::Everything).start_after(token),
        ] {
            let mut stream = watch.start().unwrap();
            assert_eq!(stream.resume_token(), token);
            assert_eq!(ids(&drain(&mut stream)), ids(&events[i + 1..]));
        }
    }
}

#[test]
fn a_token_is_good_for_other_scopes_and_filters() {
    let (_dir, writer) = orders(3);
    writer.insert("town.people", &rawdoc! { "_id": 9 });
    let token = from_oldest(&writer)[1].resume_token();
    let mut stream = writer.watch(database("town")).resume_after(token).start().unwrap();
    assert_eq!(shorts(&drain(&mut stream)), ["insert town.people 9"]);
}

#[test]
fn a_token_taken_before_the_first_entry_is_good() {
    let (_dir, writer) = orders(0);
    let token = writer.watch(Scope::Everything).start().unwrap().resume_token();
    insert_orders(&writer, 1..=2);
    let mut stream = writer.watch(Scope::Everything).resume_after(token).start().unwrap();
    assert_eq!(ids(&drain(&mut stream)), [1, 2]);
}

#[test]
fn a_stream_begins_at_an_operation_time() {
    let (_dir, writer) = orders(5);
    let events = from_oldest(&writer);
    let at = |time| {
        let mut stream = writer
            .watch(Scope::Everything)
            .start_at_operation_time(time)
            .start()
            .unwrap();
        ids(&drain(&mut stream))
    };
    for (i, event) in events.iter().enumerate() {
        let time = decoded(event).get_timestamp("clusterTime").unwrap();
        assert_eq!(at(time), ids(&events[i..]), "the event of that time is the first");
        let later = bson::Timestamp {
            increment: time.increment + 1,
            ..time
        };
        assert_eq!(at(later), ids(&events[i + 1..]));
    }
    assert_eq!(at(bson::Timestamp { time: 0, increment: 0 }), ids(&events));
}

#[test]
fn nothing_from_before_an_operation_time_is_delivered() {
    let (_dir, writer) = orders(1);
    let time = decoded(&from_oldest(&writer)[0]).get_timestamp("clusterTime").unwrap();
    let tomorrow = bson::Timestamp {
        time: time.time + 86_400,
        ..time
    };
    let mut stream = writer
        .watch(collection(ORDERS))
        .start_at_operation_time(tomorrow)
        .start()
        .unwrap();
    insert_orders(&writer, 2..=3);
    assert_eq!(shorts(&drain(&mut stream)), [""; 0]);
    // The same for what is written, but not released yet, when the stream begins.
    let unreleased = Writer {
        durability: Durability::Memory,
        ..writer.clone()
    };
    unreleased.insert(ORDERS, &rawdoc! { "_id": 4 });
    let local = writer
        .watch(Scope::Everything)
        .read_concern(ReadConcern::Local)
        .start_at_oldest();
    let time = drain(&mut local.start().unwrap())[3].timestamp().as_nanos();
    let after = bson::Timestamp {
        time: (time / 1_000_000_000) as u32,
        increment: (time % 1_000_000_000) as u32 + 2,
    };
    let mut stream = writer
        .watch(collection(ORDERS))
        .start_at_operation_time(after)
        .start()
        .unwrap();
    insert_orders(&writer, 5..=5);
    assert_eq!(ids(&drain(&mut stream)), [5]);
}

#[test]
fn a_token_from_before_the_first_event_keeps_the_start_time() {
    let (_dir, writer) = orders(3);
    let begun = |time| {
        let watch = writer.watch(collection(ORDERS)).start_at_operation_time(time);
        watch.start().unwrap()
    };
    let time = decoded(&from_oldest(&writer)[1]).get_timestamp("clusterTime").unwrap();
    let tomorrow = bson::Timestamp {
        time: time.time + 86_400,
        ..time
    };
    let (mut early, mut late) = (begun(time), begun(tomorrow));
    let early_token = early.resume_token();
    let late_tokens = [late.resume_token(), {
        // It passes over what was written too early, and still begins at its time.
        insert_orders(&writer, 4..=5);
        writer.insert("town.people", &rawdoc! { "_id": 9 });
        assert_eq!(shorts(&drain(&mut late)), [""; 0]);
        late.resume_token()
    }];
    assert!(late_tokens[0] < late_tokens[1]);
    let resume = |token: ResumeToken| {
        let token = token.to_string().parse().unwrap();
        writer.watch(collection(ORDERS)).resume_after(token).start().unwrap()
    };
    let mut resumed = late_tokens.map(resume);
    insert_orders(&writer, 6..=7);
    for stream in &mut resumed {
        assert_eq!(shorts(&drain(stream)), [""; 0]);
        // And so does a stream that goes on from where this one has got to.
        assert_eq!(shorts(&drain(&mut resume(stream.resume_token()))), [""; 0]);
        assert_eq!(stream.resume_token().op_id(), writer.newest());
    }
    assert_eq!(ids(&drain(&mut early)), [2, 3, 4, 5, 6, 7]);
    assert_eq!(ids(&drain(&mut resume(early_token))), [2, 3, 4, 5, 6, 7]);
}

#[test]
fn a_start_time_that_was_reached_is_forgotten() {
    let (_dir, writer) = orders(0);
    let mut id = 0;
    let mut insert_next = || {
        id += 1;
        insert_orders(&writer, id..=id);
        let newest = from_oldest(&writer).pop().unwrap();
        decoded(&newest).get_timestamp("clusterTime").unwrap()
    };
    // A second may pass in between on a busy machine: then another time.
    let (soon, mut stream) = loop {
        let time = insert_next();
        let soon = bson::Timestamp {
            time: time.time + 1,
            ..time
        };
        let watch = writer.watch(collection(ORDERS)).start_at_operation_time(soon);
        let stream = watch.start().unwrap();
        if insert_next() < soon {
            break (soon, stream);
        }
    };
    assert_eq!(shorts(&drain(&mut stream)), [""; 0]);
    assert_eq!(stream.resume_token().kind(), TokenKind::StartTime);
    let first = loop {
        insert_next();
        if let Some(event) = stream.next_if_any().unwrap() {
            break event;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    assert!(decoded(&first).get_timestamp("clusterTime").unwrap() >= soon);
    assert_eq!(first.resume_token().kind(), TokenKind::Event);
    // An entry of others moves the token on as in any stream.
    writer.insert("town.people", &rawdoc! { "_id": 9 });
    assert!(stream.next_if_any().unwrap().is_none());
    assert_eq!(stream.resume_token().kind(), TokenKind::Position);
}

#[test]
fn of_the_time_of_the_oldest_entry_nothing_is_missing_and_of_an_earlier_one_something_is() {
    let (_dir, writer) = orders(0);
    writer.fill(ORDERS, 3000);
    let before = from_oldest(&writer);
    let oldest = writer.trim();
    let first = from_oldest(&writer).remove(0);
    assert_eq!(first.op_id(), oldest);
    let at = |time| writer.watch(collection(ORDERS)).start_at_operation_time(time);
    let time = decoded(&first).get_timestamp("clusterTime").unwrap();
    let mut stream = at(time).start().unwrap();
    assert_eq!(
        stream.next_if_any().unwrap().unwrap().resume_token(),
        first.resume_token()
    );
    let (_handle, receiver) = at(time).subscribe().unwrap();
    assert_eq!(
        receiver.recv_timeout(PATIENCE).unwrap().resume_token(),
        first.resume_token()
    );
    let earlier = bson::Timestamp {
        increment: time.increment - 1,
        ..time
    };
    let gone = &before[oldest.get() as usize - 2];
    for time in [earlier, decoded(gone).get_timestamp("clusterTime").unwrap()] {
        let refused = at(time).start().unwrap_err();
        assert!(matches!(refused, Error::TimeTrimmed { .. }), "{refused:?}");
    }
}

#[test]
fn a_stream_that_has_seen_nothing_goes_on_where_it_began() {
    let (_dir, writer) = orders(0);
    writer.fill(ORDERS, 3000);
    let oldest = writer.trim();
    let begun = [
        writer.watch(collection(ORDERS)),
        writer.watch(collection(ORDERS)).start_at_oldest(),
    ];
    let begun = begun.map(|watch| watch.start().unwrap());
    insert_orders(&writer, 4000..=4001);
    for (mut stream, count) in begun.into_iter().zip([2, 3003 - oldest.get() as usize]) {
        let token = stream.resume_token();
        let resumed = writer.watch(collection(ORDERS)).resume_after(token).start();
        let (expected, found) = (drain(&mut stream), drain(&mut resumed.unwrap()));
        assert_eq!(ids(&found), ids(&expected));
        assert_eq!(found.len(), count);
    }
}

#[test]
fn two_starting_points_are_refused() {
    let (_dir, writer) = orders(1);
    let token = from_oldest(&writer)[0].resume_token();
    let watch = writer.watch(Scope::Everything).resume_after(token);
    let refused = watch
        .start_at_operation_time(bson::Timestamp { time: 1, increment: 1 })
        .start()
        .unwrap_err();
    assert!(matches!(refused, Error::ConflictingStart), "{refused:?}");
}
