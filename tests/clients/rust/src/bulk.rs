//! Writes of several kinds, to several collections, in one command.

use mongodb::bson::{Bson, doc};
use mongodb::error::{ErrorKind, PartialBulkWriteResult};
use mongodb::options::{
    DeleteManyModel, DeleteOneModel, InsertOneModel, ReplaceOneModel, UpdateManyModel, UpdateOneModel, WriteModel,
};
use mongodb::{Client, Namespace};

use crate::error::Result;
use crate::{DATABASE, fresh};

pub(crate) async fn check(client: &Client) -> Result<()> {
    let (ours, other) = (fresh(client, "bulk").await?, fresh(client, "bulk_other").await?);
    let (here, there) = (ours.namespace(), other.namespace());
    let insert = |namespace: &Namespace, id: i32| -> WriteModel {
        InsertOneModel::builder()
            .namespace(namespace.clone())
            .document(doc! { "_id": id })
            .build()
            .into()
    };
    let set = doc! { "$set": { "n": 1 } };
    let models: [WriteModel; 7] = [
        insert(&here, 1),
        insert(&there, 1),
        UpdateOneModel::builder()
            .namespace(here.clone())
            .filter(doc! { "_id": 1 })
            .update(set.clone())
            .build()
            .into(),
        UpdateOneModel::builder()
            .namespace(here.clone())
            .filter(doc! { "_id": 2 })
            .update(set)
            .upsert(true)
            .build()
            .into(),
        UpdateManyModel::builder()
            .namespace(here.clone())
            .filter(doc! {})
            .update(doc! { "$inc": { "n": 1 } })
            .build()
            .into(),
        ReplaceOneModel::builder()
            .namespace(here.clone())
            .filter(doc! { "_id": 2 })
            .replacement(doc! { "n": 5 })
            .build()
            .into(),
        DeleteOneModel::builder()
            .namespace(there.clone())
            .filter(doc! { "_id": 1 })
            .build()
            .into(),
    ];
    let result = client.bulk_write(models).verbose_results().await?;
    let summary = &result.summary;
    let counts = [
        summary.inserted_count,
        summary.modified_count,
        summary.upserted_count,
        summary.deleted_count,
    ];
    assert_eq!(counts, [2, 4, 1, 1]);
    assert_eq!(result.insert_results[&0].inserted_id, Bson::Int32(1));
    assert_eq!(result.update_results[&3].upserted_id, Some(Bson::Int32(2)));
    assert_eq!(result.delete_results[&6].deleted_count, 1);

    // One of them is refused: the others are written, as they are not ordered.
    let refused = client
        .bulk_write([insert(&here, 1), insert(&here, 3)])
        .ordered(false)
        .await
        .unwrap_err();
    let ErrorKind::BulkWrite(refused) = *refused.kind else {
        panic!("{refused:?}")
    };
    assert_eq!(refused.write_errors[&0].code, 11000);
    let Some(PartialBulkWriteResult::Summary(partial)) = refused.partial_result else {
        panic!("{refused:?}")
    };
    assert_eq!(partial.inserted_count, 1);

    let everything = DeleteManyModel::builder()
        .namespace(Namespace::new(DATABASE, "bulk"))
        .filter(doc! {})
        .build();
    assert_eq!(client.bulk_write([everything]).await?.deleted_count, 3);
    Ok(())
}
