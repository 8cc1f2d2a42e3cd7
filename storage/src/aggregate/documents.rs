//! `$documents`: documents from an expression instead of a collection (MongoDB manual: *$documents*).

use std::sync::Arc;

use bson::{RawBson, RawBsonRef, RawDocumentBuf};
use tailwater_matcher::ValueExpression;

use super::context::Context;
use super::error::AggregateErrorKind as Kind;
use super::group::value_of;
use super::parse::Scope;
use super::stage::{Place, Stream, deferred};

pub(super) fn parse(scope: &Scope, value: RawBsonRef<'_>) -> Result<ValueExpression, Kind> {
    scope.expression(value)
}

pub(super) fn open(expression: Arc<ValueExpression>, place: Place, context: Context) -> Stream {
    deferred(move || {
        let not_documents = || place.error(Kind::specification("it needs an array of documents", 5_858_203));
        let RawBson::Array(values) = value_of(&expression, &RawDocumentBuf::new(), &place, &context)? else {
            return Err(not_documents());
        };
        let mut documents = Vec::new();
        for value in &values {
            match value {
                Ok(RawBsonRef::Document(document)) => documents.push(Ok(document.to_owned())),
                _ => return Err(not_documents()),
            }
        }
        Ok(Box::new(documents.into_iter()))
    })
}
