//! The bytes of every kind of message, field by field: whoever writes the other end goes by `docs/replication.md`, and these are
//! its examples. A change here is another version of the protocol.

use tailwater_oplog::Timestamp;

use super::*;
use crate::decision::{Apart, Course, History, Mark, MemberNumber, Position};

/// Puts fields one behind the other.
#[derive(Default)]
struct Body(Vec<u8>);

impl Body {
    fn raw(mut self, bytes: &[u8]) -> Body {
        self.0.extend_from_slice(bytes);
        self
    }

    fn u8(self, number: u8) -> Body {
        self.raw(&[number])
    }

    fn u32(self, number: u32) -> Body {
        self.raw(&number.to_le_bytes())
    }

    fn u64(self, number: u64) -> Body {
        self.raw(&number.to_le_bytes())
    }

    fn text(self, text: &str) -> Body {
        self.u64(text.len() as u64).raw(text.as_bytes())
    }

    /// A segment with those fields.
    fn segment(self) -> Body {
        self.raw(&[9; 16]).u64(10).u64(11).u32(12).u64(13).u64(14)
    }
}

fn body() -> Body {
    Body::default()
}

fn term(term: u32) -> Term {
    Term::new(term)
}

fn op(op_id: u64) -> OpId {
    OpId::new(op_id)
}

fn position(at: u32, op_id: u64) -> Position {
    Position {
        term: term(at),
        op_id: op(op_id),
    }
}

fn segment() -> SegmentMessage {
    SegmentMessage {
        log: LogName([9; 16]),
        sequence: 10,
        first: op(11),
        seed: 12,
        length: 13,
        created: 14,
    }
}

fn assert_is(message: &Message, kind: u8, expected: Body) {
    let Body(expected) = expected;
    let mut bytes = Vec::new();
    message.write(&mut bytes).unwrap();
    let (head, written) = bytes.split_at(12);
    let length = u32::try_from(expected.len()).unwrap();
    assert_eq!(head[..4], [kind, 0, 0, 0], "{message:?}");
    assert_eq!(head[4..8], length.to_le_bytes(), "{message:?}");
    assert_eq!(written, expected, "{message:?}");
    let covered = if kind == RUN { RUN_BYTES } else { written.len() };
    let checked = [&head[..8], &written[..covered]].concat();
    assert_eq!(head[8..], codec::checksum(&checked).to_le_bytes(), "{message:?}");
    assert_eq!(Message::read(&mut bytes.as_slice(), 1 << 20).unwrap(), *message);
}

#[test]
fn what_a_follower_says() {
    let mut history = History::empty(LogName([9; 16]), op(3));
    history.extend(term(128), op(3), Timestamp::from_nanos(5), op(7));
    history.before = position(131, 2);
    history.base = Some(term(130));
    let hello = Hello {
        member: MemberNumber(1),
        name: "b".into(),
        members: vec!["a".into(), "bc".into()],
        promised: term(129),
        history,
        durable: op(6),
        part: None,
        marks: [(7, 20), (6, 21)]
            .map(|(op_id, checksum)| Mark {
                op_id: op(op_id),
                checksum,
            })
            .to_vec(),
    };
    let expected = body().u8(1).text("b").u64(2).text("a").text("bc").u32(129);
    let expected = expected.raw(&[9; 16]).u64(3);
    let expected = expected.u64(1).u32(128).u64(3).u64(5);
    let expected = expected.u32(131).u64(2).u8(1).u32(130).u64(7);
    let Body(expected) = expected.u64(6);
    assert_is(
        &Message::Hello(hello.clone()),
        1,
        body().raw(&expected).u8(0).u64(2).u64(7).u32(20).u64(6).u32(21),
    );
    let part = Some(vec![0xaa, 0xbb]);
    let hello = Hello {
        part: part.clone(),
        marks: Vec::new(),
        ..hello
    };
    let of_a_part = body().raw(&expected).u8(1).u64(2).raw(&[0xaa, 0xbb]).u64(0);
    assert_is(&Message::Hello(hello), 1, of_a_part);
    for (report, expected) in [
        (Report::Grant(term(5)), body().u32(0).u32(5)),
        (Report::Durable(op(5)), body().u32(1).u64(5)),
        (Report::Credit(5), body().u32(2).u64(5)),
        (Report::Alive, body().u32(3)),
        (
            Report::Holds(MemberNumber(40), "m".into(), op(5)),
            body().u32(4).u8(40).text("m").u64(5),
        ),
    ] {
        assert_is(&Message::Report(report), 2, expected);
    }
    let request = CopyRequest {
        name: "b".into(),
        members: vec!["a".into()],
        copy: [7; 16],
        replaces: None,
        part: None,
    };
    let expected = || body().text("b").u64(1).text("a").raw(&[7; 16]);
    assert_is(&Message::CopyRequest(request.clone()), 3, expected().u8(0).u8(0));
    let replaces = Some(Replaced {
        promised: term(3),
        rank: position(4, 5),
    });
    let request = CopyRequest {
        replaces,
        part,
        ..request
    };
    let replaced = expected().u8(1).u32(3).u32(4).u64(5);
    let expected = replaced.u8(1).u64(2).raw(&[0xaa, 0xbb]);
    assert_is(&Message::CopyRequest(request), 3, expected);
    let fetch = Message::Fetch(Fetch { file: 2, offset: 9 });
    assert_is(&fetch, 4, body().u32(2).u64(9));
    assert_is(&Message::CopyDone, 5, body());
}

#[test]
fn what_a_primary_answers() {
    for (course, expected) in [
        (Course::Continue(op(4)), body().u32(0).u64(4)),
        (Course::Cut(op(4)), body().u32(1).u64(4)),
        (Course::Wait, body().u32(2)),
        (Course::Resync(Apart::OtherLog), body().u32(3).u32(0)),
        (Course::Resync(Apart::HistoryLost(op(4))), body().u32(3).u32(1).u64(4)),
        (Course::Resync(Apart::Unrelated), body().u32(3).u32(2)),
        (Course::Resync(Apart::TermTwice(term(4))), body().u32(3).u32(3).u32(4)),
        (Course::Resync(Apart::Entered), body().u32(3).u32(4)),
    ] {
        let welcome = Welcome {
            term: term(130),
            asks: Some(term(131)),
            rank: position(1, 2),
            course,
        };
        let front = body().u32(130).u8(1).u32(131).u32(1).u64(2);
        assert_is(&Message::Welcome(welcome), 16, front.raw(&expected.0));
    }
    for (refusal, expected) in [
        (Refusal::StalePrimary(term(5)), body().u32(0).u32(5)),
        (Refusal::OtherLog(LogName([9; 16])), body().u32(1).raw(&[9; 16])),
        (Refusal::OtherMembers(vec!["a".into()]), body().u32(2).u64(1).text("a")),
        (Refusal::SameMember, body().u32(3)),
        (Refusal::OtherNumber, body().u32(4)),
        (Refusal::NumberTaken("x".into()), body().u32(5).text("x")),
        (Refusal::TermTooFar(term(5)), body().u32(6).u32(5)),
        (Refusal::NotPrimary, body().u32(7)),
        (Refusal::CopyOutrun(5), body().u32(8).u64(5)),
        (Refusal::TooManyFiles(5), body().u32(9).u64(5)),
        (Refusal::Busy, body().u32(10)),
        (Refusal::NotElected, body().u32(11)),
        (Refusal::NoSpaceForCopy(5, 6), body().u32(12).u64(5).u64(6)),
        (Refusal::CopyFailed("x".into()), body().u32(13).text("x")),
        (Refusal::ListedPart, body().u32(14)),
        (Refusal::WiderPart(vec![0xaa]), body().u32(15).u64(1).raw(&[0xaa])),
        (Refusal::Differs(op(5), op(4)), body().u32(16).u64(5).u64(4)),
    ] {
        assert_is(&Message::Refuse(refusal), 17, expected);
    }
}

#[test]
fn what_a_primary_sends() {
    assert_is(&Message::Segment(segment()), 18, body().segment());
    let run = Run {
        term: term(130),
        first: op(4),
        last: op(5),
        majority: op(3),
        durable: op(4),
    };
    let expected = body().u32(130).u64(4).u64(5).u64(3).u64(4).raw(&[0xaa, 0xbb]);
    assert_is(&Message::Run(run, vec![0xaa, 0xbb]), 19, expected);
    let status = Status {
        term: term(130),
        newest: op(5),
        majority: op(3),
    };
    assert_is(&Message::Status(status), 20, body().u32(130).u64(5).u64(3));
    let offer = CopyOffer {
        copy: [7; 16],
        applied: op(8),
        promised: term(130),
        rank: position(1, 2),
        base: None,
        segment: segment(),
        files: vec![CopyFile {
            name: "state/1".into(),
            length: 6,
            checksum: 5,
        }],
    };
    let expected = body().raw(&[7; 16]).u64(8).u32(130).u32(1).u64(2).u8(0).segment();
    let expected = expected.u64(1).text("state/1").u64(6).u32(5);
    assert_is(&Message::Offer(offer), 21, expected);
    assert_is(&Message::Chunk(vec![1, 2, 3]), 22, body().raw(&[1, 2, 3]));
    let preparing = Preparing { bytes: 1, expected: 2 };
    assert_is(&Message::Preparing(preparing), 23, body().u64(1).u64(2));
    let need = |name: &str, from| Need {
        name: name.into(),
        from: op(from),
    };
    let needs = Message::Needs(vec![need("b", 7), need("c", 8)]);
    assert_is(&needs, 24, body().u64(2).text("b").u64(7).text("c").u64(8));
    let taken = Taken {
        member: MemberNumber(40),
        name: "m".into(),
    };
    assert_is(&Message::Taken(taken), 25, body().u8(40).text("m"));
}

#[test]
fn the_preface() {
    let own = preface(Duration::from_secs(1));
    assert_eq!(own, *b"TAILWRPL\x01\x00\x01\x00\xe8\x03\x00\x00");
    assert_eq!(heartbeat_in(&own), Duration::from_secs(1));
    assert_eq!(versions(b"TAILWRPL\x01\x00\x03\x00\0\0\0\0"), Some((1, 3)));
    assert_eq!(versions(b"TAILWRPM\x01\x00\x03\x00\0\0\0\0"), None);
    // Nobody waits for hours.
    assert_eq!(heartbeat_in(b"TAILWRPL\x01\x00\x01\x00\xff\xff\xff\xff"), HEARTBEAT_MAX);
}
