//! Compressed messages: what is decompressed is as long as was claimed, and no more memory is taken for it; what is compressed comes
//! back as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tailwater_wire::{Compressed, Compressor, HEADER_BYTES, Header, Opcode};

fn head(opcode: Opcode, body: usize) -> [u8; HEADER_BYTES] {
    let mut head = [0; HEADER_BYTES];
    head[..4].copy_from_slice(&i32::try_from(HEADER_BYTES + body).unwrap().to_le_bytes());
    head[12..].copy_from_slice(&(opcode as i32).to_le_bytes());
    head
}

fn check(body: &[u8]) {
    let header = Header::parse(&head(Opcode::Compressed, body.len())).unwrap();
    if let Ok(compressed) = Compressed::parse(&header, body)
        && let Ok(bytes) = compressed.decompress()
    {
        assert_eq!(bytes.len(), compressed.header.body_bytes());
        // Room is made for what was claimed, and not for what a compressor might have made of it.
        assert!(bytes.capacity() <= bytes.len().max(64) * 2);
    }
}

fuzz_target!(|data: &[u8]| {
    check(data);
    let Some((&first, rest)) = data.split_first() else {
        return;
    };
    // A claim that is nearly right for compressors of which the fuzzer does not know the form.
    let message = [&head(Opcode::Msg, rest.len())[..], rest].concat();
    for compressor in Compressor::ALL {
        let mut compressed = compressor.compress_message(&message).unwrap();
        let (own, body) = compressed.split_first_chunk::<HEADER_BYTES>().unwrap();
        let header = Header::parse(own).unwrap();
        let inside = Compressed::parse(&header, body).unwrap();
        assert_eq!(inside.decompress().unwrap(), rest);
        // With one byte another.
        let at = HEADER_BYTES + usize::from(first) % body.len();
        compressed[at] ^= first | 1;
        check(&compressed[HEADER_BYTES..]);
    }
});
