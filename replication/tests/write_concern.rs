//! What transactions and writes to several collections wait for.

use crate::stores;

use bson::rawdoc;
use stores::{HEARTBEAT, LONG, assert_same, follower, open, primary};
use tailwater_replication::WriteConcern;
use tailwater_storage::{BulkWriteOptions, Error, ErrorCode, NamespacedWrite, Store, WriteModel};

fn transfer(
    store: &Store,
    id: i32,
    primary: &tailwater_replication::Primary,
    wait: std::time::Duration,
) -> Result<(), Error> {
    let both = WriteConcern::members(2).unwrap();
    store.with_transaction(|transaction| {
        transaction.acknowledge_by(primary.acknowledgement(both, wait));
        for name in ["debit", "credit"] {
            transaction
                .collection("bank", name)?
                .insert_one(&rawdoc! { "_id": id })?;
        }
        Ok(())
    })
}

fn bulk(
    store: &Store,
    id: i32,
    primary: &tailwater_replication::Primary,
    wait: std::time::Duration,
) -> Result<(), Error> {
    let both = WriteConcern::members(2).unwrap();
    let writes = ["debit", "credit"].map(|name| NamespacedWrite {
        database: "bank".into(),
        collection: name.into(),
        model: WriteModel::InsertOne {
            document: rawdoc! { "_id": id },
        },
    });
    let acknowledgement = primary.acknowledgement(both, wait);
    let outcome = store.bulk_write_acknowledged(writes, &BulkWriteOptions::default(), &*acknowledgement);
    outcome.map(drop)
}

#[test]
fn transactions_and_bulk_writes_wait_for_members_and_are_done_all_the_same() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(a.path());
    let primary = primary(&store, "a", &[]);
    let count = || store.collection("bank", "credit").unwrap().count(&rawdoc! {}).unwrap();
    for (done, write) in [(1, transfer as fn(&_, _, &_, _) -> _), (2, bulk)] {
        let alone: Error = write(&store, done, &primary, HEARTBEAT).unwrap_err();
        assert_eq!(alone.code(), Some(ErrorCode::WriteConcernFailed), "{alone:?}");
        assert_eq!(count(), u64::try_from(done).unwrap());
    }
    let following = follower(b.path(), "b", primary.address(), &[]).start().unwrap();
    transfer(&store, 3, &primary, LONG).unwrap();
    bulk(&store, 4, &primary, LONG).unwrap();
    assert_same(&following, &store, store.log().watermarks().durable);
    // What another has refused is not waited for.
    let twice = bulk(&store, 4, &primary, LONG).unwrap_err();
    assert!(matches!(twice, Error::BulkWrite { .. }), "{twice:?}");
}
