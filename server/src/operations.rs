//! What is being carried out now, for `currentOp` and `killOp`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bson::raw::{CString, cstr};
use bson::{RawDocumentBuf, rawdoc};

use crate::context::Peer;
use crate::request::Request;

/// A command that is being carried out.
struct Operation {
    command: &'static str,
    namespace: String,
    connection: i32,
    client: SocketAddr,
    app_name: Option<String>,
    /// The cursor that a `getMore` has.
    cursor: Option<i64>,
    started: Instant,
}

/// The commands that are being carried out, by their numbers.
#[derive(Default)]
pub(crate) struct Operations {
    running: Mutex<BTreeMap<i32, Operation>>,
    begun: AtomicI32,
}

/// A command's place among them, which it leaves when it is done.
pub(crate) struct Running<'a> {
    operations: &'a Operations,
    id: i32,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.operations.lock().remove(&self.id);
    }
}

impl Operations {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<i32, Operation>> {
        // Every change is one step.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A command begins.
    pub(crate) fn begin(&self, command: &'static str, request: &Request<'_>, peer: &Peer) -> Running<'_> {
        let id = self.begun.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let (collection, cursor) = match command {
            "getMore" => (
                request.body.get_str("collection").ok(),
                request.body.get_i64("getMore").ok(),
            ),
            _ => (request.collection().ok(), None),
        };
        let operation = Operation {
            command,
            namespace: format!("{}.{}", request.database, collection.unwrap_or("$cmd")),
            connection: peer.id,
            client: peer.address,
            app_name: peer.app_name.get().cloned(),
            cursor,
            started: Instant::now(),
        };
        self.lock().insert(id, operation);
        Running { operations: self, id }
    }

    /// A document for each, as `currentOp` shows them.
    pub(crate) fn documents(&self) -> Vec<RawDocumentBuf> {
        let running = self.lock();
        running.iter().map(|(id, operation)| operation.document(*id)).collect()
    }

    /// The cursor that the operation of that number waits with, if it is a `getMore`.
    pub(crate) fn cursor(&self, id: i32) -> Option<i64> {
        self.lock().get(&id)?.cursor
    }
}

impl Operation {
    fn document(&self, id: i32) -> RawDocumentBuf {
        let elapsed = self.started.elapsed();
        let op = match self.command {
            "getMore" => "getmore",
            "find" => "query",
            "insert" => "insert",
            "update" => "update",
            "delete" => "remove",
            _ => "command",
        };
        let mut command = RawDocumentBuf::new();
        if let Ok(name) = CString::try_from(self.command) {
            command.append(name, 1);
        }
        let mut document = rawdoc! {
            "type": "op",
            "desc": format!("conn{}", self.connection),
            "connectionId": self.connection,
            "client": self.client.to_string(),
            "active": true,
            "opid": id,
            "secs_running": i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX),
            "microsecs_running": i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX),
            "op": op,
            "ns": self.namespace.as_str(),
            "command": command,
        };
        if let Some(name) = &self.app_name {
            document.append(cstr!("appName"), name.as_str());
        }
        if let Some(cursor) = self.cursor {
            document.append(cstr!("cursor"), rawdoc! { "cursorId": cursor });
        }
        document
    }
}
