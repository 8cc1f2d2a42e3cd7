//! An echo of the protocol: answers what a driver asks as `tailwater serve` does, and does nothing else. Whatever is inserted is
//! acknowledged at once, or when it survives power loss; a change stream has events that were made before, or those documents
//! that are inserted meanwhile.

use std::collections::VecDeque;
use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use bson::raw::cstr;
use bson::spec::BinarySubtype;
use bson::{Binary, DateTime, RawArrayBuf, RawDocument, RawDocumentBuf, Timestamp, rawdoc};
use tailwater_wire::{HEADER_BYTES, Header, Msg, Opcode, Query, reply_bytes};

use crate::harness::{Plan, Result};
use crate::log::append_disk::PreparedFile;

/// What its change streams have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Feed {
    /// Nothing.
    Silent,
    /// As many events as anybody wants, in batches of the size that the server's have.
    Canned,
    /// Each document that is inserted.
    Inserted,
}

/// Bytes of events in a batch: what the server puts into one.
const BATCH_BYTES: usize = 16 << 20;
/// How long a stream waits for something to be inserted.
const AWAIT: Duration = Duration::from_secs(1);
const CURSOR: i64 = 1;

/// An echo that listens until it is dropped.
#[derive(Debug)]
pub(super) struct Echo {
    /// Where it listens.
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    address: SocketAddr,
    feed: Feed,
    /// A whole answer with a batch of events, for a feed that is canned.
    canned: Vec<u8>,
    /// Where what is inserted has to be before it is acknowledged.
    disk: Option<Mutex<PreparedFile>>,
    inserted: Mutex<VecDeque<RawDocumentBuf>>,
    added: Condvar,
    stopping: AtomicBool,
}

impl Echo {
    /// Starts to listen.
    pub(super) fn start(feed: Feed) -> Result<Echo> {
        Echo::over(feed, None)
    }

    /// The same, that writes what is inserted into a file and syncs it before it is acknowledged.
    pub(super) fn durable(plan: &Plan) -> Result<Echo> {
        let dir = plan.scratch()?;
        // It stays open, and needs its name no more.
        let file = PreparedFile::new(&dir.path().join("inserted"))?;
        Echo::over(Feed::Silent, Some(Mutex::new(file)))
    }

    fn over(feed: Feed, disk: Option<Mutex<PreparedFile>>) -> Result<Echo> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            address,
            feed,
            canned: match feed {
                Feed::Canned => canned()?,
                Feed::Silent | Feed::Inserted => Vec::new(),
            },
            disk,
            inserted: Mutex::default(),
            added: Condvar::new(),
            stopping: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if accepting.stopping.load(Ordering::Acquire) {
                    return;
                }
                let shared = Arc::clone(&accepting);
                // A driver that is gone ends its connection's thread by an error.
                thread::spawn(move || drop(serve(&shared, &stream)));
            }
        });
        Ok(Echo { address, shared })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        // Accepting waits for a connection, so that is what wakes it.
        let _ = TcpStream::connect(self.address);
    }
}

/// Answers one connection's requests until it ends.
fn serve(shared: &Shared, stream: &TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(16 << 10, stream);
    let mut writer = stream;
    let mut body = Vec::new();
    loop {
        let mut bytes = [0; HEADER_BYTES];
        reader.read_exact(&mut bytes)?;
        let header = Header::parse(&bytes)?;
        body.resize(header.body_bytes(), 0);
        reader.read_exact(&mut body)?;
        let id = header.request_id;
        if header.opcode == Opcode::Query {
            Query::parse(&header, &body)?;
            writer.write_all(&reply_bytes(&hello(shared), 1, id)?)?;
            continue;
        }
        let msg = Msg::parse(&header, &body)?;
        let (name, _) = msg.body.iter().next().ok_or("a command without a name")??;
        let answer = match name.as_str() {
            "hello" | "isMaster" | "ismaster" => hello(shared),
            "insert" => insert(shared, &msg)?,
            "aggregate" => cursor("firstBatch", &RawArrayBuf::new()),
            "getMore" if shared.feed == Feed::Canned => {
                // The only thing that differs between two answers is what they answer.
                let mut head = [0; HEADER_BYTES];
                head.copy_from_slice(&shared.canned[..HEADER_BYTES]);
                head[8..12].copy_from_slice(&id.to_le_bytes());
                writer.write_all(&head)?;
                writer.write_all(&shared.canned[HEADER_BYTES..])?;
                continue;
            }
            "getMore" => cursor("nextBatch", &wait(shared)),
            _ => done(rawdoc! {}),
        };
        writer.write_all(&Msg::new(&answer).to_bytes(1, id)?)?;
    }
}

/// What a member of a replica set says of itself, in the new words and the old.
fn hello(shared: &Shared) -> RawDocumentBuf {
    let address = shared.address.to_string();
    rawdoc! {
        "helloOk": true,
        "isWritablePrimary": true,
        "ismaster": true,
        "secondary": false,
        "setName": "rs0",
        "setVersion": 1,
        "hosts": [address.as_str()],
        "primary": address.as_str(),
        "me": address.as_str(),
        "maxBsonObjectSize": 16 << 20,
        "maxMessageSizeBytes": 48_000_000,
        "maxWriteBatchSize": 100_000,
        "localTime": DateTime::now(),
        "logicalSessionTimeoutMinutes": 30,
        "minWireVersion": 0,
        "maxWireVersion": 25,
        "readOnly": false,
        "ok": 1.0,
    }
}

/// What every answer ends with.
fn done(mut answer: RawDocumentBuf) -> RawDocumentBuf {
    let now = Timestamp {
        time: (DateTime::now().timestamp_millis() / 1000) as u32,
        increment: 1,
    };
    let hash = Binary {
        subtype: BinarySubtype::Generic,
        bytes: vec![0; 20],
    };
    let signature = rawdoc! { "hash": hash, "keyId": 0_i64 };
    answer.append(cstr!("ok"), 1.0);
    answer.append(
        cstr!("$clusterTime"),
        rawdoc! { "clusterTime": now, "signature": signature },
    );
    answer.append(cstr!("operationTime"), now);
    answer
}

fn cursor(batch: &str, documents: &RawArrayBuf) -> RawDocumentBuf {
    let mut cursor = RawDocumentBuf::new();
    match batch {
        "firstBatch" => cursor.append(cstr!("firstBatch"), documents),
        _ => cursor.append(cstr!("nextBatch"), documents),
    }
    cursor.append(cstr!("postBatchResumeToken"), rawdoc! { "_data": TOKEN });
    cursor.append(cstr!("id"), CURSOR);
    cursor.append(cstr!("ns"), "measured.documents");
    done(rawdoc! { "cursor": cursor })
}

/// As long as the server's.
const TOKEN: &str = "01ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF01234567";

/// Counts the documents, and keeps them for those who watch.
fn insert(shared: &Shared, msg: &Msg<'_>) -> Result<RawDocumentBuf> {
    let in_sequence = msg
        .sequences
        .iter()
        .flat_map(|sequence| sequence.documents.iter().copied());
    let in_body = msg.body.get_array("documents").ok().into_iter().flatten();
    let in_body = in_body.filter_map(|document| document.ok()?.as_document());
    let documents: Vec<&RawDocument> = in_sequence.chain(in_body).collect();
    let count = i32::try_from(documents.len())?;
    if shared.feed == Feed::Inserted {
        let mut inserted = shared.inserted.lock().unwrap_or_else(PoisonError::into_inner);
        inserted.extend(documents.into_iter().map(RawDocument::to_owned));
        shared.added.notify_all();
    } else if let Some(disk) = &shared.disk {
        let bytes: Vec<u8> = documents.into_iter().flat_map(RawDocument::as_bytes).copied().collect();
        disk.lock().unwrap_or_else(PoisonError::into_inner).append(&bytes)?;
    }
    Ok(done(rawdoc! { "n": count }))
}

/// The events of what was inserted, as soon as there are any.
fn wait(shared: &Shared) -> RawArrayBuf {
    let inserted = shared.inserted.lock().unwrap_or_else(PoisonError::into_inner);
    let waited = shared
        .added
        .wait_timeout_while(inserted, AWAIT, |inserted| inserted.is_empty());
    let (mut inserted, _) = waited.unwrap_or_else(PoisonError::into_inner);
    let mut events = RawArrayBuf::new();
    for document in inserted.drain(..) {
        events.push(event(&document));
    }
    events
}

/// An event as the server's: of a document that was inserted.
fn event(document: &RawDocument) -> RawDocumentBuf {
    let id = document.get("_id").ok().flatten().unwrap_or(bson::RawBsonRef::Null);
    let mut key = RawDocumentBuf::new();
    key.append(cstr!("_id"), id);
    rawdoc! {
        "_id": { "_data": TOKEN },
        "operationType": "insert",
        "clusterTime": Timestamp { time: 1, increment: 1 },
        "wallTime": DateTime::from_millis(0),
        "ns": { "db": "measured", "coll": "documents" },
        "documentKey": key,
        "fullDocument": document.to_owned(),
    }
}

/// An answer with as many events as fit, of documents of 200 bytes.
fn canned() -> Result<Vec<u8>> {
    let mut events = RawArrayBuf::new();
    let (mut bytes, mut n) = (0, 0_i64);
    while bytes < BATCH_BYTES - 1024 {
        let event = event(&rawdoc! { "_id": n, "text": "x".repeat(171) });
        bytes += event.as_bytes().len() + 8;
        n += 1;
        events.push(event);
    }
    Ok(Msg::new(&cursor("nextBatch", &events)).to_bytes(1, 0)?)
}
