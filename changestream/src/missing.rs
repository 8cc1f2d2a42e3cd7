//! Conditions on an event of which an image is missing.
//!
//! An image that is not there may have been what a condition asks for, and then there is no telling. But a condition that the
//! rest of the event rules out does not hold whatever the image was. So a stream that requires images is failed only by what it
//! asks for (MongoDB moves `$match` in front of the stage that adds them), and nothing is delivered that was not asked for
//! because a deleted document is unknown.

use std::borrow::Cow;
use std::cell::Cell;

use bson::RawDocument;
use bson::raw::RawBsonRef;
use tailwater_matcher::{Expression, Fields};
use tailwater_oplog::entry::StoreEntry;

use crate::error::Result;
use crate::event::OperationType;
use crate::fields::EventFields;
use crate::options::{FullDocument, FullDocumentBeforeChange, Images};

/// As many alternatives of a condition are looked at; see [`Expression::alternatives`].
const ALTERNATIVES_MAX: usize = 16;

/// Which images of an event are not there though somebody asks for them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Missing {
    pub(crate) document: bool,
    pub(crate) before_change: bool,
}

impl Missing {
    /// Of an entry, the images without which a stream that requires them must refuse it.
    pub(crate) fn required(images: Images, operation: OperationType, store: &StoreEntry<'_>) -> Missing {
        use OperationType::{Delete, Replace, Update};
        let required = images.full_document == FullDocument::Required;
        let required_before = images.before_change == FullDocumentBeforeChange::Required;
        Missing {
            document: required && operation == Update && store.document.is_none(),
            before_change: required_before
                && matches!(operation, Update | Replace | Delete)
                && store.pre_image.is_none(),
        }
    }

    /// Of a delete that is matched by what it deleted, when that is unknown.
    pub(crate) const DELETED: Missing = Missing {
        document: true,
        before_change: true,
    };

    pub(crate) fn is_any(self) -> bool {
        self.document || self.before_change
    }

    /// Whether what is missing is this field, or part of it.
    fn is(self, field: &str) -> bool {
        match field {
            "fullDocument" => self.document,
            "fullDocumentBeforeChange" => self.before_change,
            _ => false,
        }
    }

    /// Whether the condition does not hold for an event with these fields, whatever is missing of them.
    pub(crate) fn rules_out(self, condition: &Expression, fields: &EventFields<'_>) -> Result<bool> {
        let known = Known {
            missing: self,
            fields,
            asked: Cell::new(false),
        };
        let held = condition.matches(&known);
        if !known.asked.get() {
            return Ok(!held?);
        }
        // What it says by itself of the other fields must hold, too.
        for alternative in condition.alternatives(ALTERNATIVES_MAX) {
            let mut possible = true;
            for conjunct in alternative {
                let head = conjunct.path().components().next().unwrap_or_default();
                possible = possible && (self.is(head) || conjunct.to_expression().matches(fields)?);
            }
            if possible {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The fields of an event, which notes when it is asked for what is missing.
struct Known<'a, 'e> {
    missing: Missing,
    fields: &'a EventFields<'e>,
    asked: Cell<bool>,
}

impl Fields for Known<'_, '_> {
    fn field(&self, name: &str) -> Option<RawBsonRef<'_>> {
        if self.missing.is(name) {
            self.asked.set(true);
            return None;
        }
        self.fields.field(name)
    }

    fn document(&self) -> Cow<'_, RawDocument> {
        self.asked.set(true);
        self.fields.document()
    }
}
