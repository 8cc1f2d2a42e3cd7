//! What can go wrong between members.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tailwater_oplog as oplog;
use tailwater_oplog::{OpId, Term};
use tailwater_storage as storage;
use tailwater_storage::{BackupError, Selection};

use crate::decision::{Apart, Refusal};
use crate::token::CausalToken;

/// The result of something between members.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of replication. A follower goes on by itself after those of the network; see [`Error::is_passing`].
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The log.
    #[error(transparent)]
    Log(#[from] oplog::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] storage::Error),
    /// Copying the state.
    #[error(transparent)]
    Copy(#[from] BackupError),
    /// The connection to another member failed, or nothing came over it for too long.
    #[error("the connection to {peer} failed while {action}")]
    Network {
        /// The other one's address.
        peer: String,
        /// What was under way.
        action: &'static str,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// A file or directory.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was attempted, as a verb phrase.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The other side does not keep to the protocol, or is none of this kind.
    #[error("{peer} does not keep to the protocol: {what}")]
    Protocol {
        /// The other one's address.
        peer: String,
        /// What is wrong.
        what: &'static str,
    },
    /// Frames that came were not taken: they are damaged, or not those that follow. They are asked for again; when it happens
    /// again and again at the same entry, the follower ends with this.
    #[error(
        "what {from} sends at entry {expected} is not taken: {what}; if it stays so, check the machines' memory and network, and verify the primary's log"
    )]
    BadFrames {
        /// The primary.
        from: String,
        /// The entry that was to come.
        expected: OpId,
        /// What is wrong.
        what: &'static str,
    },
    /// The other side speaks versions that this release does not.
    #[error(
        "{peer} speaks versions {oldest} to {newest} of the protocol, this release {own}: use releases that have one in common"
    )]
    OtherVersion {
        /// The other one's address.
        peer: String,
        /// Its oldest.
        oldest: u16,
        /// Its newest.
        newest: u16,
        /// The version here.
        own: u16,
    },
    /// The primary turns this member away, and would again.
    #[error("the primary turns this member away: {}", reason(refusal))]
    Refused {
        /// Why.
        refusal: Refusal,
    },
    /// What is here is of no use any more, and may only be replaced when that is allowed.
    #[error(
        "what is here cannot go on from the primary's log ({}): allow a new copy (`resync`), or use another directory and name",
        cause(apart)
    )]
    ResyncNeeded {
        /// Why.
        apart: Apart,
    },
    /// The entries to be rolled back take more space than allowed.
    #[error(
        "entries behind {last} would have to be rolled back, which are {bytes} bytes, more than the {max} allowed: look at them first, then raise rollback_bytes_max (`--rollback-max`), or make a new copy in another directory"
    )]
    RollbackTooLarge {
        /// The last entry that would stay.
        last: OpId,
        /// Bytes of their payloads.
        bytes: u64,
        /// How many are allowed.
        max: u64,
    },
    /// A certificate or a key cannot be used.
    #[error("{} cannot be used: {what}; give a certificate, its key and the members' authority in PEM", .path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A plaintext connection leaves the machine.
    #[error(
        "{address} is not a loopback address, and the protocol is not encrypted: allow that explicitly where the network itself is protected"
    )]
    Plaintext {
        /// The address.
        address: SocketAddr,
    },
    /// This member is not primary, or is not any more.
    #[error("this member is not primary{}", match promised { Some(term) => format!(" since term {term} was promised to another"), None => String::new() })]
    NotPrimary {
        /// The term that was promised to another one.
        promised: Option<Term>,
    },
    /// A primary of this process has the store.
    #[error("a primary of this process serves this store already: stop that one first")]
    AlreadyPrimary,
    /// Somebody began a term over the store of a primary, beside it: nothing of that is acknowledged by this primary, nor
    /// anything more.
    #[error(
        "term {term} was begun in this store beside its primary, which has ended: leave promoting to the primary, and start one again"
    )]
    Superseded {
        /// The term.
        term: Term,
    },
    /// What is in the directory is another part of the primary's store than was asked for.
    #[error("{} has {found}, and {asked} is asked for: give the same filter, or another directory and name", path.display())]
    OtherPart {
        /// The directory.
        path: PathBuf,
        /// What it has.
        found: String,
        /// What is asked for.
        asked: String,
    },
    /// The store takes writes already.
    #[error("this store does not follow another: it takes writes already")]
    NotFollower,
    /// As many members as were asked for did not hold the entry in time. It is in the log, and may yet come to be held.
    #[error(
        "entry {op_id} was not held by as many members as asked for within {waited:?}: it is written here, and is not taken back by this"
    )]
    WriteConcernTimeout {
        /// The entry.
        op_id: OpId,
        /// How long was waited.
        waited: Duration,
    },
    /// There is no list of members that could have a majority.
    #[error("write concern majority needs a list of members: name them, the same on every one")]
    NoMembers,
    /// The entry did not arrive in time.
    #[error("entry {op_id} did not arrive here within {waited:?}")]
    NotYet {
        /// The entry.
        op_id: OpId,
        /// How long was waited.
        waited: Duration,
    },
    /// Where one was waited for, the entries have been trimmed, and what stood there cannot be told any more.
    #[error("entry {} has been trimmed here, with all before {oldest}, and whether it was the one that was written in term {} is not known any more: read without it, or take a newer token", .token.op_id, .token.term)]
    Forgotten {
        /// What was waited for.
        token: CausalToken,
        /// The oldest entry that is left.
        oldest: OpId,
    },
    /// Another entry stands where one was waited for.
    #[error("entry {} is one of term {found} here, not of {}: what was written then was rolled back, or has not come here; ask the primary", .token.op_id, .token.term)]
    OtherHistory {
        /// What was waited for.
        token: CausalToken,
        /// Term of the entry that is there.
        found: Term,
    },
    /// An option is outside its range.
    #[error("{option} is {what}")]
    InvalidOption {
        /// Name of the option.
        option: &'static str,
        /// What is wrong.
        what: &'static str,
    },
    /// A member is to be given a copy in place of what it has, on which others may count.
    #[error(
        "this primary has not been elected, or does not know as much as the member that asks for a copy in place of what it has: promote the right one, and have the others follow it"
    )]
    NotElected,
    /// What a copy needs of the log was kept no longer, because too much was written while it was made and fetched.
    #[error(
        "more than {max_lag_bytes} bytes were written while {follower} was given a copy of the state, which is of no use now: raise copy_lag_bytes_max (`--copy-lag-max`) and, where there is one, the log's hard limit, or write less meanwhile"
    )]
    CopyOutrun {
        /// Whose copy.
        follower: String,
        /// How many are kept for a copy.
        max_lag_bytes: u64,
    },
    /// The state is in more files than can be offered.
    #[error("the state is in more than {max} files, which no copy may have")]
    TooManyFiles {
        /// How many it may have.
        max: usize,
    },
    /// A copy of the state would take space that the primary's log needs.
    #[error(
        "a copy of the state needs {needed} bytes of the disk, with what is reserved for the log, and {free} are free: free some"
    )]
    NoSpaceForCopy {
        /// Bytes of what is yet to be copied, and of the reserve.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// A copy of the state is being made for somebody, and there is one at a time.
    #[error("a copy of the state is being made already")]
    Busy,
    /// The follower was stopped, or gave up before.
    #[error("the follower has stopped")]
    Stopped,
    /// One of its threads panicked, in code of this crate or in what it was told to call; the panic has been printed.
    #[error("a thread of this member panicked: look at what it printed, and start it again")]
    Panicked,
}

impl Error {
    /// Whether trying again later may help, without anybody doing anything here.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Error::Network { .. } | Error::Protocol { .. } | Error::BadFrames { .. } => true,
            Error::Refused { refusal } => refusal.is_passing(),
            Error::Log(error) | Error::Store(storage::Error::Log(error)) => {
                error.kind() == oplog::ErrorKind::Environment || self.needs_reopening()
            }
            // The log was free: it is a read of this process that will end.
            Error::Store(storage::Error::StateLocked { .. }) => true,
            _ => self.is_storage_full(),
        }
    }

    /// Whether it says that a disk is full.
    #[must_use]
    pub fn is_storage_full(&self) -> bool {
        match self {
            Error::File { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            Error::Log(error) | Error::Store(storage::Error::Log(error)) => {
                matches!(error, oplog::Error::StorageFull { .. })
            }
            Error::Store(error) => matches!(error, storage::Error::StateStorageFull { .. }),
            _ => false,
        }
    }

    /// Whether what is open here is of no use after it, and may be when it is opened again.
    pub(crate) fn needs_reopening(&self) -> bool {
        match self {
            Error::Log(error) | Error::Store(storage::Error::Log(error)) => {
                matches!(error.kind(), oplog::ErrorKind::Poisoned | oplog::ErrorKind::Closed)
            }
            Error::Store(error) => matches!(error, storage::Error::StateStorageFull { .. }),
            _ => false,
        }
    }

    pub(crate) fn network(peer: impl Into<String>, action: &'static str) -> impl FnOnce(io::Error) -> Error {
        let peer = peer.into();
        move |source| Error::Network {
            peer,
            action,
            source: Arc::new(source),
        }
    }

    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::File {
            action,
            path,
            source: Arc::new(source),
        }
    }
}

fn reason(refusal: &Refusal) -> String {
    match refusal {
        Refusal::StalePrimary(term) => {
            format!("this member has promised term {term} to another, and it has stepped down")
        }
        Refusal::OtherLog(_) => "its log is another one; name the right primary, or use another directory".into(),
        Refusal::OtherMembers(members) => format!("its members are {members:?}; name the same, in the same order"),
        Refusal::SameMember => "both have the same name or number; give each member a name of its own".into(),
        Refusal::OtherNumber => {
            "its number is not that of its name; use the same release, and the same list of members".into()
        }
        Refusal::NumberTaken(name) => {
            format!("its name has the same number as {name}, which is not listed either; give one of them another name")
        }
        Refusal::TermTooFar(term) => {
            format!(
                "it has promised term {term}, which nobody can have come to; its directory may be another store's: copy it anew"
            )
        }
        Refusal::NotPrimary => "it is no primary; name the one that is".into(),
        Refusal::CopyOutrun(max) => {
            format!(
                "more than the {max} bytes of log that it keeps for a copy were written before this member had its copy and had caught up; raise the primary's copy_lag_bytes_max (`--copy-lag-max`) and, where there is one, its log's hard limit, or write less meanwhile"
            )
        }
        Refusal::ListedPart => {
            "it follows with a filter, and is on the list of members whose majority counts; take it off the list, or the filter away"
                .into()
        }
        Refusal::WiderPart(part) => {
            let part = Selection::from_bytes(part).map_or_else(|error| error.to_string(), |part| part.to_string());
            format!(
                "it has only a part itself, and this member's filter is not known to leave out all that is outside {part}; follow the primary, or filter as narrowly"
            )
        }
        Refusal::Differs(differs, same) => {
            let from = match *same {
                OpId::ZERO => String::new(),
                same => format!(", the first that does so behind entry {same}"),
            };
            format!(
                "its entry {differs} has other bytes than this member's{from}, in the same term: one of the two logs was changed; find out which, by a backup or by what it says, and have that member copy anew in another directory"
            )
        }
        Refusal::TooManyFiles(max) => {
            format!("its state is in more than {max} files, which no copy may have")
        }
        Refusal::Busy => "it makes a copy of its state for another one, and one at a time".into(),
        Refusal::NotElected => {
            "it has not been elected, or does not know as much as this member, and gives no copy in place of what that has; promote the right one"
                .into()
        }
        Refusal::NoSpaceForCopy(needed, free) => {
            format!("a copy of its state needs {needed} bytes of its disk, with what is reserved for its log, and {free} are free; free some there")
        }
        Refusal::CopyFailed(error) => format!("it could not make a copy of its state: {error}"),
    }
}

fn cause(apart: &Apart) -> String {
    match apart {
        Apart::OtherLog => "it is another log".into(),
        Apart::HistoryLost(oldest) => format!("that begins with entry {oldest} by now"),
        Apart::Unrelated => "they have nothing in common that is left".into(),
        Apart::Entered => "a collection was renamed into what this partial copy has, without its documents".into(),
        Apart::TermTwice(term) => format!("both have written in term {term}: one is a copy of the other's directory"),
    }
}
