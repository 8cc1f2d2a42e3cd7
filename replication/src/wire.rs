//! Messages as bytes. `docs/replication.md` is the authority.
//!
//! Each is a head of twelve bytes (kind, three zeros, length of the body, CRC-32) and a body: one value in bincode's
//! fixed-integer encoding, through the log's codec module, which limits what a length may claim; behind it, in two kinds, bytes
//! as they lie on disk. The checksum is of what stands before it in the head and of the body, but for frames, which have their
//! own. Every kind has a limit, checked before the body is read, and a body is allocated as it arrives.

use std::io::{self, Read, Write};
use std::time::Duration;

use bincode::{Decode, Encode};
use tailwater_oplog::{LogId, OpId, SegmentStart, Term, codec};

use crate::decision::{Hello, LogName, MemberList, MemberNumber, Position, Refusal, Report, Run, Status, Welcome};

/// First bytes of a connection, from both sides.
pub(crate) const MAGIC: [u8; 8] = *b"TAILWRPL";
/// The one version there is.
pub(crate) const VERSION: u16 = 1;
/// Bytes of the preface: magic, oldest and newest version, heartbeat.
pub(crate) const PREFACE_BYTES: usize = 16;
/// A heartbeat that the other side says to have counts for so much at most: nobody waits for ever for who says that he is slow.
pub(crate) const HEARTBEAT_MAX: Duration = Duration::from_secs(60);
/// Most bytes of a file in one message.
pub(crate) const CHUNK_BYTES_MAX: usize = 256 << 10;
/// Most bytes of a message without raw bytes.
const CONTROL_BYTES_MAX: usize = 256 << 10;
/// Most bytes of frames in one message: a batch travels whole, and fits a segment.
pub(crate) const FRAMES_BYTES_MAX: usize = 2 << 30;
/// Bytes in front of a body.
const HEAD_BYTES: usize = 12;
/// Bytes of an encoded [`Run`].
const RUN_BYTES: usize = 36;
/// A body is read in steps of so many bytes, so that a length that lies costs no memory.
const STEP_BYTES: usize = 64 << 10;

/// A segment begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub(crate) struct SegmentMessage {
    log: LogName,
    sequence: u64,
    first: OpId,
    seed: u32,
    length: u64,
    created: u64,
}

impl From<SegmentStart> for SegmentMessage {
    fn from(start: SegmentStart) -> SegmentMessage {
        SegmentMessage {
            log: start.log_id.into(),
            sequence: start.sequence,
            first: start.first,
            seed: start.seed,
            length: start.length,
            created: start.created,
        }
    }
}

impl From<SegmentMessage> for SegmentStart {
    fn from(message: SegmentMessage) -> SegmentStart {
        SegmentStart {
            log_id: LogId::from(message.log),
            sequence: message.sequence,
            first: message.first,
            seed: message.seed,
            length: message.length,
            created: message.created,
        }
    }
}

/// A follower asks for a copy of the state.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub(crate) struct CopyRequest {
    /// The follower's name.
    pub(crate) name: String,
    /// The members that it knows.
    pub(crate) members: MemberList,
    /// The copy it has a part of; zeros for none.
    pub(crate) copy: [u8; 16],
    /// What the copy takes the place of; nothing when there is nothing.
    pub(crate) replaces: Option<Replaced>,
    /// Which part of the state is wanted, as in [`Hello`].
    pub(crate) part: Option<Vec<u8>>,
}

/// What a member has that is to be replaced by a copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub(crate) struct Replaced {
    /// What it has promised.
    pub(crate) promised: Term,
    /// Its last entry of an elected term.
    pub(crate) rank: Position,
}

/// A copy that can be fetched.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub(crate) struct CopyOffer {
    /// Which one.
    pub(crate) copy: [u8; 16],
    /// The last entry that the state covers.
    pub(crate) applied: OpId,
    /// The newest term that the primary knows.
    pub(crate) promised: Term,
    /// The last entry of an elected term before the segment.
    pub(crate) rank: Position,
    /// Term of the very last entry before it.
    pub(crate) base: Option<Term>,
    /// The segment with which the follower's log begins.
    pub(crate) segment: SegmentMessage,
    /// Its files.
    pub(crate) files: Vec<CopyFile>,
}

/// A file of a copy.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub(crate) struct CopyFile {
    /// Its path below the copy.
    pub(crate) name: String,
    /// Bytes.
    pub(crate) length: u64,
    /// See `checksum_of`.
    pub(crate) checksum: u32,
}

/// A follower asks for a file of the copy, from an offset on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub(crate) struct Fetch {
    /// Which file, by its place in the offer.
    pub(crate) file: u32,
    /// From where on.
    pub(crate) offset: u64,
}

/// What another follower needs of the log.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub(crate) struct Need {
    /// Its name.
    pub(crate) name: String,
    /// The first entry.
    pub(crate) from: OpId,
}

/// To a relay: the number of a member that it has spoken for is another's.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub(crate) struct Taken {
    /// The number.
    pub(crate) member: MemberNumber,
    /// Whose it is.
    pub(crate) name: String,
}

/// How far making a copy has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode)]
pub(crate) struct Preparing {
    pub(crate) bytes: u64,
    pub(crate) expected: u64,
}

/// A message in either direction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Message {
    Hello(Hello),
    Report(Report),
    CopyRequest(CopyRequest),
    Fetch(Fetch),
    CopyDone,
    Welcome(Welcome),
    Refuse(Refusal),
    Segment(SegmentMessage),
    Run(Run, Vec<u8>),
    Status(Status),
    Offer(CopyOffer),
    Chunk(Vec<u8>),
    Preparing(Preparing),
    Needs(Vec<Need>),
    Taken(Taken),
}

const HELLO: u8 = 1;
const REPORT: u8 = 2;
const COPY_REQUEST: u8 = 3;
const FETCH: u8 = 4;
const COPY_DONE: u8 = 5;
const WELCOME: u8 = 16;
const REFUSE: u8 = 17;
const SEGMENT: u8 = 18;
const RUN: u8 = 19;
const STATUS: u8 = 20;
const OFFER: u8 = 21;
const CHUNK: u8 = 22;
const PREPARING: u8 = 23;
const NEEDS: u8 = 24;
const TAKEN: u8 = 25;

fn limit(kind: u8) -> Option<usize> {
    Some(match kind {
        HELLO | WELCOME | REFUSE | OFFER | COPY_REQUEST | NEEDS => CONTROL_BYTES_MAX,
        REPORT | FETCH | STATUS | SEGMENT | PREPARING | TAKEN => 256,
        COPY_DONE => 0,
        RUN => RUN_BYTES + FRAMES_BYTES_MAX,
        CHUNK => CHUNK_BYTES_MAX,
        _ => return None,
    })
}

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn decode<T: Decode<()>>(bytes: &[u8]) -> io::Result<T> {
    codec::decode(bytes).map_err(|_| malformed("a message that cannot be decoded"))
}

fn write_body(out: &mut impl Write, kind: u8, parts: &[&[u8]]) -> io::Result<()> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    if limit(kind).is_none_or(|limit| length > limit) {
        return Err(malformed("a message longer than its kind may be"));
    }
    let mut head = [0; HEAD_BYTES];
    head[0] = kind;
    head[4..8].copy_from_slice(&u32::try_from(length).map_err(|_| malformed("too long"))?.to_le_bytes());
    // Frames have checksums of their own.
    let checked = if kind == RUN { 1 } else { parts.len() };
    let covered = [&head[..8], &parts[..checked.min(parts.len())].concat()].concat();
    head[8..].copy_from_slice(&codec::checksum(&covered).to_le_bytes());
    out.write_all(&head)?;
    parts.iter().try_for_each(|part| out.write_all(part))
}

/// Writes frames, which may be in pieces, without copying them.
pub(crate) fn write_run(out: &mut impl Write, run: &Run, frames: &[&[u8]]) -> io::Result<()> {
    let head = codec::encode(run);
    let parts: Vec<&[u8]> = std::iter::once(&head[..]).chain(frames.iter().copied()).collect();
    write_body(out, RUN, &parts)
}

impl Message {
    pub(crate) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        match self {
            Message::Hello(hello) => write_body(out, HELLO, &[&codec::encode(hello)]),
            Message::Report(report) => write_body(out, REPORT, &[&codec::encode(report)]),
            Message::CopyRequest(request) => write_body(out, COPY_REQUEST, &[&codec::encode(request)]),
            Message::Fetch(fetch) => write_body(out, FETCH, &[&codec::encode(fetch)]),
            Message::CopyDone => write_body(out, COPY_DONE, &[]),
            Message::Welcome(welcome) => write_body(out, WELCOME, &[&codec::encode(welcome)]),
            Message::Refuse(refusal) => write_body(out, REFUSE, &[&codec::encode(refusal)]),
            Message::Segment(segment) => write_body(out, SEGMENT, &[&codec::encode(segment)]),
            Message::Run(run, frames) => write_run(out, run, &[frames]),
            Message::Status(status) => write_body(out, STATUS, &[&codec::encode(status)]),
            Message::Offer(offer) => write_body(out, OFFER, &[&codec::encode(offer)]),
            Message::Chunk(bytes) => write_body(out, CHUNK, &[bytes]),
            Message::Preparing(preparing) => write_body(out, PREPARING, &[&codec::encode(preparing)]),
            Message::Needs(needs) => write_body(out, NEEDS, &[&codec::encode(needs)]),
            Message::Taken(taken) => write_body(out, TAKEN, &[&codec::encode(taken)]),
        }
    }

    /// Reads one message; `frames_max` is how many bytes of frames are taken at once.
    pub(crate) fn read(input: &mut impl Read, frames_max: usize) -> io::Result<Message> {
        let mut head = [0; HEAD_BYTES];
        input.read_exact(&mut head)?;
        let [kind, 0, 0, 0, l0, l1, l2, l3, sum @ ..] = head else {
            return Err(malformed("a head with other bytes than zeros"));
        };
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let check = |body: &[u8]| match codec::checksum(&[&head[..8], body].concat()) == u32::from_le_bytes(sum) {
            true => Ok(()),
            false => Err(malformed(
                "a message whose checksum does not match: it was damaged on the way",
            )),
        };
        let limit = limit(kind).ok_or_else(|| malformed("a message of unknown kind"))?;
        if length > limit.min(frames_max.saturating_add(CONTROL_BYTES_MAX)) {
            return Err(malformed("a message longer than its kind may be"));
        }
        if kind == RUN {
            let frames = length
                .checked_sub(RUN_BYTES)
                .ok_or_else(|| malformed("a run without its head"))?;
            let run = read_body(input, RUN_BYTES)?;
            check(&run)?;
            let run = decode(&run)?;
            return Ok(Message::Run(run, read_body(input, frames)?));
        }
        let body = read_body(input, length)?;
        check(&body)?;
        Ok(match kind {
            HELLO => Message::Hello(decode(&body)?),
            REPORT => Message::Report(decode(&body)?),
            COPY_REQUEST => Message::CopyRequest(decode(&body)?),
            FETCH => Message::Fetch(decode(&body)?),
            COPY_DONE => Message::CopyDone,
            WELCOME => Message::Welcome(decode(&body)?),
            REFUSE => Message::Refuse(decode(&body)?),
            SEGMENT => Message::Segment(decode(&body)?),
            STATUS => Message::Status(decode(&body)?),
            OFFER => Message::Offer(decode(&body)?),
            CHUNK => Message::Chunk(body),
            PREPARING => Message::Preparing(decode(&body)?),
            NEEDS => Message::Needs(decode(&body)?),
            _ => Message::Taken(decode(&body)?),
        })
    }
}

fn read_body(input: &mut impl Read, length: usize) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    while body.len() < length {
        let from = body.len();
        body.resize(length.min(from + STEP_BYTES.max(from)), 0);
        input.read_exact(&mut body[from..])?;
    }
    Ok(body)
}

/// The preface that each side sends.
pub(crate) fn preface(heartbeat: Duration) -> [u8; PREFACE_BYTES] {
    let mut bytes = [0; PREFACE_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
    bytes[10..12].copy_from_slice(&VERSION.to_le_bytes());
    let heartbeat = u32::try_from(heartbeat.as_millis()).unwrap_or(u32::MAX);
    bytes[12..].copy_from_slice(&heartbeat.to_le_bytes());
    bytes
}

/// The versions that the other side speaks, oldest and newest; nothing when it is no member.
pub(crate) fn versions(preface: &[u8; PREFACE_BYTES]) -> Option<(u16, u16)> {
    let magic = preface.starts_with(&MAGIC);
    let version = |at: usize| u16::from_le_bytes([preface[at], preface[at + 1]]);
    magic.then(|| (version(8), version(10)))
}

/// How often the other side says something at least, as far as that is believed.
pub(crate) fn heartbeat_in(preface: &[u8; PREFACE_BYTES]) -> Duration {
    let [.., a, b, c, d] = *preface;
    Duration::from_millis(u32::from_le_bytes([a, b, c, d]).into()).min(HEARTBEAT_MAX)
}

#[cfg(feature = "fuzzing")]
pub(crate) fn write_any(kind: u8, body: &[u8]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let (head, frames) = body.split_at(if kind == RUN {
        body.len().min(RUN_BYTES)
    } else {
        body.len()
    });
    write_body(&mut bytes, kind, &[head, frames])?;
    Ok(bytes)
}

#[cfg(test)]
mod golden;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::{Course, History, Mark, MemberNumber};
    use tailwater_oplog::Timestamp;

    fn samples() -> Vec<Message> {
        let mut history = History::empty(LogName([9; 16]), OpId::new(3));
        history.extend(Term::new(128), OpId::new(3), Timestamp::from_nanos(5), OpId::new(7));
        vec![
            Message::Hello(Hello {
                member: MemberNumber(1),
                name: "b".into(),
                members: vec!["a".into(), "b".into()],
                promised: Term::new(129),
                history,
                durable: OpId::new(6),
                part: Some(vec![5, 0, 0, 0, 0]),
                marks: vec![Mark {
                    op_id: OpId::new(7),
                    checksum: 3,
                }],
            }),
            Message::Report(Report::Credit(77)),
            Message::Report(Report::Holds(MemberNumber(2), "c".into(), OpId::new(9))),
            Message::CopyRequest(CopyRequest {
                name: "b".into(),
                members: vec!["a".into()],
                copy: [1; 16],
                replaces: Some(Replaced {
                    promised: Term::new(3),
                    rank: Position::default(),
                }),
                part: Some(vec![1]),
            }),
            Message::Fetch(Fetch { file: 2, offset: 9 }),
            Message::CopyDone,
            Message::Welcome(Welcome {
                term: Term::new(130),
                asks: Some(Term::new(131)),
                rank: Position::default(),
                course: Course::Cut(OpId::new(4)),
            }),
            Message::Refuse(Refusal::SameMember),
            Message::Run(
                Run {
                    term: Term::new(130),
                    first: OpId::new(4),
                    last: OpId::new(5),
                    majority: OpId::ZERO,
                    durable: OpId::new(4),
                },
                vec![5; 200_000],
            ),
            Message::Status(Status {
                term: Term::new(130),
                newest: OpId::new(5),
                majority: OpId::new(2),
            }),
            Message::Chunk(vec![3; CHUNK_BYTES_MAX]),
            Message::Preparing(Preparing { bytes: 1, expected: 2 }),
        ]
    }

    #[test]
    fn messages_come_out_as_they_went_in() {
        for message in samples() {
            let mut bytes = Vec::new();
            message.write(&mut bytes).unwrap();
            assert_eq!(Message::read(&mut bytes.as_slice(), 1 << 20).unwrap(), message);
            for end in 0..bytes.len().min(300) {
                assert!(Message::read(&mut &bytes[..end], 1 << 20).is_err());
            }
        }
    }

    #[test]
    fn what_claims_too_much_is_refused_before_it_is_read() {
        for (kind, length) in [
            (REPORT, 257u32),
            (HELLO, u32::MAX),
            (RUN, u32::MAX),
            (99, 0),
            (COPY_DONE, 1),
        ] {
            let mut bytes = vec![kind, 0, 0, 0];
            bytes.extend_from_slice(&length.to_le_bytes());
            let sum = codec::checksum(&bytes);
            bytes.extend_from_slice(&sum.to_le_bytes());
            let error = Message::read(&mut bytes.as_slice(), 1 << 20).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{kind}");
        }
        // A name that claims a tebibyte.
        let mut bytes = Vec::new();
        write_body(&mut bytes, COPY_REQUEST, &[&(1u64 << 40).to_le_bytes()]).unwrap();
        assert!(Message::read(&mut bytes.as_slice(), 1 << 20).is_err());
    }

    #[test]
    fn a_bit_that_flips_on_the_way_is_noticed() {
        for message in samples() {
            let mut bytes = Vec::new();
            message.write(&mut bytes).unwrap();
            // Frames are checked by the log.
            let covered = if bytes[0] == RUN {
                HEAD_BYTES + RUN_BYTES
            } else {
                bytes.len()
            };
            for bit in (0..covered * 8).step_by(1 + covered / 40) {
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert!(
                    Message::read(&mut bytes.as_slice(), 1 << 20).is_err(),
                    "bit {bit} of {message:?}"
                );
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }
}
