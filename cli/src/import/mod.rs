//! Documents from JSON text, for `tailwater import`.
//!
//! The input is Extended JSON v2, canonical or relaxed or mixed, either as
//! documents one after the other (JSON lines are the usual case) or as one
//! array of documents. It is read as a stream: memory is bounded by one
//! document, never by the file.
//!
//! ```text
//!  Read ──► Input ──► Extent ──► Parser ──────────────► RawDocumentBuf
//!           window    where a    grammar and types,
//!           of bytes, document   straight into BSON
//!           line and  ends
//!           column
//! ```
//!
//! # What it promises
//!
//! * Fields keep the order of the text. Nothing passes through a map.
//! * A document is taken as a whole or refused; a refused one is named by line
//!   and column, and nothing after it is read.
//! * No input makes it panic, recurse without bound or allocate without bound.
//!
//! # Why not a general JSON crate
//!
//! A tree of JSON values loses what this command needs: the order of fields
//! (unless every crate of the build agrees on one feature), duplicate keys, the
//! place of a fault inside the file, and one allocation per value. Parsing
//! straight into BSON keeps all four and needs no tree.

mod base64;
mod command;
mod error;
mod extent;
mod input;
mod lexer;
mod parser;
mod reader;
mod scalar;
mod typed;
mod writer;

#[cfg(test)]
mod tests;

pub(crate) use command::{Arguments, run};
pub(crate) use reader::DocumentReader;

use error::ImportError;
use reader::Parsed;
