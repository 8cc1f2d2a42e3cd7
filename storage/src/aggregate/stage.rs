//! The stages of a parsed pipeline, and how they are put behind each other.

use std::sync::Arc;

use bson::{RawDocument, RawDocumentBuf};
use tailwater_matcher::{Expression, Transform, ValueExpression};

use super::bucket_auto::BucketAuto;
use super::context::Context;
use super::error::AggregateErrorKind as Kind;
use super::facet::Facet;
use super::group::Group;
use super::lookup::Lookup;
use super::merge::Merge;
use super::out::Out;
use super::union::Union;
use super::unwind::Unwind;
use super::{bucket_auto, count, documents, facet, group, lookup, sample, sort, union, unwind};
use crate::error::{Error, Result};
use crate::query::{Looks, QueryControl};
use crate::sort::SortPattern;

/// Documents on their way from one stage to the next.
pub(super) type Stream = Box<dyn Iterator<Item = Result<RawDocumentBuf>> + Send>;

/// A stage, and where it was written.
#[derive(Clone, Debug)]
pub(super) struct Stage {
    pub(super) place: Place,
    pub(super) kind: StageKind,
}

/// Where a stage was written, for errors.
#[derive(Clone, Debug)]
pub(super) struct Place {
    index: usize,
    name: Arc<str>,
}

impl Place {
    pub(super) fn error(&self, kind: impl Into<Kind>) -> Error {
        Error::Aggregate(Arc::new(kind.into().at(self.index, &self.name)))
    }

    /// An error of memory as this stage's; others as they are.
    pub(super) fn memory(&self, bytes_max: usize) -> Error {
        self.error(Kind::MemoryExceeded { bytes_max })
    }
}

#[derive(Clone, Debug)]
pub(super) enum StageKind {
    /// One of the first stages; served by the collection's indexes.
    Match(Arc<Expression>),
    /// A run of stages that work document by document.
    Transform(Arc<Transform>),
    /// Without a pattern, the order does not matter.
    Sort(SortPattern),
    Limit(u64),
    Skip(u64),
    Count(Arc<str>),
    Unwind(Arc<Unwind>),
    Group(Arc<Group>),
    BucketAuto(Arc<BucketAuto>),
    Sample(u64),
    Facet(Arc<Facet>),
    Lookup(Arc<Lookup>),
    Union(Arc<Union>),
    Documents(Arc<ValueExpression>),
    Out(Arc<Out>),
    Merge(Arc<Merge>),
}

impl Stage {
    pub(super) fn new(index: usize, name: &str, kind: StageKind) -> Stage {
        Stage {
            place: Place {
                index,
                name: name.into(),
            },
            kind,
        }
    }

    pub(super) fn is_documents(&self) -> bool {
        matches!(self.kind, StageKind::Documents(_))
    }

    pub(super) fn is_match(&self) -> bool {
        matches!(self.kind, StageKind::Match(_))
    }

    /// Puts the stage behind `input`. `after` are the stages behind it.
    fn open(&self, input: Stream, after: &[Stage], context: &Context) -> Stream {
        let (place, context) = (self.place.clone(), context.clone());
        match &self.kind {
            StageKind::Match(filter) => {
                let filter = context.bind(filter);
                filtered(input, move |document| {
                    filter.matches(document).map_err(|error| place.error(error))
                })
            }
            StageKind::Transform(transform) => {
                let transform = context.bind_transform(transform);
                Box::new(input.filter_map(move |document| {
                    let made = document.and_then(|document| {
                        let made = transform.apply_with(&document, &context.variables(&document));
                        made.map_err(|error| place.error(error))
                    });
                    made.transpose()
                }))
            }
            StageKind::Sort(pattern) => sort::open(input, pattern.clone(), wanted(after), place, &context),
            StageKind::Limit(limit) => Box::new(input.take(usize::try_from(*limit).unwrap_or(usize::MAX))),
            StageKind::Skip(skip) => {
                let mut left = *skip;
                // An error is never skipped.
                Box::new(input.filter(move |document| {
                    let skipped = left > 0 && document.is_ok();
                    left -= u64::from(skipped);
                    !skipped
                }))
            }
            StageKind::Count(field) => count::open(input, field),
            StageKind::Unwind(unwind) => unwind::open(input, Arc::clone(unwind), place),
            StageKind::Group(group) => group::open(input, Arc::clone(group), place, context),
            StageKind::BucketAuto(buckets) => bucket_auto::open(input, Arc::clone(buckets), place, context),
            StageKind::Sample(size) => sample::open(input, *size, place, &context),
            StageKind::Facet(facet) => facet::open(input, Arc::clone(facet), place, context),
            StageKind::Lookup(lookup) => lookup::open(input, Arc::clone(lookup), place, context),
            StageKind::Union(union) => union::open(input, Arc::clone(union), context),
            StageKind::Documents(expression) => documents::open(Arc::clone(expression), place, context),
            // They consume what comes out; see `Pipeline::run`.
            StageKind::Out(_) | StageKind::Merge(_) => input,
        }
    }
}

/// Puts all stages behind `input`. Each can make any number of documents of one, so who runs them is asked behind each.
pub(super) fn chain(stages: &[Stage], input: Stream, context: &Context) -> Stream {
    let mut stream = input;
    for (at, stage) in stages.iter().enumerate() {
        stream = looked_at(stage.open(stream, &stages[at + 1..], context), &context.options.control);
    }
    stream
}

fn looked_at(stream: Stream, control: &QueryControl) -> Stream {
    if !control.is_held() {
        return stream;
    }
    let mut looks = Looks::new(control.clone());
    Box::new(stream.map(move |document| {
        looks.next()?;
        document
    }))
}

/// How many documents of a sort matter to the stages behind it, if they say.
pub(super) fn wanted(after: &[Stage]) -> Option<u64> {
    let mut skipped = 0u64;
    for stage in after {
        match stage.kind {
            StageKind::Skip(skip) => skipped = skipped.saturating_add(skip),
            StageKind::Limit(limit) => return Some(skipped.saturating_add(limit)),
            _ => return None,
        }
    }
    None
}

fn filtered(input: Stream, mut keeps: impl FnMut(&RawDocument) -> Result<bool> + Send + 'static) -> Stream {
    Box::new(input.filter_map(move |document| {
        let document = match document {
            Ok(document) => document,
            Err(error) => return Some(Err(error)),
        };
        match keeps(&document) {
            Ok(true) => Some(Ok(document)),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        }
    }))
}

/// A stream that is made when its first document is asked for.
pub(super) fn deferred(make: impl FnOnce() -> Result<Stream> + Send + 'static) -> Stream {
    let mut make = Some(make);
    let mut stream: Option<Stream> = None;
    Box::new(std::iter::from_fn(move || {
        if let Some(make) = make.take() {
            match make() {
                Ok(made) => stream = Some(made),
                Err(error) => return Some(Err(error)),
            }
        }
        stream.as_mut()?.next()
    }))
}
