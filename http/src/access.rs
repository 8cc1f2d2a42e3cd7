//! Who may do what. The server asks one trait, for each request, before it does anything for it.

use std::fmt::Debug;
use std::net::SocketAddr;

use tailwater::Scope;

/// What a client wants to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action<'a> {
    /// See every change in that scope.
    Watch(&'a Scope),
    /// See how the store and those who watch it are: the dashboard, its numbers and metrics.
    Monitor,
}

/// What is known of a client before it has said who it is.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// Its address.
    pub address: SocketAddr,
    /// The request's `Authorization` header.
    pub authorization: Option<&'a str>,
}

/// Who a client is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Identity {
    /// The user's name; nothing where there are no users.
    pub user: Option<String>,
}

/// Why a client may not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// It has not said who it is, or that is not so: it is asked for a login (401).
    Login,
    /// It is known, and may not (403).
    Forbidden {
        /// What it lacks, in words.
        what: String,
    },
}

/// Decides who may do what.
pub trait Access: Send + Sync + Debug {
    /// Says who the caller is, if it may do that. It may take its time: it is asked in a thread where that is allowed.
    ///
    /// # Errors
    ///
    /// Why it may not.
    fn authorize(&self, caller: Caller<'_>, action: Action<'_>) -> Result<Identity, Refusal>;

    /// Whether callers have to log in. Where they need not, whoever can connect may do everything: then only loopback addresses
    /// can be bound, and only requests for this machine by its own names are answered.
    fn asks_for_login(&self) -> bool;
}

/// Everybody who can connect may do everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Open;

impl Access for Open {
    fn authorize(&self, _: Caller<'_>, _: Action<'_>) -> Result<Identity, Refusal> {
        Ok(Identity::default())
    }

    fn asks_for_login(&self) -> bool {
        false
    }
}
