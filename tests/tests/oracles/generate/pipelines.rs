//! Pipelines on a small collection: `g` is a group, `n` a number, `w` an array of texts, `o` a document, `r` a reference to the
//! `k` of the other collection.

use bson::{Bson, Document, doc};

use super::Random;
use crate::case::Case;

/// What the documents are like at a stage.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// As they were stored, each once.
    Stored,
    /// As they were stored but for `w`, some of them more than once.
    Unwound,
    /// `{_id, …}` of another kind.
    Other,
}

fn documents(random: &mut Random) -> Vec<Document> {
    let mut documents = Vec::new();
    for id in 0..8 {
        let w: Vec<Bson> = (0..random.below(4)).map(|_| random.text().into()).collect();
        let mut document = doc! {
            "_id": id, "g": random.pick(&["x", "y", "z"]), "n": random.number(), "w": w,
            "o": { "x": random.integer(), "s": random.text() }, "r": random.integer(), "v": random.scalar(),
        };
        if random.one_in(5) {
            document.remove(random.pick(&["g", "n", "w", "r"]));
        }
        documents.push(document);
    }
    documents
}

pub(super) fn pipeline(random: &mut Random) -> Case {
    let documents = documents(random);
    let others = (0..4)
        .map(|id| doc! { "_id": id, "k": random.integer(), "name": random.text() })
        .collect();
    let mut stages = Vec::new();
    let mut shape = Shape::Stored;
    for _ in 0..=random.below(3) {
        let (made, becomes) = match shape {
            Shape::Stored | Shape::Unwound if !random.one_in(4) => stored(random, shape),
            _ => (
                other(random, shape),
                if shape == Shape::Stored { shape } else { Shape::Other },
            ),
        };
        stages.extend(made);
        shape = becomes;
    }
    Case::Aggregate {
        pipeline: stages,
        documents,
        others,
    }
}

/// Stages that know the fields, and what the documents are like after them.
fn stored(random: &mut Random, shape: Shape) -> (Vec<Document>, Shape) {
    let (stage, becomes) = match random.below(15) {
        0 => (
            doc! { "$match": { "n": { random.pick(&["$gt", "$lte", "$ne"]): random.number() } } },
            shape,
        ),
        1 => (
            doc! { "$match": { "g": { "$in": ["x", "y"] }, "o.x": { "$gte": random.integer() } } },
            shape,
        ),
        2 => (
            doc! { "$project": { "n": 1, "o.x": 1, "up": { "$toUpper": "$o.s" } } },
            Shape::Other,
        ),
        3 => (
            doc! { "$project": { random.pick(&["w", "o", "o.s", "n"]): 0 } },
            Shape::Other,
        ),
        4 => (
            doc! { random.pick(&["$addFields", "$set"]): { "o.z": { "$add": ["$o.x", 1] }, "e": "$n" } },
            shape,
        ),
        5 => (doc! { "$unset": random.pick(&["v", "r"]) }, shape),
        6 => (
            doc! { random.pick(&["$replaceRoot"]): { "newRoot": { "$mergeObjects": [{ "_id": "$_id" }, "$o"] } } },
            Shape::Other,
        ),
        7 => (doc! { "$replaceWith": { "_id": "$_id", "k": "$g" } }, Shape::Other),
        8 | 9 => (group(random), Shape::Other),
        10 => {
            let keep = random.one_in(2);
            let unwind = match random.one_in(2) {
                true => doc! { "$unwind": "$w" },
                false => {
                    doc! { "$unwind": { "path": "$w", "includeArrayIndex": "i", "preserveNullAndEmptyArrays": keep } }
                }
            };
            (unwind, Shape::Unwound)
        }
        11 => {
            let lookup =
                doc! { "from": "others", "localField": random.pick(&["r", "o.x"]), "foreignField": "k", "as": "found" };
            (doc! { "$lookup": lookup }, shape)
        }
        12 => (doc! { "$sortByCount": random.pick(&["$g", "$o.x"]) }, Shape::Other),
        13 => {
            let buckets = doc! {
                "groupBy": "$o.x", "boundaries": [-1.5, 0.5, 2.5], "default": "else",
                "output": { "count": { "$sum": 1 }, "ids": { "$push": "$_id" } },
            };
            (doc! { "$bucket": buckets }, Shape::Other)
        }
        _ => {
            let facets = doc! {
                "some": [{ "$match": { "n": { "$gt": 0 } } }, { "$project": { "n": 1 } }],
                "count": [{ "$count": "all" }],
            };
            (doc! { "$facet": facets }, Shape::Other)
        }
    };
    (vec![stage], becomes)
}

fn group(random: &mut Random) -> Document {
    let id = match random.below(4) {
        0 => Bson::Null,
        1 => "$g".into(),
        2 => doc! { "g": "$g", "x": { "$mod": ["$o.x", 2] } }.into(),
        _ => "$o.s".into(),
    };
    let mut group = doc! { "_id": id };
    for name in ["p", "q"] {
        let accumulator = random.pick(&[
            "$sum",
            "$avg",
            "$min",
            "$max",
            "$first",
            "$last",
            "$push",
            "$addToSet",
            "$stdDevPop",
            "$stdDevSamp",
            "$count",
            "$mergeObjects",
            "$firstN",
            "$lastN",
            "$maxN",
            "$minN",
            "$top",
            "$bottom",
            "$topN",
            "$bottomN",
        ]);
        let operand = match accumulator {
            "$count" => doc! {}.into(),
            "$mergeObjects" => Bson::from("$o"),
            "$firstN" | "$lastN" | "$maxN" | "$minN" => doc! { "input": "$o.x", "n": 2 }.into(),
            "$top" | "$bottom" => doc! { "sortBy": { "o.x": 1, "_id": 1 }, "output": "$_id" }.into(),
            "$topN" | "$bottomN" => doc! { "sortBy": { "o.x": -1, "_id": 1 }, "output": ["$_id", "$n"], "n": 2 }.into(),
            _ => random.pick(&["$n", "$o.x", "$v"]).into(),
        };
        group.insert(name, doc! { accumulator: operand });
    }
    doc! { "$group": group }
}

/// Stages for documents of any shape.
fn other(random: &mut Random, shape: Shape) -> Vec<Document> {
    // An order with ties is nobody's to compare.
    let sort = match shape {
        Shape::Stored => doc! { "$sort": { random.pick(&["n", "o.x", "v", "w"]): random.pick(&[1, -1]), "_id": 1 } },
        Shape::Unwound => return vec![doc! { "$count": "all" }],
        Shape::Other => doc! { "$sort": { "_id": random.pick(&[1, -1]) } },
    };
    match random.below(4) {
        0 if shape == Shape::Other => vec![doc! { "$count": "all" }],
        1 => vec![sort, doc! { "$limit": 3 }],
        2 => vec![sort, doc! { "$skip": 2 }],
        _ => vec![sort],
    }
}
