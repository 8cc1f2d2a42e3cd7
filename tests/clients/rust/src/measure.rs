//! What `benches -- wire` measures through this driver. Each prints its figures, and says `ready` before if it has to be waited
//! for.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use mongodb::bson::{RawDocumentBuf, Timestamp, doc, rawdoc};
use mongodb::{Client, Collection};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::error::Result;

/// Documents of one `insertMany`.
const BATCH: u64 = 1000;

/// A document of 200 bytes.
fn document(n: u64) -> RawDocumentBuf {
    let number = i64::try_from(n).unwrap_or(i64::MAX);
    rawdoc! { "_id": number, "text": "x".repeat(171) }
}

fn collection(client: &Client) -> Collection<RawDocumentBuf> {
    client.database("measured").collection("documents")
}

/// Inserts so many documents of 200 bytes by `insertMany`, and prints the nanoseconds it took.
#[expect(clippy::print_stdout, reason = "the parent reads it")]
pub(crate) async fn insert_many(uri: &str, count: u64) -> Result<()> {
    assert_eq!(document(0).as_bytes().len(), 200);
    let client = Client::with_uri_str(uri).await?;
    let documents = collection(&client);
    let batches: Vec<Vec<_>> = (0..count.div_ceil(BATCH))
        .map(|batch| {
            (batch * BATCH..((batch + 1) * BATCH).min(count))
                .map(document)
                .collect()
        })
        .collect();
    client.database("admin").run_command(doc! { "ping": 1 }).await?;
    println!("ready");
    let start = Instant::now();
    for batch in &batches {
        documents.insert_many(batch).await?;
    }
    println!("{}", start.elapsed().as_nanos());
    Ok(())
}

/// Notes the time, waits for a line, reads so many events from then on, without decoding them, and prints the nanoseconds it took.
#[expect(clippy::print_stdout, reason = "the parent reads it")]
pub(crate) async fn stream(uri: &str, count: u64) -> Result<()> {
    let client = Client::with_uri_str(uri).await?;
    let now = client
        .database("admin")
        .run_command(doc! { "ping": 1 })
        .await?
        .get_timestamp("operationTime")?;
    let since = Timestamp {
        increment: now.increment + 1,
        ..now
    };
    println!("ready");
    BufReader::new(tokio::io::stdin()).read_line(&mut String::new()).await?;
    let start = Instant::now();
    let documents = collection(&client);
    let watch = documents.watch().start_at_operation_time(since);
    let mut stream = watch.await?.with_type::<RawDocumentBuf>();
    for _ in 0..count {
        stream.next().await.ok_or("the stream has ended")??;
    }
    println!("{}", start.elapsed().as_nanos());
    Ok(())
}

/// Inserts one document each millisecond, and prints for each the nanoseconds until its event was there.
#[expect(clippy::print_stdout, reason = "the parent reads it")]
pub(crate) async fn write_to_event(uri: &str, count: u64) -> Result<()> {
    let client = Client::with_uri_str(uri).await?;
    let documents = collection(&client);
    let mut stream = documents.watch().await?.with_type::<RawDocumentBuf>();
    println!("ready");
    let origin = Instant::now();
    let writing = tokio::spawn(async move {
        let mut pace = tokio::time::interval(Duration::from_millis(1));
        for _ in 0..count {
            pace.tick().await;
            let stamp = i64::try_from(origin.elapsed().as_nanos()).unwrap_or(i64::MAX);
            documents.insert_one(rawdoc! { "stamp": stamp }).await?;
        }
        mongodb::error::Result::Ok(())
    });
    let mut latencies = Vec::new();
    for _ in 0..count {
        let event = stream.next().await.ok_or("the stream has ended")??;
        let now = origin.elapsed();
        let stamp = event.get_document("fullDocument")?.get_i64("stamp")?;
        latencies.push(now.as_nanos().saturating_sub(u128::from(stamp.unsigned_abs())));
    }
    writing.await??;
    for latency in latencies {
        println!("{latency}");
    }
    Ok(())
}
