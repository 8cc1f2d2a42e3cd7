//! Documents from standard input, acknowledged one by one as members hold them.

use std::io;
use std::time::Duration;

use tailwater::Store;
use tailwater::replication::{Primary, WriteConcern};

use crate::failure::{Exit, Failure, Outcome};
use crate::import::DocumentReader;
use crate::output;

/// Inserts until the input ends.
pub(super) fn run(
    store: &Store,
    primary: &Primary,
    namespace: &str,
    concern: WriteConcern,
    timeout: Duration,
) -> Outcome {
    let Some((database, collection)) = namespace.split_once('.') else {
        return Err(Failure::new(
            Exit::Usage,
            format!("--insert {namespace}: give DB.COLLECTION"),
        ));
    };
    let collection = store.collection(database, collection)?;
    for parsed in DocumentReader::new(io::stdin().lock()) {
        let parsed = parsed.map_err(|error| Failure::new(Exit::Input, error.to_string()))?;
        let outcome = collection.insert_one(&parsed.document)?;
        primary.wait(outcome.op_id, concern, timeout)?;
        output::print(&format!("{{\"opId\":{}}}\n", outcome.op_id))?;
    }
    Ok(())
}
