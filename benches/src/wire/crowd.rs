//! What a client that waits for Server-Sent Events takes of the server's memory, when ten thousand with filters of their own wait.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use rustix::process::{Resource, getrlimit, setrlimit};

use super::server::Served;
use crate::harness::{Plan, Result};
use crate::report::{Comparison, Unit};

const CLIENTS: usize = 10_000;
/// Files that this program has open besides.
const OTHER_FILES: u64 = 200;
/// What a client may take.
const BYTES_MAX: f64 = 20.0 * 1024.0;
/// Memory does not vary as times do.
const ROUNDS_MAX: usize = 3;

pub(super) fn event_streams(plan: &Plan) -> Result<Vec<Comparison>> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit)?;
    if limit.current.is_some_and(|files| files < CLIENTS as u64 + OTHER_FILES) {
        return Err("sse-10k needs a limit of open files above 10,200; see `ulimit -Hn`".into());
    }
    let rounds = (0..plan.rounds.min(ROUNDS_MAX)).map(|_| round(plan));
    let bytes: Vec<f64> = rounds.collect::<Result<_>>()?;
    Ok(vec![Comparison::new(
        "sse-10k",
        Unit::Bytes,
        vec![BYTES_MAX; bytes.len()],
        bytes,
    )])
}

fn round(plan: &Plan) -> Result<f64> {
    let served = Served::start(plan)?;
    // What the first one costs, the threads and the index, belongs to all.
    let first = watch(served.http, 0)?;
    let before = served.memory();
    let clients: Vec<TcpStream> = (1..=CLIENTS).map(|n| watch(served.http, n)).collect::<Result<_>>()?;
    let bytes = (served.memory() - before) / clients.len() as f64;
    drop((first, clients));
    Ok(bytes)
}

/// A client that watches one user's orders, as soon as it does.
fn watch(server: SocketAddr, user: usize) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(server)?;
    let filter = format!("tenant%20is%20{}%20and%20userId%20is%20{user}", user % 100);
    let request = format!("GET /v1/watch/shop/orders?filter={filter} HTTP/1.1\r\nHost: {server}\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut piece = [0; 1024];
    while !answer.ends_with(b"\n\n\r\n") {
        match stream.read(&mut piece)? {
            0 => return Err(format!("not watched: {}", String::from_utf8_lossy(&answer)).into()),
            bytes => answer.extend(&piece[..bytes]),
        }
    }
    Ok(stream)
}
