//! Options of a transaction, and what its entries are known by.

use bson::raw::cstr;
use bson::{RawDocumentBuf, rawdoc};
use tailwater_matcher::validate;
use tailwater_oplog::Durability;

use crate::error::Result;
use crate::sessions::SessionId;

/// Options of a transaction. All have defaults.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct TransactionOptions {
    /// How durable the transaction is when its commit returns. Default: the store's.
    pub durability: Option<Durability>,
    /// What its entries and events are known by. Default: the store's own `lsid` with the next number.
    ///
    /// Two transactions with the same session cannot be told apart by those who watch; the store does not look.
    pub session: Option<TransactionSession>,
    /// The session that keeps that the transaction was committed, if it has written anything, with the transaction's number
    /// ([`Store::session_writes`](crate::Store::session_writes)). Default: none.
    pub remembered_by: Option<SessionId>,
}

/// What the entries of a transaction are known by: the session it belongs to, and its number there.
///
/// Change streams show both, as MongoDB's do (manual: *Change Events*).
#[derive(Clone, PartialEq, Debug)]
pub struct TransactionSession {
    /// Identity of the session, `{id: <UUID>}`.
    pub lsid: RawDocumentBuf,
    /// The transaction's number within the session.
    pub txn_number: i64,
}

impl TransactionSession {
    /// `{lsid, txnNumber}`, as it goes into the log.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidDocument`](crate::Error::InvalidDocument).
    pub(crate) fn to_document(&self) -> Result<RawDocumentBuf> {
        validate(self.lsid.as_bytes())?;
        let mut session = rawdoc! {};
        session.append(cstr!("lsid"), self.lsid.clone());
        session.append(cstr!("txnNumber"), self.txn_number);
        Ok(session)
    }
}
