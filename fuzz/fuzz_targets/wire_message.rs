//! Messages from the network, head and body: what is read is written again as it was, and nothing panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tailwater_wire::{HEADER_BYTES, Header, Msg, MsgFlags, Opcode, Query};

fn round_trip(header: &Header, body: &[u8]) {
    if let Ok(msg) = Msg::parse(header, body)
        && !msg.flags.contains(MsgFlags::CHECKSUM_PRESENT)
        && let Ok(written) = msg.to_bytes(header.request_id, header.response_to)
    {
        let (head, rest) = written.split_first_chunk::<HEADER_BYTES>().unwrap();
        let again = Header::parse(head).unwrap();
        let read = Msg::parse(&again, rest).unwrap();
        assert_eq!((read.flags, read.body), (msg.flags, msg.body));
        assert_eq!(read.sequences.len(), msg.sequences.len());
        for (read, first) in read.sequences.iter().zip(&msg.sequences) {
            assert_eq!((read.identifier, &read.documents), (first.identifier, &first.documents));
        }
    }
    let _ = Query::parse(header, body);
}

fuzz_target!(|data: &[u8]| {
    let Some((head, body)) = data.split_first_chunk::<HEADER_BYTES>() else {
        return;
    };
    if let Ok(header) = Header::parse(head) {
        assert_eq!(header.to_bytes(), *head);
        round_trip(&header, body);
    }
    // The same bytes behind heads that are right.
    for opcode in [Opcode::Msg, Opcode::Query] {
        let length = HEADER_BYTES + data.len();
        let mut head = [0; HEADER_BYTES];
        head[..4].copy_from_slice(&i32::try_from(length).unwrap().to_le_bytes());
        head[12..].copy_from_slice(&(opcode as i32).to_le_bytes());
        round_trip(&Header::parse(&head).unwrap(), data);
    }
});
