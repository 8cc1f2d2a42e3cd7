//! What many clients cost a server.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tailwater_tests::served::Served;

const WATCHERS: usize = 10_000;
/// Files that a test has open besides.
const OTHER_FILES: usize = 200;
const BYTES_EACH_MAX: usize = 20 << 10;

#[test]
fn ten_thousand_event_streams_with_filters_of_their_own_cost_at_most_20_kib_each() {
    let served = Served::start();
    // What the first one costs, the threads and the index, belongs to all.
    let first = watch(served.http(), 0);
    let before = memory(served.pid());
    let count = WATCHERS.min(open_files_max().saturating_sub(OTHER_FILES));
    let watchers: Vec<TcpStream> = (1..=count).map(|n| watch(served.http(), n)).collect();
    let each = memory(served.pid()).saturating_sub(before) / count;
    assert!((1..=BYTES_EACH_MAX).contains(&each), "{each} bytes for each of {count}");
    drop((first, watchers));
    served.stop();
}

/// A client that watches one user's orders, as soon as it does.
fn watch(server: SocketAddr, user: usize) -> TcpStream {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let filter = format!("tenant%20is%20{}%20and%20userId%20is%20{user}", user % 100);
    let request = format!("GET /v1/watch/shop/orders?filter={filter} HTTP/1.1\r\nHost: {server}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let mut piece = [0; 1024];
    while !answer.ends_with(b"\n\n\r\n") {
        let bytes = stream.read(&mut piece).unwrap();
        assert!(bytes > 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend(&piece[..bytes]);
    }
    assert!(
        answer.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    stream
}

/// Bytes of a process that are not mapped files.
fn memory(pid: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

/// Files that a process may have open.
fn open_files_max() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace()
        .nth(3)
        .and_then(|soft| soft.parse().ok())
        .unwrap_or(WATCHERS * 2)
}
