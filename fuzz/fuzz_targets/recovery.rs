//! A small log to whose files things happen, opened for writing.
//!
//! Whatever happens, nothing panics, opening twice gives the same, and who is refused has changed no segment. What happens
//! is either *damage*, which cannot make a good checksum: then what the log still proves to have been durable is there or
//! is an error, nothing is read that was not written, and readers, `verify` and the writer agree. Or it is *forgery* with
//! good checksums, of which only the former is asked.
#![no_main]

use std::fs;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use tailwater_fuzz::{
    FRAMES_START, HEADER, Input, Plan, Segment, TRAILER, body, contents, directory, fix_frames, fix_record, manifest,
    payload, put, segment_name, u32_at, u64_at,
};
use tailwater_oplog::fuzzing::checksum;
use tailwater_oplog::{Error, ErrorKind, Finding, Oplog, OplogView, Options, ReadConcern, verify};

const LENGTH: usize = 8 << 10;

fn open(dir: &Path) -> Result<Oplog, Error> {
    let options = Options {
        segment_bytes: 1 << 20,
        create: false,
        ..Options::default()
    };
    options.open(dir)
}

/// What can be read: OpIDs with their payloads' checksums, and whether an error ended it.
fn read(view: &OplogView, last: u64) -> (Vec<(u64, u32)>, Option<Error>) {
    let mut cursor = view.cursor_from_oldest(ReadConcern::Durable);
    let mut entries = Vec::new();
    loop {
        match cursor.try_next() {
            Ok(Some(entry)) => {
                let op_id = entry.op_id().get();
                if op_id > last {
                    return (entries, None);
                }
                entries.push((op_id, crc32fast::hash(entry.payload())));
            }
            Ok(None) => return (entries, None),
            Err(error) => return (entries, Some(error)),
        }
    }
}

/// Closes the log. A full segment with a damaged entry cannot be sealed, and closing says so.
fn close(log: Oplog) {
    if let Err(error) = log.close() {
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    }
}

/// The largest OpID that a good slot or footer says was durable, in segments that are what their names say.
fn proven(files: &[(String, Vec<u8>)]) -> u64 {
    let mut proven = 0;
    for (name, bytes) in files
        .iter()
        .filter(|(name, bytes)| name.ends_with(".seg") && bytes.len() >= FRAMES_START)
    {
        let header = [0, 1536]
            .iter()
            .find_map(|&at| body(&bytes[at..at + 512], b"TAILWSEG", 0));
        let Some(header) = header.filter(|h| h.len() == 48 && u64_at(h, 20) == name[..10].parse::<u64>().unwrap())
        else {
            continue;
        };
        let (seed, length) = (u32_at(header, 28), u64_at(header, 32) as usize);
        for at in [512, 1024] {
            let room = (length - TRAILER - FRAMES_START) as u64 / HEADER as u64;
            let valid = |slot: &&[u8]| {
                u64_at(slot, 0) < u64::MAX && u64_at(slot, 8) < name[11..31].parse::<u64>().unwrap() + room
            };
            if let Some(slot) = body(&bytes[at..at + 512], b"TAILWSLT", seed).filter(valid) {
                proven = proven.max(u64_at(slot, 8));
            }
        }
        let trailer = bytes.get(length - TRAILER..length);
        if let Some(footer) = trailer.and_then(|trailer| body(trailer, b"TAILWEND", seed)) {
            let index = length - TRAILER - 4 * u32_at(footer, 40) as usize..length - TRAILER;
            if checksum(seed, &bytes[index]) == u32_at(footer, 44) {
                proven = proven.max(u64_at(footer, 8));
            }
        }
    }
    proven
}

/// What damage can do: nothing that would come out with another good checksum.
fn damage(file: &mut Vec<u8>, input: &mut Input<'_>) {
    let kind = input.u8();
    let at = usize::from(input.u16()) % file.len().max(1);
    let length = usize::from(input.u16() % 1024).min(file.len() - at);
    match kind % 5 {
        0 if !file.is_empty() => file[at] ^= 1 << (length % 8),
        1 => file[at..at + length].fill(0),
        2 => {
            let mut state = u64::from(input.u8()) | 1;
            for byte in &mut file[at..at + length] {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = (state >> 56) as u8;
            }
        }
        3 => {
            let from = usize::from(input.u16()) % file.len().max(1);
            let length = length.min(file.len() - from);
            file.copy_within(from..from + length, at);
        }
        // A copy that was interrupted. Its end was zero when nothing was there, as a preallocated file's.
        _ => file.truncate(at),
    }
}

/// What forgery can do: anything, checksums included.
fn forge(name: &str, file: &mut [u8], input: &mut Input<'_>) {
    let (at, value) = (usize::from(input.u8()), input.number());
    if name == "MANIFEST" {
        put(file, 16 + at % 48, &value.to_le_bytes());
        fix_record(file, b"TAILWMAN", 0);
        return;
    }
    if file.len() < LENGTH {
        return;
    }
    let seed = u32_at(file, 44);
    match input.u8() % 7 {
        0 => {
            put(file, 16 + at % 48, &value.to_le_bytes());
            // An open for writing makes a file as long as its header says, if a segment can be; that takes time and memory.
            if (64 << 10..=2 << 30).contains(&u64_at(file, 48)) {
                put(file, 48, &(64u64 << 10).to_le_bytes());
            }
            fix_record(file, b"TAILWSEG", 0);
            file[1536..2048].fill(0);
        }
        1 => {
            put(&mut file[512..], 12 + at % 28, &value.to_le_bytes());
            fix_record(&mut file[512..1024], b"TAILWSLT", seed);
        }
        2 => {
            let trailer = LENGTH - TRAILER;
            put(file, trailer + 12 + at % 52, &value.to_le_bytes());
            fix_record(&mut file[trailer..], b"TAILWEND", seed);
        }
        3 => {
            // A number of the footer's index, or how many there are.
            let trailer = LENGTH - TRAILER;
            let entries = (u32_at(file, trailer + 56) as usize).min(64);
            if at & 1 == 0 {
                put(file, trailer - 4 * (1 + at / 2 % entries.max(1)), &(value as u32).to_le_bytes());
            } else {
                put(file, trailer + 56, &(value as u32).to_le_bytes());
            }
            let entries = (u32_at(file, trailer + 56) as usize).min(64);
            let crc = checksum(seed, &file[trailer - 4 * entries..trailer]);
            put(file, trailer + 60, &crc.to_le_bytes());
            fix_record(&mut file[trailer..], b"TAILWEND", seed);
        }
        _ => {
            // A field of one of the frames.
            let mut frame = FRAMES_START;
            for _ in 0..at % 8 {
                let next = frame + (HEADER + u32_at(file, frame + 4) as usize).next_multiple_of(8);
                if next + HEADER < LENGTH - TRAILER {
                    frame = next;
                }
            }
            put(
                file,
                frame + 4 + usize::from(input.u8() % 36),
                &value.to_le_bytes()[..1 + at / 32 % 8],
            );
            fix_frames(&mut file[frame..LENGTH - TRAILER], seed);
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let flags = input.u8();
    let forged = flags & 1 != 0;
    let plan = Plan {
        entries: vec![
            u64::from(input.u8() % 20) + 1,
            u64::from(input.u8() % 20) + 1,
            u64::from(input.u8() % 20),
        ],
        sealed: usize::from(input.u8() % 3),
        durable: u64::from(input.u8()),
        length: LENGTH,
    };
    let sealed: u64 = plan.entries[..plan.sealed].iter().sum();
    let plan = Plan {
        durable: plan.durable.clamp(sealed, plan.last().max(sealed)),
        ..plan
    };
    let last = plan.last();
    let mut files = vec![("MANIFEST".to_owned(), manifest(1, 1, 1, 1))];
    let name = |segment: &Segment| segment_name(segment.sequence, segment.first);
    files.extend(
        plan.segments()
            .into_iter()
            .map(|segment| (name(&segment), segment.bytes)),
    );
    for _ in 0..input.u8() % 6 {
        let which = usize::from(input.u8());
        let (file, what) = (which % files.len(), which / files.len() % 16);
        match what {
            0 if files.len() > 1 => {
                files.remove(file);
            }
            1 => {
                let other = usize::from(input.u8()) % files.len();
                let contents = files[other].1.clone();
                files[file].1 = contents;
            }
            _ if forged => {
                let (name, bytes) = &mut files[file];
                forge(name, bytes, &mut input);
            }
            _ => damage(&mut files[file].1, &mut input),
        }
    }

    let dir = directory();
    for (name, bytes) in &files {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    let viewed =
        OplogView::open(dir.path()).map(|view| (view.newest(ReadConcern::Durable).get(), read(&view, u64::MAX)));
    let report = verify(dir.path());
    files.sort();
    assert!(contents(dir.path()) == files, "reading has changed something");

    let log = match open(dir.path()) {
        Ok(log) => log,
        Err(error) => {
            let expected = [ErrorKind::Corrupt, ErrorKind::NewerFormat, ErrorKind::Environment];
            assert!(expected.contains(&error.kind()), "{error:?}");
            if !forged && error.kind() == ErrorKind::Environment {
                assert!(matches!(error, Error::NotALog { .. }), "{error:?}");
            }
            let again = open(dir.path()).expect_err("refused once, opened the second time");
            assert_eq!(again.kind(), error.kind());
            for (name, before) in &files {
                let after = fs::read(dir.path().join(name)).unwrap_or_default();
                // A segment that was cut short is made whole, with zeros.
                let same = after.starts_with(before) && after[before.len()..].iter().all(|&byte| byte == 0);
                assert!(
                    same || name == "MANIFEST",
                    "{name} has changed, though the log was refused: {error:?}"
                );
            }
            return;
        }
    };
    let durable = log.watermarks().durable.get();
    let (entries, error) = read(&log.view(), durable);
    let term = log.term();
    close(log);
    if !forged {
        assert!(durable <= last, "{durable} of {last}");
        assert!(
            durable >= proven(&files),
            "{durable} though {} was proven",
            proven(&files)
        );
        for (op_id, crc) in &entries {
            assert_eq!(
                *crc,
                crc32fast::hash(&payload(*op_id)),
                "entry {op_id} is not what was written"
            );
        }
        assert!(
            error.is_some() || entries.len() as u64 == durable,
            "entries are not there and no error says so"
        );
        let viewed = viewed.ok();
        if let Some((newest, (viewed, _))) = &viewed {
            assert_eq!(*newest, durable, "reader and writer disagree");
            assert_eq!(*viewed, entries, "reader and writer read differently");
        }
        if let (Ok(report), Some((_, (_, None)))) = (&report, &viewed) {
            assert!(
                report.is_sound() && report.newest.get() == durable,
                "all can be read and verify says otherwise: {report:?}"
            );
        }
        if let Ok(report) = report {
            let damaged = report
                .findings
                .iter()
                .any(|finding| matches!(finding, Finding::Damage(_)));
            assert!(
                damaged || report.newest.get() == durable,
                "verify finds nothing: {report:?}"
            );
        }
    }

    let torn = |dir: &Path| {
        contents(dir)
            .iter()
            .filter(|(name, _)| name.starts_with("torn-"))
            .count()
    };
    let kept = torn(dir.path());
    let log = open(dir.path()).expect("opened once, refused the second time");
    assert_eq!(log.watermarks().durable.get(), durable, "another end the second time");
    assert!(log.term() > term);
    let (again, error_again) = read(&log.view(), durable);
    // Slots and frames that contradict each other, both with good checksums, are looked at in an order of their own.
    if !forged {
        assert_eq!((again, error_again.is_some()), (entries, error.is_some()));
    }
    close(log);
    assert_eq!(torn(dir.path()), kept, "the second time more was cut");
});
