//! `$bucketAuto`: so many groups of about the same size (MongoDB manual: *$bucketAuto*).

use std::sync::Arc;

use bson::{RawBson, RawBsonRef, RawDocumentBuf, rawdoc};
use tailwater_matcher::ValueExpression;

use super::bucket::{count_only, group_by, parse_output};
use super::context::Context;
use super::error::AggregateErrorKind as Kind;
use super::group::{Output, value_of};
use super::memory::Memory;
use super::parse::{Scope, fields, whole};
use super::stage::{Place, Stream, deferred};
use crate::error::Result;
use crate::query::Language;

/// What to group by, and into how many groups at most.
#[derive(Debug)]
pub(super) struct BucketAuto {
    by: ValueExpression,
    buckets: usize,
    output: Output,
    language: Language,
}

/// A document with the value it is grouped by.
#[derive(Debug)]
struct Keyed {
    key: Vec<u8>,
    value: RawBson,
    document: RawDocumentBuf,
}

impl BucketAuto {
    pub(super) fn parse(scope: &Scope, value: RawBsonRef<'_>) -> Result<BucketAuto, Kind> {
        let (mut by, mut buckets, mut output) = (None, None, None);
        for (name, value) in fields(value, 40240)? {
            match name {
                "groupBy" => by = Some(group_by(scope, value, 40239)?),
                "buckets" => {
                    let number = whole(value).and_then(|number| usize::try_from(number).ok());
                    let number = number.filter(|&number| number > 0 && i32::try_from(number).is_ok());
                    let problem = "buckets must be a positive whole number of 32 bits";
                    buckets = Some(number.ok_or_else(|| Kind::specification(problem, 40243))?);
                }
                "output" => output = Some(parse_output(scope, value, 40244)?),
                "granularity" => {
                    return Err(Kind::NotSupported {
                        reason: "there is no granularity; use $bucket with the boundaries wanted",
                    });
                }
                name => return Err(Kind::specification(format!("there is no option {name:?}"), 40245)),
            }
        }
        let (Some(by), Some(buckets)) = (by, buckets) else {
            return Err(Kind::specification("groupBy and buckets are needed", 40246));
        };
        Ok(BucketAuto {
            by,
            buckets,
            output: output.map_or_else(|| count_only(scope), Ok)?,
            language: scope.language.clone(),
        })
    }

    /// Divides sorted documents. Equal values stay together, so there may be fewer buckets than were asked for.
    fn divide(
        &self,
        sorted: &[Keyed],
        memory: &mut Memory,
        place: &Place,
        context: &Context,
    ) -> Result<Vec<RawDocumentBuf>> {
        let each = ((sorted.len() + self.buckets / 2) / self.buckets).max(1);
        let mut made = Vec::new();
        let mut rest = sorted;
        while let Some(first) = rest.first() {
            let last_bucket = made.len() + 1 == self.buckets;
            let mut size = if last_bucket { rest.len() } else { each.min(rest.len()) };
            while size < rest.len() && rest[size].key == rest[size - 1].key {
                size += 1;
            }
            let (bucket, behind) = rest.split_at(size);
            let max = behind.first().or(bucket.last()).unwrap_or(first);
            let id = rawdoc! { "min": first.value.clone(), "max": max.value.clone() };
            let mut states = self.output.start();
            for keyed in bucket {
                self.output
                    .gather(&mut states, &keyed.document, memory, place, context)?;
            }
            made.push(self.output.finish(RawBsonRef::Document(&id), states, place)?);
            rest = behind;
        }
        Ok(made)
    }
}

pub(super) fn open(input: Stream, buckets: Arc<BucketAuto>, place: Place, context: Context) -> Stream {
    deferred(move || {
        let mut memory = Memory::new(&context);
        let mut sorted = Vec::new();
        for document in input {
            let document = document?;
            let value = value_of(&buckets.by, &document, &place, &context)?;
            let mut key = Vec::new();
            buckets.language.encode_key(value.as_raw_bson_ref(), &mut key);
            memory.take(2 * key.len() + document.as_bytes().len() + size_of::<Keyed>(), &place)?;
            sorted.push(Keyed { key, value, document });
        }
        sorted.sort_by(|a, b| a.key.cmp(&b.key));
        let made = buckets.divide(&sorted, &mut memory, &place, &context)?;
        Ok(memory.held_for(made.into_iter().map(Ok)))
    })
}
