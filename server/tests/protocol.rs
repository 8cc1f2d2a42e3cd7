//! The protocol itself: what a connection does with messages, good and bad.

mod common;

use bson::{Document, doc, rawdoc};
use common::{Client, Running, batch, cursor_id};
use tailwater_wire::{Compressed, Compressor, HEADER_BYTES, Header, Msg, MsgFlags, Opcode, Query, Sequence};

#[test]
fn the_handshake_is_as_drivers_want_it_in_the_old_form_and_in_the_new() {
    let running = Running::new();
    let mut client = running.client();
    let command = rawdoc! { "ismaster": 1, "helloOk": true, "compression": ["lz4", "zstd", "snappy"] };
    let query = Query {
        database: "admin",
        command: &command,
    };
    client.send_bytes(&query.to_bytes(5).unwrap());
    let (header, rest) = client.receive_bytes().unwrap();
    assert_eq!((header.opcode, header.response_to), (Opcode::Reply, 5));
    let old: Document = bson::deserialize_from_slice(&rest[20..]).unwrap();
    assert!(old.get_bool("ismaster").unwrap() && old.get_bool("helloOk").unwrap());
    assert_eq!(old.get_array("compression").unwrap(), &["zstd".into(), "snappy".into()]);

    let hello = client.ok(doc! { "hello": 1, "client": { "driver": {} }, "backpressure": true });
    let me = client.stream.peer_addr().unwrap().to_string();
    assert_eq!(hello.get_str("me").ok(), Some(me.as_str()));
    assert_eq!(hello.get_array("hosts").unwrap(), &[me.as_str().into()]);
    assert!(hello.get_bool("isWritablePrimary").unwrap() && !hello.get_bool("secondary").unwrap());
    assert_eq!(hello.get_str("setName").ok(), Some("rs0"));
    assert_eq!(hello.get_i32("maxWireVersion").ok(), Some(25));
    assert_eq!(hello.get_i32("logicalSessionTimeoutMinutes").ok(), Some(30));
    assert!(
        hello.contains_key("topologyVersion"),
        "which promises a stream of answers"
    );
    assert!(!hello.contains_key("compression"));
    assert!(hello.contains_key("$clusterTime") && hello.contains_key("operationTime"));
}

#[test]
fn another_command_in_the_old_form_is_refused() {
    let running = Running::new();
    let mut client = running.client();
    let command = rawdoc! { "insert": "c" };
    let query = Query {
        database: "test",
        command: &command,
    };
    client.send_bytes(&query.to_bytes(5).unwrap());
    let (_, rest) = client.receive_bytes().unwrap();
    let answer: Document = bson::deserialize_from_slice(&rest[20..]).unwrap();
    assert_eq!(answer.get_i32("code").ok(), Some(352));
}

#[test]
fn a_compressed_request_is_answered_compressed() {
    let running = Running::new();
    for compressor in Compressor::ALL {
        let mut client = running.client();
        let ping = rawdoc! { "ping": 1, "$db": "admin" };
        let message = Msg::new(&ping).to_bytes(9, 0).unwrap();
        client.send_bytes(&compressor.compress_message(&message).unwrap());
        let (header, rest) = client.receive_bytes().unwrap();
        let compressed = Compressed::parse(&header, &rest).unwrap();
        assert_eq!((compressed.compressor, compressed.header.response_to), (compressor, 9));
        let bytes = compressed.decompress().unwrap();
        let answer = Msg::parse(&compressed.header, &bytes).unwrap();
        assert_eq!(answer.body.get_f64("ok").unwrap(), 1.0);
    }
}

#[test]
fn requests_sent_ahead_are_answered_in_their_order() {
    let running = Running::new();
    let mut client = running.client();
    let ids: Vec<i32> = (0..50)
        .map(|i| {
            let insert = doc! { "insert": "c", "documents": [{ "_id": i }], "$db": "test" };
            client.send(&insert, MsgFlags::default(), Vec::new())
        })
        .collect();
    for id in ids {
        let (answer, _, response_to) = client.receive();
        assert_eq!((response_to, answer.get_i32("n").ok()), (id, Some(1)));
    }
}

#[test]
fn what_wants_no_answer_gets_none_and_is_carried_out() {
    let running = Running::new();
    let mut client = running.client();
    let documents = [rawdoc! { "_id": 1 }, rawdoc! { "_id": 2 }];
    let insert = doc! { "insert": "c", "writeConcern": { "w": 0 }, "$db": "test" };
    let sequence = Sequence {
        identifier: "documents",
        documents: documents.iter().map(AsRef::as_ref).collect(),
    };
    client.send(&insert, MsgFlags::MORE_TO_COME, vec![sequence]);
    // The next answer is to the next request.
    assert_eq!(client.ok(doc! { "count": "c" }).get_i32("n").ok(), Some(2));
}

#[test]
fn an_exhaust_cursor_gives_everything_for_one_request() {
    let running = Running::new();
    let mut client = running.client();
    let documents: Vec<_> = (0..10).map(|i| doc! { "_id": i }).collect();
    client.ok(doc! { "insert": "c", "documents": documents });
    let first = client.ok(doc! { "find": "c", "batchSize": 2 });
    let more = doc! { "getMore": cursor_id(&first), "collection": "c", "batchSize": 3, "$db": "test" };
    let mut expected = client.send(&more, MsgFlags::EXHAUST_ALLOWED, Vec::new());
    let mut found = batch(&first).len();
    loop {
        let (header, rest) = client.receive_bytes().unwrap();
        let answer = Msg::parse(&header, &rest).unwrap();
        assert_eq!(header.response_to, expected);
        expected = header.request_id;
        let body = Document::try_from(answer.body).unwrap();
        found += batch(&body).len();
        let more = answer.flags.contains(MsgFlags::MORE_TO_COME);
        assert_eq!(more, cursor_id(&body) != 0);
        if !more {
            break;
        }
    }
    assert_eq!(found, 10);
}

#[test]
fn a_request_with_a_checksum_is_answered_with_one_and_any_other_without() {
    let running = Running::new();
    let mut client = running.client();
    let documents: Vec<_> = (0..4).map(|i| doc! { "_id": i }).collect();
    client.ok(doc! { "insert": "c", "documents": documents });
    for flags in [MsgFlags::CHECKSUM_PRESENT, MsgFlags::default()] {
        let is_checked = |found: MsgFlags| found.contains(MsgFlags::CHECKSUM_PRESENT);
        let commands = [
            doc! { "ping": 1, "$db": "test" },
            doc! { "noSuchCommand": 1, "$db": "test" },
        ];
        for command in commands {
            client.send(&command, flags, Vec::new());
            // Reading it verifies it.
            let (_, found, _) = client.receive();
            assert_eq!(is_checked(found), is_checked(flags), "{command}");
        }
        let first = client.ok(doc! { "find": "c", "batchSize": 1 });
        let more = doc! { "getMore": cursor_id(&first), "collection": "c", "batchSize": 1, "$db": "test" };
        client.send(&more, flags | MsgFlags::EXHAUST_ALLOWED, Vec::new());
        let mut has_more = true;
        while has_more {
            let (_, found, _) = client.receive();
            has_more = found.contains(MsgFlags::MORE_TO_COME);
            assert_eq!(is_checked(found), is_checked(flags));
        }
    }
}

#[test]
fn what_is_no_message_ends_its_connection_and_no_other() {
    let running = Running::new();
    let ping = rawdoc! { "ping": 1, "$db": "admin" };
    let good = Msg::new(&ping).to_bytes(1, 0).unwrap();
    let with = |at: usize, bytes: &[u8]| {
        let mut message = good.clone();
        message[at..at + bytes.len()].copy_from_slice(bytes);
        message
    };
    let checked = Msg {
        flags: MsgFlags::CHECKSUM_PRESENT,
        ..Msg::new(&ping)
    };
    let mut wrong_checksum = checked.to_bytes(1, 0).unwrap();
    *wrong_checksum.last_mut().unwrap() ^= 1;
    let bomb =
        Compressor::Zlib.compress_message(&Msg::new(&rawdoc! { "a": "a".repeat(1 << 20) }).to_bytes(1, 0).unwrap());
    let mut bomb = bomb.unwrap();
    bomb[20..24].copy_from_slice(&100_i32.to_le_bytes());
    let broken = [
        ("a length below the header's", with(0, &3_i32.to_le_bytes())),
        ("a negative length", with(0, &(-1_i32).to_le_bytes())),
        ("a length above the limit", with(0, &50_000_000_i32.to_le_bytes())),
        ("an opcode of old", with(12, &2002_i32.to_le_bytes())),
        ("an answer", with(12, &1_i32.to_le_bytes())),
        ("an unknown flag", with(HEADER_BYTES, &[4])),
        ("a section of an unknown kind", with(HEADER_BYTES + 4, &[7])),
        (
            "a body longer than its message",
            with(HEADER_BYTES + 5, &1000_i32.to_le_bytes()),
        ),
        ("a wrong checksum", wrong_checksum),
        ("compressed bytes that are more than they claim", bomb),
        ("text", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
    ];
    let mut other = running.client();
    for (what, message) in broken {
        let mut client = running.client();
        client.send_bytes(&message);
        assert!(client.is_closed(), "{what}");
        assert_eq!(other.ok(doc! { "ping": 1 }).get_f64("ok").ok(), Some(1.0), "{what}");
    }
}

#[test]
fn a_message_that_never_comes_whole_takes_no_more_memory_than_has_come() {
    let running = Running::new();
    let header = Header {
        length: 48_000_000,
        request_id: 1,
        response_to: 0,
        opcode: Opcode::Msg,
    };
    // A gigabyte is promised, and a kilobyte comes.
    let mut clients: Vec<Client> = (0..20).map(|_| running.client()).collect();
    for client in &mut clients {
        client.send_bytes(&header.to_bytes());
        client.send_bytes(&[0; 1000]);
    }
    running.client().ok(doc! { "ping": 1 });
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kilobytes: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kilobytes < 700_000, "{kilobytes} kB");
}

#[test]
fn malformed_documents_in_a_command_are_refused_and_the_connection_goes_on() {
    let running = Running::new();
    let mut client = running.client();
    let mut bytes = Msg::new(&rawdoc! { "find": "c", "filter": { "a": true }, "$db": "test" })
        .to_bytes(1, 0)
        .unwrap();
    let at = bytes.windows(3).position(|three| three == b"a\0\x01").unwrap() + 2;
    // A boolean that is neither.
    bytes[at] = 7;
    client.send_bytes(&bytes);
    let (answer, ..) = client.receive();
    assert_eq!(answer.get_i32("code").ok(), Some(22), "{answer}");
    client.ok(doc! { "ping": 1 });
}

#[test]
fn one_connection_more_than_there_may_be_is_closed() {
    let running = Running::with(|options| options.connections_max = 2);
    let (mut first, mut second) = (running.client(), running.client());
    first.ok(doc! { "ping": 1 });
    second.ok(doc! { "ping": 1 });
    assert!(running.client().is_closed());
    drop(first);
    // The place is free as soon as the server has seen the end.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let mut third = running.client();
        third.send(&doc! { "ping": 1, "$db": "admin" }, MsgFlags::default(), Vec::new());
        if third.receive_bytes().is_some() {
            break;
        }
        assert!(std::time::Instant::now() < deadline);
    }
    second.ok(doc! { "ping": 1 });
}

#[test]
fn documents_that_nest_too_deep_are_refused_wherever_they_come() {
    let running = Running::new();
    let mut client = running.client();
    // By hand: what builds documents would not.
    let mut nested = vec![5, 0, 0, 0, 0];
    for _ in 0..20_000 {
        let length = u32::try_from(nested.len() + 8).unwrap();
        nested = [&length.to_le_bytes()[..], b"\x03a\0", &nested, b"\0"].concat();
    }
    let nested = bson::RawDocumentBuf::from_bytes(nested).unwrap();
    let mut statement = rawdoc! { "q": {}, "u": { "$set": { "a": 1 } } };
    statement.append(bson::raw::cstr!("hint"), nested);
    let sequence = Sequence {
        identifier: "updates",
        documents: vec![&statement],
    };
    let update = doc! { "update": "c", "$db": "test" };
    client.send(&update, MsgFlags::default(), vec![sequence]);
    let (answer, ..) = client.receive();
    assert_eq!(answer.get_i32("code").ok(), Some(15), "{answer}");
    client.ok(doc! { "ping": 1 });
}

#[test]
fn the_place_of_a_connection_whose_client_has_gone_is_free_again() {
    let running = Running::with(|options| options.connections_max = 1);
    for _ in 0..5 {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        loop {
            let mut client = running.client();
            client.send(&doc! { "ping": 1, "$db": "admin" }, MsgFlags::default(), Vec::new());
            if client.receive_bytes().is_some() {
                break;
            }
            assert!(std::time::Instant::now() < deadline);
        }
    }
}
