//! Promise: whoever awaits the next event of a whole store goes on from the token of the last one, in another task or another
//! run of the program.

use futures::StreamExt;
use tailwater::{ChangeStream, ResumeToken, Store, WatchError, bson::rawdoc};

/// Everything in the store, behind the event of this token.
fn watch_from_token(store: &Store, token: &str) -> Result<ChangeStream, WatchError> {
    store.watch().start_after(token.parse::<ResumeToken>()?).start()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let store = Store::open(dir.path())?;
    let users = store.collection("mydb", "users")?;
    let mut stream = store.watch().start()?;
    for id in 1..=3 {
        users.insert_one(&rawdoc! { "_id": id })?;
    }
    let first = stream.next().await.expect("three users were written")?;
    assert_eq!(first.document_key(), Some(rawdoc! { "_id": 1 }));
    let token = first.resume_token().to_string();
    drop(stream);

    let mut rest = Vec::new();
    let mut stream = watch_from_token(&store, &token)?.take(2);
    while let Some(event) = stream.next().await {
        let key = event?.document_key().expect("an insert has a key");
        rest.push(key.get_i32("_id")?);
    }
    assert_eq!(rest, [2, 3]);
    Ok(())
}
