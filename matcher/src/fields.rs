//! The root a predicate is evaluated on.
//!
//! A predicate's paths begin at something with named fields. For a stored document that is the
//! document itself; for a change event most root fields (`operationType`, `ns`, …) exist nowhere as
//! BSON until the event is built, and building it to find out that nobody wants it would cost more
//! than the match. [`Fields`] is the seam: only the root is looked up through it, everything
//! below is raw BSON.

use std::borrow::Cow;

use bson::{RawBsonRef, RawDocument, RawDocumentBuf};

use crate::elements;

/// Something with named fields on which an [`Expression`](crate::Expression) can be evaluated.
///
/// Implementations should not allocate: `field` is called once for every path of every predicate.
pub trait Fields {
    /// The value of the root field `name`, or `None` when there is no such field.
    ///
    /// A field that cannot be read because its bytes are malformed is absent.
    fn field(&self, name: &str) -> Option<RawBsonRef<'_>>;

    /// All fields as one document: for the few operators that ask about the root as a whole.
    ///
    /// This may be as expensive as building the document is.
    fn document(&self) -> Cow<'_, RawDocument>;
}

impl Fields for RawDocument {
    fn field(&self, name: &str) -> Option<RawBsonRef<'_>> {
        elements::find(self, name)
    }

    fn document(&self) -> Cow<'_, RawDocument> {
        Cow::Borrowed(self)
    }
}

impl Fields for RawDocumentBuf {
    fn field(&self, name: &str) -> Option<RawBsonRef<'_>> {
        elements::find(self, name)
    }

    fn document(&self) -> Cow<'_, RawDocument> {
        Cow::Borrowed(self)
    }
}

impl<T: Fields + ?Sized> Fields for &T {
    fn field(&self, name: &str) -> Option<RawBsonRef<'_>> {
        (**self).field(name)
    }

    fn document(&self) -> Cow<'_, RawDocument> {
        (**self).document()
    }
}
