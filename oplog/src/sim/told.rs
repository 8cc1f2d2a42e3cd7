//! What a log warns about through `tracing`. The rest of what it tells is in `tests/told.rs`, where no other test's thread has a say
//! in which of its call sites are of interest.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::SimDisk;
use crate::oplog::Oplog;
use crate::options::Options;
use crate::stats::SLOW_SYNC;

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

/// What `act` logs in this thread.
fn logged(act: impl FnOnce()) -> String {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, act);
    String::from_utf8(std::mem::take(&mut *lines.0.lock().unwrap())).unwrap()
}

#[test]
fn a_sync_of_a_second_is_warned_about_and_a_short_one_is_not() {
    let disk = SimDisk::new();
    let log = Oplog::on(Box::new(disk), &Options::default()).unwrap();
    let said = |took: Duration| logged(|| log.core().syncer.measured(log.core(), took, 1));
    for (took, warned) in [(SLOW_SYNC - Duration::from_nanos(1), false), (SLOW_SYNC, true)] {
        let said = said(took);
        let warning = said.contains("WARN") && said.contains("slow sync: writers wait for the disk");
        assert_eq!(warning, warned, "{took:?}: {said}");
    }
}
