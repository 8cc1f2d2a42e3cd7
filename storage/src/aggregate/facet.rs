//! `$facet`: several pipelines over the same documents (MongoDB manual: *$facet*).
//!
//! What comes in is held until all of them have seen it, and counts as the stage's memory.

use std::sync::Arc;

use bson::raw::CString;
use bson::{RawArrayBuf, RawBsonRef, RawDocumentBuf};

use super::context::Context;
use super::error::AggregateErrorKind as Kind;
use super::memory::Memory;
use super::parse::{Scope, fields};
use super::stage::{Place, Stage, Stream, chain, deferred};
use crate::limits::DOCUMENT_BYTES_MAX;

/// Fields, and the pipelines that fill them.
#[derive(Debug)]
pub(super) struct Facet(Vec<(CString, Vec<Stage>)>);

impl Facet {
    pub(super) fn pipelines(&self) -> impl Iterator<Item = &[Stage]> {
        self.0.iter().map(|(_, stages)| stages.as_slice())
    }

    pub(super) fn parse(scope: &Scope, value: RawBsonRef<'_>) -> Result<Facet, Kind> {
        let mut facets = Vec::new();
        for (name, value) in fields(value, 40169)? {
            if name.is_empty() || name.starts_with('$') || name.contains('.') {
                let problem = format!("the field name {name:?} is empty, begins with $ or holds a dot");
                return Err(Kind::specification(problem, 40170));
            }
            let stages = scope.in_facet().sub_pipeline(value, 40170)?;
            let name = CString::try_from(name).map_err(|_| Kind::specification("a name holds a zero byte", 40170))?;
            facets.push((name, stages));
        }
        if facets.is_empty() {
            return Err(Kind::specification(
                "at least one field with a pipeline is needed",
                40169,
            ));
        }
        Ok(Facet(facets))
    }
}

pub(super) fn open(input: Stream, facet: Arc<Facet>, place: Place, context: Context) -> Stream {
    deferred(move || {
        let mut memory = Memory::new(&context);
        let mut documents = Vec::new();
        for document in input {
            let document = document?;
            memory.take(document.as_bytes().len() + size_of::<RawDocumentBuf>(), &place)?;
            documents.push(document);
        }
        let documents = Arc::new(documents);
        let mut made = RawDocumentBuf::new();
        for (name, stages) in &facet.0 {
            let all = Arc::clone(&documents);
            let input = (0..all.len()).map(move |at| Ok(all[at].clone()));
            let mut array = RawArrayBuf::new();
            for document in chain(stages, Box::new(input), &context) {
                array.push(document?);
                if made.as_bytes().len() + array.as_bytes().len() > DOCUMENT_BYTES_MAX {
                    return Err(place.error(Kind::DocumentTooLarge));
                }
            }
            made.append(name, array);
        }
        Ok(Box::new(std::iter::once(Ok(made))))
    })
}
