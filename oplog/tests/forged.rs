//! Forged logs: the checksums hold, and what they cover no writer wrote. Whoever made them, nothing panics, nothing is
//! taken for durable that cannot have been, and writer, reader and `verify` agree.

use std::fs;
use std::path::Path;

use allocation_counter::measure;
use tailwater_oplog::{Durability, Error, Finding, OpId, OplogView, ReadConcern, Timestamp, verify};

use crate::common;

use common::{
    FRAMES_START, LAST, append_frames, append_frames_to, closed, forge_index, frames, names, options, record, reframe,
    remove_footer, seed, segments, write_at, zero,
};

const TRAILER: usize = 128;
/// More than anything about these small logs takes, and less than anything they claim.
const HEAP_MAX: u64 = 4 << 20;

/// Does `act`, which allocates no more than what is there calls for.
fn bounded<T>(act: impl FnOnce() -> T) -> T {
    let mut done = None;
    let allocated = measure(|| done = Some(act())).bytes_max;
    assert!(allocated < HEAP_MAX, "{allocated} bytes");
    done.unwrap()
}

/// The last entry that a writer, a reader and `verify` find, who must agree.
fn newest(dir: &Path) -> u64 {
    let viewed = bounded(|| OplogView::open(dir).unwrap().newest(ReadConcern::Durable));
    let report = bounded(|| verify(dir).unwrap());
    assert!(report.is_sound(), "{report:?}");
    assert_eq!(report.newest, viewed);
    let log = bounded(|| options().open(dir).unwrap());
    assert_eq!(log.watermarks().durable, viewed);
    viewed.get()
}

/// What a writer and a reader are refused with.
fn refused(dir: &Path) -> [Error; 2] {
    [
        bounded(|| options().open(dir).map(|_| ()).unwrap_err()),
        bounded(|| OplogView::open(dir).map(|_| ()).unwrap_err()),
    ]
}

fn forge_slot(segment: &Path, at: usize, fields: [u64; 3]) {
    let body: Vec<u8> = fields.iter().flat_map(|field| field.to_le_bytes()).collect();
    write_at(segment, at, &record(b"TAILWSLT", seed(segment), &body));
}

#[test]
fn a_slot_beyond_what_its_segment_can_hold_is_no_slot() {
    let room = |segment: &[u8]| ((segment.len() - TRAILER - FRAMES_START) / 40) as u64;
    for at in [512, 1024] {
        for far in [u64::MAX, u64::MAX - 1, 1 << 40, 0] {
            let dir = closed(10);
            let segment = segments(dir.path()).remove(0);
            let bytes = fs::read(&segment).unwrap();
            let end = frames(&bytes).pop().unwrap().end as u64;
            let durable = if far == 0 { 1 + room(&bytes) } else { far };
            forge_slot(&segment, at, [99, durable, end]);
            assert_eq!(newest(dir.path()), 10, "{durable} at {at}");
        }
    }
    // What it can hold may have been there.
    let dir = closed(10);
    let segment = segments(dir.path()).remove(0);
    let last = room(&fs::read(&segment).unwrap());
    forge_slot(&segment, 512, [99, last, FRAMES_START as u64]);
    let error = options().open(dir.path()).unwrap_err();
    assert!(
        matches!(error, Error::Corrupt { durable, .. } if durable.get() == last),
        "{error:?}"
    );
}

#[test]
fn a_slot_whose_count_cannot_grow_is_no_slot() {
    let dir = closed(10);
    let segment = segments(dir.path()).remove(0);
    forge_slot(&segment, 512, [u64::MAX, 3, FRAMES_START as u64 + 8]);
    assert_eq!(newest(dir.path()), 10);
    assert_eq!(newest(dir.path()), 10, "after another slot was written");
}

#[test]
fn a_footer_beyond_what_its_segment_can_hold_is_no_footer() {
    for last in [u64::MAX, 1 << 40] {
        let dir = closed(10);
        let segment = segments(dir.path()).remove(0);
        let bytes = fs::read(&segment).unwrap();
        let end = frames(&bytes).pop().unwrap().end as u64;
        let mut body: Vec<u8> = [1, last, end, 1, 1]
            .iter()
            .flat_map(|field: &u64| field.to_le_bytes())
            .collect();
        body.extend_from_slice(&[0; 8]);
        body[44..].copy_from_slice(&seed(&segment).to_le_bytes());
        write_at(
            &segment,
            bytes.len() - TRAILER,
            &record(b"TAILWEND", seed(&segment), &body),
        );
        assert_eq!(newest(dir.path()), 10, "{last}");
    }
}

/// Reads everything, each way there is.
fn read_all(view: &OplogView, last: u64) {
    let mut cursor = view.cursor_from_oldest(ReadConcern::Durable);
    for n in 1..=last {
        assert_eq!(cursor.try_next().unwrap().unwrap().op_id(), OpId::new(n));
    }
    assert!(cursor.try_next().unwrap().is_none());
    for n in (1..=last).rev() {
        let entry = view.get(OpId::new(n), ReadConcern::Durable).unwrap();
        assert_eq!(entry.op_id(), OpId::new(n));
    }
    let mut reverse = view.reverse(OpId::new(last), ReadConcern::Durable).unwrap();
    for n in (1..=last).rev() {
        assert_eq!(reverse.try_next().unwrap().unwrap().op_id(), OpId::new(n));
    }
}

#[test]
fn an_index_that_no_segment_can_have_makes_no_footer() {
    let sound = |segment: &Path| -> Vec<u32> {
        let all = frames(&fs::read(segment).unwrap());
        all.iter().step_by(8).map(|frame| frame.start as u32 / 8).collect()
    };
    for which in [0, 1] {
        let model = closed(LAST);
        let index = sound(&segments(model.path())[which]);
        assert_eq!(index.len(), 2);
        let end = frames(&fs::read(&segments(model.path())[which]).unwrap())
            .pop()
            .unwrap()
            .end as u32
            / 8;
        forge_index(&segments(model.path())[which], &index);
        read_all(&OplogView::open(model.path()).unwrap(), LAST);
        assert_eq!(newest(model.path()), LAST);
        let mut forgeries = vec![
            vec![],
            index[..1].to_vec(),
            [&index[..], &[end - 5]].concat(),
            vec![512; 100],
        ];
        // No frame begins in the headers, before the eight frames in front of it, or where there is no room for one.
        for first in [0, 1, 511, 513, end, u32::MAX] {
            forgeries.push(vec![first, index[1]]);
        }
        for second in [0, 1, 511, 512, 513, 512 + 39, end - 4, end, end + 1, u32::MAX] {
            forgeries.push(vec![512, second]);
        }
        for forgery in forgeries {
            let dir = closed(LAST);
            forge_index(&segments(dir.path())[which], &forgery);
            let view = OplogView::open(dir.path()).unwrap();
            bounded(|| read_all(&view, LAST));
            assert_eq!(newest(dir.path()), LAST, "{which} {forgery:?}");
            read_all(&OplogView::open(dir.path()).unwrap(), LAST);
        }
    }
}

#[test]
fn an_index_that_leads_to_another_frame_is_corrupt_and_nothing_else() {
    let dir = closed(LAST);
    let segment = &segments(dir.path())[0];
    let second = frames(&fs::read(segment).unwrap())[8].start as u32 / 8;
    for off in [1, 5, 24] {
        forge_index(segment, &[512, second + off]);
        let view = OplogView::open(dir.path()).unwrap();
        let error = view.get(OpId::new(9), ReadConcern::Durable).map(|_| ()).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
        assert!(view.get(OpId::new(8), ReadConcern::Durable).is_ok());
    }
}

#[test]
fn a_name_beyond_all_opids_is_no_segments() {
    let dir = closed(10);
    fs::write(dir.path().join("0000000002-18446744073709551615.seg"), "not a segment").unwrap();
    assert_eq!(newest(dir.path()), 10);
}

/// Changes both copies of a segment's header and sets their checksums right.
fn forge_header(segment: &Path, change: impl Fn(&mut Vec<u8>)) {
    let mut body = fs::read(segment).unwrap()[16..64].to_vec();
    change(&mut body);
    for at in [0, 1536] {
        write_at(segment, at, &record(b"TAILWSEG", 0, &body));
    }
}

#[test]
fn a_length_that_no_segment_has_is_refused_and_the_file_stays_as_it_is() {
    for length in [(2u64 << 30) + 4096, 1 << 40, u64::MAX - 7] {
        let dir = closed(10);
        let segment = segments(dir.path()).remove(0);
        forge_header(&segment, |body| body[32..40].copy_from_slice(&length.to_le_bytes()));
        let before = fs::read(&segment).unwrap();
        for error in refused(dir.path()) {
            assert!(matches!(error, Error::DamagedMetadata { .. }), "{length}: {error:?}");
        }
        assert!(fs::read(&segment).unwrap() == before, "{length}");
    }
}

#[test]
fn only_a_segment_that_belongs_here_is_made_whole_again() {
    for field in [4, 20] {
        let dir = closed(10);
        let segment = segments(dir.path()).remove(0);
        forge_header(&segment, |body| body[field] ^= 1);
        let short = fs::read(&segment).unwrap()[..9000].to_vec();
        fs::write(&segment, &short).unwrap();
        for error in refused(dir.path()) {
            assert!(matches!(error, Error::ForeignSegment { .. }), "{error:?}");
        }
        assert!(fs::read(&segment).unwrap() == short);
    }
}

#[test]
fn a_newer_format_is_refused_by_name_however_long_its_records_are() {
    for length in [4, 20, 47, 49, 100, 400] {
        let mut body = vec![0xa5; length];
        body[..4].copy_from_slice(&2u32.to_le_bytes());
        let manifest = closed(10);
        fs::write(manifest.path().join("MANIFEST"), record(b"TAILWMAN", 0, &body)).unwrap();
        let header = closed(10);
        forge_header(&segments(header.path())[0], |old| *old = body.clone());
        for dir in [manifest, header] {
            for error in refused(dir.path()) {
                assert!(
                    matches!(error, Error::NewerFormat { found: 2, known: 1, .. }),
                    "{length}: {error:?}"
                );
            }
        }
    }
}

#[test]
fn a_longer_record_of_this_version_is_damaged() {
    let dir = closed(10);
    let mut body = vec![0; 56];
    body[0] = 1;
    fs::write(dir.path().join("MANIFEST"), record(b"TAILWMAN", 0, &body)).unwrap();
    for error in refused(dir.path()) {
        assert!(matches!(error, Error::DamagedMetadata { .. }), "{error:?}");
    }
}

#[test]
fn an_entry_that_claims_to_have_been_durable_before_it_was_written_is_corrupt_for_all() {
    for watermark in [LAST + 1, LAST + 2, u64::MAX] {
        let dir = closed(LAST);
        append_frames(dir.path(), 1, |header| {
            header[32..40].copy_from_slice(&watermark.to_le_bytes());
        });
        let view = OplogView::open(dir.path()).unwrap();
        let mut cursor = view.cursor_from_oldest(ReadConcern::Durable);
        while cursor.position().get() <= LAST {
            assert!(cursor.try_next().unwrap().is_some());
        }
        let next = OpId::new(LAST + 1);
        for error in [
            cursor.try_next().map(|_| ()).unwrap_err(),
            view.get(next, ReadConcern::Durable).map(|_| ()).unwrap_err(),
            options().open(dir.path()).map(|_| ()).unwrap_err(),
        ] {
            assert!(
                matches!(error, Error::Corrupt { expected, .. } if expected == next),
                "{error:?}"
            );
        }
        let findings = verify(dir.path()).unwrap().findings;
        assert!(
            matches!(findings[..], [Finding::Damage(Error::Corrupt { expected, .. })] if expected == next),
            "{findings:?}"
        );
        // What it claims is no position that a cursor could not have.
        assert!(view.cursor_from_now(ReadConcern::Durable).position() > OpId::new(LAST));
    }
}

#[test]
fn a_log_whose_last_entry_has_the_largest_timestamp_is_written_on() {
    let dir = closed(LAST);
    append_frames(dir.path(), 1, |header| header[24..32].fill(0xff));
    assert_eq!(newest(dir.path()), LAST + 1);
    let log = options().open(dir.path()).unwrap();
    for n in 2..5 {
        let entry = log.append(200, b"later", Durability::Disk).unwrap();
        assert_eq!((entry.first.get(), entry.timestamp.as_nanos()), (LAST + n, u64::MAX));
    }
    let last = OpId::new(LAST + 1);
    let cursor = log
        .view()
        .cursor_from_time(Timestamp::from_nanos(u64::MAX), ReadConcern::Durable);
    assert_eq!(cursor.unwrap().position(), last);
}

#[test]
fn an_entry_of_a_lower_term_behind_a_slot_is_no_entry() {
    let dir = closed(LAST);
    append_frames(dir.path(), 1, |header| {
        header[16..20].copy_from_slice(&1u32.to_le_bytes());
    });
    assert_eq!(newest(dir.path()), LAST);
    assert!(names(dir.path()).iter().any(|name| name.starts_with("torn-")));
}

#[test]
fn an_entry_of_a_lower_term_than_the_sealed_segments_is_no_entry() {
    let dir = closed(20);
    let segment = segments(dir.path()).remove(1);
    zero(&segment, 512..1536);
    reframe(&segment, |header| {
        header[16..20].copy_from_slice(&1u32.to_le_bytes());
        header[32..40].fill(0);
    });
    assert_eq!(newest(dir.path()), 10);
}

#[test]
fn an_entry_of_a_lower_term_behind_the_end_of_a_full_segment_is_not_read() {
    let dir = closed(20);
    let segment = segments(dir.path()).remove(0);
    let bytes = fs::read(&segment).unwrap();
    remove_footer(&segment);
    let end = frames(&bytes).pop().unwrap().end;
    forge_slot(&segment, 512, [99, 10, end as u64]);
    append_frames_to(&segment, 1, |header| {
        header[16..20].copy_from_slice(&1u32.to_le_bytes());
    });
    assert_eq!(newest(dir.path()), 20);
}
