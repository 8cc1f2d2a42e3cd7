//! What a command has to work with.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use tailwater::{Collection, QueryControl, Transaction, TransactionCollection};
use tailwater_auth::Identity;

use crate::cursor::{Cursor, Keeping};
use crate::error::{CommandError, CommandResult, code};
use crate::login::Login;
use crate::needs::{Need, Reach};
use crate::operations::Interrupts;
use crate::oplog_view;
use crate::request::Request;
use crate::server::Shared;

/// What the server knows of a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) id: i32,
    /// The client's address.
    pub(crate) address: SocketAddr,
    /// The address that the client reached the server by.
    pub(crate) local: SocketAddr,
    /// What the client's application calls itself, once it has said so.
    pub(crate) app_name: OnceLock<String>,
}

/// What a command has to work with.
pub(crate) struct Context<'a> {
    pub(crate) server: &'a Arc<Shared>,
    pub(crate) peer: &'a Peer,
    pub(crate) request: &'a Request<'a>,
    /// Who the client is.
    pub(crate) login: &'a mut Login,
    /// The transaction that the request is part of.
    pub(crate) transaction: Option<&'a Transaction>,
    /// What ends it in the middle.
    pub(crate) interrupts: Interrupts<'a>,
    /// What it has needed to be allowed, by the table, and by what it has asked for itself.
    pub(crate) needed: Vec<Need<'a>>,
    pub(crate) required: RefCell<Reach>,
}

/// A collection as the request sees it.
pub(crate) enum Target<'a> {
    Collection(Collection),
    Transaction(TransactionCollection<'a>),
}

impl<'a> Context<'a> {
    /// Over a query of the request: it ends with that, and when its time is over.
    pub(crate) fn control(&self) -> QueryControl {
        let control = self.interrupts.control();
        self.interrupts.rule(&control, self.request.deadline());
        control
    }

    /// Who the client is.
    pub(crate) fn identity(&self) -> &Identity {
        &self.login.identity
    }

    /// The collection that the request names, in its transaction if it has one, with the durability it asks for.
    pub(crate) fn target(&self) -> CommandResult<Target<'a>> {
        let name = self.request.collection()?;
        oplog_view::refuse(self.request.database, name)?;
        match self.transaction {
            Some(transaction) => Ok(Target::Transaction(
                transaction.collection(self.request.database, name)?,
            )),
            None => self.collection().map(Target::Collection),
        }
    }

    /// The collection that the request names, outside of any transaction.
    pub(crate) fn collection(&self) -> CommandResult<Collection> {
        let name = self.request.collection()?;
        oplog_view::refuse(self.request.database, name)?;
        let collection = self.server.store.collection(self.request.database, name)?;
        Ok(match self.request.acknowledged.durability {
            Some(durability) => collection.with_durability(durability),
            None => collection,
        })
    }

    /// `database.collection` of the collection that the request names.
    pub(crate) fn namespace(&self) -> CommandResult<String> {
        Ok(format!("{}.{}", self.request.database, self.request.collection()?))
    }

    /// Keeps what is left of a cursor for the client; its number, or 0 if nothing is.
    pub(crate) fn keep(&self, cursor: Cursor, namespace: &str, never_expires: bool) -> CommandResult<i64> {
        if cursor.is_ended() {
            return Ok(0);
        }
        let mut question = self.interrupts.memory();
        question.take(self.request.body.as_bytes().len())?;
        let keeping = Keeping {
            namespace: namespace.to_owned(),
            owner: self.request.owner(),
            never_expires,
            reach: self.reach(),
            question,
            written: self.server.bytes_written(),
        };
        self.server.cursors.keep(cursor, keeping)
    }

    /// Refuses what a transaction does not have.
    pub(crate) fn outside_transaction(&self, what: &str) -> CommandResult<()> {
        match self.transaction {
            None => Ok(()),
            Some(_) => Err(CommandError::new(
                code::NOT_IN_TRANSACTION,
                format!("{what} is not supported in a transaction"),
            )),
        }
    }

    /// `host:port` by which the client reaches the server.
    pub(crate) fn me(&self) -> String {
        let options = &self.server.options;
        let listed = options
            .member
            .as_ref()
            .and_then(|member| member.host_of(&member.options().name));
        let advertised = listed.or(options.advertise.as_deref());
        advertised.map_or_else(|| self.peer.local.to_string(), str::to_owned)
    }

    /// How clients reach all members, this one among them.
    pub(crate) fn hosts(&self) -> Vec<String> {
        let me = self.me();
        let member = self.server.options.member.as_ref();
        let listed = member.into_iter().flat_map(|member| &member.options().hosts);
        let mut hosts: Vec<String> = listed.map(|(_, host)| host.clone()).collect();
        if !hosts.contains(&me) {
            hosts.push(me);
        }
        hosts
    }

    /// How clients reach the primary, as far as that is known.
    pub(crate) fn primary_host(&self) -> Option<String> {
        let store = &self.server.store;
        if !store.is_following() {
            return Some(self.me());
        }
        let member = self.server.options.member.as_ref()?;
        // What is newest here may be its own, of when it was the primary.
        let name = member.name_of(store.term().member());
        let other = name.filter(|name| *name != member.options().name)?;
        member.host_of(other).map(str::to_owned)
    }
}
