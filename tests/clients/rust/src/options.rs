//! Change streams: every scope, and every option.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use mongodb::bson::{Document, Timestamp, doc};
use mongodb::change_stream::ChangeStream;
use mongodb::change_stream::event::{ChangeStreamEvent, OperationType};
use mongodb::options::{Collation, FullDocumentBeforeChangeType, FullDocumentType, ReadConcern};
use mongodb::{Client, Collection};

use crate::error::{Result, refusal};
use crate::{DATABASE, fresh};

/// A stream of events as the driver decodes them.
pub(crate) type Events = ChangeStream<ChangeStreamEvent<Document>>;

pub(crate) async fn check(client: &Client) -> Result<()> {
    starts(client).await?;
    documents(client).await?;
    scopes(client).await?;
    expanded(client).await?;
    batches(client).await?;
    split(client).await?;
    refused(client).await
}

/// The next event.
pub(crate) async fn next(stream: &mut Events) -> Result<ChangeStreamEvent<Document>> {
    Ok(stream.next().await.ok_or("the stream has ended")??)
}

/// The kinds of the next events.
pub(crate) async fn kinds<const N: usize>(stream: &mut Events) -> Result<[OperationType; N]> {
    let mut kinds = Vec::with_capacity(N);
    while kinds.len() < N {
        kinds.push(next(stream).await?.operation_type);
    }
    Ok(kinds.try_into().unwrap_or_else(|_| unreachable!("there are so many")))
}

/// A collection that keeps what its documents were, and are, at each change.
async fn with_images(client: &Client, name: &str) -> Result<Collection<Document>> {
    fresh(client, name).await?;
    let create = doc! { "create": name, "changeStreamPreAndPostImages": { "enabled": true } };
    client.database(DATABASE).run_command(create).await?;
    Ok(client.database(DATABASE).collection(name))
}

/// Where a stream begins: now, behind a token, behind a token that was only told, or at a time.
async fn starts(client: &Client) -> Result<()> {
    let orders = fresh(client, "starts").await?;
    let mut stream = orders.watch().max_await_time(Duration::from_millis(200)).await?;
    assert!(stream.next_if_any().await?.is_none());
    let before = stream.resume_token();
    client
        .database(DATABASE)
        .collection("elsewhere")
        .insert_one(doc! {})
        .await?;
    // The token goes on, though there is nothing for this stream.
    while stream.resume_token() == before {
        assert!(stream.next_if_any().await?.is_none());
    }
    let told = stream.resume_token();
    orders.insert_many((1..=3).map(|n| doc! { "_id": n })).await?;
    let first = next(&mut stream).await?;
    assert_eq!(
        (&first.operation_type, &first.full_document),
        (&OperationType::Insert, &Some(doc! { "_id": 1 }))
    );
    assert_eq!(stream.resume_token(), Some(first.id.clone()));
    assert!(first.cluster_time.is_some() && first.wall_time.is_some());

    let second = doc! { "_id": 2 };
    let mut resumed = orders.watch().resume_after(first.id.clone()).await?;
    assert_eq!(next(&mut resumed).await?.document_key, Some(second.clone()));
    let mut started = orders.watch().start_after(first.id.clone()).await?;
    assert_eq!(next(&mut started).await?.document_key, Some(second));
    let mut told = orders.watch().resume_after(told).await?;
    assert_eq!(next(&mut told).await?.id, first.id);
    let time: Timestamp = first.cluster_time.ok_or("an event without a time")?;
    let mut timed = orders.watch().start_at_operation_time(time).await?;
    assert_eq!(next(&mut timed).await?.id, first.id);
    Ok(())
}

/// What an update shows of its document: as it is now, as it was behind the update, and as it was before.
async fn documents(client: &Client) -> Result<()> {
    let orders = with_images(client, "images").await?;
    let mut plain = orders.watch().await?;
    let mut looked_up = orders.watch().full_document(FullDocumentType::UpdateLookup).await?;
    let mut imaged = orders
        .watch()
        .full_document(FullDocumentType::Required)
        .full_document_before_change(FullDocumentBeforeChangeType::Required)
        .await?;
    orders
        .insert_one(doc! { "_id": 1, "n": 1, "list": [1, 2, 3], "gone": true })
        .await?;
    let update = vec![doc! { "$set": { "n": 2, "list": [1] } }, doc! { "$unset": "gone" }];
    orders.update_one(doc! { "_id": 1 }, update).await?;
    orders.replace_one(doc! { "_id": 1 }, doc! { "n": 3 }).await?;

    next(&mut plain).await?;
    let update = next(&mut plain).await?;
    assert_eq!((update.full_document, update.full_document_before_change), (None, None));
    let description = update.update_description.ok_or("an update without a description")?;
    assert_eq!(description.updated_fields, doc! { "n": 2 });
    assert_eq!(description.removed_fields, ["gone"]);
    let truncated = description.truncated_arrays.ok_or("no truncated arrays")?;
    assert_eq!(
        truncated
            .iter()
            .map(|array| (array.field.as_str(), array.new_size))
            .collect::<Vec<_>>(),
        [("list", 1)]
    );

    // As the update left it, whatever has come since.
    next(&mut looked_up).await?;
    assert_eq!(
        next(&mut looked_up).await?.full_document,
        Some(doc! { "_id": 1, "n": 2, "list": [1] })
    );

    next(&mut imaged).await?;
    let update = next(&mut imaged).await?;
    let was = doc! { "_id": 1, "n": 1, "list": [1, 2, 3], "gone": true };
    let is = doc! { "_id": 1, "n": 2, "list": [1] };
    assert_eq!(
        (update.full_document, update.full_document_before_change),
        (Some(is.clone()), Some(was))
    );
    let replaced = next(&mut imaged).await?;
    assert_eq!(replaced.operation_type, OperationType::Replace);
    assert_eq!(replaced.full_document_before_change, Some(is));

    // Without images: absent where they are wanted, the end where they are required.
    let bare = fresh(client, "bare").await?;
    bare.insert_one(doc! { "_id": 1 }).await?;
    let wanted = bare
        .watch()
        .full_document_before_change(FullDocumentBeforeChangeType::WhenAvailable);
    let required = bare
        .watch()
        .full_document_before_change(FullDocumentBeforeChangeType::Required);
    let (mut wanted, mut required) = (wanted.await?, required.await?);
    bare.delete_one(doc! { "_id": 1 }).await?;
    assert_eq!(next(&mut wanted).await?.full_document_before_change, None);
    let refused = required.next().await.ok_or("the stream has ended")?;
    assert_eq!(refusal(refused), Some(47));
    Ok(())
}

/// A collection, a database, everything; with a pipeline, and in a session.
async fn scopes(client: &Client) -> Result<()> {
    let database = client.database(DATABASE);
    let (orders, other) = (fresh(client, "scoped").await?, fresh(client, "scoped_other").await?);
    let elsewhere = client.database("elsewhere").collection("scoped_rust");
    let mut by_pipeline = orders
        .watch()
        .pipeline([
            doc! { "$match": { "operationType": "update", "updateDescription.updatedFields.status": { "$exists": true } } },
            doc! { "$addFields": { "fullDocument": { "seen": "$documentKey._id" } } },
        ])
        .await?;
    let mut of_database = database
        .watch()
        .pipeline([doc! { "$match": { "operationType": { "$in": ["insert", "drop"] } } }])
        .await?;
    let ours = doc! { "$match": { "ns.coll": { "$regex": "^scoped" } } };
    let mut of_everything = client.watch().pipeline([ours]).await?;
    let mut session = client.start_session().await?;
    let mut in_session = other.watch().session(&mut session).await?;

    orders.insert_one(doc! { "_id": 1 }).await?;
    orders
        .update_one(doc! { "_id": 1 }, doc! { "$set": { "n": 1 } })
        .await?;
    orders
        .update_one(doc! { "_id": 1 }, doc! { "$set": { "status": "paid" } })
        .await?;
    other.insert_one(doc! { "_id": 2 }).await?;
    elsewhere
        .insert_one(doc! { "_id": mongodb::bson::oid::ObjectId::new() })
        .await?;
    orders.drop().await?;

    let seen = next(&mut by_pipeline).await?;
    assert_eq!(seen.full_document, Some(doc! { "seen": 1 }));
    use OperationType::{Drop, Insert, Update};
    assert_eq!(kinds(&mut of_database).await?, [Insert, Insert, Drop]);
    assert_eq!(
        kinds(&mut of_everything).await?,
        [Insert, Update, Update, Insert, Insert, Drop]
    );
    let inserted = in_session.next(&mut session).await?.ok_or("the stream has ended")?;
    assert_eq!(inserted.document_key, Some(doc! { "_id": 2 }));
    elsewhere.drop().await?;
    Ok(())
}

/// Definitions, for those who ask for them.
async fn expanded(client: &Client) -> Result<()> {
    let orders = fresh(client, "expanded").await?;
    let mut stream = orders.watch().show_expanded_events(true).await?;
    client.database(DATABASE).create_collection("expanded").await?;
    orders
        .create_index(mongodb::IndexModel::builder().keys(doc! { "a": 1 }).build())
        .await?;
    orders.insert_one(doc! { "_id": 1 }).await?;
    orders.drop_index("a_1").await?;
    let other = |name: &str| OperationType::Other(name.to_owned());
    let expected = [
        other("create"),
        other("createIndexes"),
        OperationType::Insert,
        other("dropIndexes"),
    ];
    assert_eq!(kinds(&mut stream).await?, expected);
    Ok(())
}

/// Options that change how events come: sizes of batches, waits, read concern, order of strings. Not a comment, which this driver
/// writes into the stage, where it is no field.
async fn batches(client: &Client) -> Result<()> {
    let orders = fresh(client, "batches").await?;
    let insensitive = Collation::builder()
        .locale("en")
        .strength(mongodb::options::CollationStrength::Secondary)
        .build();
    let mut stream = orders
        .watch()
        .pipeline([doc! { "$match": { "fullDocument.city": "oslo" } }])
        .collation(insensitive)
        .batch_size(2)
        .max_await_time(Duration::from_millis(500))
        .read_concern(ReadConcern::majority())
        .await?;
    let cities = ["Oslo", "Bergen", "OSLO", "oslo", "Oslo", "Oslo"];
    orders
        .insert_many(cities.iter().zip(0..).map(|(city, n)| doc! { "_id": n, "city": *city }))
        .await?;
    for expected in [0, 2, 3, 4, 5] {
        assert_eq!(next(&mut stream).await?.document_key, Some(doc! { "_id": expected }));
    }
    assert!(stream.next_if_any().await?.is_none());
    Ok(())
}

/// An event that is larger than a document may be comes in parts.
async fn split(client: &Client) -> Result<()> {
    let large = with_images(client, "large").await?;
    let text = |letter: &str| letter.repeat(10 << 20);
    large.insert_one(doc! { "_id": 1, "text": text("a") }).await?;
    let watch = large
        .watch()
        .full_document(FullDocumentType::Required)
        .full_document_before_change(FullDocumentBeforeChangeType::Required)
        .pipeline([doc! { "$changeStreamSplitLargeEvent": {} }]);
    let mut stream = watch.await?.with_type::<Document>();
    large
        .update_one(doc! { "_id": 1 }, doc! { "$set": { "text": text("b") } })
        .await?;
    let (mut parts, mut event) = (0, Document::new());
    loop {
        let part = stream.try_next().await?.ok_or("the stream has ended")?;
        let split = part.get_document("splitEvent")?.clone();
        parts += 1;
        assert_eq!(split.get_i32("fragment")?, parts);
        event.extend(part);
        if split.get_i32("of")? == parts {
            break;
        }
    }
    assert!(parts > 1);
    assert_eq!(event.get_document("fullDocument")?.get_str("text")?.len(), 10 << 20);
    assert!(
        event
            .get_document("fullDocumentBeforeChange")?
            .get_str("text")?
            .starts_with('a')
    );
    Ok(())
}

/// What cannot be watched.
async fn refused(client: &Client) -> Result<()> {
    let orders = fresh(client, "refused").await?;
    assert_eq!(
        refusal(orders.watch().pipeline([doc! { "$group": { "_id": 1 } }]).await),
        Some(20)
    );
    assert_eq!(refusal(client.database("admin").watch().await), Some(73));
    let without_token = orders.watch().pipeline([doc! { "$project": { "_id": 0 } }]);
    assert_eq!(refusal(without_token.await), Some(280));
    Ok(())
}
