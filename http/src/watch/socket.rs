//! WebSockets (RFC 6455): an event a text message, heartbeats and problems as with lines. A client that sends anything but
//! control frames is not listened to.
//!
//! The socket is closed with 1000 when what was watched has ended, 1001 when the server stops, and 1011, behind the message with
//! the problem, when the watch has failed.

use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use hyper::body::Incoming;
use hyper::header::{
    CONNECTION, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tailwater::ChangeEvent;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};

use super::feed::{Feed, Step};
use super::lines::heartbeat;
use crate::body::Body;
use crate::connection::Peer;
use crate::envelope::Writing;
use crate::problem::{Answer, Problem};

/// Bytes of a message from the client; there is nothing that it could say.
const INCOMING_BYTES_MAX: usize = 4 << 10;
/// Bytes that are collected before they are given to the system.
const WRITE_BYTES: usize = 16 << 10;
/// Bytes of a large event that are sent in one frame.
const FRAGMENT_BYTES: usize = 64 << 10;

/// Events that are sent before the client is listened to.
const EVENTS_AT_ONCE: usize = 128;
/// How long a client may take to agree to an end.
const CLOSING: Duration = Duration::from_secs(1);

type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Whether the request would go on as a WebSocket.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let upgrade = headers.get(UPGRADE).and_then(|value| value.to_str().ok());
    upgrade.is_some_and(|protocol| protocol.eq_ignore_ascii_case("websocket"))
}

/// A connection that becomes a WebSocket.
pub(super) struct Upgrade {
    accept: HeaderValue,
    upgrading: OnUpgrade,
}

impl Upgrade {
    /// Checks what the client says for it.
    pub(super) fn of(request: &mut Request<Incoming>) -> Answer<Upgrade> {
        let refused = |detail: &str| Problem::new(StatusCode::BAD_REQUEST, detail);
        if *request.method() != Method::GET {
            return Err(refused("a WebSocket begins with a GET"));
        }
        let headers = request.headers();
        let named = |value: &HeaderValue| {
            let list = value.to_str().unwrap_or_default();
            list.split(',')
                .any(|token| token.trim().eq_ignore_ascii_case("upgrade"))
        };
        if !headers.get_all(CONNECTION).iter().any(named) {
            return Err(refused("a WebSocket needs the header Connection: upgrade"));
        }
        if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
            let problem = Problem::new(
                StatusCode::UPGRADE_REQUIRED,
                "this server speaks version 13 of WebSocket",
            );
            return Err(problem.with_header(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13")));
        }
        let key = headers.get(SEC_WEBSOCKET_KEY);
        let key = key.ok_or_else(|| refused("a WebSocket needs the header Sec-WebSocket-Key"))?;
        let accept = derive_accept_key(key.as_bytes());
        Ok(Upgrade {
            accept: HeaderValue::from_str(&accept).map_err(|_| refused("the header Sec-WebSocket-Key is malformed"))?,
            upgrading: hyper::upgrade::on(request),
        })
    }

    /// Answers, and serves the watch as soon as the client has the answer. `peer` keeps its place until then.
    pub(super) fn serve(self, feed: Feed, peer: Arc<Peer>) -> Response<Body> {
        tokio::spawn(async move {
            let Ok(upgraded) = self.upgrading.await else {
                // It is gone.
                return;
            };
            let config = WebSocketConfig::default()
                .read_buffer_size(INCOMING_BYTES_MAX)
                .write_buffer_size(WRITE_BYTES)
                .max_message_size(Some(INCOMING_BYTES_MAX))
                .max_frame_size(Some(INCOMING_BYTES_MAX));
            let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
            tokio::select! {
                served = run(socket, feed) => if let Err(error) = served {
                    tracing::debug!(%error, "a websocket has ended");
                },
                () = peer.eviction.told() => tracing::info!("a client was left that has taken too little of a large event"),
            }
        });
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, self.accept);
        response
    }
}

async fn run(mut socket: Socket, mut feed: Feed) -> Result<(), Error> {
    if feed.tells_place {
        socket.send(Message::text(heartbeat(&feed))).await?;
    }
    loop {
        let step = tokio::select! {
            incoming = socket.next() => match incoming {
                // Pings are answered on the way.
                Some(Ok(message)) if !message.is_close() => continue,
                Some(Ok(_)) | None => return Ok(()),
                Some(Err(error)) => return Err(error),
            },
            step = feed.next() => step,
        };
        match step {
            Some(Step::Event(event, place)) if place.is_none() => {
                put(&mut socket, feed.writing, &event).await?;
                // What is there goes out together, up to where the client is heard again.
                for _ in 1..EVENTS_AT_ONCE {
                    let Some(event) = feed.next_if_any().await else { break };
                    put(&mut socket, feed.writing, &event).await?;
                }
                socket.flush().await?;
            }
            Some(Step::Event(event, place)) => {
                let mut text = place.buffer();
                if feed.writing.write(&event, &mut text) {
                    send_large(&mut socket, place.keep(text)).await?;
                }
            }
            Some(Step::Quiet) if feed.tells_place => socket.send(Message::text(heartbeat(&feed))).await?,
            Some(Step::Quiet) => socket.send(Message::Ping(Bytes::new())).await?,
            Some(Step::Failed(problem)) => {
                let told = json!({ "problem": problem.to_json() });
                socket.send(Message::text(told.to_string())).await?;
                return close(socket, CloseCode::Error, "the watch has failed").await;
            }
            Some(Step::Stopping) => {
                if feed.tells_place {
                    socket.send(Message::text(heartbeat(&feed))).await?;
                }
                return close(socket, CloseCode::Away, "the server stops").await;
            }
            Some(Step::Ended) | None => return close(socket, CloseCode::Normal, "what was watched has ended").await,
        }
    }
}

/// Sends an event, without waiting until it is out.
async fn put(socket: &mut Socket, writing: Writing, event: &ChangeEvent) -> Result<(), Error> {
    let mut text = Vec::new();
    if !writing.write(event, &mut text) {
        // It has no form in the envelope.
        return Ok(());
    }
    // JSON is UTF-8.
    let text = String::from_utf8(text).unwrap_or_default();
    socket.feed(Message::text(text)).await
}

/// Sends a text in fragments, of which one is copied at a time: the socket keeps what it has copied into once.
async fn send_large(socket: &mut Socket, mut text: Bytes) -> Result<(), Error> {
    let mut opcode = OpCode::Data(Data::Text);
    while !text.is_empty() {
        let fragment = text.split_to(text.len().min(FRAGMENT_BYTES));
        let frame = Frame::message(fragment, opcode, text.is_empty());
        socket.send(Message::Frame(frame)).await?;
        opcode = OpCode::Data(Data::Continue);
    }
    Ok(())
}

/// Closes the socket, and waits until the client has, too.
async fn close(mut socket: Socket, code: CloseCode, reason: &'static str) -> Result<(), Error> {
    let frame = CloseFrame {
        code,
        reason: reason.into(),
    };
    socket.close(Some(frame)).await?;
    let closed = async { while let Some(Ok(_)) = socket.next().await {} };
    // Who does not agree in time is left.
    let _ = tokio::time::timeout(CLOSING, closed).await;
    Ok(())
}
