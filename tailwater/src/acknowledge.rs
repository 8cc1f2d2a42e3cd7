//! An acknowledgement within a transaction: what an event brings about in the store, and that it is dealt with, are one step.

use tailwater_changestream::{Delivery, Error as WatchError};
use tailwater_storage as storage;
use tailwater_storage::{Transaction, TransactionOptions};

use crate::store::{LogError, Store};
use crate::wiring::replace;

/// Why a transaction that acknowledges was not committed.
enum Failure<E> {
    Effect(E),
    Store(storage::Error),
}

impl<E> From<storage::Error> for Failure<E> {
    fn from(error: storage::Error) -> Failure<E> {
        Failure::Store(error)
    }
}

impl Store {
    /// Deals with an event of a durable consumer exactly once, where that means writing into this store: runs `effect` in a
    /// transaction, acknowledges the event in the same, and commits both. After a crash at any moment either both are there, and
    /// the event is not delivered again, or neither.
    ///
    /// A transaction that meets a conflict is run again, as by [`Store::with_transaction`](storage::Store::with_transaction). When
    /// `effect` fails, nothing is written and the event is the member's as before: try again, or
    /// [`fail`](Delivery::fail) it. Other members of the consumer wait while `effect` runs, and it must not use the consumer.
    ///
    /// ```
    /// use tailwater::{Store, bson::rawdoc};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// let store = Store::open(dir.path())?;
    /// let orders = store.collection("shop", "orders")?;
    /// let mut billing = orders.watch().consumer("billing").join()?;
    /// orders.insert_one(&rawdoc! { "_id": 1, "customer": "ada", "price": 30 })?;
    ///
    /// let delivery = billing.wait_next(None)?.expect("an order");
    /// let price = delivery.event().full_document().expect("an insert").get_i32("price")?;
    /// store.ack_with(&delivery, |transaction| {
    ///     let accounts = transaction.collection("shop", "accounts")?;
    ///     accounts.insert_one(&rawdoc! { "_id": "ada", "owes": price })?;
    ///     Ok::<_, Box<dyn std::error::Error>>(())
    /// })?;
    /// assert_eq!(store.collection("shop", "accounts")?.count(&rawdoc! { "owes": 30 })?, 1);
    /// assert_eq!(store.consumers()?[0].acknowledged, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of `effect`; [`DeliveryRevoked`](WatchError::DeliveryRevoked) when the event is not the member's any more;
    /// [`OtherLog`](LogError::OtherLog) when it is another store's; as
    /// [`Store::with_transaction`](storage::Store::with_transaction).
    /// Behind [`UnknownCommitResult`](storage::Error::UnknownCommitResult) both are written, and not known to be durable.
    pub fn ack_with<T, E>(&self, delivery: &Delivery, effect: impl FnMut(&Transaction) -> Result<T, E>) -> Result<T, E>
    where
        E: From<storage::Error> + From<WatchError>,
    {
        self.ack_with_options(delivery, &TransactionOptions::default(), effect)
    }

    /// As [`Store::ack_with`], with options for the transaction.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn ack_with_options<T, E>(
        &self,
        delivery: &Delivery,
        options: &TransactionOptions,
        mut effect: impl FnMut(&Transaction) -> Result<T, E>,
    ) -> Result<T, E>
    where
        E: From<storage::Error> + From<WatchError>,
    {
        if !delivery.is_of(self.groups()) {
            let (expected, got) = (self.log().log_id(), delivery.event().resume_token().log_id());
            return Err(WatchError::Log(LogError::OtherLog { expected, got }).into());
        }
        let acknowledged = delivery.ack_with(|record| {
            let committed = self.with_transaction_options(options, |transaction| {
                let value = effect(transaction).map_err(Failure::Effect)?;
                replace(transaction, &record)?;
                Ok(value)
            });
            match committed {
                Ok(value) => Ok((Ok(value), self.applied())),
                // It is written: the event is not this member's any more.
                Err(Failure::Store(error @ storage::Error::UnknownCommitResult { .. })) => {
                    Ok((Err(E::from(error)), self.applied()))
                }
                Err(Failure::Store(error)) => Err(E::from(error)),
                Err(Failure::Effect(error)) => Err(error),
            }
        });
        acknowledged?
    }
}
