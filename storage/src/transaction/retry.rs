//! Running a transaction until it succeeds, as MongoDB's drivers do (driver specifications: *Convenient API for
//! Transactions*).

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use super::{Transaction, TransactionOptions};
use crate::error::{Error, ErrorLabel};
use crate::store::Store;

/// Failures later than this after the beginning are not tried again.
const RETRY_LIMIT: Duration = Duration::from_secs(120);
/// Longest pause before the first repetition …
const BACKOFF_INITIAL: Duration = Duration::from_millis(5);
/// … which grows by this factor with each …
const BACKOFF_GROWTH: f64 = 1.5;
/// … up to this.
const BACKOFF_MAX: Duration = Duration::from_millis(500);

impl Store {
    /// Runs `body` in a transaction and commits it. When it fails because of another transaction, or has become too old, all
    /// of it is run again with a new state, after a short pause of random length, for two minutes from the call on.
    ///
    /// An error that `body` returns aborts the transaction. Whether to try again is decided by what has happened in the
    /// transaction, so `body` may wrap the store's errors in its own. It should do nothing beside the transaction that must
    /// not be done twice; what it does with the store's own collections is not part of the transaction.
    ///
    /// # Errors
    ///
    /// What `body` returns; those of [`Store::transaction`] and [`Transaction::commit`]. A commit whose durability is unknown
    /// is not tried again: the log has failed by then.
    ///
    /// ```
    /// use bson::rawdoc;
    /// use tailwater_storage::{Error, Store};
    ///
    /// # fn main() -> Result<(), Error> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let store = Store::open(dir.path())?;
    /// # let accounts = store.collection("bank", "accounts")?;
    /// # accounts.insert_many([&*rawdoc! { "_id": "ada", "balance": 10 }, &*rawdoc! { "_id": "bo", "balance": 0 }])?;
    /// let moved = store.with_transaction(|transaction| {
    ///     let accounts = transaction.collection("bank", "accounts")?;
    ///     let covered = rawdoc! { "_id": "ada", "balance": { "$gte": 3 } };
    ///     if accounts.update_one(&covered, &rawdoc! { "$inc": { "balance": -3 } })?.matched == 0 {
    ///         return Ok(false);
    ///     }
    ///     accounts.update_one(&rawdoc! { "_id": "bo" }, &rawdoc! { "$inc": { "balance": 3 } })?;
    ///     Ok::<_, Error>(true)
    /// })?;
    /// assert!(moved);
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_transaction<T, E: From<Error>>(&self, body: impl FnMut(&Transaction) -> Result<T, E>) -> Result<T, E> {
        self.with_transaction_options(&TransactionOptions::default(), body)
    }

    /// As [`Store::with_transaction`], with options. A session that they name is that of every attempt; only the last one
    /// leaves anything in the log.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn with_transaction_options<T, E: From<Error>>(
        &self,
        options: &TransactionOptions,
        mut body: impl FnMut(&Transaction) -> Result<T, E>,
    ) -> Result<T, E> {
        let started = Instant::now();
        let mut repetitions = 0;
        loop {
            let transaction = self.transaction_with(options)?;
            let (error, is_transient) = match body(&transaction) {
                Ok(value) => match transaction.commit() {
                    Ok(_) => return Ok(value),
                    Err(error) => {
                        let transient = is_transient(&error);
                        (E::from(error), transient)
                    }
                },
                Err(error) => (error, transaction.failure().is_some_and(|cause| is_transient(&cause))),
            };
            let pause = longest_pause(repetitions).mul_f64(chance());
            if !is_transient || started.elapsed() + pause >= RETRY_LIMIT {
                return Err(error);
            }
            std::thread::sleep(pause);
            repetitions += 1;
        }
    }
}

fn is_transient(error: &Error) -> bool {
    error.labels().contains(&ErrorLabel::TransientTransactionError)
}

/// Longest pause after so many repetitions.
fn longest_pause(repetitions: i32) -> Duration {
    let factor = BACKOFF_GROWTH.powi(repetitions.min(64));
    BACKOFF_INITIAL.mul_f64(factor).min(BACKOFF_MAX)
}

/// A number from 0 up to 1, another for each call, so that those who have met once do not meet again at once.
fn chance() -> f64 {
    // Each state has keys of its own.
    let random = RandomState::new().hash_one(Instant::now());
    f64::from(u32::try_from(random >> 32).unwrap_or_default()) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_half_a_second() {
        let millis = |repetitions| longest_pause(repetitions).as_micros();
        assert_eq!([millis(0), millis(1), millis(2)], [5_000, 7_500, 11_250]);
        assert_eq!([millis(40), millis(i32::MAX)], [500_000, 500_000]);
        assert!((0..1000).all(|_| (0.0..=1.0).contains(&chance())));
    }
}
