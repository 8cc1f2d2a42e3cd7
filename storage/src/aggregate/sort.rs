//! `$sort`: in memory, where no index provided the order (MongoDB manual: *$sort*).

use std::sync::Arc;

use bson::RawBsonRef;

use super::context::Context;
use super::error::AggregateErrorKind as Kind;
use super::parse::Scope;
use super::stage::{Place, Stream, deferred};
use crate::error::Error;
use crate::sort::{SortPattern, Sorter};
use crate::state::Stored;
use crate::workspace::Found;

pub(super) fn parse(scope: &Scope, value: RawBsonRef<'_>) -> Result<SortPattern, Kind> {
    let RawBsonRef::Document(document) = value else {
        return Err(Kind::specification("the order must be a document", 15973));
    };
    match scope.language.sort(Some(document)) {
        Ok(Some(pattern)) => Ok(pattern),
        Ok(None) => Err(Kind::specification("at least one field must be named", 15976)),
        Err(error) => Err(Kind::specification(error.to_string(), 15975)),
    }
}

/// Sorts, of which only the first `wanted` documents matter.
pub(super) fn open(
    input: Stream,
    pattern: SortPattern,
    wanted: Option<u64>,
    place: Place,
    context: &Context,
) -> Stream {
    let (bytes_max, memory) = (context.options.memory_bytes_max, context.options.control.share());
    deferred(move || {
        let mut sorter = Sorter::new(pattern, wanted)
            .with_bytes_max(bytes_max)
            .with_memory(memory);
        for document in input {
            let found = Found {
                key: Vec::new(),
                stored: Stored::Made(Arc::new(document?)),
            };
            sorter.push(found).map_err(|error| match error {
                Error::SortMemoryExceeded { .. } => place.memory(bytes_max),
                error => error,
            })?;
        }
        Ok(Box::new(sorter.finish().map(|found| found.stored.into_document())))
    })
}
