//! Watchers that a test starts beside others: they say `ready`, and then what they are told.

use std::fmt::Write;

use mongodb::Client;
use mongodb::bson::doc;

use crate::error::Result;
use crate::options::next;

/// Watches a collection until a document says that it is the last, and prints the numbers of the documents it was told of, a line
/// each: whatever happens to the server meanwhile, the driver has to go on where it was.
#[expect(clippy::print_stdout, reason = "the test reads it")]
pub(crate) async fn numbers(uri: &str) -> Result<()> {
    let client = Client::with_uri_str(uri).await?;
    let numbers = client.database("numbers").collection("numbers");
    let mut stream = numbers
        .watch()
        .pipeline([doc! { "$match": { "operationType": "insert" } }])
        .await?;
    println!("ready");
    let mut lines = String::new();
    loop {
        let document = next(&mut stream)
            .await?
            .full_document
            .ok_or("an insert without a document")?;
        writeln!(lines, "{}", document.get_i32("n")?)?;
        if document.get_bool("last").unwrap_or(false) {
            print!("{lines}");
            return Ok(());
        }
    }
}

/// Watches the changes of a collection that are of some kinds, as a user who may do just that, and prints each until there were as
/// many as asked for.
#[expect(clippy::print_stdout, reason = "the test reads it")]
pub(crate) async fn operations(uri: &str, kinds: &str, count: usize) -> Result<()> {
    let client = Client::with_uri_str(uri).await?;
    let kinds: Vec<&str> = kinds.split(',').collect();
    let orders = client.database("shop").collection("orders");
    let mut stream = orders
        .watch()
        .pipeline([doc! { "$match": { "operationType": { "$in": kinds } } }])
        .await?;
    println!("ready");
    for _ in 0..count {
        let event = next(&mut stream).await?;
        let kind = format!("{:?}", event.operation_type).to_lowercase();
        let id = event
            .document_key
            .and_then(|key| key.get("_id").cloned())
            .ok_or("an event without a key")?;
        println!("{kind} {id}");
    }
    Ok(())
}
