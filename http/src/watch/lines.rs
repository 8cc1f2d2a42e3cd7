//! Newline-delimited JSON: an event a line. Where the client asks for heartbeats, lines `{"heartbeat": {"_data": …}}` say where
//! it is while nothing comes; a last line `{"problem": …}` says why a watch has failed.

use futures::{Stream, stream};
use hyper::body::Bytes;
use serde_json::json;

use super::feed::{Feed, Step};

/// A chunk is written when it has become so long.
const CHUNK_BYTES: usize = 16 << 10;

/// The chunks of the answer's body.
pub(super) fn chunks(feed: Feed) -> impl Stream<Item = Bytes> + Send {
    stream::unfold((feed, true), |(mut feed, is_first)| async move {
        if is_first && feed.tells_place {
            let place = heartbeat(&feed) + "\n";
            return Some((place.into(), (feed, false)));
        }
        loop {
            let mut out = Vec::new();
            match feed.next().await? {
                Step::Event(event, place) => {
                    out = place.buffer();
                    line(&feed, &event, &mut out);
                    while place.is_none() && out.len() < CHUNK_BYTES {
                        match feed.next_if_any().await {
                            Some(event) => line(&feed, &event, &mut out),
                            None => break,
                        }
                    }
                    if !out.is_empty() {
                        return Some((place.keep(out), (feed, false)));
                    }
                }
                Step::Quiet | Step::Stopping if feed.tells_place => {
                    out.extend_from_slice(heartbeat(&feed).as_bytes());
                    out.push(b'\n');
                }
                Step::Failed(problem) => {
                    out.extend_from_slice(json!({ "problem": problem.to_json() }).to_string().as_bytes());
                    out.push(b'\n');
                }
                Step::Quiet | Step::Ended | Step::Stopping => {}
            }
            if !out.is_empty() {
                return Some((Bytes::from(out), (feed, false)));
            }
        }
    })
}

fn line(feed: &Feed, event: &tailwater::ChangeEvent, out: &mut Vec<u8>) {
    let begins = out.len();
    match feed.writing.write(event, &mut *out) {
        true => out.push(b'\n'),
        // It has no form in the envelope.
        false => out.truncate(begins),
    }
}

/// Where the client is, as a document.
pub(super) fn heartbeat(feed: &Feed) -> String {
    json!({ "heartbeat": { "_data": feed.token().to_string() } }).to_string()
}
