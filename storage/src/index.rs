//! Secondary indexes: what they are asked to be, and which keys a document has in them.
//!
//! The entries of an index lie beside the documents, in the overlay and in the engine, under a number of the index's own; the
//! one function that applies log entries to the state maintains them, so an index is never ahead of or behind its documents.

pub(crate) mod definition;
pub(crate) mod keys;
pub(crate) mod natural;
mod partial;

pub use definition::{ID_INDEX, INDEX_FIELDS_MAX, INDEXES_MAX, IndexModel};

pub(crate) use definition::{Direction, IndexDefinition, IndexField};
