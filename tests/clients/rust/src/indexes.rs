//! Indexes and collections.

use futures_util::TryStreamExt;
use mongodb::bson::doc;
use mongodb::options::IndexOptions;
use mongodb::{Client, IndexModel};

use crate::error::{Result, refusal};
use crate::{DATABASE, fresh};

pub(crate) async fn check(client: &Client) -> Result<()> {
    let users = fresh(client, "users").await?;
    let unique = IndexOptions::builder().unique(true).build();
    let by_mail = IndexModel::builder().keys(doc! { "email": 1 }).options(unique).build();
    assert_eq!(users.create_index(by_mail).await?.index_name, "email_1");
    let several =
        [doc! { "city": 1, "age": -1 }, doc! { "tags": 1 }].map(|keys| IndexModel::builder().keys(keys).build());
    assert_eq!(
        users.create_indexes(several).await?.index_names,
        ["city_1_age_-1", "tags_1"]
    );
    users.insert_one(doc! { "email": "a@b.c", "tags": ["x", "y"] }).await?;
    assert_eq!(refusal(users.insert_one(doc! { "email": "a@b.c" }).await), Some(11000));
    assert_eq!(
        users.list_index_names().await?,
        ["_id_", "email_1", "city_1_age_-1", "tags_1"]
    );
    let indexes: Vec<IndexModel> = users.list_indexes().await?.try_collect().await?;
    assert_eq!(
        indexes[1].options.as_ref().and_then(|options| options.unique),
        Some(true)
    );

    let database = client.database(DATABASE);
    let explain = doc! { "explain": { "find": "users", "filter": { "tags": "x" } }, "verbosity": "queryPlanner" };
    let explained = database.run_command(explain).await?;
    let plan = explained.get_document("queryPlanner")?.get_document("winningPlan")?;
    assert_eq!(plan.get_document("inputStage")?.get_str("indexName")?, "tags_1");
    users.drop_index("email_1").await?;
    users.insert_one(doc! { "email": "a@b.c" }).await?;
    users.drop_indexes().await?;
    assert_eq!(users.list_index_names().await?, ["_id_"]);

    fresh(client, "capped").await?;
    database
        .create_collection("capped")
        .capped(true)
        .size(4096)
        .max(2)
        .await?;
    let capped = database.collection("capped");
    capped.insert_many((1..=3).map(|n| doc! { "_id": n })).await?;
    assert_eq!(capped.count_documents(doc! {}).await?, 2);
    fresh(client, "validated").await?;
    let validator = doc! { "$jsonSchema": { "required": ["name"] } };
    database.create_collection("validated").validator(validator).await?;
    let validated = database.collection("validated");
    assert_eq!(refusal(validated.insert_one(doc! { "a": 1 }).await), Some(121));
    let names = database.list_collection_names().await?;
    assert!(
        ["users", "capped", "validated"]
            .iter()
            .all(|name| names.iter().any(|listed| listed == name)),
        "{names:?}"
    );
    assert!(client.list_database_names().await?.iter().any(|name| name == DATABASE));
    Ok(())
}
