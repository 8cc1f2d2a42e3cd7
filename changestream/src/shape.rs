//! An event whose document is not the plain one: a pipeline has made another of it, or it is split into fragments.

use bson::raw::{CStr, RawBsonRef, cstr};
use bson::{RawDocument, RawDocumentBuf, rawdoc};
use tailwater_oplog::OpId;

use crate::error::{Error, Result};
use crate::event::OperationType;
use crate::fields::EventFields;
use crate::split::{EVENT_BYTES_MAX, Split, SplitEvent};
use crate::token::ResumeToken;

/// What becomes of an event that is larger than [`EVENT_BYTES_MAX`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Oversize {
    /// The stream fails, as MongoDB's does.
    Refuse,
    /// It comes in fragments.
    Split,
    /// It comes whole: nobody needs it as one document of BSON.
    Deliver,
}

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Shape {
    /// The document as a pipeline has made it; the plain one where there is none.
    pub(crate) document: Option<RawDocumentBuf>,
    pub(crate) split: Option<Split>,
}

impl Shape {
    /// The shape of an event of which a pipeline has made `document`; nothing for one that is delivered as it is.
    pub(crate) fn of(
        op_id: OpId,
        operation: OperationType,
        fields: &EventFields<'_>,
        document: Option<RawDocumentBuf>,
        oversize: Oversize,
    ) -> Result<Option<Shape>> {
        let bytes = match &document {
            _ if oversize == Oversize::Deliver => 0,
            Some(document) => document.as_bytes().len(),
            None if !fields.may_be_large() => 0,
            None => document_bytes(&listed(None, fields)),
        };
        let split = match oversize {
            _ if bytes <= EVENT_BYTES_MAX => None,
            // The token of an `invalidate` has no place for a fragment; a pipeline has to try hard to make one so large.
            Oversize::Split if operation != OperationType::Invalidate => {
                Some(split(op_id, &listed(document.as_deref(), fields), fields.token())?)
            }
            _ => return Err(Error::EventTooLarge { op_id, bytes }),
        };
        let is_plain = document.is_none() && split.is_none();
        Ok((!is_plain).then_some(Shape { document, split }))
    }

    /// The document of a fragment.
    pub(crate) fn fragment(&self, fields: &EventFields<'_>, number: SplitEvent) -> RawDocumentBuf {
        let mut document = envelope(fields.token(), number);
        let listed: Vec<_> = without_token(&listed(self.document.as_deref(), fields)).collect();
        let places = self
            .split
            .as_ref()
            .map_or(&[][..], |split| split.fields(number.fragment));
        for (name, value) in places.iter().filter_map(|&place| listed.get(place)) {
            document.append(*name, *value);
        }
        document
    }
}

type Field<'a> = (&'a CStr, RawBsonRef<'a>);

/// The fields of an event's document.
fn listed<'a>(document: Option<&'a RawDocument>, fields: &'a EventFields<'_>) -> Vec<Field<'a>> {
    match document {
        Some(document) => document.iter().flatten().collect(),
        None => fields.iter().collect(),
    }
}

/// The fields that fragments share out: each has a token of its own.
fn without_token<'a, 'b>(fields: &'b [Field<'a>]) -> impl Iterator<Item = Field<'a>> + 'b {
    fields.iter().copied().filter(|(name, _)| name.as_str() != "_id")
}

fn split(op_id: OpId, fields: &[Field<'_>], token: ResumeToken) -> Result<Split> {
    let sized: Vec<(&str, usize)> = without_token(fields)
        .map(|(name, value)| (name.as_str(), field_bytes(name, value)))
        .collect();
    let envelope = envelope(token, SplitEvent::default()).as_bytes().len();
    Split::of(&sized, envelope, EVENT_BYTES_MAX).map_err(|place| {
        let (field, bytes) = sized[place];
        Error::FieldTooLarge {
            op_id,
            field: field.to_owned(),
            bytes,
        }
    })
}

/// What every fragment has.
fn envelope(token: ResumeToken, number: SplitEvent) -> RawDocumentBuf {
    let int = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    rawdoc! {
        "_id": token.behind_fragment(number).to_document(),
        "splitEvent": { "fragment": int(number.fragment), "of": int(number.of) },
    }
}

/// Bytes of a document of these fields.
fn document_bytes(fields: &[Field<'_>]) -> usize {
    let empty = RawDocumentBuf::new().as_bytes().len();
    empty
        + fields
            .iter()
            .map(|&(name, value)| field_bytes(name, value))
            .sum::<usize>()
}

/// Bytes of a field: its type, its name, its value.
fn field_bytes(name: &CStr, value: RawBsonRef<'_>) -> usize {
    let value = match value {
        RawBsonRef::Document(document) => document.as_bytes().len(),
        RawBsonRef::Array(array) => array.as_bytes().len(),
        RawBsonRef::String(text) => text.len() + 5,
        // Of small ones a copy is measured.
        value => {
            let mut alone = RawDocumentBuf::new();
            let empty = alone.as_bytes().len();
            alone.append(cstr!(""), value);
            alone.as_bytes().len() - empty - 2
        }
    };
    value + name.as_str().len() + 2
}
