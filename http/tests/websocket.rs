//! WebSockets over real sockets, and what is encrypted, WebSockets among it.

use crate::common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::{Running, encoded, until};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::Value;
use tailwater::Store;
use tailwater_auth::{Authentication, Authority, ClientCertificates, Tls, TlsOptions};
use tailwater_http::{HttpOptions, HttpServer};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
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

/// An authority with a certificate that it has signed, good for a server on this machine and for a client.
struct Signed {
    ca: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

impl Signed {
    fn new(dir: &Path, name: &str) -> Signed {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        let [ca, own, own_key] = ["ca", "cert", "key"].map(|kind| dir.join(format!("{name}-{kind}.pem")));
        std::fs::write(&ca, authority.pem()).unwrap();
        std::fs::write(&own, certificate.pem()).unwrap();
        std::fs::write(&own_key, key.serialize_pem()).unwrap();
        Signed {
            ca,
            certificate: own,
            key: own_key,
        }
    }

    fn tls(&self, client_certificates: ClientCertificates) -> Arc<Tls> {
        let asks = client_certificates != ClientCertificates::NotAsked;
        let options = TlsOptions {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            client_authorities: asks.then(|| self.ca.clone()),
            client_certificates,
        };
        Arc::new(Tls::load(options).unwrap())
    }
}

type Encrypted = StreamOwned<ClientConnection, TcpStream>;

/// A connection to a server of that authority, with a certificate of one's own if one is given; an error when one of both sides does
/// not take the other's.
fn encrypted(served: &Running, authority: &Signed, own: Option<&Signed>) -> std::io::Result<Encrypted> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(&authority.ca).unwrap())
        .unwrap();
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let certificate = CertificateDer::from_pem_file(&own.certificate).unwrap();
            let key = PrivateKeyDer::from_pem_file(&own.key).unwrap();
            builder.with_client_auth_cert(vec![certificate], key).unwrap()
        }
    };
    // As browsers ask.
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let stream = TcpStream::connect(served.address)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut encrypted = StreamOwned::new(connection, stream);
    // With TLS 1.3 a client hears whether its certificate was taken with the first answer.
    write!(encrypted, "GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", served.address)?;
    let mut line = [0; 17];
    encrypted.read_exact(&mut line)?;
    assert_eq!(&line, b"HTTP/1.1 200 OK\r\n");
    let mut last = [0; 4];
    while last != *b"\r\n\r\n" {
        last.rotate_left(1);
        encrypted.read_exact(&mut last[3..])?;
    }
    // What is healthy says so in a word.
    let mut body = [0; 3];
    encrypted.read_exact(&mut body)?;
    assert_eq!(&body, b"ok\n");
    assert_eq!(encrypted.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    Ok(encrypted)
}

#[test]
fn event_streams_and_websockets_are_encrypted_where_the_server_has_a_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let ours = Signed::new(dir.path(), "ours");
    let other = Signed::new(dir.path(), "other");
    let tls = ours.tls(ClientCertificates::NotAsked);
    let served = Running::with(|options| options.tls = Some(Arc::clone(&tls)));

    let mut events = encrypted(&served, &ours, None).unwrap();
    let head = format!("GET /v1/watch/shop/orders HTTP/1.1\r\nHost: {}\r\n\r\n", served.address);
    events.write_all(head.as_bytes()).unwrap();
    let mut events = BufReader::new(events).lines().map(Result::unwrap);
    assert!(events.any(|line| line.starts_with("id: ")), "the watch has not begun");
    let request = format!("wss://{}/v1/watch/shop/orders?heartbeat=60", served.address);
    let socket = encrypted(&served, &ours, None).unwrap();
    let (mut socket, _) = tungstenite::client(request, socket).unwrap_or_else(|error| panic!("{error}"));
    assert!(socket.read().unwrap().into_text().unwrap().contains("heartbeat"));
    served.insert(0..1);
    let event = events.find(|line| line.starts_with("data: ")).unwrap();
    let event: Value = serde_json::from_str(&event[6..]).unwrap();
    assert_eq!(event["fullDocument"]["n"], 0);
    let event: Value = serde_json::from_str(&socket.read().unwrap().into_text().unwrap()).unwrap();
    assert_eq!(event["fullDocument"]["n"], 0);

    // Who knows another authority does not connect; and after a new certificate was read, the other way round.
    assert!(encrypted(&served, &other, None).is_err());
    std::fs::copy(&other.certificate, &ours.certificate).unwrap();
    std::fs::copy(&other.key, &ours.key).unwrap();
    tls.reload().unwrap();
    encrypted(&served, &other, None).unwrap();
    assert!(encrypted(&served, &ours, None).is_err());
    served.insert(1..2);
    let event: Value = serde_json::from_str(&socket.read().unwrap().into_text().unwrap()).unwrap();
    assert_eq!(event["fullDocument"]["n"], 1);
}

#[test]
fn clients_show_certificates_where_the_server_asks_for_them() {
    let dir = tempfile::tempdir().unwrap();
    let ours = Signed::new(dir.path(), "ours");
    let stranger = Signed::new(dir.path(), "stranger");
    for (asked, without) in [
        (ClientCertificates::Required, false),
        (ClientCertificates::Optional, true),
    ] {
        let served = Running::with(|options| options.tls = Some(ours.tls(asked)));
        assert!(encrypted(&served, &ours, Some(&ours)).is_ok(), "{asked:?}");
        assert_eq!(encrypted(&served, &ours, None).is_ok(), without, "{asked:?}");
        assert!(encrypted(&served, &ours, Some(&stranger)).is_err(), "{asked:?}");
    }
}

#[test]
fn who_does_not_encrypt_is_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let ours = Signed::new(dir.path(), "ours");
    let served = Running::with(|options| options.tls = Some(ours.tls(ClientCertificates::NotAsked)));
    let refused = served.get("/healthz", &[]);
    assert_eq!(refused.status, 400);
    assert!(refused.json()["detail"].as_str().unwrap().contains("https"));
    assert!(encrypted(&served, &ours, None).is_ok());
}

/// Whether the other side closes the connection, in order or not, and says nothing before.
fn is_closed(mut stream: TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    match stream.read(&mut [0; 1]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn handshakes_that_are_not_finished_are_ended_in_time_and_count_among_the_connections() {
    let dir = tempfile::tempdir().unwrap();
    let ours = Signed::new(dir.path(), "ours");
    let with = |handshake_deadline, connections_max| {
        Running::with(|options| {
            *options = HttpOptions {
                tls: Some(ours.tls(ClientCertificates::NotAsked)),
                handshake_deadline,
                connections_max,
                ..options.clone()
            };
        })
    };
    // The beginning of a record of the handshake, whose rest never comes; and nothing at all.
    for said in [&[22_u8, 3, 1, 2, 0, 1][..], &[]] {
        let served = with(Duration::from_millis(20), 10);
        let mut slow = TcpStream::connect(served.address).unwrap();
        slow.write_all(said).unwrap();
        assert!(is_closed(slow));
    }
    let served = with(Duration::from_secs(3600), 1);
    let silent = TcpStream::connect(served.address).unwrap();
    assert!(is_closed(TcpStream::connect(served.address).unwrap()));
    drop(silent);
    // Its place is free as soon as the server has noticed.
    until("the place of a client that is gone is free", || {
        encrypted(&served, &ours, None).is_ok()
    });
}

#[test]
fn an_address_that_others_reach_is_served_encrypted_when_clients_log_in() {
    let dir = tempfile::tempdir().unwrap();
    let ours = Signed::new(dir.path(), "ours");
    let store = Store::open(dir.path().join("store")).unwrap();
    for (authentication, bound) in [(Authentication::Required, true), (Authentication::Off, false)] {
        let authority = Arc::new(Authority::open(store.clone(), authentication).unwrap());
        let options = HttpOptions {
            bind: "0.0.0.0:0".parse().unwrap(),
            tls: Some(ours.tls(ClientCertificates::NotAsked)),
            ..HttpOptions::default()
        };
        let server = HttpServer::bind(store.clone(), authority, options);
        assert_eq!(server.is_ok(), bound, "{authentication:?}");
    }
}
