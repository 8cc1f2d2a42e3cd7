//! Documents, messages and batches as large as they may be, and one more.

use crate::common;

use bson::{Document, RawDocument, RawDocumentBuf, doc, rawdoc};
use common::{Client, Running, batch, cursor_id};
use tailwater_wire::{HEADER_BYTES, MESSAGE_BYTES_MAX, Msg, MsgFlags, Sequence};

/// The largest document, as `hello` says it.
const DOCUMENT_BYTES: usize = 16 * 1024 * 1024;

/// The deepest document.
const LEVELS: usize = 100;

/// A document of so many bytes.
fn sized(id: i32, bytes: usize) -> RawDocumentBuf {
    let empty = rawdoc! { "_id": id, "s": "" }.as_bytes().len();
    rawdoc! { "_id": id, "s": "x".repeat(bytes - empty) }
}

/// A document of so many levels.
fn nested(id: i32, levels: usize) -> RawDocumentBuf {
    let inner = (2..levels).fold(RawDocumentBuf::new(), |inner, _| rawdoc! { "a": inner });
    rawdoc! { "_id": id, "a": inner }
}

/// Runs a command with a sequence; the answer.
fn run(client: &mut Client, command: &Document, identifier: &str, documents: &[&RawDocument]) -> Document {
    let sequence = Sequence {
        identifier,
        documents: documents.to_vec(),
    };
    client.send(command, MsgFlags::default(), vec![sequence]);
    client.receive().0
}

/// The bytes of the one document of a collection.
fn stored_bytes(client: &mut Client, collection: &str, id: i32) -> Option<usize> {
    let found = client.ok(doc! { "find": collection, "filter": { "_id": id } });
    assert_eq!(cursor_id(&found), 0);
    let bytes = |document: &Document| RawDocumentBuf::try_from(document).unwrap().as_bytes().len();
    batch(&found).first().map(bytes)
}

fn insert(documents: &[&RawDocument], client: &mut Client) -> Document {
    let command = doc! { "insert": "c", "ordered": false, "$db": "test" };
    run(client, &command, "documents", documents)
}

/// What the first write that was refused was refused with: its place and its code.
fn refusal(answer: &Document) -> Option<(i32, i32)> {
    let error = answer.get_array("writeErrors").ok()?.first()?.as_document()?;
    Some((error.get_i32("index").ok()?, error.get_i32("code").ok()?))
}

/// Each way to write a document, with what it must be: stored, or refused without harm to what stands beside it.
fn write_every_way(document: &dyn Fn(i32) -> RawDocumentBuf, is_storable: bool, code: i32) {
    let running = Running::new();
    let mut client = running.client();
    let bytes = document(0).as_bytes().len();
    let ids = [1, 2, 3, 4, 5];
    client.ok(doc! { "insert": "c", "documents": ids[1..4].iter().map(|id| doc! { "_id": id }).collect::<Vec<_>>() });

    let (small, large) = (rawdoc! { "_id": 10 }, document(1));
    let answer = insert(&[&large, &small], &mut client);
    assert_eq!(answer.get_i32("n").ok(), Some(1 + i32::from(is_storable)), "{answer}");
    assert_eq!(refusal(&answer), (!is_storable).then_some((0, code)), "{answer}");

    let update = doc! { "update": "c", "$db": "test" };
    let answer = run(
        &mut client,
        &update,
        "updates",
        &[&rawdoc! { "q": { "_id": 2 }, "u": document(2) }],
    );
    assert_eq!(
        answer.get_i32("nModified").ok(),
        Some(i32::from(is_storable)),
        "{answer}"
    );
    assert_eq!(refusal(&answer), (!is_storable).then_some((0, code)), "{answer}");

    let replace = rawdoc! { "findAndModify": "c", "query": { "_id": 3 }, "update": document(3), "new": true };
    let answer = client.run_raw("test", &replace);
    assert_eq!(answer.get_f64("ok").ok(), Some(f64::from(u8::from(is_storable))));
    assert_eq!(answer.get_i32("code").ok(), (!is_storable).then_some(code), "{answer}");

    let whole = document(4);
    let mut fields = RawDocumentBuf::new();
    for (name, value) in whole.iter().skip(1).map(Result::unwrap) {
        fields.append(name, value);
    }
    let set = rawdoc! { "q": { "_id": 4 }, "u": { "$set": fields } };
    let answer = run(&mut client, &update, "updates", &[&set]);
    assert_eq!(
        answer.get_i32("nModified").ok(),
        Some(i32::from(is_storable)),
        "{answer}"
    );

    let bulk = doc! { "bulkWrite": 1, "nsInfo": [{ "ns": "test.c" }], "ordered": false, "$db": "admin" };
    let operations = [
        rawdoc! { "insert": 0, "document": document(5) },
        rawdoc! { "insert": 0, "document": { "_id": 11 } },
    ];
    let answer = run(&mut client, &bulk, "ops", &[&operations[0], &operations[1]]);
    assert_eq!(
        answer.get_i32("nInserted").ok(),
        Some(1 + i32::from(is_storable)),
        "{answer}"
    );
    assert_eq!(
        answer.get_i32("nErrors").ok(),
        Some(i32::from(!is_storable)),
        "{answer}"
    );

    for id in ids {
        let found = stored_bytes(&mut client, "c", id).filter(|found| *found > 1000 || bytes < 1000);
        match is_storable {
            true => assert_eq!(found, Some(bytes), "{id}"),
            false => assert!(found.is_none_or(|found| found < bytes), "{id}"),
        }
    }
    assert!(stored_bytes(&mut client, "c", 10).is_some() && stored_bytes(&mut client, "c", 11).is_some());
}

#[test]
fn a_document_of_16_mib_is_written_every_way() {
    write_every_way(&|id| sized(id, DOCUMENT_BYTES), true, 0);
}

#[test]
fn a_document_of_a_byte_more_is_refused_alone() {
    write_every_way(&|id| sized(id, DOCUMENT_BYTES + 1), false, 2);
}

#[test]
fn a_document_of_100_levels_is_written_every_way() {
    write_every_way(&|id| nested(id, LEVELS), true, 0);
}

#[test]
fn a_document_of_a_level_more_is_refused_alone() {
    write_every_way(&|id| nested(id, LEVELS + 1), false, 15);
}

#[test]
fn a_document_that_no_command_could_carry_is_refused_with_its_command() {
    let running = Running::new();
    let mut client = running.client();
    let answer = insert(
        &[&rawdoc! { "_id": 1 }, &sized(2, DOCUMENT_BYTES + 16 * 1024 + 1)],
        &mut client,
    );
    assert_eq!(answer.get_i32("code").ok(), Some(10334), "{answer}");
    assert_eq!(client.ok(doc! { "count": "c" }).get_i32("n").ok(), Some(0));
}

#[test]
fn a_message_has_48_000_000_bytes_and_not_one_more() {
    let running = Running::new();
    for (bytes, is_taken) in [(MESSAGE_BYTES_MAX, true), (MESSAGE_BYTES_MAX + 1, false)] {
        let mut client = running.client();
        let body = rawdoc! { "insert": "m", "writeConcern": { "w": 1, "j": false }, "$db": "test" };
        let message = |last: &RawDocument| {
            let (first, second) = (sized(1, DOCUMENT_BYTES), sized(2, DOCUMENT_BYTES));
            let documents = vec![&*first, &*second, last];
            let sequence = Sequence {
                identifier: "documents",
                documents,
            };
            Msg {
                sequences: vec![sequence],
                ..Msg::new(&body)
            }
            .to_bytes(1, 0)
        };
        let around = message(&sized(3, 100)).unwrap().len() - 100;
        // By hand: what makes messages makes none that is too long.
        let mut whole = message(&sized(3, MESSAGE_BYTES_MAX - around)).unwrap();
        assert_eq!(whole.len(), MESSAGE_BYTES_MAX);
        if !is_taken {
            whole.push(0);
            whole[..4].copy_from_slice(&i32::try_from(bytes).unwrap().to_le_bytes());
        }
        client.send_bytes(&whole[..HEADER_BYTES]);
        match is_taken {
            true => {
                client.send_bytes(&whole[HEADER_BYTES..]);
                assert_eq!(client.receive().0.get_i32("n").ok(), Some(3));
            }
            false => assert!(client.is_closed(), "as soon as it says how long it is"),
        }
    }
    assert_eq!(running.client().ok(doc! { "count": "m" }).get_i32("n").ok(), Some(3));
}

#[test]
fn a_command_has_100_000_writes_and_not_one_more() {
    let running = Running::new();
    let mut client = running.client();
    let documents: Vec<_> = (0..100_001).map(|id| rawdoc! { "_id": id }).collect();
    let documents: Vec<&RawDocument> = documents.iter().map(AsRef::as_ref).collect();
    let answer = insert(&documents, &mut client);
    assert_eq!(
        (answer.get_i32("code").ok(), answer.get_str("codeName").ok()),
        (Some(16), Some("InvalidLength"))
    );
    assert_eq!(client.ok(doc! { "count": "c" }).get_i32("n").ok(), Some(0));
    let answer = insert(&documents[..100_000], &mut client);
    assert_eq!(answer.get_i32("n").ok(), Some(100_000), "{answer}");
}
