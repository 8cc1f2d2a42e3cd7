//! Server-Sent Events (HTML standard: *Server-sent events*).
//!
//! Each event's id is its resume token, which a browser sends as `Last-Event-ID` when it reconnects. While nothing comes, blocks
//! without data move the id on, which makes no event in the browser.

use std::io::Write as _;

use futures::{Stream, stream};
use hyper::StatusCode;
use hyper::body::Bytes;
use tailwater::{ChangeEvent, ResumeToken};

use super::feed::{Feed, Step};

/// A chunk is written when it has become so long.
const CHUNK_BYTES: usize = 16 << 10;
/// Milliseconds after which a browser reconnects.
const RETRY: u32 = 2000;
/// After a failure that it would meet again.
const RETRY_FAILED: u32 = 30_000;

/// The chunks of the answer's body.
pub(super) fn chunks(feed: Feed) -> impl Stream<Item = Bytes> + Send {
    stream::unfold((feed, true), |(mut feed, is_first)| async move {
        let mut out = Vec::new();
        if is_first {
            // From here on a client that loses its connection loses nothing.
            let token = feed.token();
            put(&mut out, format_args!("retry: {RETRY}\nid: {token}\n\n"));
            return Some((Bytes::from(out), (feed, false)));
        }
        match feed.next().await? {
            Step::Event(event, place) => {
                out = place.buffer();
                event_block(&feed, &event, &mut out);
                while place.is_none() && out.len() < CHUNK_BYTES {
                    match feed.next_if_any().await {
                        Some(event) => event_block(&feed, &event, &mut out),
                        None => break,
                    }
                }
                return Some((place.keep(out), (feed, false)));
            }
            Step::Quiet => {
                let token = feed.token();
                put(&mut out, format_args!(": \nid: {token}\n\n"));
            }
            // A browser that reconnects behind an `invalidate` is told that it is over.
            Step::Ended => put(&mut out, format_args!(": what was watched has ended\n\n")),
            Step::Failed(problem) => {
                let retry = match problem.status() {
                    StatusCode::SERVICE_UNAVAILABLE => RETRY,
                    _ => RETRY_FAILED,
                };
                let problem = problem.to_json();
                put(
                    &mut out,
                    format_args!("retry: {retry}\nevent: problem\ndata: {problem}\n\n"),
                );
            }
            Step::Stopping => {
                let token = feed.token();
                put(
                    &mut out,
                    format_args!(": the server stops\nretry: {RETRY}\nid: {token}\n\n"),
                );
            }
        }
        Some((Bytes::from(out), (feed, false)))
    })
}

fn event_block(feed: &Feed, event: &ChangeEvent, out: &mut Vec<u8>) {
    let token: ResumeToken = event.resume_token();
    put(out, format_args!("id: {token}\n"));
    let begins = out.len();
    out.extend_from_slice(b"data: ");
    match feed.writing.write(event, &mut *out) {
        // JSON has no line breaks, so it is one line of data.
        true => out.push(b'\n'),
        // It has no form in the envelope: the id moves on past it.
        false => out.truncate(begins),
    }
    out.push(b'\n');
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing into memory does not fail.
    let _ = out.write_fmt(text);
}
