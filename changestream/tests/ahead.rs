//! Tokens of entries that a member which follows has not received yet.

use crate::common;

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use common::member::{append, bring, follower};
use common::{
    ORDERS, PATIENCE, Writer, collection, copy_log, drain, from_oldest, ids, insert_orders, open, orders, shorts,
    temporary,
};
use futures::{Stream, StreamExt};
use tailwater_changestream::{ChangeStream, Error, Receiver, RecvError, ResumeToken, Scope, TokenKind, Watch};
use tailwater_oplog::{self as oplog, Member, OpId, Oplog, OplogView, ReadConcern};

fn everything(view: OplogView, token: ResumeToken) -> Watch {
    Watch::new(view, Scope::Everything).resume_after(token)
}

/// Nothing comes, though the stream has looked.
fn assert_waits(stream: &mut ChangeStream) {
    assert!(stream.next_if_any().unwrap().is_none());
    assert!(!stream.is_ended());
}

fn received(receiver: &Receiver, count: usize) -> Vec<i32> {
    let events: Vec<_> = (0..count).map(|_| receiver.recv_timeout(PATIENCE).unwrap()).collect();
    ids(&events)
}

#[test]
fn a_watch_waits_until_the_member_has_come_to_its_token() {
    let (_one, primary) = orders(6);
    let two = temporary();
    let member = follower(&primary, two.path());
    bring(&primary, &member, 2);
    let token = from_oldest(&primary)[3].resume_token();
    let watch = || everything(member.view(), token);
    for concern in [ReadConcern::Durable, ReadConcern::Local] {
        assert_waits(&mut watch().read_concern(concern).start().unwrap());
    }
    let mut looking = watch().start().unwrap();
    let mut waiting = watch().start().unwrap();
    let (_handle, receiver) = watch().subscribe().unwrap();
    assert_eq!(receiver.resume_token(), token);
    let (_awaited, mut task) = watch().subscribe().unwrap();
    let waited = std::thread::spawn(move || {
        let events = [(); 2].map(|()| waiting.wait_next(None).unwrap().unwrap());
        ids(&events)
    });

    for last in 3..=4 {
        bring(&primary, &member, last);
        // The token stands where it stood, so that it is as good elsewhere as it was.
        assert_waits(&mut looking);
        assert_eq!(looking.resume_token(), token);
    }
    assert!(receiver.try_recv().unwrap().is_none());
    bring(&primary, &member, 6);
    assert_eq!(ids(&drain(&mut looking)), [5, 6]);
    assert_eq!(waited.join().unwrap(), [5, 6]);
    assert_eq!(received(&receiver, 2), [5, 6]);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let events = runtime.block_on(async { [task.next().await, task.next().await] });
    assert_eq!(ids(&events.map(|event| event.unwrap().unwrap())), [5, 6]);
    // And from here on as ever.
    insert_orders(&primary, 7..=7);
    bring(&primary, &member, 7);
    assert_eq!(ids(&drain(&mut looking)), [7]);
    assert_eq!(received(&receiver, 1), [7]);
}

#[test]
fn a_wait_is_as_long_as_was_asked_for_and_can_be_stopped() {
    let (_one, primary) = orders(3);
    let two = temporary();
    let member = follower(&primary, two.path());
    let token = from_oldest(&primary)[2].resume_token();
    let watch = || everything(member.view(), token);
    let mut stream = watch().start().unwrap();
    let moment = Duration::from_millis(1);
    assert!(stream.wait_next(Some(moment)).unwrap().is_none());
    let mut context = Context::from_waker(Waker::noop());
    assert!(Pin::new(&mut stream).poll_next(&mut context).is_pending());
    stream.stopper().stop();
    assert!(stream.wait_next(None).unwrap().is_none());
    assert!(matches!(
        Pin::new(&mut stream).poll_next(&mut context),
        Poll::Ready(None)
    ));

    let (handle, receiver) = watch().subscribe().unwrap();
    assert!(matches!(receiver.recv_timeout(moment), Err(RecvError::Timeout)));
    drop(handle);
    assert!(matches!(receiver.recv(), Err(RecvError::Ended)));

    let (mut stream, (_handle, receiver)) = (watch().start().unwrap(), watch().subscribe().unwrap());
    member.close().unwrap();
    let closed = stream.wait_next(None).unwrap_err();
    assert!(matches!(closed, Error::Log(oplog::Error::Closed)), "{closed:?}");
    let closed = receiver.recv().unwrap_err();
    assert!(
        matches!(closed, RecvError::Failed(Error::Log(oplog::Error::Closed))),
        "{closed:?}"
    );
}

#[test]
fn what_is_left_of_an_event_comes_when_the_event_is_here() {
    let (_one, primary) = orders(2);
    primary.drop_collection(ORDERS);
    insert_orders(&primary, 4..=4);
    let mut events = primary.watch(collection(ORDERS)).start_at_oldest().start().unwrap();
    let dropped = drain(&mut events)[2].resume_token();
    assert_eq!(dropped.kind(), TokenKind::Ending);
    let two = temporary();
    let member = follower(&primary, two.path());
    bring(&primary, &member, 1);
    let watch = || Watch::new(member.view(), collection(ORDERS)).resume_after(dropped);
    let mut stream = watch().start().unwrap();
    let (_handle, receiver) = watch().subscribe().unwrap();
    assert_waits(&mut stream);
    bring(&primary, &member, 4);
    assert_eq!(shorts(&drain(&mut stream)), ["invalidate shop.orders"]);
    assert!(stream.is_ended());
    let events: Vec<_> = receiver.iter().map(Result::unwrap).collect();
    assert_eq!(shorts(&events), ["invalidate shop.orders"]);
}

/// Entries 1 to 6 as `primary` has them, and another 4 to 7, of a newer term, as `parted` has them.
fn parted() -> [(tempfile::TempDir, Writer); 2] {
    let (dir, primary) = orders(3);
    let other = temporary();
    copy_log(dir.path(), other.path());
    let parted = Writer::open(other.path());
    insert_orders(&primary, 4..=6);
    insert_orders(&parted, 14..=17);
    assert!(parted.log.term() > primary.log.term());
    [(dir, primary), (other, parted)]
}

/// That the token's history is not the log's, which has `found` in term.
fn assert_diverged(refused: &Error, op_id: u64, [requested, found]: [&Writer; 2]) {
    let Error::Log(oplog::Error::Diverged {
        op_id: at,
        requested: one,
        found: other,
    }) = refused
    else {
        panic!("{refused:?}");
    };
    assert_eq!(
        (*at, one.0, other.0),
        (OpId::new(op_id), requested.log.term(), found.log.term())
    );
}

#[test]
fn a_wait_ends_when_another_history_comes() {
    let [(_one, primary), (_other, parted)] = parted();
    let token = from_oldest(&primary)[5].resume_token();
    // Once before the place of the entry is reached, and once when it is.
    for last in [4, 6] {
        let three = temporary();
        let member = follower(&primary, three.path());
        bring(&primary, &member, 3);
        let watch = || everything(member.view(), token);
        let mut stream = watch().start().unwrap();
        let (_handle, receiver) = watch().subscribe().unwrap();
        assert_waits(&mut stream);
        append(&parted, &member, last);
        member.sync(OpId::new(last)).unwrap();
        let RecvError::Failed(failed) = receiver.recv().unwrap_err() else {
            panic!("it ended without a reason");
        };
        for refused in [failed, stream.next_if_any().unwrap_err(), watch().start().unwrap_err()] {
            assert_diverged(&refused, last, [&primary, &parted]);
        }
    }
}

#[test]
fn a_token_of_a_term_that_is_not_known_yet_is_waited_for() {
    let [(_one, primary), (_other, parted)] = parted();
    let three = temporary();
    let member = follower(&primary, three.path());
    bring(&primary, &member, 3);
    // It has what the others have not agreed to, in the place that the token is of.
    append(&primary, &member, 6);
    let token = from_oldest(&parted)[4].resume_token();
    let mut stream = everything(member.view(), token).start().unwrap();
    assert_waits(&mut stream);
    member.cut_back(OpId::new(3)).unwrap();
    let closed = stream.wait_next(None).unwrap_err();
    assert!(matches!(closed, Error::Log(oplog::Error::Closed)), "{closed:?}");
    let member = open(three.path());
    let mut stream = everything(member.view(), token).start().unwrap();
    assert_waits(&mut stream);
    bring(&parted, &member, 7);
    assert_eq!(ids(&drain(&mut stream)), [16, 17]);
}

#[test]
fn a_member_that_is_written_to_does_not_wait() {
    let (_one, primary) = orders(6);
    let two = temporary();
    let member = follower(&primary, two.path());
    bring(&primary, &member, 3);
    let token = from_oldest(&primary)[5].resume_token();
    let watch = || everything(member.view(), token);
    let mut stream = watch().start().unwrap();
    let (_handle, receiver) = watch().subscribe().unwrap();
    assert_waits(&mut stream);
    member.promote(Member::new(2).unwrap()).unwrap();
    let promoted = Writer {
        log: Oplog::clone(&member),
        ..primary.clone()
    };
    insert_orders(&promoted, 24..=24);
    let RecvError::Failed(failed) = receiver.recv().unwrap_err() else {
        panic!("it ended without a reason");
    };
    for refused in [failed, stream.next_if_any().unwrap_err(), watch().start().unwrap_err()] {
        let Error::TokenAheadOfLog { requested, newest } = refused else {
            panic!("{refused:?}");
        };
        assert_eq!((requested, newest), (OpId::new(6), OpId::new(4)));
    }
}
