//! `tailwater replicate`, `follow` and `promote`: a store on more than one machine.

mod display;
mod follow;
mod insert;
mod primary;
mod promote;

use std::path::PathBuf;
use std::time::Duration;

use tailwater::replication::{Error, Selection, TlsOptions, WriteConcern};

use crate::export::parse;
use crate::failure::{Exit, Failure, Outcome, exit_of_log, exit_of_store};

pub(crate) use follow::{FollowArguments, follow};
pub(crate) use primary::{PrimaryArguments, replicate};
pub(crate) use promote::{PromoteArguments, promote};

/// What all members are told.
#[derive(Debug, clap::Args)]
pub(crate) struct MemberArguments {
    /// Name of this member; without it, that of the machine.
    #[arg(long)]
    name: Option<String>,
    /// The members whose majority counts, separated by commas; the same list, in the same order, everywhere.
    #[arg(long, value_name = "NAME,NAME,…", value_delimiter = ',')]
    members: Vec<String>,
    /// Allow addresses that are not of this machine. Nothing is encrypted: only in networks that are protected otherwise.
    #[arg(long)]
    allow_plaintext: bool,
    /// Encrypt connections, and have both sides show certificates: this member's, with those between it and the authority (PEM).
    #[arg(long, value_name = "FILE", requires_all = ["tls_key", "tls_ca"], conflicts_with = "allow_plaintext")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// The authority whose certificates members have, and nobody else (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_ca: Option<PathBuf>,
    /// Milliseconds between signs of life; a connection that is silent for four times as long is given up.
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    heartbeat: u64,
}

impl MemberArguments {
    fn name(&self) -> Outcome<String> {
        name_or_host(self.name.as_deref())
    }

    fn tls(&self) -> Option<TlsOptions> {
        Some(TlsOptions {
            certificate: self.tls_cert.clone()?,
            key: self.tls_key.clone()?,
            authority: self.tls_ca.clone()?,
        })
    }

    fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.heartbeat)
    }
}

/// What a follower keeps of the primary's store.
#[derive(Debug, clap::Args)]
pub(crate) struct SelectionArguments {
    /// Keep only documents of these collections: database.collection, or database.* for all of a database.
    #[arg(long, value_name = "NAMESPACE,…", value_delimiter = ',')]
    filter_namespaces: Vec<String>,
    /// Keep only documents that match: a $match document, or a text filter (`tailwater help filter`).
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,
}

impl SelectionArguments {
    /// What is kept, unless that is everything.
    pub(crate) fn selection(&self) -> Outcome<Option<Selection>> {
        if self.filter_namespaces.is_empty() && self.filter.is_none() {
            return Ok(None);
        }
        let filter = self.filter.as_deref().map(parse).transpose()?.unwrap_or_default();
        let namespaces = self.filter_namespaces.iter().map(String::as_str);
        let selection = Selection::new(namespaces, &filter.to_document());
        Ok(Some(
            selection.map_err(|error| Failure::new(Exit::Usage, error.to_string()))?,
        ))
    }
}

/// The name that was given, or the machine's.
fn name_or_host(given: Option<&str>) -> Outcome<String> {
    if let Some(name) = given {
        return Ok(name.to_owned());
    }
    let system = rustix::system::uname();
    let host = system.nodename().to_str().ok().filter(|host| !host.is_empty());
    let nameless = || Failure::new(Exit::Usage, "this machine has no name: give one with --name".to_owned());
    host.map(str::to_owned).ok_or_else(nameless)
}

/// `1`, `2`, …, or `majority`.
fn write_concern(text: &str) -> Result<WriteConcern, String> {
    match text {
        "majority" => Ok(WriteConcern::Majority),
        number => number
            .parse()
            .ok()
            .and_then(WriteConcern::members)
            .ok_or_else(|| "give a number of members from 1 on, or majority".to_owned()),
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let exit = match &error {
            Error::Log(error) => exit_of_log(error),
            Error::Store(error) => exit_of_store(error),
            Error::ResyncNeeded { .. } | Error::RollbackTooLarge { .. } => Exit::History,
            Error::Plaintext { .. }
            | Error::Certificate { .. }
            | Error::InvalidOption { .. }
            | Error::NoMembers
            | Error::NotFollower => Exit::Usage,
            Error::File { .. } | Error::Network { .. } | Error::NotPrimary { .. } | Error::Refused { .. } => {
                Exit::Environment
            }
            _ => Exit::Failure,
        };
        Failure::of(exit, &error)
    }
}
