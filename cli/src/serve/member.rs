//! `serve` among others: flags, and what they make of the store.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use bson::RawDocumentBuf;
use tailwater::replication::{Selection, TlsOptions};
use tailwater::{INTERNAL_DATABASE, Store, StoreOptions};
use tailwater_server::{Member, MemberOptions};

use super::program::Event;
use crate::failure::{Exit, Failure, Outcome};
use crate::replicate::SelectionArguments;

/// One of several.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Several members")]
pub(super) struct MemberArguments {
    /// Follow the member at this address: the store is that one's, entry for entry, and serves reads and change streams as a
    /// secondary. `tailwater promote`, or the command replSetStepUp, makes it the primary.
    #[arg(long, value_name = "HOST:PORT")]
    follow: Option<String>,
    /// Where other members follow this one. Without --follow it is the primary.
    #[arg(long, value_name = "ADDRESS:PORT")]
    replicate: Option<SocketAddr>,
    /// Name of this member.
    #[arg(long)]
    name: Option<String>,
    /// The members whose majority counts, separated by commas; the same list, in the same order, everywhere.
    #[arg(long, value_name = "NAME,NAME,…", value_delimiter = ',')]
    members: Vec<String>,
    /// How clients reach the members, this one among them; drivers that find one find all.
    #[arg(long, value_name = "NAME=HOST:PORT,…", value_delimiter = ',', value_parser = host)]
    hosts: Vec<(String, String)>,
    /// Where other members serve followers, or may do so again, as the primary: once this one is it they are told so.
    #[arg(long, value_name = "HOST:PORT,…", value_delimiter = ',')]
    fence: Vec<String>,
    /// As a follower, replace what is here by a new copy when it is of no use any more.
    #[arg(long)]
    resync: bool,
    /// Bytes of log that are kept for a member that is away. More than that, and it needs a new copy.
    #[arg(long, value_name = "BYTES", default_value_t = MemberOptions::LAG_BYTES_MAX)]
    lag_max: u64,
    /// Bytes of log that are kept for a member from the beginning of its copy of the state until it has caught up.
    #[arg(long, value_name = "BYTES", default_value_t = MemberOptions::COPY_LAG_BYTES_MAX)]
    copy_lag_max: u64,
    /// As a follower, cut off so many bytes of entries at most that the primary does not have. More end it, and stay.
    #[arg(long, value_name = "BYTES", default_value_t = MemberOptions::ROLLBACK_BYTES_MAX)]
    rollback_max: u64,
    #[command(flatten)]
    selection: SelectionArguments,
    /// This member's certificate, with those between it and the authority (PEM): what members say to each other is then encrypted.
    #[arg(long, value_name = "FILE")]
    replication_tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM).
    #[arg(long, value_name = "FILE")]
    replication_tls_key: Option<PathBuf>,
    /// The authority whose certificates members have, and nobody else (PEM).
    #[arg(long, value_name = "FILE")]
    replication_tls_ca: Option<PathBuf>,
    /// Members may be on other machines though nothing is encrypted between them: in networks that are protected otherwise.
    #[arg(long)]
    replication_allow_plaintext: bool,
    /// Milliseconds between signs of life of members; the same everywhere.
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    heartbeat: u64,
}

/// `NAME=HOST:PORT`.
fn host(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=');
    let is_host = |host: &str| {
        host.rsplit_once(':')
            .is_some_and(|(name, port)| !name.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0))
    };
    let parts = parts.filter(|(name, host)| !name.is_empty() && is_host(host));
    let (name, host) = parts.ok_or("give NAME=HOST:PORT")?;
    Ok((name.to_owned(), host.to_owned()))
}

impl MemberArguments {
    /// Refuses an address for this member that is told in two ways, and a part of a store without its users, whom nobody would
    /// know to be missing.
    pub(super) fn check(&self, advertise: Option<&str>, is_open: bool) -> Outcome {
        if let Some(selection) = self.selection.selection()?
            && !is_open
            && !has_users(&selection)
        {
            return Err(Failure::new(
                Exit::Usage,
                format!(
                    "the filter leaves out the users: keep them (--filter-namespaces with {INTERNAL_DATABASE}.*, without --filter), or say \
                     that nobody has to log in (--no-auth, on loopback addresses)"
                ),
            ));
        }
        let own = self.hosts.iter().find(|(name, _)| Some(name) == self.name.as_ref());
        match (own, advertise) {
            (Some((_, host)), Some(advertised)) if host != advertised => Err(Failure::new(
                Exit::Usage,
                format!(
                    "hosts says that clients reach this member by {host}, and advertise by {advertised}: leave one out"
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Whether the store is another one's.
    pub(super) fn follows(&self) -> bool {
        self.follow.is_some()
    }

    /// The member that the store in `dir` is, if it is one; the store is opened with these options.
    pub(super) fn begin(&self, dir: &Path, store: StoreOptions, events: &Sender<Event>) -> Outcome<Standing> {
        let Some(mut options) = self.options()? else {
            return Ok(Standing::Alone(Store::open_with(dir, &store)?));
        };
        let say = events.clone();
        // Whoever is told may be gone already: then the program ends.
        let on_event = move |event| drop(say.send(Event::Member(event)));
        let member = match &self.follow {
            Some(from) => {
                options.store = store;
                Member::follow(options, dir, from, on_event)?
            }
            None => Member::lead(options, &Store::open_with(dir, &store)?, on_event)?,
        };
        Ok(Standing::Member(Arc::new(member)))
    }

    fn options(&self) -> Outcome<Option<MemberOptions>> {
        if self.follow.is_none() && self.replicate.is_none() {
            let given = self.name.is_some() || !self.members.is_empty() || !self.hosts.is_empty();
            return match given {
                true => Err(Failure::new(
                    Exit::Usage,
                    "name, members and hosts are of a server that is followed (--replicate) or follows (--follow)",
                )),
                false => Ok(None),
            };
        }
        let selection = self.selection.selection()?;
        if self.follow.is_none() && selection.is_some() {
            return Err(Failure::new(
                Exit::Usage,
                "filter and filter-namespaces are of a server that follows (--follow): a primary has everything",
            ));
        }
        let Some(name) = &self.name else {
            return Err(Failure::new(Exit::Usage, "a member needs a name: give --name"));
        };
        if !self.members.is_empty()
            && let Some((unknown, _)) = self.hosts.iter().find(|(name, _)| !self.members.contains(name))
        {
            return Err(Failure::new(
                Exit::Usage,
                format!("hosts has {unknown}, which is none of the members"),
            ));
        }
        let mut options = MemberOptions::new(name);
        options.members.clone_from(&self.members);
        options.hosts.clone_from(&self.hosts);
        options.fence.clone_from(&self.fence);
        options.listen = self.replicate.unwrap_or(options.listen);
        options.resync = self.resync;
        options.selection = selection;
        options.lag_bytes_max = self.lag_max;
        options.copy_lag_bytes_max = self.copy_lag_max;
        options.rollback_bytes_max = self.rollback_max;
        options.allow_plaintext = self.replication_allow_plaintext;
        options.heartbeat = Duration::from_millis(self.heartbeat);
        options.tls = self.tls()?;
        Ok(Some(options))
    }

    fn tls(&self) -> Outcome<Option<TlsOptions>> {
        match (
            &self.replication_tls_cert,
            &self.replication_tls_key,
            &self.replication_tls_ca,
        ) {
            (Some(certificate), Some(key), Some(authority)) => Ok(Some(TlsOptions {
                certificate: certificate.clone(),
                key: key.clone(),
                authority: authority.clone(),
            })),
            (None, None, None) => Ok(None),
            _ => Err(Failure::new(
                Exit::Usage,
                "encryption between members needs replication-tls-cert, replication-tls-key and replication-tls-ca",
            )),
        }
    }
}

/// Whether a store of which that is kept has all the users there are.
fn has_users(selection: &Selection) -> bool {
    let pattern = format!("{INTERNAL_DATABASE}.*");
    let users = Selection::new([pattern.as_str()], &RawDocumentBuf::new());
    users.is_ok_and(|users| users.is_within(selection))
}

/// Whose store is served.
pub(super) enum Standing {
    /// Nobody else's.
    Alone(Store),
    /// That of one of several.
    Member(Arc<Member>),
}

impl Standing {
    /// The store, while there is one that can be served.
    pub(super) fn store(&self) -> Option<Store> {
        match self {
            Standing::Alone(store) => Some(store.clone()),
            Standing::Member(member) => member.store().filter(|store| !store.log().is_closed()),
        }
    }

    pub(super) fn member(&self) -> Option<&Arc<Member>> {
        match self {
            Standing::Alone(_) => None,
            Standing::Member(member) => Some(member),
        }
    }

    /// Ends what connects it with others, and closes the store.
    pub(super) fn end(self) -> Outcome {
        let store = self.store();
        if let Some(member) = self.member() {
            member.stop();
        }
        Ok(store.map_or(Ok(()), Store::close)?)
    }
}
