//! Transactions: committed, aborted, in conflict, and tried again by the driver.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::try_join_all;
use mongodb::bson::{Document, doc};
use mongodb::error::TRANSIENT_TRANSACTION_ERROR;
use mongodb::{Client, ClientSession, Collection};

use crate::error::{Result, code_of};
use crate::fresh;

pub(crate) async fn check(client: &Client) -> Result<()> {
    let accounts = fresh(client, "accounts").await?;
    accounts
        .insert_many([doc! { "_id": "a", "balance": 10 }, doc! { "_id": "b", "balance": 0 }])
        .await?;
    commit(client, &accounts).await?;
    abort(client, &accounts).await?;
    conflict(client, &accounts).await?;
    all_at_once(client, accounts).await
}

async fn balance(accounts: &Collection<Document>, id: &str) -> Result<i32> {
    let account = accounts.find_one(doc! { "_id": id }).await?;
    Ok(account.ok_or("no such account")?.get_i32("balance")?)
}

async fn commit(client: &Client, accounts: &Collection<Document>) -> Result<()> {
    let mut session = client.start_session().await?;
    session.start_transaction().await?;
    for (id, amount) in [("a", -5), ("b", 5)] {
        let update = accounts.update_one(doc! { "_id": id }, doc! { "$inc": { "balance": amount } });
        update.session(&mut session).await?;
    }
    let inside = accounts.find_one(doc! { "_id": "b" }).session(&mut session).await?;
    assert_eq!(inside, Some(doc! { "_id": "b", "balance": 5 }));
    assert_eq!(balance(accounts, "b").await?, 0);
    session.commit_transaction().await?;
    // Once more says only that it is.
    session.commit_transaction().await?;
    assert_eq!((balance(accounts, "a").await?, balance(accounts, "b").await?), (5, 5));
    Ok(())
}

async fn abort(client: &Client, accounts: &Collection<Document>) -> Result<()> {
    let mut session = client.start_session().await?;
    session.start_transaction().await?;
    accounts.delete_many(doc! {}).session(&mut session).await?;
    session.abort_transaction().await?;
    assert_eq!(accounts.count_documents(doc! {}).await?, 2);
    Ok(())
}

/// Of two that write one document the first to commit wins; the other is told so, and may try again.
async fn conflict(client: &Client, accounts: &Collection<Document>) -> Result<()> {
    let (mut first, mut second) = (client.start_session().await?, client.start_session().await?);
    let add = || accounts.update_one(doc! { "_id": "a" }, doc! { "$inc": { "balance": 1 } });
    first.start_transaction().await?;
    second.start_transaction().await?;
    add().session(&mut first).await?;
    add().session(&mut second).await?;
    first.commit_transaction().await?;
    let refused = second.commit_transaction().await.unwrap_err();
    assert_eq!(code_of(&refused), Some(112));
    assert!(refused.contains_label(TRANSIENT_TRANSACTION_ERROR), "{refused:?}");
    assert_eq!(balance(accounts, "a").await?, 6);
    Ok(())
}

/// Several read and write one document: the driver tries those again that were too late.
async fn all_at_once(client: &Client, accounts: Collection<Document>) -> Result<()> {
    let accounts = Arc::new(accounts);
    let adding = (0..4).map(|_| async {
        let mut session = client.start_session().await?;
        let accounts = Arc::clone(&accounts);
        session
            .start_transaction()
            .and_run(accounts, |session, accounts| add_one(session, accounts).boxed())
            .await
    });
    try_join_all(adding).await?;
    assert_eq!(balance(&accounts, "a").await?, 10);
    Ok(())
}

async fn add_one(session: &mut ClientSession, accounts: &Collection<Document>) -> mongodb::error::Result<()> {
    let filter = doc! { "_id": "a" };
    let account = accounts
        .find_one(filter.clone())
        .session(&mut *session)
        .await?
        .unwrap_or_default();
    let balance = account.get_i32("balance").unwrap_or_default();
    accounts
        .update_one(filter, doc! { "$set": { "balance": balance + 1 } })
        .session(session)
        .await?;
    Ok(())
}
