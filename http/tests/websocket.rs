//! WebSockets over real sockets.

use crate::common;

use std::net::TcpStream;
use std::time::Duration;

use common::{Running, encoded};
use serde_json::Value;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

struct Client(WebSocket<TcpStream>);

impl Client {
    fn connect(served: &Running, target: &str, origin: Option<&str>) -> Result<Client, u16> {
        let mut request = format!("ws://{}{target}", served.address)
            .into_client_request()
            .unwrap();
        if let Some(origin) = origin {
            request.headers_mut().insert("origin", origin.parse().unwrap());
        }
        let stream = TcpStream::connect(served.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        match tungstenite::client(request, stream) {
            Ok((socket, _)) => Ok(Client(socket)),
            Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(response))) => {
                Err(response.status().as_u16())
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// The next message; or the code with which the server has closed.
    fn next(&mut self) -> Result<Value, CloseCode> {
        loop {
            match self.0.read().unwrap() {
                Message::Text(text) => return Ok(serde_json::from_str(&text).unwrap()),
                Message::Close(frame) => return Err(frame.unwrap().code),
                _ => {}
            }
        }
    }
}

#[test]
fn events_are_messages_and_the_end_has_a_code() {
    let mut served = Running::new();
    let target = format!("/v1/watch/shop/orders?filter={}&heartbeat=60", encoded("n > 1"));
    let mut client = Client::connect(&served, &target, None).unwrap();
    let begins = client.next().unwrap()["heartbeat"]["_data"]
        .as_str()
        .unwrap()
        .to_owned();
    served.insert(0..3);
    let event = client.next().unwrap();
    assert_eq!(event["fullDocument"]["n"], 2);

    let target = format!("/v1/watch/shop/orders?startAfter={begins}");
    let mut all = Client::connect(&served, &target, None).unwrap();
    for n in 0..3 {
        assert_eq!(all.next().unwrap()["fullDocument"]["n"], n);
    }
    served.store.drop_collection("shop", "orders").unwrap();
    assert_eq!(all.next().unwrap()["operationType"], "drop");
    assert_eq!(all.next().unwrap()["operationType"], "invalidate");
    assert_eq!(all.next(), Err(CloseCode::Normal));

    let mut other = Client::connect(&served, "/v1/watch", None).unwrap();
    let waiting = std::thread::spawn(move || other.next());
    // The thread may begin to wait before or after the end; it is told all the same.
    served.stop();
    assert_eq!(waiting.join().unwrap(), Err(CloseCode::Away));
}

#[test]
fn pages_of_other_origins_are_refused() {
    let served = Running::with(|options| options.allowed_origins = vec!["https://shop.example".into()]);
    let own = format!("http://{}", served.address);
    for (origin, refused) in [
        (Some(own.as_str()), None),
        (Some("https://shop.example"), None),
        (Some("https://evil.example"), Some(403)),
    ] {
        let connected = Client::connect(&served, "/v1/watch", origin);
        assert_eq!(connected.err(), refused, "{origin:?}");
    }
}

#[test]
fn a_watch_that_cannot_begin_is_refused_before_the_socket_is_one() {
    let served = Running::new();
    let target = format!("/v1/watch?filter={}", encoded("n >"));
    assert_eq!(Client::connect(&served, &target, None).err(), Some(400));
}

#[test]
fn what_a_client_says_is_bounded_and_ignored() {
    let served = Running::new();
    let mut client = Client::connect(&served, "/v1/watch/shop/orders?heartbeat=60", None).unwrap();
    client.next().unwrap();
    client.0.send(Message::text("hello")).unwrap();
    client.0.send(Message::Ping(b"here".as_slice().into())).unwrap();
    served.insert(0..1);
    assert_eq!(client.next().unwrap()["fullDocument"]["n"], 0);
    client.0.send(Message::text("x".repeat(1 << 20))).ok();
    // Such a client is left, whatever it makes of that.
    while client.0.read().is_ok() {}
}

#[test]
fn a_large_event_is_one_message() {
    let served = Running::new();
    let mut client = Client::connect(&served, "/v1/watch/shop/orders?from=oldest", None).unwrap();
    let orders = served.store.collection("shop", "orders").unwrap();
    let text = "é".repeat(1 << 20);
    orders
        .insert_one(&bson::rawdoc! { "_id": 1, "text": text.as_str() })
        .unwrap();
    served.insert(2..3);
    assert_eq!(client.next().unwrap()["fullDocument"]["text"], text);
    assert_eq!(client.next().unwrap()["fullDocument"]["n"], 2);
}
