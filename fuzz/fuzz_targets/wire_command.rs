//! Commands of any form at a live server, over a socket: each is answered or ends its connection, and the server goes on.
//!
//! The input is a list of commands, each a byte for its name, one for its database and sessions, one for a length, and so many bytes
//! that are its fields; what is no document stands as the value of a field instead.
#![no_main]

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bson::raw::{CString, cstr};
use bson::{Binary, RawDocument, RawDocumentBuf, rawdoc};
use libfuzzer_sys::fuzz_target;
use tailwater::{Durability, Store, StoreOptions};
use tailwater_auth::{Authentication, Authority};
use tailwater_fuzz::{Input, directory};
use tailwater_server::{Server, ServerOptions};
use tailwater_wire::{HEADER_BYTES, Header, Msg};

static SERVER: LazyLock<SocketAddr> = LazyLock::new(|| {
    // It stays as long as the process.
    let dir = directory().keep();
    let options = StoreOptions {
        durability: Durability::Memory,
        cache_bytes: 8 << 20,
        ..StoreOptions::default()
    };
    let store = Store::open_with(&dir, &options).unwrap();
    let authority = Arc::new(Authority::open(store.clone(), Authentication::Off).unwrap());
    let options = ServerOptions {
        bind: "127.0.0.1:0".parse().unwrap(),
        cursors_max: 100,
        ..ServerOptions::default()
    };
    let server = Server::bind(store, authority, options).unwrap();
    let address = server.local_addr();
    std::thread::spawn(move || server.run().unwrap());
    address
});

/// Names of all commands but those that wait on purpose or make keys of passwords, which takes long.
static NAMES: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let slow = ["createUser", "updateUser", "hello", "getMore", "fsync", "configureFailPoint"];
    let names = tailwater_server::help().map(|(name, _)| name);
    names.filter(|name| !slow.contains(name)).collect()
});

thread_local! {
    static CONNECTION: RefCell<Option<TcpStream>> = const { RefCell::new(None) };
}

/// Whether the message was answered.
fn ask(stream: &mut TcpStream, body: &RawDocument) -> Option<()> {
    let bytes = Msg::new(body).to_bytes(1, 0).ok()?;
    stream.write_all(&bytes).ok()?;
    let mut head = [0; HEADER_BYTES];
    stream.read_exact(&mut head).ok()?;
    let header = Header::parse(&head).expect("an answer has a head");
    let mut rest = vec![0; header.body_bytes()];
    stream.read_exact(&mut rest).ok()?;
    let answer = Msg::parse(&header, &rest).expect("an answer is a message");
    assert!(answer.body.get("ok").expect("an answer is a document").is_some());
    Some(())
}

fn connect() -> TcpStream {
    let mut stream = TcpStream::connect(*SERVER).expect("the server accepts connections");
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    ask(&mut stream, &rawdoc! { "ping": 1, "$db": "admin" }).expect("the server answers");
    stream
}

fn command(input: &mut Input<'_>) -> RawDocumentBuf {
    let name = NAMES[usize::from(input.u8()) % NAMES.len()];
    let place = input.u8();
    let length = usize::from(input.u8()).min(input.0.len());
    let (bytes, rest) = input.0.split_at(length);
    input.0 = rest;
    let mut body = RawDocumentBuf::new();
    let name = CString::try_from(name).unwrap();
    match RawDocument::from_bytes(bytes) {
        Ok(fields) => {
            let mut fields = fields.iter().map_while(Result::ok).peekable();
            // The first is what the command is about, under whatever name.
            match fields.next() {
                Some((_, subject)) => body.append(&name, subject),
                None => body.append(&name, "c"),
            }
            fields.for_each(|(name, value)| body.append(name, value));
        }
        Err(_) => body.append(&name, String::from_utf8_lossy(bytes).as_ref()),
    }
    body.append(cstr!("$db"), ["test", "admin", "local", "tailwater"][usize::from(place & 3)]);
    body.append(cstr!("maxTimeMS"), 1000);
    if place & 4 != 0 {
        let id = bson::Uuid::from_bytes([place; 16]);
        body.append(cstr!("lsid"), rawdoc! { "id": Binary::from_uuid(id) });
        body.append(cstr!("txnNumber"), i64::from(place >> 5));
        if place & 8 != 0 {
            body.append(cstr!("autocommit"), false);
            body.append(cstr!("startTransaction"), place & 16 != 0);
        }
    }
    body
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    CONNECTION.with_borrow_mut(|connection| {
        for _ in 0..4 {
            let stream = connection.get_or_insert_with(connect);
            if ask(stream, &command(&mut input)).is_none() {
                // The next connection says whether the server is still there.
                *connection = None;
            }
        }
    });
});
