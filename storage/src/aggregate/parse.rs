//! From documents to stages.

use std::sync::Arc;

use bson::{RawBsonRef, RawDocument};
use tailwater_matcher::{Expression, ParseOptions, Transform, ValueExpression, validate};

use super::error::{AggregateError, AggregateErrorKind as Kind};
use super::stage::{Stage, StageKind};
use super::{
    STAGES_MAX, SUB_PIPELINES_MAX, bucket, bucket_auto, count, documents, facet, group, lookup, merge, out, sample,
    sort, union, unwind, window,
};
use crate::query::Language;

/// What a stage is parsed in.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    /// Variables of the pipelines around it.
    pub(super) variables: Vec<String>,
    /// How many pipelines there are around it.
    depth: usize,
    facet: bool,
    /// How strings are compared, in the pipeline and in all within it.
    pub(super) language: Language,
}

/// Stages of MongoDB that are not here, with the reason.
const NOT_SUPPORTED: [(&str, &str); 23] = [
    ("$indexStats", "the store keeps no statistics of its indexes"),
    (
        "$collStats",
        "use Collection::estimated_count and Store::list_collections",
    ),
    ("$planCacheStats", "there is no plan cache"),
    ("$graphLookup", "not there yet; $lookup does one step"),
    ("$setWindowFields", "not there yet"),
    ("$densify", "not there yet"),
    ("$fill", "not there yet"),
    ("$geoNear", "there are no geospatial indexes"),
    ("$search", "there is no text search"),
    ("$searchMeta", "there is no text search"),
    ("$vectorSearch", "there is no vector search"),
    ("$changeStream", "change streams have their own interface"),
    (
        "$changeStreamSplitLargeEvent",
        "change streams have their own interface",
    ),
    ("$currentOp", "it is a stage of the server's"),
    ("$listSessions", "sessions are the server's"),
    ("$listLocalSessions", "sessions are the server's"),
    ("$shardedDataDistribution", "there are no shards"),
    ("$listClusterCatalog", "use Store::list_collections"),
    ("$listSampledQueries", "there are no shards"),
    ("$listSearchIndexes", "there is no text search"),
    ("$querySettings", "there is no plan cache"),
    ("$queryStats", "the store keeps no statistics of its queries"),
    ("$rankFusion", "there is no text search"),
];

impl Scope {
    /// The scope of a pipeline within a stage of this one, which also sees `variables`.
    pub(super) fn inner(&self, variables: impl IntoIterator<Item = String>) -> Scope {
        let mut inner = self.clone();
        inner.depth += 1;
        inner.variables.extend(variables);
        inner
    }

    pub(super) fn in_facet(&self) -> Scope {
        let mut inner = self.inner([]);
        inner.facet = true;
        inner
    }

    /// The scope of a whole pipeline.
    pub(super) fn new(language: Language) -> Scope {
        Scope {
            language,
            ..Scope::default()
        }
    }

    /// The same, which also sees `variables`.
    pub(super) fn with(mut self, variables: impl IntoIterator<Item = String>) -> Scope {
        self.variables.extend(variables);
        self
    }

    fn options(&self) -> ParseOptions {
        let names: Vec<&str> = self.variables.iter().map(String::as_str).collect();
        self.language.options(&names)
    }

    pub(super) fn expression(&self, source: RawBsonRef<'_>) -> Result<ValueExpression, Kind> {
        Ok(ValueExpression::parse_with(source, &self.options())?)
    }

    pub(super) fn accumulator(&self, source: &RawDocument) -> Result<tailwater_matcher::Accumulator, Kind> {
        Ok(tailwater_matcher::Accumulator::parse_with(source, &self.options())?)
    }

    /// A pipeline within a stage.
    pub(super) fn sub_pipeline(&self, value: RawBsonRef<'_>, code: i32) -> Result<Vec<Stage>, Kind> {
        let RawBsonRef::Array(array) = value else {
            return Err(Kind::specification("a pipeline is an array of stages", code));
        };
        let mut stages = Vec::new();
        for stage in array {
            match stage {
                Ok(RawBsonRef::Document(stage)) => stages.push(stage),
                _ => return Err(Kind::specification("each stage of a pipeline is a document", 14)),
            }
        }
        self.stages(&stages).map_err(|error| {
            let code = error.code();
            match error.kind {
                Kind::TooDeep => Kind::TooDeep,
                _ => Kind::specification(format!("in its pipeline: {error}"), code),
            }
        })
    }

    pub(super) fn stages(&self, documents: &[&RawDocument]) -> Result<Vec<Stage>, AggregateError> {
        if self.depth > SUB_PIPELINES_MAX {
            return Err(Kind::TooDeep.at(0, ""));
        }
        if documents.len() > STAGES_MAX {
            return Err(Kind::TooManyStages.at(STAGES_MAX, ""));
        }
        let mut stages: Vec<Stage> = Vec::new();
        for (index, document) in documents.iter().enumerate() {
            let malformed = |error| Kind::from(tailwater_matcher::ParseError::from(error)).at(index, "");
            validate(document.as_bytes()).map_err(malformed)?;
            let fields = document.iter().count();
            let (Some(Ok((name, value))), 1) = (document.iter().next(), fields) else {
                return Err(Kind::FieldCount { fields }.at(index, ""));
            };
            let name = name.as_str();
            let last = index + 1 == documents.len();
            self.stage(index, name, document, value, last, &mut stages)
                .map_err(|kind| kind.at(index, name))?;
        }
        Ok(stages)
    }

    fn stage(
        &self,
        index: usize,
        name: &str,
        document: &RawDocument,
        value: RawBsonRef<'_>,
        last: bool,
        stages: &mut Vec<Stage>,
    ) -> Result<(), Kind> {
        self.check_place(index, name, last)?;
        let kind = match name {
            "$match" if stages.iter().all(Stage::is_match) => StageKind::Match(Arc::new(self.filter(value)?)),
            "$match" | "$project" | "$addFields" | "$set" | "$unset" | "$replaceRoot" | "$replaceWith" | "$redact" => {
                if let Some(Stage {
                    kind: StageKind::Transform(transform),
                    ..
                }) = stages.last_mut()
                {
                    Arc::make_mut(transform).push(index, document, &self.options())?;
                    return Ok(());
                }
                let mut transform = Transform::default();
                transform.push(index, document, &self.options())?;
                StageKind::Transform(Arc::new(transform))
            }
            "$sort" => StageKind::Sort(sort::parse(self, value)?),
            "$limit" => StageKind::Limit(window::limit(value)?),
            "$skip" => StageKind::Skip(window::skip(value)?),
            "$count" => StageKind::Count(count::parse(value)?),
            "$unwind" => StageKind::Unwind(Arc::new(unwind::Unwind::parse(value)?)),
            "$group" => StageKind::Group(Arc::new(group::Group::parse(self, value)?)),
            "$bucket" => StageKind::Group(Arc::new(bucket::parse(self, value)?)),
            "$bucketAuto" => StageKind::BucketAuto(Arc::new(bucket_auto::BucketAuto::parse(self, value)?)),
            "$sortByCount" => {
                let (group, order) = count::sort_by_count(self, value)?;
                stages.push(Stage::new(index, name, StageKind::Group(Arc::new(group))));
                StageKind::Sort(order)
            }
            "$sample" => StageKind::Sample(sample::parse(value)?),
            "$facet" => StageKind::Facet(Arc::new(facet::Facet::parse(self, value)?)),
            "$lookup" => StageKind::Lookup(Arc::new(lookup::Lookup::parse(self, value)?)),
            "$unionWith" => StageKind::Union(Arc::new(union::Union::parse(self, value)?)),
            "$documents" => StageKind::Documents(Arc::new(documents::parse(self, value)?)),
            "$out" => StageKind::Out(Arc::new(out::Out::parse(value)?)),
            "$merge" => StageKind::Merge(Arc::new(merge::Merge::parse(self, value)?)),
            name => {
                let known = NOT_SUPPORTED.iter().find(|(stage, _)| *stage == name);
                return Err(known.map_or(Kind::UnknownStage, |&(_, reason)| Kind::NotSupported { reason }));
            }
        };
        stages.push(Stage::new(index, name, kind));
        Ok(())
    }

    /// Checks that a stage may be where it is.
    fn check_place(&self, index: usize, name: &str, last: bool) -> Result<(), Kind> {
        let writes = matches!(name, "$out" | "$merge");
        if self.facet
            && (writes
                || matches!(
                    name,
                    "$facet" | "$documents" | "$collStats" | "$indexStats" | "$geoNear"
                ))
        {
            return Err(Kind::specification("it is not allowed within $facet", 40600));
        }
        if writes && self.depth > 0 {
            return Err(Kind::specification(
                "it is not allowed in a pipeline within another",
                51047,
            ));
        }
        if writes && !last {
            return Err(Kind::specification(
                "it can only be the last stage of its pipeline",
                40601,
            ));
        }
        if name == "$documents" && index > 0 {
            return Err(Kind::specification(
                "it can only be the first stage of its pipeline",
                40602,
            ));
        }
        Ok(())
    }

    fn filter(&self, value: RawBsonRef<'_>) -> Result<Expression, Kind> {
        let RawBsonRef::Document(document) = value else {
            return Err(Kind::specification("the filter must be a document", 15959));
        };
        Ok(Expression::parse_with(document, &self.options())?)
    }
}

/// The fields of a stage's specification, which is a document; `code` is MongoDB's number where it is not.
pub(super) fn fields(value: RawBsonRef<'_>, code: i32) -> Result<Vec<(&str, RawBsonRef<'_>)>, Kind> {
    let RawBsonRef::Document(document) = value else {
        return Err(Kind::specification("the specification must be a document", code));
    };
    let readable = document.iter().flatten();
    Ok(readable.map(|(name, value)| (name.as_str(), value)).collect())
}

/// A number that is whole, of whatever type.
pub(super) fn whole(value: RawBsonRef<'_>) -> Option<i64> {
    match value {
        RawBsonRef::Int32(number) => Some(number.into()),
        RawBsonRef::Int64(number) => Some(number),
        // Whole doubles in this range convert without loss.
        RawBsonRef::Double(number) if number.fract() == 0.0 && number.abs() < 9e15 => Some(number as i64),
        RawBsonRef::Decimal128(number) => number.to_string().parse().ok(),
        _ => None,
    }
}
