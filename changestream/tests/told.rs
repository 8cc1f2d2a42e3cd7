//! What change streams tell through `tracing`. A test binary of its own, because `tracing` remembers for each call site of the
//! process whether anybody listens.

mod common;

use std::io;
use std::sync::{Arc, Mutex};

use common::{ORDERS, collection, orders};
use tailwater_changestream::Dispatcher;

/// What is logged, for a test to read.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_comment_stands_where_its_stream_begins() {
    let (_dir, writer) = orders(1);
    let dispatcher = Dispatcher::new(writer.log.view());
    let lines = Lines::default();
    let sink = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG)
        .with_ansi(false)
        .with_writer(move || sink.clone())
        .finish();
    let begun = tracing::subscriber::with_default(subscriber, || {
        let stream = writer.watch(collection(ORDERS)).comment("of the warehouse");
        let watch = dispatcher.watch(collection(ORDERS)).comment("of the shop");
        (stream.start().unwrap(), watch.subscribe().unwrap())
    });
    drop(begun);
    let said = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    for comment in ["of the warehouse", "of the shop"] {
        let beginnings = said
            .lines()
            .filter(|line| line.contains("begins") && line.contains(comment));
        assert_eq!(beginnings.count(), 1, "{said}");
    }
}
