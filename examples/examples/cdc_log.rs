//! Promise: the log alone, as the write-ahead log and change feed of another database.

use tailwater::oplog::{Durability, OpId, Oplog, ReadConcern, Record};

/// Kinds from 128 on are the embedding program's own.
const DEBIT: u8 = 128;
const CREDIT: u8 = 129;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let log = Oplog::open(dir.path())?;

    // A transfer is a batch: both entries become readable, and survive, together or not at all.
    let transfer = [
        Record {
            kind: DEBIT,
            payload: &[b"alice", b" 30"],
        },
        Record {
            kind: CREDIT,
            payload: &[b"bob", b" 30"],
        },
    ];
    let written = log.append_batch(&transfer, Durability::Disk)?;
    assert_eq!((written.first, written.last), (OpId::new(1), OpId::new(2)));
    log.close()?;

    // After a restart the entries are replayed from the map, nothing copied.
    let log = Oplog::open(dir.path())?;
    let mut cursor = log.view().cursor_from_oldest(ReadConcern::Durable);
    let mut replayed = Vec::new();
    while let Some(entry) = cursor.try_next()? {
        replayed.push((
            entry.kind(),
            String::from_utf8(entry.payload().to_vec())?,
            entry.ends_batch(),
        ));
    }
    assert_eq!(
        replayed,
        [
            (DEBIT, "alice 30".to_owned(), false),
            (CREDIT, "bob 30".to_owned(), true)
        ]
    );
    Ok(())
}
