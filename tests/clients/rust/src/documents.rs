//! Documents: what is inserted, found, changed, aggregated and deleted.

use futures_util::TryStreamExt;
use mongodb::Client;
use mongodb::bson::{Bson, Document, doc};
use mongodb::options::ReturnDocument;

use crate::error::Result;
use crate::fresh;

pub(crate) async fn check(client: &Client) -> Result<()> {
    write_and_read(client).await?;
    many(client).await?;
    aggregate(client).await
}

async fn write_and_read(client: &Client) -> Result<()> {
    let people = fresh(client, "people").await?;
    let documents = [
        doc! { "name": "Ada", "age": 36 },
        doc! { "name": "Bo", "age": 7 },
        doc! { "name": "Cy", "age": 19 },
    ];
    assert_eq!(people.insert_many(documents).await?.inserted_ids.len(), 3);
    let adults = people.find(doc! { "age": { "$gte": 18 } });
    let adults = adults.sort(doc! { "age": -1 }).projection(doc! { "_id": 0, "name": 1 });
    let adults: Vec<Document> = adults.await?.try_collect().await?;
    assert_eq!(adults, [doc! { "name": "Ada" }, doc! { "name": "Cy" }]);

    let young = doc! { "age": { "$lt": 30 } };
    let updated = people
        .update_many(young, doc! { "$inc": { "age": 1 }, "$push": { "tags": "young" } })
        .await?;
    assert_eq!((updated.matched_count, updated.modified_count), (2, 2));
    let updated = people.update_one(
        doc! { "name": "Ada" },
        vec![doc! { "$set": { "twice": { "$multiply": ["$age", 2] } } }],
    );
    assert_eq!(updated.await?.modified_count, 1);
    let replaced = people
        .replace_one(doc! { "_id": 7 }, doc! { "name": "Di", "age": 50 })
        .upsert(true)
        .await?;
    assert_eq!(replaced.upserted_id, Some(Bson::Int32(7)));
    let found = people.find_one_and_update(doc! { "_id": 7 }, doc! { "$set": { "age": 51 } });
    let found = found.return_document(ReturnDocument::After).await?;
    assert_eq!(found, Some(doc! { "_id": 7, "name": "Di", "age": 51 }));
    let found = people
        .find_one_and_replace(doc! { "_id": 7 }, doc! { "name": "Di" })
        .await?;
    assert_eq!(found.map(|found| found.get_i32("age").ok()), Some(Some(51)));
    assert!(people.find_one_and_delete(doc! { "_id": 7 }).await?.is_some());
    assert_eq!(people.delete_many(doc! { "name": "nobody" }).await?.deleted_count, 0);
    assert_eq!(
        (
            people.count_documents(doc! {}).await?,
            people.estimated_document_count().await?
        ),
        (3, 3)
    );
    let mut names = people.distinct("name", doc! {}).await?;
    names.sort_by_key(Bson::to_string);
    assert_eq!(names, ["Ada", "Bo", "Cy"].map(Bson::from));
    assert_eq!(people.delete_one(doc! { "name": "Cy" }).await?.deleted_count, 1);
    Ok(())
}

/// More than one batch, and a cursor that is dropped before its end.
async fn many(client: &Client) -> Result<()> {
    let many = fresh(client, "many").await?;
    many.insert_many((0..5000_i32).map(|n| doc! { "_id": n, "text": "x".repeat(100) }))
        .await?;
    let mut documents = many.find(doc! {}).batch_size(333).await?;
    let mut sum = 0;
    while let Some(document) = documents.try_next().await? {
        sum += i64::from(document.get_i32("_id")?);
    }
    assert_eq!(sum, 4999 * 5000 / 2);
    let mut dropped = many.find(doc! {}).batch_size(10).await?;
    assert!(dropped.advance().await?);
    Ok(())
}

async fn aggregate(client: &Client) -> Result<()> {
    let orders = fresh(client, "orders").await?;
    let documents = [(1, "Oslo", 10), (2, "Oslo", 20), (3, "Bergen", 5)];
    orders
        .insert_many(documents.map(|(id, city, total)| doc! { "_id": id, "city": city, "total": total }))
        .await?;
    let sums = orders.aggregate([
        doc! { "$group": { "_id": "$city", "total": { "$sum": "$total" }, "orders": { "$push": "$_id" } } },
        doc! { "$sort": { "_id": 1 } },
    ]);
    let sums: Vec<Document> = sums.await?.try_collect().await?;
    let expected = [
        doc! { "_id": "Bergen", "total": 5, "orders": [3] },
        doc! { "_id": "Oslo", "total": 30, "orders": [1, 2] },
    ];
    assert_eq!(sums, expected);
    let joined = orders.aggregate([
        doc! { "$match": { "_id": 1 } },
        doc! { "$lookup": { "from": "orders", "localField": "city", "foreignField": "city", "as": "same" } },
        doc! { "$project": { "count": { "$size": "$same" } } },
    ]);
    let joined: Vec<Document> = joined.await?.try_collect().await?;
    assert_eq!(joined, [doc! { "_id": 1, "count": 2 }]);
    Ok(())
}
