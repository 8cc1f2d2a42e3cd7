//! MongoDB's own driver for Rust, as its users use it, against the server it is given.
//!
//! ```text
//! tailwater-client driver URI                    everything that a driver does; panics where it differs from MongoDB
//! tailwater-client watch URI                     watches numbered documents until the last, and prints the numbers
//! tailwater-client operations URI KINDS COUNT    watches changes of some kinds, and prints so many
//! tailwater-client login ADDRESS                 makes users, logs in by each mechanism, and is refused what a user may not
//! tailwater-client encrypted ADDRESS [CA [CERT]] says whether a server can be used with these files
//! tailwater-client insert-many URI COUNT         inserts so many documents, and prints how long it took
//! tailwater-client stream URI COUNT              reads so many events, and prints how long it took
//! tailwater-client write-to-event URI COUNT      prints how long each write took to come back as an event
//! ```
//!
//! The tests run the first five, `benches -- wire` the last three.

mod bulk;
mod documents;
mod encrypted;
mod error;
mod failures;
mod indexes;
mod invalidation;
mod login;
mod measure;
mod options;
mod transactions;
mod watch;

use std::env;

use mongodb::bson::Document;
use mongodb::{Client, Collection};

use crate::error::Result;

/// The database of the tests.
const DATABASE: &str = "rust";

/// A collection with nothing in it, not even a definition.
async fn fresh(client: &Client, name: &str) -> Result<Collection<Document>> {
    let collection = client.database(DATABASE).collection(name);
    collection.drop().await?;
    Ok(collection)
}

/// Everything that a driver does.
async fn driver(uri: &str) -> Result<()> {
    let client = Client::with_uri_str(uri).await?;
    documents::check(&client).await?;
    bulk::check(&client).await?;
    indexes::check(&client).await?;
    failures::check(&client).await?;
    transactions::check(&client).await?;
    options::check(&client).await?;
    invalidation::check(&client).await?;
    client.shutdown().await;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["driver", uri] => driver(uri).await,
        ["watch", uri] => watch::numbers(uri).await,
        ["operations", uri, kinds, count] => watch::operations(uri, kinds, count.parse()?).await,
        ["login", address] => login::check(address).await,
        ["encrypted", address, ref files @ ..] => encrypted::check(address, files).await,
        ["insert-many", uri, count] => measure::insert_many(uri, count.parse()?).await,
        ["stream", uri, count] => measure::stream(uri, count.parse()?).await,
        ["write-to-event", uri, count] => measure::write_to_event(uri, count.parse()?).await,
        _ => Err(format!("unknown arguments: {arguments:?}; see the documentation of this program").into()),
    }
}
