//! One operation of a `bulkWrite`, and the collections that operations name by their place in `nsInfo`.

use bson::{RawDocument, RawDocumentBuf};
use tailwater::{DeleteOptions, UpdateOptions, WriteModel};
use tailwater_auth::{Action, Resource};

use crate::commands::update::{modifications, write_model};
use crate::error::{CommandError, CommandResult, code};
use crate::request::missing;
use crate::value::{Value, fields};

const COMMAND: &str = "bulkWrite.ops";

/// A collection, by its names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Named<'a> {
    pub(super) database: &'a str,
    pub(super) collection: &'a str,
}

impl<'a> Named<'a> {
    pub(super) fn resource(self) -> Resource<'a> {
        let Named { database, collection } = self;
        Resource::Collection { database, collection }
    }
}

/// The collections of a command.
pub(super) struct Namespaces<'a>(Vec<Named<'a>>);

impl<'a> Namespaces<'a> {
    pub(super) fn parse(infos: &[&'a RawDocument]) -> CommandResult<Namespaces<'a>> {
        infos
            .iter()
            .map(|info| namespace(info))
            .collect::<CommandResult<_>>()
            .map(Namespaces)
    }

    /// The one that an operation names by its place.
    fn get(&self, field: Value<'_>) -> CommandResult<Named<'a>> {
        let place = usize::try_from(field.integer()?).ok();
        let named = place.and_then(|place| self.0.get(place)).copied();
        named.ok_or_else(|| {
            CommandError::new(
                code::BAD_VALUE,
                "BulkWrite ops entry has an invalid nsInfo index.".to_owned(),
            )
        })
    }
}

fn namespace(info: &RawDocument) -> CommandResult<Named<'_>> {
    let mut name = None;
    for field in fields("bulkWrite.nsInfo", info) {
        let field = field?;
        match field.name {
            "ns" => name = Some(field.string()?),
            _ => return Err(field.unknown()),
        }
    }
    let name = name.ok_or_else(|| missing("bulkWrite.nsInfo", "ns"))?;
    let named = name
        .split_once('.')
        .map(|(database, collection)| Named { database, collection });
    named.ok_or_else(|| {
        let message = format!("Invalid namespace specified for bulkWrite: '{name}'");
        CommandError::new(code::INVALID_NAMESPACE, message)
    })
}

/// One operation.
pub(super) struct Operation<'a> {
    pub(super) namespace: Named<'a>,
    pub(super) model: WriteModel,
}

impl<'a> Operation<'a> {
    /// What its client must be allowed.
    pub(super) fn needs(&self) -> impl Iterator<Item = (Action, Named<'a>)> + use<'a> {
        let (action, upsert) = match &self.model {
            WriteModel::InsertOne { .. } => (Action::Insert, false),
            WriteModel::UpdateOne { options, .. } | WriteModel::UpdateMany { options, .. } => {
                (Action::Update, options.upsert)
            }
            WriteModel::ReplaceOne { options, .. } => (Action::Update, options.upsert),
            _ => (Action::Remove, false),
        };
        let namespace = self.namespace;
        let actions = [Some(action), upsert.then_some(Action::Insert)];
        actions.into_iter().flatten().map(move |action| (action, namespace))
    }

    pub(super) fn parse(operation: &RawDocument, namespaces: &Namespaces<'a>) -> CommandResult<Operation<'a>> {
        let first = fields(COMMAND, operation).next().transpose()?;
        let first =
            first.ok_or_else(|| CommandError::new(code::FAILED_TO_PARSE, "an operation has at least its kind"))?;
        let parse = match first.name {
            "insert" => insert,
            "update" => update,
            "delete" => delete,
            _ => return Err(first.unknown()),
        };
        Ok(Operation {
            namespace: namespaces.get(first)?,
            model: parse(operation)?,
        })
    }

    /// The document that it inserts.
    pub(super) fn insert(&self) -> Option<&RawDocument> {
        match &self.model {
            WriteModel::InsertOne { document } => Some(document),
            _ => None,
        }
    }
}

/// The fields behind the one that says what it is.
fn rest(operation: &RawDocument) -> impl Iterator<Item = CommandResult<Value<'_>>> {
    fields(COMMAND, operation).skip(1)
}

fn insert(operation: &RawDocument) -> CommandResult<WriteModel> {
    let mut document = None;
    for field in rest(operation) {
        let field = field?;
        match field.name {
            "document" => document = Some(field.owned()?),
            _ => return Err(field.unknown()),
        }
    }
    let document = document.ok_or_else(|| missing(COMMAND, "document"))?;
    Ok(WriteModel::insert_one(document))
}

fn update(operation: &RawDocument) -> CommandResult<WriteModel> {
    let (mut filter, mut change, mut multi) = (None, None, false);
    let mut options = UpdateOptions::default();
    for field in rest(operation) {
        let field = field?;
        match field.name {
            "filter" => filter = Some(field.owned()?),
            "updateMods" => change = Some(modifications(field)?),
            "multi" => multi = field.boolean()?,
            "upsert" => options.upsert = field.boolean()?,
            "arrayFilters" => {
                options.array_filters = field.documents()?.into_iter().map(RawDocument::to_owned).collect();
            }
            "hint" => options.hint = field.hint()?,
            "sort" => options.sort = field.filled()?,
            "collation" => options.collation = field.filled()?,
            "constants" => field.no_variables()?,
            _ => return Err(field.unknown()),
        }
    }
    let change = change.ok_or_else(|| missing(COMMAND, "updateMods"))?;
    write_model(required(filter)?, change, options, multi)
}

fn delete(operation: &RawDocument) -> CommandResult<WriteModel> {
    let (mut filter, mut multi) = (None, false);
    let mut options = DeleteOptions::default();
    for field in rest(operation) {
        let field = field?;
        match field.name {
            "filter" => filter = Some(field.owned()?),
            "multi" => multi = field.boolean()?,
            "hint" => options.hint = field.hint()?,
            "collation" => options.collation = field.filled()?,
            _ => return Err(field.unknown()),
        }
    }
    let filter = required(filter)?;
    Ok(match multi {
        true => WriteModel::DeleteMany { filter, options },
        false => WriteModel::DeleteOne { filter, options },
    })
}

fn required(filter: Option<RawDocumentBuf>) -> CommandResult<RawDocumentBuf> {
    filter.ok_or_else(|| missing(COMMAND, "filter"))
}
