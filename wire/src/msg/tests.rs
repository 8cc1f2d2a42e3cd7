use bson::{RawDocumentBuf, rawdoc};
use proptest::prelude::*;

use super::*;

fn parse(bytes: &[u8]) -> Result<Msg<'_>> {
    let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>().unwrap();
    Msg::parse(&Header::parse(header)?, rest)
}

/// A message of these bytes behind its flags.
fn message(flags: u32, sections: &[u8]) -> Vec<u8> {
    let mut message = begin(1, 0, Opcode::Msg, 0);
    message.extend_from_slice(&flags.to_le_bytes());
    message.extend_from_slice(sections);
    finish(message).unwrap()
}

const EMPTY: [u8; 6] = [0, 5, 0, 0, 0, 0];

#[test]
fn a_command_with_a_sequence_is_laid_out_as_the_manual_has_it() {
    let (body, document) = (rawdoc! { "insert": "c" }, rawdoc! { "_id": 1 });
    let msg = Msg {
        flags: MsgFlags::default(),
        body: &body,
        sequences: vec![Sequence {
            identifier: "documents",
            documents: vec![&document, &document],
        }],
    };
    let bytes = msg.to_bytes(7, 0).unwrap();
    let mut expected = vec![0, 0, 0, 0, 0];
    expected.extend(body.as_bytes());
    expected.extend([1, 42, 0, 0, 0]);
    expected.extend(b"documents\0");
    expected.extend(document.as_bytes());
    expected.extend(document.as_bytes());
    assert_eq!(bytes[HEADER_BYTES..], expected);
    assert_eq!(parse(&bytes), Ok(msg));
}

#[test]
fn every_byte_is_under_the_checksum() {
    let body = rawdoc! { "ping": 1 };
    let msg = Msg {
        flags: MsgFlags::CHECKSUM_PRESENT | MsgFlags::EXHAUST_ALLOWED,
        ..Msg::new(&body)
    };
    let bytes = msg.to_bytes(7, 3).unwrap();
    assert_eq!(parse(&bytes), Ok(msg));
    // The length, the opcode and the flag itself are not: without them there is no such message.
    let covered = (4..12).chain(HEADER_BYTES + 4..bytes.len());
    for at in covered {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(
            matches!(parse(&changed), Err(Error::ChecksumMismatch { .. })),
            "byte {at}"
        );
    }
}

#[test]
fn flags_that_must_be_understood_are_refused_and_others_ignored() {
    assert_eq!(parse(&message(4, &EMPTY)), Err(Error::UnknownFlags { flags: 4 }));
    assert_eq!(
        parse(&message(0x8002, &EMPTY)),
        Err(Error::UnknownFlags { flags: 0x8000 })
    );
    assert!(parse(&message(0xfffe_0002, &EMPTY)).is_ok());
}

#[test]
fn what_is_no_message_is_refused() {
    let malformed = |what| Error::Malformed { what };
    let overrun = |what| Error::Overrun { what };
    let cases: [(&[u8], Error); 11] = [
        (&[], malformed("no body")),
        (&[0, 5, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0], malformed("two bodies")),
        (&[2, 5, 0, 0, 0, 0], malformed("a section of an unknown kind")),
        (&[0, 6, 0, 0, 0, 0], overrun("the body")),
        (&[0, 255, 255, 255, 255, 0], overrun("the body")),
        (
            &[0, 4, 0, 0, 0, 0],
            malformed("a document shorter than any, or without its end"),
        ),
        (&[1, 3, 0, 0, 0], malformed("a sequence shorter than its own length")),
        (&[1, 9, 0, 0, 0, b'a', 0], overrun("a sequence")),
        (&[1, 5, 0, 0, 0, b'a'], overrun("the name of a sequence")),
        (&[1, 6, 0, 0, 0, 255, 0], malformed("a name that is not UTF-8")),
        (
            &[1, 10, 0, 0, 0, b'a', 0, 9, 0, 0, 0],
            overrun("a document of a sequence"),
        ),
    ];
    for (sections, error) in cases {
        assert_eq!(parse(&message(0, sections)), Err(error), "{sections:?}");
    }
    let twice = [&EMPTY[..], &[1, 6, 0, 0, 0, b'a', 0], &[1, 6, 0, 0, 0, b'a', 0]].concat();
    assert_eq!(
        parse(&message(0, &twice)),
        Err(malformed("two sequences of the same name"))
    );
    let names = (b'a'..=b'i').map(|name| [1, 6, 0, 0, 0, name, 0]);
    let many: Vec<u8> = EMPTY.into_iter().chain(names.flatten()).collect();
    assert_eq!(
        parse(&message(0, &many)),
        Err(malformed("more sequences than any command has"))
    );
    let documents = [5, 0, 0, 0, 0].repeat(SEQUENCE_DOCUMENTS_MAX + 1);
    let length = u32::try_from(6 + documents.len()).unwrap().to_le_bytes();
    let long = [&EMPTY[..], &[1], &length, b"a\0", &documents].concat();
    assert_eq!(
        parse(&message(0, &long)),
        Err(malformed("more documents than any sequence has"))
    );
}

fn document() -> impl Strategy<Value = RawDocumentBuf> {
    "[a-z]{0,40}".prop_map(|text| rawdoc! { "text": text })
}

proptest! {
    #[test]
    fn a_message_reads_as_it_was_written(
        body in document(),
        sequences in proptest::collection::vec(proptest::collection::vec(document(), 0..4), 0..3),
        checksum in any::<bool>(),
    ) {
        let names = ["documents", "updates", "ops"];
        let msg = Msg {
            flags: if checksum { MsgFlags::CHECKSUM_PRESENT } else { MsgFlags::default() },
            body: &body,
            sequences: sequences.iter().zip(names).map(|(documents, identifier)| Sequence {
                identifier,
                documents: documents.iter().map(AsRef::as_ref).collect(),
            }).collect(),
        };
        let bytes = msg.to_bytes(1, 2).unwrap();
        prop_assert_eq!(parse(&bytes), Ok(msg));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), flags in 0_u32..4) {
        let _ = parse(&message(flags, &bytes));
    }
}

#[test]
fn a_checksum_over_another_number_of_bytes_than_the_header_says_is_refused() {
    let body = rawdoc! { "ping": 1, "$db": "admin" };
    let mut msg = Msg::new(&body);
    msg.flags = MsgFlags::CHECKSUM_PRESENT;
    let bytes = msg.to_bytes(1, 0).unwrap();
    let (head, rest) = bytes.split_first_chunk::<HEADER_BYTES>().unwrap();
    let header = Header::parse(head).unwrap();
    assert!(Msg::parse(&header, rest).is_ok());
    let longer = Header {
        length: header.length + 1,
        ..header
    };
    assert!(matches!(Msg::parse(&longer, rest), Err(Error::Malformed { .. })));
}
