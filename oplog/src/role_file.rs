//! The file `REPLICA`: whether the log follows another one, and which member of a replicated log it is.
//!
//! A log without the file is nobody's replica: it is written to, and each writable open takes the next term.
//!
//! Beside the role it holds what a member must not forget with its entries: what it has promised, and, of the entries that were
//! trimmed or that a copy of another member's state covers, the very last one and the last one of an elected term. Those are
//! written before the entries go.
//!
//! # Why recovery must know
//!
//! A frame carries what was durable when it was written, which recovery takes for proof. In a log that follows, frames were
//! written by another machine's writer, and say what was durable *there*: a power cut here may well leave a later frame and take
//! an earlier one. So while a log follows, no frame proves anything, and only its own watermark slots, footers and tail page do.
//! The file says so before the first foreign frame is appended, and is changed back only when everything is durable here, too.

use bincode::{Decode, Encode};

use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::format::{Checked, VERSION, encode_checked};
use crate::ids::{LogId, OpId, Term};
use crate::member::Member;
use crate::record_file::read_record;
use crate::terms::Rank;

pub(crate) const REPLICA: &str = "REPLICA";

/// What the file says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Role {
    /// Entries come from another member; nothing is appended here.
    pub(crate) following: bool,
    /// Whose terms this log takes; nothing while it has never been replicated.
    pub(crate) member: Option<Member>,
    /// Nothing is taken from a primary of an older term.
    pub(crate) promised: Term,
    /// The last entry of an elected term among those that are not in the log any more.
    pub(crate) trimmed: Rank,
    /// The entry before the first that the log has, or is about to have; nothing when it is not known, or there is none.
    pub(crate) base: Option<Base>,
}

impl Role {
    /// Whether members may decide what a majority holds, for all that is known here: a log that follows does not know whom, and
    /// one that is a member's does not know whether there is a list, which that member need not be on.
    pub(crate) fn counts(&self) -> bool {
        self.following || self.member.is_some()
    }
}

/// Place of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Base {
    pub(crate) term: Term,
    pub(crate) op_id: OpId,
}

#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
struct RoleRecord {
    version: u32,
    log_id: [u8; 16],
    following: bool,
    member: Option<u8>,
    promised: u32,
    trimmed_term: u32,
    trimmed_op_id: u64,
    /// With the next: zeros for none.
    base_term: u32,
    base_op_id: u64,
}

impl Checked for RoleRecord {
    const MAGIC: [u8; 8] = *b"TAILWREP";
}

/// Reads the file; without one the log is nobody's replica.
pub(crate) fn read_role(disk: &dyn Disk, log_id: LogId) -> Result<Role> {
    let damage = "checksum or contents are wrong, so it is not known whether the log follows another";
    let Some(record) = read_record::<RoleRecord>(disk, REPLICA, damage)? else {
        return Ok(Role::default());
    };
    let damaged = |what| Error::DamagedMetadata {
        path: disk.path().join(REPLICA),
        what,
    };
    if record.log_id != log_id.to_bytes() {
        return Err(damaged("it is of another log"));
    }
    let member = match record.member {
        None => None,
        Some(number) => Some(Member::new(number).ok_or_else(|| damaged("there is no member of that number"))?),
    };
    Ok(Role {
        following: record.following,
        member,
        promised: Term::new(record.promised),
        trimmed: Rank {
            term: Term::new(record.trimmed_term),
            op_id: OpId::new(record.trimmed_op_id),
        },
        base: (record.base_op_id > 0).then(|| Base {
            term: Term::new(record.base_term),
            op_id: OpId::new(record.base_op_id),
        }),
    })
}

/// Replaces the file, durably.
pub(crate) fn write_role(disk: &dyn Disk, log_id: LogId, role: Role) -> Result<()> {
    let record = RoleRecord {
        version: VERSION,
        log_id: log_id.to_bytes(),
        following: role.following,
        member: role.member.map(Member::get),
        promised: role.promised.get(),
        trimmed_term: role.trimmed.term.get(),
        trimmed_op_id: role.trimmed.op_id.get(),
        base_term: role.base.map_or(0, |base| base.term.get()),
        base_op_id: role.base.map_or(0, |base| base.op_id.get()),
    };
    disk.replace(REPLICA, &encode_checked(&record, 0))
        .map_err(Error::io("write", disk.path().join(REPLICA)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::OsDisk;

    #[test]
    fn the_role_is_what_was_written_and_damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let disk = OsDisk::new(dir.path());
        let log_id = LogId::from_bytes([3; 16]);
        assert_eq!(read_role(&disk, log_id).unwrap(), Role::default());
        for role in [
            Role {
                following: true,
                ..Role::default()
            },
            Role {
                following: false,
                member: Member::new(63),
                promised: Term::new(129),
                trimmed: Rank {
                    term: Term::new(131),
                    op_id: OpId::new(9),
                },
                base: Some(Base {
                    term: Term::new(256),
                    op_id: OpId::new(12),
                }),
            },
        ] {
            write_role(&disk, log_id, role).unwrap();
            assert_eq!(read_role(&disk, log_id).unwrap(), role);
        }
        let other = read_role(&disk, LogId::from_bytes([4; 16]));
        assert!(matches!(other, Err(Error::DamagedMetadata { .. })));
        let mut bytes = std::fs::read(dir.path().join(REPLICA)).unwrap();
        bytes[36] ^= 1;
        std::fs::write(dir.path().join(REPLICA), bytes).unwrap();
        assert!(matches!(read_role(&disk, log_id), Err(Error::DamagedMetadata { .. })));
    }
}
