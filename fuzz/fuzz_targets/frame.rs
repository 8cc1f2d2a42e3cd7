//! Frames, areas of frames, checked records and names: any bytes, and any bytes with the right checksums.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tailwater_fuzz::{fix_frames, fix_record};
use tailwater_oplog::fuzzing;

fuzz_target!(|data: &[u8]| {
    let Some((head, data)) = data.split_first_chunk::<8>() else {
        return;
    };
    let seed = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
    let (expected, term) = (u64::from(head[4]), u32::from(head[5]));
    let _ = fuzzing::frame(data, seed);
    fuzzing::area(data, seed, expected, term);
    fuzzing::records(data, seed);
    if let Ok(name) = std::str::from_utf8(data) {
        fuzzing::name(name);
    }
    let mut frames = data.to_vec();
    fix_frames(&mut frames, seed);
    let _ = fuzzing::frame(&frames, seed);
    fuzzing::area(&frames, seed, expected, term);
    let magics = [b"TAILWMAN", b"TAILWSEG", b"TAILWSLT", b"TAILWEND", b"TAILWTAL"];
    let mut record = data.to_vec();
    fix_record(&mut record, magics[usize::from(head[6]) % magics.len()], seed);
    fuzzing::records(&record, seed);
});
