//! Which stages a change stream takes (MongoDB manual: *Modify Change Stream Output*), and how the others are refused.

use bson::RawDocument;
use bson::raw::RawBsonRef;

use crate::error::{Error, Result};

/// The stages that shape an event, `$match` aside.
const SHAPING: [&str; 7] = [
    "$project",
    "$addFields",
    "$set",
    "$unset",
    "$replaceRoot",
    "$replaceWith",
    "$redact",
];

const SPLIT: &str = "$changeStreamSplitLargeEvent";

/// MongoDB's other stages: there, and not permitted in a change stream.
const FORBIDDEN: [&str; 39] = [
    "$bucket",
    "$bucketAuto",
    "$collStats",
    "$count",
    "$currentOp",
    "$densify",
    "$documents",
    "$facet",
    "$fill",
    "$geoNear",
    "$graphLookup",
    "$group",
    "$indexStats",
    "$limit",
    "$listClusterCatalog",
    "$listLocalSessions",
    "$listSampledQueries",
    "$listSearchIndexes",
    "$listSessions",
    "$lookup",
    "$merge",
    "$out",
    "$planCacheStats",
    "$querySettings",
    "$queryStats",
    "$rankFusion",
    "$sample",
    "$score",
    "$scoreFusion",
    "$search",
    "$searchMeta",
    "$setWindowFields",
    "$shardedDataDistribution",
    "$skip",
    "$sort",
    "$sortByCount",
    "$unionWith",
    "$unwind",
    "$vectorSearch",
];

/// A stage that a change stream takes.
pub(super) enum Stage<'a> {
    Match(&'a RawDocument),
    /// One of [`SHAPING`], or a `$match` that is malformed.
    Shaping,
    Split,
}

impl<'a> Stage<'a> {
    /// Reads the stage at a place of the pipeline.
    pub(super) fn read(stage: usize, document: &'a RawDocument) -> Result<Stage<'a>> {
        let malformed = |what| Error::MalformedStage { stage, what };
        let mut fields = document.iter();
        let Some(Ok((name, value))) = fields.next() else {
            return Err(malformed("it has no operator"));
        };
        if fields.next().is_some() {
            return Err(malformed("it has more than one operator; write one stage for each"));
        }
        let name = name.as_str();
        match (name, value) {
            ("$match", RawBsonRef::Document(predicate)) => Ok(Stage::Match(predicate)),
            (SPLIT, RawBsonRef::Document(nothing)) if nothing.is_empty() => Ok(Stage::Split),
            (SPLIT, _) => Err(Error::SplitNotEmpty { stage }),
            ("$changeStream", _) => Err(Error::NestedChangeStream { stage }),
            // What is wrong with it the parser of stages says.
            ("$match", _) => Ok(Stage::Shaping),
            _ if SHAPING.contains(&name) => Ok(Stage::Shaping),
            _ => Err(Error::UnsupportedStage {
                stage,
                known: FORBIDDEN.contains(&name),
                name: name.to_owned(),
            }),
        }
    }
}
