//! `$out`: the result in the place of a collection, at once (MongoDB manual: *$out*).
//!
//! It is written to a collection of another name, which has the target's options and indexes, and then takes the target's name
//! while the target is dropped. Until then readers see the old collection, and after an error it is as it was. In the log these
//! are ordinary entries: a creation, inserts, a rename that drops its target. What a crash leaves of that other collection is
//! dropped when the store is opened.

use bson::{RawBsonRef, RawDocumentBuf};

use super::context::Context;
use super::error::AggregateErrorKind as Kind;
use super::stage::{Place, Stream};
use super::target::{Target, Writing, batch};
use crate::collection::{Collection, InsertManyOptions};
use crate::error::{Error, Result};

/// What the names of the collections begin with that results are written to; MongoDB's begin so as well.
const TEMPORARY_PREFIX: &str = "tmp.agg_out.";

/// Whether a collection of that name is what an `$out` has written and not given its place: the prefix and a UUID.
pub(crate) fn is_temporary(collection: &str) -> bool {
    let id = collection.strip_prefix(TEMPORARY_PREFIX);
    id.is_some_and(|id| uuid::Uuid::try_parse(id).is_ok())
}

/// What is replaced.
#[derive(Debug)]
pub(super) struct Out(Target);

impl Out {
    pub(super) fn target(&self) -> &Target {
        &self.0
    }

    pub(super) fn parse(value: RawBsonRef<'_>) -> Result<Out, Kind> {
        Ok(Out(Target::parse(value, 16990)?))
    }

    pub(super) fn run(&self, mut input: Stream, place: &Place, context: &Context, writing: &Writing<'_>) -> Result<()> {
        let target = self.0.checked(&context.database, place)?;
        let existing = context.reading.info(&target);
        if existing.as_ref().is_some_and(|info| info.options.capped.is_some()) {
            return Err(place.error(Kind::specification("it cannot replace a capped collection", 17152)));
        }
        let store = writing.store;
        let options = existing.as_ref().map(|info| info.options.clone()).unwrap_or_default();
        let made = format!("{TEMPORARY_PREFIX}{}", uuid::Uuid::new_v4());
        store.create_collection_with(&target.database, &made, &options)?;
        let collection = store
            .collection(&target.database, &made)?
            .with_durability(writing.durability);
        let filled = (|| {
            let indexes = existing.iter().flat_map(|info| &info.indexes);
            let indexes: Vec<RawDocumentBuf> = indexes.map(|index| index.definition.to_ask_for()).collect();
            if !indexes.is_empty() {
                collection.create_indexes(&indexes.iter().map(AsRef::as_ref).collect::<Vec<_>>())?;
            }
            let options = InsertManyOptions {
                bypass_document_validation: context.options.bypass_document_validation,
                ..InsertManyOptions::default()
            };
            fill(&collection, &mut input, &options)?;
            let from = (target.database.as_str(), made.as_str());
            store.rename_collection(from, (&target.database, &target.collection), true)
        })();
        if let Err(error) = filled {
            if let Err(left) = store.drop_collection(&target.database, &made) {
                tracing::warn!(collection = made, error = %left, "what a failed $out has written could not be dropped");
            }
            return Err(error);
        }
        Ok(())
    }
}

fn fill(collection: &Collection, input: &mut Stream, options: &InsertManyOptions) -> Result<()> {
    loop {
        let documents = batch(input)?;
        if documents.is_empty() {
            return Ok(());
        }
        let inserted = collection.insert_many_with(documents.iter().map(AsRef::as_ref), options);
        inserted.map_err(|error| match error {
            Error::InsertMany { source, .. } => *source,
            error => error,
        })?;
    }
}
