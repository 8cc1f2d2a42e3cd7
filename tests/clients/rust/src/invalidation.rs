//! Streams whose collection or database ends.

use futures_util::StreamExt;
use mongodb::Client;
use mongodb::bson::doc;
use mongodb::change_stream::event::OperationType::{Drop, DropDatabase, Insert, Invalidate, Rename};

use crate::error::{Result, refusal};
use crate::options::{kinds, next};
use crate::{DATABASE, fresh};

pub(crate) async fn check(client: &Client) -> Result<()> {
    let database = client.database(DATABASE);
    let orders = fresh(client, "ends").await?;
    orders.insert_one(doc! {}).await?;
    let mut dropped = orders.watch().await?;
    orders.drop().await?;
    assert_eq!(next(&mut dropped).await?.operation_type, Drop);
    let last = next(&mut dropped).await?;
    assert_eq!(last.operation_type, Invalidate);
    assert!(dropped.next().await.is_none() && !dropped.is_alive());

    // Behind such an end a stream can be started, not resumed.
    assert_eq!(refusal(orders.watch().resume_after(last.id.clone()).await), Some(260));
    let mut again = orders.watch().start_after(last.id).await?;
    orders.insert_one(doc! { "_id": "again" }).await?;
    assert_eq!(next(&mut again).await?.document_key, Some(doc! { "_id": "again" }));

    fresh(client, "renamed").await?;
    let rename = doc! { "renameCollection": format!("{DATABASE}.ends"), "to": format!("{DATABASE}.renamed") };
    client.database("admin").run_command(rename).await?;
    let renamed = next(&mut again).await?;
    assert_eq!(
        (renamed.operation_type, renamed.to.and_then(|to| to.coll)),
        (Rename, Some("renamed".to_owned()))
    );
    assert_eq!(kinds(&mut again).await?, [Invalidate]);

    let whole = client.database("rust_ends");
    whole.drop().await?;
    let (mut of_database, mut of_everything) = (whole.watch().await?, client.watch().await?);
    whole.collection("a").insert_one(doc! {}).await?;
    whole.drop().await?;
    assert_eq!(kinds(&mut of_database).await?, [Insert, Drop, DropDatabase, Invalidate]);
    assert!(of_database.next().await.is_none());
    // Nothing invalidates this one.
    assert_eq!(kinds(&mut of_everything).await?, [Insert, Drop, DropDatabase]);
    database.collection("renamed").insert_one(doc! {}).await?;
    assert_eq!(kinds(&mut of_everything).await?, [Insert]);
    Ok(())
}
