//! What a command needs to be allowed, and whether its client is.
//!
//! Every command of the table says so; one that does not cannot be compiled. It is asked before the command touches anything, its
//! session included. What can only be found by parsing, such as the collections within a pipeline, the command asks itself, before
//! it runs anything, by [`Context::require`].
//!
//! The database in which Tailwater keeps what belongs to itself, users among it, is refused to everybody, also where nobody has to
//! log in.

use bson::RawBsonRef;
use tailwater::INTERNAL_DATABASE;
use tailwater_auth::{Action, Authority, Identity, Resource};

use crate::context::Context;
use crate::error::{CommandError, CommandResult, code};
use crate::request::Request;

/// An action on a resource.
pub(crate) type Need<'a> = (Action, Resource<'a>);

/// What a command has needed, kept with the cursor that it has made: whoever asks for more must still be allowed it.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Reach(Vec<(Action, Kept)>);

/// A resource that is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Kept {
    Cluster,
    AllCollections,
    Database(String),
    Collection(String, String),
}

impl Kept {
    fn resource(&self) -> Resource<'_> {
        match self {
            Kept::Cluster => Resource::Cluster,
            Kept::AllCollections => Resource::AllCollections,
            Kept::Database(database) => Resource::Database(database),
            Kept::Collection(database, collection) => Resource::Collection { database, collection },
        }
    }
}

impl From<Resource<'_>> for Kept {
    fn from(resource: Resource<'_>) -> Kept {
        match resource {
            Resource::Cluster => Kept::Cluster,
            Resource::AllCollections => Kept::AllCollections,
            Resource::Database(database) => Kept::Database(database.to_owned()),
            Resource::Collection { database, collection } => {
                Kept::Collection(database.to_owned(), collection.to_owned())
            }
        }
    }
}

impl Reach {
    fn add(&mut self, (action, resource): Need<'_>) {
        let need = (action, Kept::from(resource));
        if !self.0.contains(&need) {
            self.0.push(need);
        }
    }

    /// Refuses a request of a client that is not allowed all of it any more.
    pub(crate) fn check(&self, context: &Context<'_>) -> CommandResult<()> {
        let mut needs = self.0.iter();
        needs.try_for_each(|(action, kept)| context.require(*action, kept.resource()))
    }
}

/// What a command needs.
pub(crate) enum Needs {
    /// Nothing: it belongs to logging in, or tells what everybody may know.
    Nothing,
    /// To be logged in: it is about what is the client's own, or looks by itself what it may show.
    Login,
    /// These on the server.
    Cluster(&'static [Action]),
    /// These on the database it runs in.
    Database(&'static [Action]),
    /// These on the collection it names.
    Collection(&'static [Action]),
    /// What its fields say.
    Fields(for<'a> fn(&Request<'a>) -> CommandResult<Vec<Need<'a>>>),
}

impl Needs {
    /// What it is for this request. A request whose fields cannot be read is refused for that.
    fn of<'a>(&self, request: &Request<'a>) -> CommandResult<Vec<Need<'a>>> {
        let each = |actions: &[Action], resource| actions.iter().map(|&action| (action, resource)).collect();
        match self {
            Needs::Nothing | Needs::Login => Ok(Vec::new()),
            Needs::Cluster(actions) => Ok(each(actions, Resource::Cluster)),
            Needs::Database(actions) => Ok(each(actions, Resource::Database(request.database))),
            Needs::Collection(actions) => Ok(each(actions, collection(request)?)),
            Needs::Fields(needs) => needs(request),
        }
    }
}

/// The collection that a request names.
pub(crate) fn collection<'a>(request: &Request<'a>) -> CommandResult<Resource<'a>> {
    Ok(Resource::Collection {
        database: request.database,
        collection: request.collection()?,
    })
}

/// `database.collection` in one string.
pub(crate) fn namespace<'a>(name: &'a str) -> CommandResult<Resource<'a>> {
    match name.split_once('.') {
        Some((database, collection)) => Ok(Resource::Collection { database, collection }),
        None => Err(CommandError::new(
            code::INVALID_NAMESPACE,
            format!("Invalid namespace specified '{name}'"),
        )),
    }
}

/// Refuses a request that its client is not allowed; what it has needed.
pub(crate) fn authorize<'a>(
    needs: &Needs,
    request: &Request<'a>,
    authority: &Authority,
    identity: &Identity,
) -> CommandResult<Vec<Need<'a>>> {
    if matches!(needs, Needs::Nothing) {
        return Ok(Vec::new());
    }
    if request.database == INTERNAL_DATABASE {
        return Err(refused(
            request,
            "it is the database in which the server keeps what belongs to itself",
        ));
    }
    let needs = needs.of(request)?;
    // The first user is made by somebody who cannot have logged in.
    let may_all = needs
        .iter()
        .try_for_each(|need| check(request, authority, identity, *need));
    match may_all {
        Ok(()) if needs.is_empty() && !authority.is_known(identity) => Err(unknown(request)),
        Err(_) if !authority.is_known(identity) => Err(unknown(request)),
        result => result.map(|()| needs),
    }
}

fn check(
    request: &Request<'_>,
    authority: &Authority,
    identity: &Identity,
    (action, resource): Need<'_>,
) -> CommandResult<()> {
    match authority.may(identity, action, resource) {
        true => Ok(()),
        false => Err(refused(request, &format!("it needs {} on {resource}", action.name()))),
    }
}

fn unknown(request: &Request<'_>) -> CommandError {
    CommandError::new(
        code::UNAUTHORIZED,
        format!("Command {} requires authentication", request.name),
    )
}

fn refused(request: &Request<'_>, why: &str) -> CommandError {
    CommandError::new(
        code::UNAUTHORIZED,
        format!(
            "not authorized on {} to execute command {}: {why}",
            request.database, request.name
        ),
    )
}

impl Context<'_> {
    /// Whether the client may do that.
    pub(crate) fn may(&self, action: Action, resource: Resource<'_>) -> bool {
        self.server.authority.may(self.identity(), action, resource)
    }

    /// Refuses the request unless the client may do that.
    pub(crate) fn require(&self, action: Action, resource: Resource<'_>) -> CommandResult<()> {
        let need = (action, resource);
        check(self.request, &self.server.authority, self.identity(), need)?;
        self.required.borrow_mut().add(need);
        Ok(())
    }

    /// Everything that the request has needed.
    pub(crate) fn reach(&self) -> Reach {
        let mut reach = self.required.borrow().clone();
        self.needed.iter().for_each(|need| reach.add(*need));
        reach
    }
}

/// Whether a member of a request's array of documents has a field that is true.
pub(crate) fn any_is_true(request: &Request<'_>, array: &'static str, field: &str) -> CommandResult<bool> {
    let documents = request.documents(array)?;
    Ok(documents
        .iter()
        .any(|document| is_true(document.get(field).ok().flatten())))
}

/// Whether a write is to pass over the collection's validator.
pub(crate) fn asks_to_bypass(request: &Request<'_>) -> bool {
    let field = request
        .arguments()
        .find(|field| field.name == "bypassDocumentValidation");
    is_true(field.map(|field| field.value))
}

/// Whether a value says yes, as [`Value::boolean`](crate::value::Value::boolean) has it, which refuses other types than these when
/// the command is carried out.
pub(crate) fn is_true(value: Option<RawBsonRef<'_>>) -> bool {
    match value {
        Some(RawBsonRef::Boolean(value)) => value,
        Some(RawBsonRef::Int32(number)) => number != 0,
        Some(RawBsonRef::Int64(number)) => number != 0,
        Some(RawBsonRef::Double(number)) => number != 0.0,
        _ => false,
    }
}
