//! One question to all implementations, what it looks like on the wire, and Tailwater's answer.

use std::collections::BTreeSet;

use bson::{Bson, Document, RawDocumentBuf};
use serde_json::{Value, json};
use tailwater::{
    Collection, Error, ErrorCode, FindOptions, InsertManyOptions, Pipeline, Store, UpdateModifications, UpdateOptions,
};

/// See the module documentation. As JSON it is an object with its name as `kind` and its fields; numbers are plain, dates,
/// ObjectIds, decimals and numbers that are not finite are wrapped as in Extended JSON.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Case {
    /// The `_id`s of the documents that match.
    Find { filter: Document, documents: Vec<Document> },
    /// The documents after an update of the first that matches.
    Update {
        filter: Document,
        update: Document,
        array_filters: Vec<Document>,
        documents: Vec<Document>,
    },
    /// What a projection leaves of the documents that match.
    Project {
        filter: Document,
        projection: Document,
        documents: Vec<Document>,
    },
    /// The `_id`s of some documents in an order.
    Sort {
        sort: Document,
        skip: u64,
        limit: u64,
        documents: Vec<Document>,
    },
    /// The documents after an update of the first that matches, which inserts one where none does.
    Upsert {
        filter: Document,
        update: Document,
        documents: Vec<Document>,
    },
    /// What comes out of a pipeline; `others` is a second collection, of that name.
    Aggregate {
        pipeline: Vec<Document>,
        documents: Vec<Document>,
        others: Vec<Document>,
    },
}

/// Documents or `_id`s, or why there are none.
pub(crate) type Answer = Result<Vec<Value>, Refusal>;

/// An error.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Refusal {
    /// MongoDB's number for it, if Tailwater is who refuses and has one.
    pub(crate) code: Option<i32>,
    pub(crate) message: String,
}

impl Case {
    pub(crate) fn to_json(&self) -> Value {
        match self {
            Case::Find { filter, documents } => {
                json!({ "kind": "find", "filter": object(filter), "documents": objects(documents) })
            }
            Case::Update {
                filter,
                update,
                array_filters,
                documents,
            } => json!({
                "kind": "update",
                "filter": object(filter),
                "update": object(update),
                "arrayFilters": objects(array_filters),
                "documents": objects(documents),
            }),
            Case::Project {
                filter,
                projection,
                documents,
            } => json!({
                "kind": "project",
                "filter": object(filter),
                "projection": object(projection),
                "documents": objects(documents),
            }),
            Case::Sort {
                sort,
                skip,
                limit,
                documents,
            } => json!({
                "kind": "sort",
                "sort": object(sort),
                "skip": skip,
                "limit": limit,
                "documents": objects(documents),
            }),
            Case::Upsert {
                filter,
                update,
                documents,
            } => json!({
                "kind": "upsert",
                "filter": object(filter),
                "update": object(update),
                "documents": objects(documents),
            }),
            Case::Aggregate {
                pipeline,
                documents,
                others,
            } => json!({
                "kind": "aggregate",
                "pipeline": objects(pipeline),
                "documents": objects(documents),
                "others": objects(others),
            }),
        }
    }

    /// The filter, update or stages.
    pub(crate) fn questions(&self) -> Vec<&Document> {
        match self {
            Case::Find { filter, .. } => vec![filter],
            Case::Update { update, .. } | Case::Upsert { update, .. } => vec![update],
            Case::Project { projection, .. } => vec![projection],
            Case::Sort { sort, .. } => vec![sort],
            Case::Aggregate { pipeline, .. } => pipeline.iter().collect(),
        }
    }

    /// The operators it is about, by name.
    pub(crate) fn operators(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for (name, value) in self.questions().into_iter().flatten() {
            collect_operators(name, value, &mut names);
        }
        names
    }

    pub(crate) fn uses(&self, operator: &str) -> bool {
        self.operators().contains(operator)
    }

    pub(crate) fn uses_any(&self, operators: &[&str]) -> bool {
        operators.iter().any(|operator| self.uses(operator))
    }

    /// Tailwater's answer.
    pub(crate) fn run(&self, place: &Place) -> Answer {
        place.clear();
        match self {
            Case::Find { filter, documents } => {
                place.fill(&place.items, documents);
                ids(place.items.find(&raw(filter)))
            }
            Case::Sort {
                sort,
                skip,
                limit,
                documents,
            } => {
                place.fill(&place.items, documents);
                let options = FindOptions {
                    sort: Some(raw(sort)),
                    skip: *skip,
                    limit: Some(*limit),
                    ..FindOptions::default()
                };
                ids(place.items.find_with(&raw(&Document::new()), &options))
            }
            Case::Update {
                filter,
                update,
                array_filters,
                documents,
            } => {
                place.fill(&place.items, documents);
                let options = UpdateOptions {
                    array_filters: array_filters.iter().map(raw).collect(),
                    ..UpdateOptions::default()
                };
                let update = UpdateModifications::from(raw(update));
                let updated = place.items.update_one_with(&raw(filter), update, &options);
                updated.map_err(|error| refusal(&error))?;
                Ok(all(place.items.find(&raw(&Document::new())).unwrap()))
            }
            Case::Project {
                filter,
                projection,
                documents,
            } => {
                place.fill(&place.items, documents);
                let options = FindOptions {
                    projection: Some(raw(projection)),
                    ..FindOptions::default()
                };
                let found = place.items.find_with(&raw(filter), &options);
                let found = found.and_then(Iterator::collect::<Result<Vec<_>, _>>);
                found
                    .map(|found| all(found.into_iter().map(Ok)))
                    .map_err(|error| refusal(&error))
            }
            Case::Upsert {
                filter,
                update,
                documents,
            } => {
                place.fill(&place.items, documents);
                let options = UpdateOptions {
                    upsert: true,
                    ..UpdateOptions::default()
                };
                let update = UpdateModifications::from(raw(update));
                let updated = place.items.update_one_with(&raw(filter), update, &options);
                updated.map_err(|error| refusal(&error))?;
                Ok(all(place.items.find(&raw(&Document::new())).unwrap()))
            }
            Case::Aggregate {
                pipeline,
                documents,
                others,
            } => {
                place.fill(&place.items, documents);
                place.fill(&place.others, others);
                let pipeline = Pipeline::parse(&pipeline.iter().map(raw).collect::<Vec<_>>());
                let found = pipeline.and_then(|pipeline| place.items.aggregate(&pipeline));
                let found = found.and_then(Iterator::collect::<Result<Vec<_>, _>>);
                found
                    .map(|found| all(found.into_iter().map(Ok)))
                    .map_err(|error| refusal(&error))
            }
        }
    }
}

fn ids(found: Result<impl Iterator<Item = Result<RawDocumentBuf, Error>>, Error>) -> Answer {
    let found = found.and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let ids = |found: Vec<RawDocumentBuf>| found.iter().map(|document| value(&parsed(document)["_id"])).collect();
    found.map(ids).map_err(|error| refusal(&error))
}

fn collect_operators(name: &str, value: &Bson, names: &mut BTreeSet<String>) {
    if name.starts_with('$') {
        names.insert(name.to_owned());
    }
    match value {
        Bson::Document(document) => document
            .iter()
            .for_each(|(name, value)| collect_operators(name, value, names)),
        Bson::Array(array) => array.iter().for_each(|value| collect_operators("", value, names)),
        _ => {}
    }
}

fn all(found: impl Iterator<Item = Result<RawDocumentBuf, Error>>) -> Vec<Value> {
    found.map(|document| object(&parsed(&document.unwrap()))).collect()
}

fn refusal(error: &Error) -> Refusal {
    let code = match error {
        Error::Aggregate(error) => Some(error.code()),
        Error::Update(error) => Some(error.code()),
        error => error.code().map(ErrorCode::number),
    };
    Refusal {
        code,
        message: error.to_string(),
    }
}

/// The store in which Tailwater answers.
pub(crate) struct Place {
    items: Collection,
    others: Collection,
    _store: Store,
    _dir: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let options = tailwater::StoreOptions {
            durability: tailwater::Durability::Memory,
            ..tailwater::StoreOptions::default()
        };
        let store = Store::open_with(dir.path(), &options).unwrap();
        Place {
            items: store.collection("town", "items").unwrap(),
            others: store.collection("town", "others").unwrap(),
            _store: store,
            _dir: dir,
        }
    }

    fn clear(&self) {
        for collection in [&self.items, &self.others] {
            collection.delete_many(&RawDocumentBuf::new()).unwrap();
        }
    }

    fn fill(&self, collection: &Collection, documents: &[Document]) {
        if !documents.is_empty() {
            let documents: Vec<_> = documents.iter().map(raw).collect();
            let inserted =
                collection.insert_many_with(documents.iter().map(AsRef::as_ref), &InsertManyOptions::default());
            inserted.unwrap();
        }
    }
}

fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).unwrap()
}

fn parsed(document: &RawDocumentBuf) -> Document {
    Document::try_from(document.as_ref()).unwrap()
}

fn objects(documents: &[Document]) -> Value {
    documents.iter().map(object).collect()
}

fn object(document: &Document) -> Value {
    Value::Object(
        document
            .iter()
            .map(|(name, field)| (name.clone(), value(field)))
            .collect(),
    )
}

fn value(bson: &Bson) -> Value {
    match bson {
        Bson::Document(document) => object(document),
        Bson::Array(array) => array.iter().map(value).collect(),
        Bson::DateTime(date) => json!({ "$date": { "$numberLong": date.timestamp_millis().to_string() } }),
        Bson::Int32(number) => json!(number),
        Bson::Int64(number) => json!(number),
        Bson::Double(number) if number.is_finite() => json!(number),
        Bson::Double(number) => {
            json!({ "$numberDouble": if number.is_nan() { "NaN" } else if *number > 0.0 { "Infinity" } else { "-Infinity" } })
        }
        Bson::Decimal128(number) => json!({ "$numberDecimal": number.to_string() }),
        Bson::ObjectId(id) => json!({ "$oid": id.to_hex() }),
        Bson::String(text) => json!(text),
        Bson::Boolean(truth) => json!(truth),
        Bson::Null => Value::Null,
        other => json!({ "$other": other.to_string() }),
    }
}
