//! Tokens that are not good, and how a stream moves its own.

use crate::common;

use bson::rawdoc;
use common::{
    ORDERS, Writer, collection, copy_log, database, decoded, drain, from_oldest, ids, insert_orders, orders, short,
    shorts, temporary,
};
use tailwater_changestream::{ChangeStream, Error, ResumeToken, Scope, TokenKind, cluster_time};
use tailwater_oplog::{self as oplog, Durability, OpId, ReadConcern};

// Tokens that are not good.

#[test]
fn a_token_that_is_none_is_refused() {
    for text in ["", "zz", "82", "01a5", "0", &"0".repeat(1000)] {
        let refused = text.parse::<ResumeToken>().unwrap_err();
        assert!(matches!(refused, Error::MalformedToken { .. }), "{text}: {refused:?}");
    }
    let (_dir, writer) = orders(1);
    let text = from_oldest(&writer)[0].resume_token().to_string();
    let mut forged = text.clone().into_bytes();
    for place in 0..forged.len() {
        let digit = forged[place];
        forged[place] = if digit == b'0' { b'1' } else { b'0' };
        assert!(
            std::str::from_utf8(&forged).unwrap().parse::<ResumeToken>().is_err(),
            "digit {place}"
        );
        forged[place] = digit;
    }
    for document in [rawdoc! {}, rawdoc! { "_data": 1 }, rawdoc! { "_data": "82" }] {
        let refused = ResumeToken::from_document(&document).unwrap_err();
        assert!(matches!(refused, Error::MalformedToken { .. }), "{refused:?}");
    }
}

#[test]
fn an_invalidate_events_token_starts_after_but_does_not_resume() {
    let (_dir, writer) = orders(1);
    writer.drop_collection(ORDERS);
    insert_orders(&writer, 2..=2);
    let events = drain(&mut writer.watch(collection(ORDERS)).start_at_oldest().start().unwrap());
    let (dropped, invalidated) = (events[1].resume_token(), events[2].resume_token());
    let refused = writer
        .watch(collection(ORDERS))
        .resume_after(invalidated)
        .start()
        .unwrap_err();
    assert!(matches!(refused, Error::Invalidated), "{refused:?}");
    let mut stream = writer
        .watch(collection(ORDERS))
        .start_after(invalidated)
        .start()
        .unwrap();
    assert_eq!(shorts(&drain(&mut stream)), ["insert shop.orders 2"]);
    // Behind the drop itself comes its invalidation, once more for who has not seen it.
    let mut stream = writer.watch(collection(ORDERS)).resume_after(dropped).start().unwrap();
    assert_eq!(shorts(&drain(&mut stream)), ["invalidate shop.orders"]);
    assert!(stream.is_ended());
}

#[test]
fn a_stream_begun_right_behind_a_drop_has_nothing_to_do_with_it() {
    let (_dir, writer) = orders(1);
    let dropped = writer.drop_collection(ORDERS);
    let begun = writer.watch(collection(ORDERS)).start().unwrap();
    assert_eq!(begun.resume_token().op_id(), dropped.last);
    insert_orders(&writer, 2..=2);
    let event = &drain(&mut begun_again(&writer, &begun))[0];
    assert_eq!(short(event), "insert shop.orders 2");
    // The same for one that began at a time right behind it.
    let watch = writer.watch(collection(ORDERS));
    let time = decoded(event).get_timestamp("clusterTime").unwrap();
    let begun = watch.start_at_operation_time(time).start().unwrap();
    assert_eq!(
        shorts(&drain(&mut begun_again(&writer, &begun))),
        ["insert shop.orders 2"]
    );
}

/// A stream that goes on from where another one began.
fn begun_again(writer: &Writer, stream: &ChangeStream) -> ChangeStream {
    let watch = writer.watch(collection(ORDERS));
    watch.resume_after(stream.resume_token()).start().unwrap()
}

#[test]
fn a_token_of_another_log_is_refused() {
    let ((_one, writer), (_other, stranger)) = (orders(3), orders(3));
    let token = from_oldest(&stranger)[0].resume_token();
    let refused = writer.watch(Scope::Everything).resume_after(token).start().unwrap_err();
    let Error::Log(oplog::Error::OtherLog { expected, got }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((expected, got), (writer.log.log_id(), stranger.log.log_id()));
}

#[test]
fn a_token_of_a_history_that_was_not_taken_is_refused() {
    let (dir, writer) = orders(3);
    let shared = from_oldest(&writer)[1].resume_token();
    writer.log.close().unwrap();
    let restored = temporary();
    copy_log(dir.path(), restored.path());

    let writer = Writer::open(dir.path());
    insert_orders(&writer, 4..=6);
    let token = from_oldest(&writer)[4].resume_token();
    // Opened once more than the first: in another term.
    drop(Writer::open(restored.path()));
    let parted = Writer::open(restored.path());
    insert_orders(&parted, 14..=16);

    let refused = parted.watch(Scope::Everything).resume_after(token).start().unwrap_err();
    let Error::Log(oplog::Error::Diverged {
        op_id,
        requested,
        found,
    }) = refused
    else {
        panic!("{refused:?}");
    };
    assert_eq!(
        (op_id, requested.0, found.0),
        (OpId::new(5), writer.log.term(), parted.log.term())
    );
    // What both have in common is a good place to go on from in either.
    let mut stream = parted.watch(Scope::Everything).resume_after(shared).start().unwrap();
    assert_eq!(ids(&drain(&mut stream)), [3, 14, 15, 16]);
}

#[test]
fn a_token_of_a_twin_in_the_same_term_is_refused() {
    let (dir, writer) = orders(3);
    let shared = from_oldest(&writer)[2].resume_token();
    writer.log.close().unwrap();
    let copied = temporary();
    copy_log(dir.path(), copied.path());
    // Each is opened once more, so both write in the same term of the same log.
    let twins = [Writer::open(dir.path()), Writer::open(copied.path())];
    assert_eq!(twins[0].log.term(), twins[1].log.term());
    for (twin, first) in twins.iter().zip([4, 14]) {
        insert_orders(twin, first..=first + 2);
    }
    for (one, other) in [(&twins[0], &twins[1]), (&twins[1], &twins[0])] {
        for place in 3..6 {
            let token = from_oldest(one)[place].resume_token();
            let refused = other.watch(Scope::Everything).resume_after(token).start().unwrap_err();
            let Error::Log(oplog::Error::Diverged { op_id, .. }) = refused else {
                panic!("{refused:?}");
            };
            assert_eq!(op_id, token.op_id());
            assert!(refused.to_string().contains("same term"), "{refused}");
            let own = one.watch(Scope::Everything).resume_after(token).start();
            assert_eq!(drain(&mut own.unwrap()).len(), 5 - place);
        }
        // What they have in common is good in both, and so is a token that a stream begins with.
        let watch = other.watch(Scope::Everything).resume_after(shared);
        assert_eq!(drain(&mut watch.start().unwrap()).len(), 3);
        let begun = one.watch(Scope::Everything).start().unwrap().resume_token();
        let refused = other.watch(Scope::Everything).resume_after(begun).start().unwrap_err();
        assert!(
            matches!(refused, Error::Log(oplog::Error::Diverged { .. })),
            "{refused:?}"
        );
    }
}

#[test]
fn a_token_from_beyond_the_end_is_refused() {
    let (dir, writer) = orders(3);
    let older = temporary();
    copy_log(dir.path(), older.path());
    insert_orders(&writer, 4..=6);
    let token = from_oldest(&writer)[5].resume_token();
    let restored = Writer::open(older.path());
    let refused = restored
        .watch(Scope::Everything)
        .resume_after(token)
        .start()
        .unwrap_err();
    let Error::TokenAheadOfLog { requested, newest } = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((requested, newest), (OpId::new(6), OpId::new(3)));
    // And when the log has grown past that place, it is seen to be another history.
    insert_orders(&restored, 4..=9);
    let refused = restored
        .watch(Scope::Everything)
        .resume_after(token)
        .start()
        .unwrap_err();
    assert!(
        matches!(refused, Error::Log(oplog::Error::Diverged { .. })),
        "{refused:?}"
    );
}

#[test]
fn a_token_older_than_the_log_is_refused_and_says_what_is_left() {
    let (_dir, writer) = orders(0);
    writer.fill(ORDERS, 3000);
    let events = from_oldest(&writer);
    let oldest = writer.trim();
    let lost = events[10].resume_token();
    let refused = writer.watch(Scope::Everything).resume_after(lost).start().unwrap_err();
    let Error::Log(oplog::Error::HistoryLost {
        requested,
        oldest: found,
    }) = refused
    else {
        panic!("{refused:?}");
    };
    assert_eq!((requested, found), (lost.op_id().next(), oldest));
    let time = decoded(&events[10]).get_timestamp("clusterTime").unwrap();
    let refused = writer
        .watch(Scope::Everything)
        .start_at_operation_time(time)
        .start()
        .unwrap_err();
    assert!(
        matches!(refused, Error::TimeTrimmed { oldest: found, .. } if found == oldest),
        "{refused:?}"
    );
    // Whoever has seen the last entry that is gone has missed nothing.
    let last_gone = events[oldest.get() as usize - 2].resume_token();
    assert_eq!(last_gone.op_id(), oldest.previous());
    let mut stream = writer.watch(Scope::Everything).resume_after(last_gone).start().unwrap();
    assert_eq!(ids(&drain(&mut stream)), ids(&events[oldest.get() as usize - 1..]));
}

#[test]
fn a_stream_that_a_trim_overtakes_fails_and_never_skips() {
    let (_dir, writer) = orders(0);
    let mut stream = writer.watch(Scope::Everything).start().unwrap();
    writer.fill(ORDERS, 1);
    assert_eq!(ids(&drain(&mut stream)), [0]);
    writer.fill(ORDERS, 5000);
    writer.trim();
    let mut expected = 0;
    let error = loop {
        match stream.next_if_any() {
            Ok(event) => {
                // It may finish the segment it is in.
                assert_eq!(ids(&[event.expect("the end is beyond what is lost")]), [expected]);
                expected += 1;
            }
            Err(error) => break error,
        }
    };
    assert!(
        matches!(error, Error::Log(oplog::Error::HistoryLost { .. })),
        "{error:?}"
    );
    assert!(!stream.is_ended());
}

// Tokens that move.

#[test]
fn the_token_moves_on_while_nothing_matches() {
    let (_dir, writer) = orders(1);
    let mut stream = writer.watch(database("town")).start().unwrap();
    let mut before = stream.resume_token();
    for id in 2..5 {
        insert_orders(&writer, id..=id);
        writer.log.append(200, b"somebody else's", Durability::Disk).unwrap();
        assert!(stream.next_if_any().unwrap().is_none());
        assert!(stream.resume_token() > before);
        before = stream.resume_token();
        assert_eq!(before.op_id(), writer.newest());
    }
    // So a watcher of something rare outlives a trim.
    writer.fill(ORDERS, 3000);
    assert!(stream.next_if_any().unwrap().is_none());
    writer.trim();
    let mut stream = writer
        .watch(database("town"))
        .resume_after(stream.resume_token())
        .start()
        .unwrap();
    writer.insert("town.people", &rawdoc! { "_id": 7 });
    assert_eq!(ids(&drain(&mut stream)), [7]);
}

#[test]
fn a_streams_token_is_that_of_its_last_event() {
    let (_dir, writer) = orders(3);
    let mut stream = writer.watch(Scope::Everything).start_at_oldest().start().unwrap();
    while let Some(event) = stream.next_if_any().unwrap() {
        assert_eq!(stream.resume_token(), event.resume_token());
    }
}

#[test]
fn a_token_of_a_trimmed_entry_is_good_where_the_entry_is_still_there() {
    let (dir, writer) = orders(0);
    writer.fill(ORDERS, 3000);
    let (copy, whole) = (temporary(), temporary());
    writer.log.clone().close().unwrap();
    copy_log(dir.path(), &copy.path().join("log"));
    copy_log(dir.path(), &whole.path().join("log"));
    let trimmed = Writer::open(&copy.path().join("log"));
    trimmed.trim();
    let begun = trimmed.watch(Scope::Everything).start_at_oldest().start().unwrap();
    let whole = Writer::open(&whole.path().join("log"));
    let mut resumed = whole
        .watch(Scope::Everything)
        .resume_after(begun.resume_token())
        .start()
        .unwrap();
    assert_eq!(
        resumed.next_if_any().unwrap().unwrap().op_id(),
        begun.resume_token().op_id().next()
    );
}

#[test]
fn behind_an_end_whose_entry_is_gone_the_invalidate_is_missed_by_name() {
    // Nothing but ends, so that whatever a trim begins behind is one.
    let (dir, writer) = orders(0);
    let unsynced = Writer {
        durability: Durability::Memory,
        ..writer.clone()
    };
    while writer.log.watermarks().appended < OpId::new(30_000) {
        unsynced.drop_collection(ORDERS);
    }
    drop(unsynced);
    writer.log.close().unwrap();
    let copy = temporary();
    copy_log(dir.path(), &copy.path().join("log"));
    let (whole, trimmed) = (Writer::open(dir.path()), Writer::open(&copy.path().join("log")));
    let last = trimmed.trim().previous();
    let time = cluster_time(whole.log.view().get(last, ReadConcern::Durable).unwrap().timestamp());
    let token = |scope| {
        let mut stream = whole.watch(scope).start_at_operation_time(time).start().unwrap();
        let event = stream.next_if_any().unwrap().unwrap();
        assert_eq!((event.op_id(), short(&event)), (last, "drop shop.orders".to_owned()));
        event.resume_token()
    };
    let (ending, plain) = (token(collection(ORDERS)), token(database("shop")));
    assert_eq!((ending.kind(), plain.kind()), (TokenKind::Ending, TokenKind::Event));

    let mut resumed = whole.watch(collection(ORDERS)).resume_after(ending).start().unwrap();
    assert_eq!(shorts(&drain(&mut resumed)), ["invalidate shop.orders"]);
    let watch = || trimmed.watch(collection(ORDERS)).resume_after(ending);
    for refused in [watch().start().unwrap_err(), watch().subscribe().unwrap_err()] {
        assert!(
            matches!(refused, Error::Log(oplog::Error::HistoryLost { .. })),
            "{refused:?}"
        );
    }
    // A collection is not all of its database: what comes behind it is all there.
    trimmed.watch(database("shop")).resume_after(plain).start().unwrap();
}
