//! What a server refuses, by its numbers.

use mongodb::Client;
use mongodb::bson::doc;
use mongodb::error::ErrorKind;

use crate::error::{Result, refusal};
use crate::{DATABASE, fresh};

pub(crate) async fn check(client: &Client) -> Result<()> {
    let database = client.database(DATABASE);
    let some = fresh(client, "failures").await?;
    some.insert_one(doc! { "_id": 1, "text": "a" }).await?;

    assert_eq!(refusal(database.run_command(doc! { "nope": 1 }).await), Some(59));
    assert_eq!(refusal(some.find_one(doc! { "$nope": 1 }).await), Some(2));
    assert_eq!(refusal(some.aggregate([doc! { "$nope": 1 }]).await), Some(40324));
    assert_eq!(
        refusal(some.update_one(doc! {}, doc! { "$nope": { "a": 1 } }).await),
        Some(9)
    );
    assert_eq!(
        refusal(some.update_one(doc! {}, doc! { "$inc": { "text": 1 } }).await),
        Some(14)
    );
    assert_eq!(
        refusal(some.update_one(doc! {}, doc! { "$set": { "_id": 2 } }).await),
        Some(66)
    );
    assert_eq!(refusal(some.insert_one(doc! { "_id": [1] }).await), Some(53));
    assert_eq!(
        refusal(database.create_collection("failures").capped(true).size(4096).await),
        Some(48)
    );
    assert_eq!(refusal(some.drop_index("nope").await), Some(27));

    // Of several, the first that is refused ends an ordered insert, and none ends one that is not.
    let documents = || [2, 1, 3].map(|id| doc! { "_id": id });
    for (ordered, expected) in [(true, 2), (false, 3)] {
        let refused = some.insert_many(documents()).ordered(ordered).await.unwrap_err();
        let ErrorKind::InsertMany(refused) = *refused.kind else {
            panic!("{refused:?}")
        };
        let errors = refused.write_errors.unwrap();
        assert_eq!((errors.len(), errors[0].index, errors[0].code), (1, 1, 11000));
        assert_eq!(some.count_documents(doc! {}).await?, expected);
        some.delete_many(doc! { "_id": { "$ne": 1 } }).await?;
    }
    Ok(())
}
