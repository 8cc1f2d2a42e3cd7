//! `$unionWith`: the documents of another collection behind those that come in (MongoDB manual: *$unionWith*).

use std::sync::Arc;

use bson::RawBsonRef;

use super::context::Context;
use super::error::AggregateErrorKind as Kind;
use super::parse::{Scope, fields};
use super::source;
use super::stage::{Stage, Stream, deferred};
use crate::catalog::Namespace;

/// Which collection, and what its documents go through.
#[derive(Debug)]
pub(super) struct Union {
    /// None is needed for `$documents`.
    collection: String,
    stages: Vec<Stage>,
}

impl Union {
    /// The collection it reads, and what its documents go through.
    pub(super) fn reach(&self) -> (&str, &[Stage]) {
        (&self.collection, &self.stages)
    }

    pub(super) fn parse(scope: &Scope, value: RawBsonRef<'_>) -> Result<Union, Kind> {
        let (mut collection, mut stages) = (None, Vec::new());
        if let RawBsonRef::String(name) = value {
            collection = Some(name);
        } else {
            for (name, value) in fields(value, 9)? {
                match (name, value) {
                    ("coll", RawBsonRef::String(name)) => collection = Some(name),
                    ("coll", _) => return Err(Kind::specification("coll must be a string", 14)),
                    ("pipeline", value) => stages = scope.inner([]).sub_pipeline(value, 14)?,
                    (name, _) => return Err(Kind::specification(format!("there is no option {name:?}"), 9)),
                }
            }
        }
        let collection = source_collection(collection, &stages)?;
        Ok(Union { collection, stages })
    }
}

/// The name of a collection that a stage reads, which it must have unless its pipeline begins with `$documents`.
pub(super) fn source_collection(name: Option<&str>, stages: &[Stage]) -> Result<String, Kind> {
    let made = stages.first().is_some_and(Stage::is_documents);
    match name {
        None if made => Ok(String::new()),
        None => Err(Kind::specification(
            "a collection is needed, or a pipeline that begins with $documents",
            9,
        )),
        Some(_) if made => Err(Kind::specification("$documents goes without a collection", 73)),
        Some(name) => match crate::names::check_collection(name) {
            Ok(()) => Ok(name.to_owned()),
            Err(error) => Err(Kind::specification(error.to_string(), 73)),
        },
    }
}

pub(super) fn open(input: Stream, union: Arc<Union>, context: Context) -> Stream {
    let other = deferred(move || {
        let namespace = Namespace::new(&context.database, &union.collection);
        source::collection(&namespace, None, &union.stages, None, &context)
    });
    Box::new(input.chain(other))
}
