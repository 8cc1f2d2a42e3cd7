//! One segment file of any contents, read by a view and by `verify`. Its header has a good checksum, so that what it says
//! is looked at; slots, footer and frames have one when the input wants it. A footer is only looked at where another segment
//! follows: then an empty one does, which begins where the footer says, and the log is read by its writer, too.
#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;
use tailwater_fuzz::{
    FRAMES_START, Input, TRAILER, directory, fields, fix_frames, header, manifest, put, record, segment_name,
};
use tailwater_oplog::fuzzing::checksum;
use tailwater_oplog::{OpId, OplogView, Options, ReadConcern, Timestamp, verify};

const LENGTH: usize = 16 << 10;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let flags = input.u8();
    let seed = input.u32();
    let sequence = if flags & 1 == 0 { 1 } else { input.number() };
    let first = if flags & 2 == 0 { 1 } else { input.number().max(1) };
    let length = if flags & 4 == 0 {
        LENGTH as u64
    } else {
        input.number().wrapping_mul(8)
    };
    let version = if flags & 8 == 0 { 1 } else { u32::from(input.u8()) };
    let mut bytes = vec![0; LENGTH];
    let slot = fields![input.number(), input.number(), input.number().wrapping_mul(8)];
    if flags & 16 != 0 {
        put(&mut bytes, 512, &record(b"TAILWSLT", seed, &slot));
    }
    let footer = [(); 5].map(|()| input.number());
    let index: Vec<u8> = input.take::<64>()[..usize::from(input.u8()) % 65].to_vec();
    let frames = &mut bytes[FRAMES_START..LENGTH - TRAILER];
    put(frames, 0, input.0);
    if flags & 64 != 0 {
        fix_frames(frames, seed);
    }
    let mut successor = None;
    if flags & 32 != 0 {
        let count = index.len() as u32 / 4;
        let [first, last, end, from, to] = footer;
        put(
            &mut bytes,
            LENGTH - TRAILER - 4 * count as usize,
            &index[..4 * count as usize],
        );
        let crc = checksum(seed, &index[..4 * count as usize]);
        // Some footers claim an index of any length.
        let count = if flags & 128 == 0 { count } else { from as u32 };
        let footer = fields![first, last, end.wrapping_mul(8), from, to, count, crc];
        put(&mut bytes, LENGTH - TRAILER, &record(b"TAILWEND", seed, &footer));
        let behind = last.wrapping_add(1);
        if last >= first && behind < 1 << 63 {
            let mut empty = vec![0; LENGTH];
            put(&mut empty, 0, &header(1, sequence.wrapping_add(1), seed, LENGTH as u64));
            successor = Some((segment_name(sequence.wrapping_add(1), behind), empty));
        }
    }
    put(&mut bytes, 1536, &header(version, sequence, seed, length));

    let dir = directory();
    fs::write(dir.path().join("MANIFEST"), manifest(1, 1, 1, first)).unwrap();
    fs::write(dir.path().join(segment_name(1, first)), &bytes).unwrap();
    if let Some((name, bytes)) = &successor {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    if let Ok(view) = OplogView::open(dir.path()) {
        let mut cursor = view.cursor_from_oldest(ReadConcern::Durable);
        let mut last = None;
        while let Ok(Some(entry)) = cursor.try_next() {
            assert!(entry.payload().len() <= LENGTH);
            last = Some((entry.op_id(), entry.timestamp()));
        }
        let newest = view.newest(ReadConcern::Durable);
        assert!(view.cursor_from_now(ReadConcern::Durable).position() >= newest);
        for op_id in [first, first.saturating_add(9), newest.get()] {
            if let Ok(entry) = view.get(OpId::new(op_id), ReadConcern::Durable) {
                assert_eq!(entry.op_id().get(), op_id);
            }
        }
        if let Some((_, timestamp)) = last {
            let _ = view.cursor_from_time(timestamp, ReadConcern::Durable);
            let _ = view.cursor_from_time(Timestamp::from_nanos(7), ReadConcern::Durable);
        }
    }
    let _ = verify(dir.path());
    if successor.is_some() {
        let options = Options {
            segment_bytes: 1 << 20,
            create: false,
            ..Options::default()
        };
        if let Ok(log) = options.open(dir.path()) {
            let mut reverse = log.view().reverse_from_newest(ReadConcern::Durable);
            while let Ok(Some(_)) = reverse.try_next() {}
            let _ = log.close();
        }
    }
});
