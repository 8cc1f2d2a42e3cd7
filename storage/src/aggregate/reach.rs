//! What a pipeline reads and writes beside the collection that it runs on: what whoever runs it has to be allowed to.

use super::stage::{Stage, StageKind};
use super::{Pipeline, target::Target};

/// The collection that a pipeline writes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PipelineTarget<'a> {
    /// Its database; that of the pipeline when it is missing.
    pub database: Option<&'a str>,
    /// Its name.
    pub collection: &'a str,
    /// Whether what the collection has gives way as a whole (`$out`) or is added to (`$merge`).
    pub replaces: bool,
}

impl Pipeline {
    /// The collections that `$lookup` and `$unionWith` read, at whatever depth. They are of the database the pipeline runs in.
    #[must_use]
    pub fn reads(&self) -> Vec<&str> {
        let mut names = Vec::new();
        collect(&self.stages, &mut names);
        names
    }

    /// The collection that `$out` or `$merge` writes to.
    #[must_use]
    pub fn writes(&self) -> Option<PipelineTarget<'_>> {
        // They are the last stage of a whole pipeline, and of no other.
        let (target, replaces) = match &self.stages.last()?.kind {
            StageKind::Out(out) => (out.target(), true),
            StageKind::Merge(merge) => (merge.target(), false),
            _ => return None,
        };
        let Target { database, collection } = target;
        Some(PipelineTarget {
            database: database.as_deref(),
            collection,
            replaces,
        })
    }
}

/// Pipelines nest [`SUB_PIPELINES_MAX`](super::SUB_PIPELINES_MAX) levels deep at most.
fn collect<'a>(stages: &'a [Stage], names: &mut Vec<&'a str>) {
    for stage in stages {
        let (name, inner) = match &stage.kind {
            StageKind::Lookup(lookup) => lookup.reach(),
            StageKind::Union(union) => union.reach(),
            StageKind::Facet(facet) => {
                facet.pipelines().for_each(|stages| collect(stages, names));
                continue;
            }
            _ => continue,
        };
        // One that begins with `$documents` has no collection.
        if !name.is_empty() {
            names.push(name);
        }
        collect(inner, names);
    }
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;

    #[test]
    fn collections_are_found_at_every_depth() {
        let pipeline = Pipeline::parse(&[
            rawdoc! { "$lookup": { "from": "a", "as": "a", "pipeline": [
                { "$unionWith": "b" },
                { "$facet": { "x": [{ "$unionWith": { "coll": "c", "pipeline": [] } }] } },
            ] } },
            rawdoc! { "$unionWith": { "pipeline": [{ "$documents": [] }, { "$unionWith": "d" }] } },
            rawdoc! { "$out": { "db": "other", "coll": "e" } },
        ])
        .unwrap();
        assert_eq!(pipeline.reads(), ["a", "b", "c", "d"]);
        let target = pipeline.writes().unwrap();
        assert_eq!(
            (target.database, target.collection, target.replaces),
            (Some("other"), "e", true)
        );
        let merge = Pipeline::parse(&[rawdoc! { "$merge": "f" }]).unwrap();
        let target = merge.writes().unwrap();
        assert_eq!(
            (target.database, target.collection, target.replaces),
            (None, "f", false)
        );
        assert_eq!(Pipeline::parse(&[rawdoc! { "$limit": 1 }]).unwrap().writes(), None);
    }
}
