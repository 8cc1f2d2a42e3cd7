//! The file `RETENTION`: the retention slots of a log as they are written, for writers and for who only looks.

use std::collections::BTreeMap;

use bincode::{Decode, Encode};

use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::format::{Checked, VERSION, encode_checked};
use crate::ids::{LogId, OpId};
use crate::record_file::read_record;

pub(crate) const RETENTION: &str = "RETENTION";
/// Name of the slot of the program that the log belongs to. Consumers cannot have it, nor any that begins like it.
pub(crate) const OWNER: &str = "tailwater.owner";
/// Names that begin so are the log's own.
const RESERVED: &str = "tailwater.";

/// Most retention slots that a log can have.
pub const RETENTION_SLOTS_MAX: usize = 1024;
/// Longest name of a retention slot, in bytes.
pub const SLOT_NAME_BYTES_MAX: usize = 120;

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Slot {
    pub(crate) position: OpId,
    pub(crate) cap: u64,
    pub(crate) lost: bool,
}

pub(crate) type Named = BTreeMap<String, Slot>;

/// One slot of the file.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
struct SlotRecord {
    position: u64,
    cap: u64,
    lost: bool,
    name: String,
}

/// The file `RETENTION`.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
struct SlotsRecord {
    version: u32,
    log_id: [u8; 16],
    slots: Vec<SlotRecord>,
}

impl Checked for SlotsRecord {
    const MAGIC: [u8; 8] = *b"TAILWRET";
}

/// The bytes of the file with these slots.
pub(crate) fn encode_slots(log_id: LogId, slots: &Named) -> Vec<u8> {
    let record = SlotsRecord {
        version: VERSION,
        log_id: log_id.to_bytes(),
        slots: slots
            .iter()
            .map(|(name, slot)| SlotRecord {
                position: slot.position.get(),
                cap: slot.cap,
                lost: slot.lost,
                name: name.clone(),
            })
            .collect(),
    };
    encode_checked(&record, 0)
}

/// Reads the file; without one there are no slots.
pub(crate) fn read_slots(disk: &dyn Disk, log_id: LogId) -> Result<Named> {
    let damage = "checksum or contents are wrong, so retention slots are not known; without the file there are none";
    let Some(record) = read_record::<SlotsRecord>(disk, RETENTION, damage)? else {
        return Ok(Named::new());
    };
    let damaged = |what| Error::DamagedMetadata {
        path: disk.path().join(RETENTION),
        what,
    };
    if record.log_id != log_id.to_bytes() {
        return Err(damaged(
            "it is of another log; without the file there are no retention slots",
        ));
    }
    let count = record.slots.len();
    let sane = |slot: &SlotRecord| (1..=u64::MAX / 2).contains(&slot.position) && check_name(&slot.name).is_ok();
    let all_sane = count <= RETENTION_SLOTS_MAX + 1 && record.slots.iter().all(sane);
    let slots: Named = record
        .slots
        .into_iter()
        .map(|slot| {
            let (position, cap, lost) = (OpId::new(slot.position), slot.cap, slot.lost);
            (slot.name, Slot { position, cap, lost })
        })
        .collect();
    if !all_sane || slots.len() != count {
        return Err(damaged(
            "it holds a retention slot that no release writes; without the file there are none",
        ));
    }
    Ok(slots)
}

/// Refuses what cannot be a slot's name.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let what = match name.len() {
        0 => "empty",
        1..=SLOT_NAME_BYTES_MAX if !name.chars().any(char::is_control) => return Ok(()),
        1..=SLOT_NAME_BYTES_MAX => "with a control character",
        _ => "longer than 120 bytes",
    };
    Err(Error::InvalidSlotName { what })
}

/// As [`check_name`], for a name that a consumer gives.
pub(crate) fn check_given_name(name: &str) -> Result<()> {
    check_name(name)?;
    if name.starts_with(RESERVED) {
        return Err(Error::InvalidSlotName {
            what: "reserved, as all that begin with \"tailwater.\"",
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::crc32;

    #[test]
    fn the_file_is_golden() {
        let record = SlotsRecord {
            version: 1,
            log_id: [0xab; 16],
            slots: vec![SlotRecord {
                position: 7,
                cap: 9,
                lost: true,
                name: "né".into(),
            }],
        };
        let bytes = encode_checked(&record, 0);
        let mut expected = b"TAILWRET".to_vec();
        expected.extend_from_slice(&crc32(0, &bytes[12..16 + 56]).to_le_bytes());
        expected.extend_from_slice(&56u32.to_le_bytes());
        expected.extend_from_slice(&[1, 0, 0, 0]);
        expected.extend_from_slice(&[0xab; 16]);
        for value in [1u64, 7, 9] {
            expected.extend_from_slice(&value.to_le_bytes());
        }
        expected.push(1);
        expected.extend_from_slice(&3u64.to_le_bytes());
        expected.extend_from_slice("né".as_bytes());
        expected.resize(expected.len().next_multiple_of(8), 0);
        assert_eq!(bytes, expected);
    }

    #[test]
    fn names_are_text_of_bounded_length() {
        for good in ["a", "orders → warehouse", &"x".repeat(SLOT_NAME_BYTES_MAX)] {
            check_name(good).unwrap();
        }
        for bad in ["", "a\nb", "\u{7f}", "\u{85}", &"x".repeat(SLOT_NAME_BYTES_MAX + 1)] {
            assert!(matches!(check_name(bad), Err(Error::InvalidSlotName { .. })), "{bad:?}");
        }
        check_given_name("tailwater").unwrap();
        assert!(matches!(check_given_name(OWNER), Err(Error::InvalidSlotName { .. })));
    }
}
