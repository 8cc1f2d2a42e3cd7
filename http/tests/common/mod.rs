//! A server in this process, and a client that speaks HTTP and nothing more.

#![allow(dead_code, reason = "each test file uses a part")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use tailwater::Store;
use tailwater_auth::{Authentication, Authority};
use tailwater_http::{HttpHandle, HttpOptions, HttpServer};

/// A server over a store of its own, which ends with it.
pub(crate) struct Running {
    pub(crate) store: Store,
    pub(crate) authority: Arc<Authority>,
    pub(crate) address: SocketAddr,
    handle: HttpHandle,
    thread: Option<JoinHandle<()>>,
    dir: Option<tempfile::TempDir>,
}

impl Running {
    pub(crate) fn new() -> Running {
        Running::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut HttpOptions)) -> Running {
        let dir = tempfile::tempdir().unwrap();
        let mut options = HttpOptions {
            bind: "127.0.0.1:0".parse().unwrap(),
            ..HttpOptions::default()
        };
        change(&mut options);
        Running::over(Store::open(dir.path()).unwrap(), options).keeping(dir)
    }

    pub(crate) fn over(store: Store, options: HttpOptions) -> Running {
        let authority = Authority::open(store.clone(), Authentication::OnceThereAreUsers).unwrap();
        let authority = Arc::new(authority);
        let server = HttpServer::bind(store.clone(), Arc::clone(&authority), options).unwrap();
        let (address, handle) = (server.local_addr(), server.handle());
        let thread = std::thread::spawn(move || server.run().unwrap());
        Running {
            store,
            authority,
            address,
            handle,
            thread: Some(thread),
            dir: None,
        }
    }

    fn keeping(mut self, dir: tempfile::TempDir) -> Running {
        self.dir = Some(dir);
        self
    }

    /// Stops it and waits for its end.
    pub(crate) fn stop(&mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }

    /// Closes the store and opens it again, behind a server at the same address.
    pub(crate) fn restart(mut self) -> Running {
        self.stop();
        let dir = self.dir.take().unwrap();
        self.store.clone().close().unwrap();
        let options = HttpOptions {
            bind: self.address,
            ..HttpOptions::default()
        };
        Running::over(Store::open(dir.path()).unwrap(), options).keeping(dir)
    }

    /// Asks for something with further header lines.
    pub(crate) fn get(&self, target: &str, headers: &[&str]) -> Response {
        request(self.address, &format!("GET {target} HTTP/1.1"), headers)
    }

    /// Inserts documents `{_id: n, n: n}`.
    pub(crate) fn insert(&self, numbers: std::ops::Range<i32>) {
        let orders = self.store.collection("shop", "orders").unwrap();
        for n in numbers {
            orders.insert_one(&bson::rawdoc! { "_id": n, "n": n }).unwrap();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Sends a request and reads the head of its answer.
pub(crate) fn request(address: SocketAddr, line: &str, headers: &[&str]) -> Response {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut text = format!("{line}\r\n");
    if !headers
        .iter()
        .any(|header| header.to_ascii_lowercase().starts_with("host:"))
    {
        text += &format!("Host: {address}\r\n");
    }
    for header in headers {
        text += &format!("{header}\r\n");
    }
    stream.write_all((text + "\r\n").as_bytes()).unwrap();
    Response::read(stream)
}

/// An answer whose body is read as it comes.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    reader: BufReader<TcpStream>,
    /// What has come of a chunked body and was not looked at.
    text: Vec<u8>,
    ended: bool,
}

impl Response {
    pub(crate) fn read(stream: TcpStream) -> Response {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no answer: {line:?}"));
        let mut headers = Vec::new();
        loop {
            line.clear();
            reader.read_line(&mut line).unwrap();
            match line.trim_end().split_once(": ") {
                Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.to_owned())),
                None => break,
            }
        }
        Response {
            status,
            headers,
            reader,
            text: Vec::new(),
            ended: false,
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        self.reader.get_ref()
    }

    /// The body of an answer that says how long it is.
    pub(crate) fn body(mut self) -> String {
        let length = self.header("content-length").unwrap_or("0").parse().unwrap();
        let mut body = vec![0; length];
        self.reader.read_exact(&mut body).unwrap();
        String::from_utf8(body).unwrap()
    }

    pub(crate) fn json(self) -> Value {
        let body = self.body();
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"))
    }

    /// The next line of a chunked body; nothing at its end, or when the connection is broken off.
    pub(crate) fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.text.iter().position(|&byte| byte == b'\n') {
                let rest = self.text.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.text, rest);
                line.pop();
                return Some(String::from_utf8(line).unwrap());
            }
            if self.ended || !self.chunk() {
                self.ended = true;
                return None;
            }
        }
    }

    fn chunk(&mut self) -> bool {
        let mut size = String::new();
        if self.reader.read_line(&mut size).unwrap_or(0) == 0 {
            return false;
        }
        let size = usize::from_str_radix(size.trim_end(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        if self.reader.read_exact(&mut chunk).is_err() {
            return false;
        }
        chunk.truncate(size);
        self.text.extend(chunk);
        size > 0
    }

    /// The next block of an event stream.
    pub(crate) fn block(&mut self) -> Option<Block> {
        let mut block = Block::default();
        loop {
            let line = self.line()?;
            match line.split_once(": ") {
                _ if line.is_empty() => return Some(block),
                Some(("", _)) => block.is_comment = true,
                Some(("id", id)) => block.id = Some(id.to_owned()),
                Some(("event", name)) => block.event = Some(name.to_owned()),
                Some(("retry", _)) => block.has_retry = true,
                Some(("data", data)) => block.data = Some(serde_json::from_str(data).unwrap()),
                _ => panic!("no line of an event stream: {line:?}"),
            }
        }
    }

    /// The next block with data.
    pub(crate) fn event(&mut self) -> Option<Block> {
        loop {
            let block = self.block()?;
            if block.data.is_some() {
                return Some(block);
            }
        }
    }

    /// The field `n` of the next event's document.
    pub(crate) fn number(&mut self) -> i64 {
        let event = self.event().expect("an event");
        event.data.unwrap()["fullDocument"]["n"].as_i64().unwrap()
    }
}

/// A block of an event stream.
#[derive(Debug, Default)]
pub(crate) struct Block {
    pub(crate) id: Option<String>,
    pub(crate) event: Option<String>,
    pub(crate) data: Option<Value>,
    pub(crate) is_comment: bool,
    pub(crate) has_retry: bool,
}

/// Looks until it is so.
#[track_caller]
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(180);
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A text as it may stand in a query.
pub(crate) fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

impl Response {
    /// The status of `/healthz`, if the server has a place for a connection.
    pub(crate) fn read_if_any(address: SocketAddr) -> Option<u16> {
        let response = request(address, "GET /healthz HTTP/1.1", &["Connection: close"]);
        Some(response.status).filter(|status| *status != 503)
    }
}
