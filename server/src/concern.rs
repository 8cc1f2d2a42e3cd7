//! Read and write concerns: what a request asks for beside its own work, and the waiting for it.
//!
//! | asked for | what is waited for |
//! |---|---|
//! | `w: 1`, `w: 0` | nothing |
//! | `j: true` | this member's disk |
//! | `w: n` | as many members' disks, this one's among them |
//! | `w: "majority"`, or nothing | a majority of the listed members; where there is no list, this member's disk |
//! | `readConcern` `majority` | that a majority holds what was read; where there is no list, this member's disk does |
//! | `readConcern` `linearizable` | the same, and that no other has been primary by then |
//! | `afterClusterTime` | on a follower, that it has come so far |
//!
//! Who writes is answered when as many hold it, or with a `writeConcernError` when time is up: the write is done by then, and may
//! yet come to be held (MongoDB manual: *Write Concern*, `wtimeout`).

mod reads;
mod writes;

use std::time::Duration;

use bson::{RawBsonRef, Timestamp};
use tailwater::Durability;

use crate::error::{CommandError, CommandResult, code};
use crate::value::{Value, fields};

/// Who waits looks so often whether somebody still waits for the answer.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Most members that can be asked for, as in MongoDB.
const W_MAX: i64 = 50;

/// Whose disks a write is to be on when it is answered.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum Held {
    /// Those of a majority, where there is one.
    #[default]
    Majority,
    /// So many, the primary's among them. None and one are the same.
    Members(u8),
    /// Those of a mode that has a name, of which there is none.
    Mode,
}

/// `writeConcern`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Acknowledged {
    /// How durable it is here; the store's default when the request does not say.
    pub(crate) durability: Option<Durability>,
    pub(crate) held: Held,
    /// How long to wait for others; as long as it takes when the request does not say.
    pub(crate) timeout: Option<Duration>,
}

impl Acknowledged {
    /// `j` and `w` say how durable a write is when it is answered (MongoDB manual: *Write Concern*): a write that others must have
    /// survives power loss, one that the server has acknowledged the death of the process.
    pub(crate) fn parse(field: Value<'_>) -> CommandResult<Acknowledged> {
        let concern = field.document()?;
        let (mut journaled, mut w, mut timeout) = (None, None, None);
        for option in fields("writeConcern", concern) {
            let option = option?;
            match option.name {
                "j" | "fsync" => journaled = Some(option.boolean()?),
                "w" => w = Some(option),
                "wtimeout" | "wtimeoutMS" => timeout = Some(option.integer()?),
                "provenance" => {}
                _ => return Err(option.unknown()),
            }
        }
        let (acknowledged, held) = match w.map(|w| (w, w.value)) {
            // Whatever the store does by itself.
            None => (None, Held::Majority),
            Some((_, RawBsonRef::String("majority"))) => (Some(Durability::Disk), Held::Majority),
            Some((_, RawBsonRef::String(_))) => (Some(Durability::Disk), Held::Mode),
            Some((w, _)) => match (w.integer()?, u8::try_from(w.integer()?)) {
                (count @ 0..=W_MAX, Ok(members)) => {
                    let durability = if count > 1 {
                        Durability::Disk
                    } else {
                        Durability::Memory
                    };
                    (Some(durability), Held::Members(members))
                }
                _ => {
                    let message = "w has to be a non-negative number and not greater than 50";
                    return Err(CommandError::new(code::FAILED_TO_PARSE, message));
                }
            },
        };
        let timeout = timeout
            .and_then(|timeout| u64::try_from(timeout).ok())
            .filter(|timeout| *timeout > 0);
        Ok(Acknowledged {
            durability: match (journaled, held) {
                (Some(true), _) => Some(Durability::Disk),
                // What others must have this one must have, too.
                (Some(false), Held::Members(2..)) => acknowledged,
                (Some(false), _) => Some(Durability::Memory),
                (None, _) => acknowledged,
            },
            held,
            timeout: timeout.map(Duration::from_millis),
        })
    }
}

/// `readConcern`.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Reading<'a> {
    level: Option<&'a str>,
    after: Option<Timestamp>,
}

impl<'a> Reading<'a> {
    pub(crate) fn parse(field: Value<'a>) -> CommandResult<Reading<'a>> {
        let mut reading = Reading::default();
        for option in fields("readConcern", field.document()?) {
            let option = option?;
            match option.name {
                "level" => reading.level = Some(option.string()?),
                "afterClusterTime" => reading.after = Some(option.timestamp()?),
                "provenance" => {}
                "atClusterTime" => option.unsupported(false)?,
                _ => return Err(option.unknown()),
            }
        }
        match reading.level {
            None | Some("local" | "available" | "majority" | "linearizable" | "snapshot") => Ok(reading),
            Some(level) => Err(CommandError::new(
                code::BAD_VALUE,
                format!("Enumeration value '{level}' for field 'readConcern.level' is not a valid value."),
            )),
        }
    }

    pub(crate) fn is_snapshot(self) -> bool {
        self.level == Some("snapshot")
    }

    /// Whether what is read may be what power loss could still take back.
    pub(crate) fn is_local(self) -> bool {
        matches!(self.level, Some("local" | "available"))
    }

    /// Whether what is read must stay, whatever happens.
    fn is_settled(self) -> bool {
        matches!(self.level, Some("majority" | "linearizable" | "snapshot"))
    }

    /// Whether only the newest of all will do.
    pub(crate) fn is_linearizable(self) -> bool {
        self.level == Some("linearizable")
    }
}
