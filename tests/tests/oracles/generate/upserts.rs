//! Updates that insert a document where none matches: what the filter says by equalities, with the update applied. ObjectIds and
//! dates are among the values.

use bson::{Bson, Document, doc};

use super::{Random, typed};
use crate::case::Case;

pub(super) fn upsert(random: &mut Random) -> Case {
    let documents = match random.below(3) {
        0 => vec![doc! { "_id": 1, "n": random.integer(), "s": random.text() }],
        _ => Vec::new(),
    };
    // With an `_id`, or the inserted document would have one of chance.
    let mut filter = doc! { "_id": random.pick(&[1, 2]) };
    if documents.is_empty() {
        for (path, value) in [
            ("n", random.number()),
            ("s", random.text().into()),
            ("o.x", typed::value(random)),
        ] {
            if random.one_in(2) {
                match random.below(4) {
                    0 => filter.insert(path, doc! { "$eq": value }),
                    1 => filter.insert(path, doc! { "$gte": value }),
                    _ => filter.insert(path, value),
                };
            }
        }
    }
    Case::Upsert {
        filter,
        update: update(random),
        documents,
    }
}

fn update(random: &mut Random) -> Document {
    let mut update = Document::new();
    for _ in 0..=random.below(2) {
        let (operator, path, operand): (&str, &str, Bson) = match random.below(9) {
            0 => ("$set", "v", typed::value(random)),
            1 => ("$set", "p.q", typed::value(random)),
            2 => ("$setOnInsert", "w", typed::value(random)),
            3 => ("$inc", "n", random.number()),
            4 => ("$unset", "s", "".into()),
            5 => ("$push", "l", typed::value(random)),
            6 => ("$addToSet", "m", typed::value(random)),
            7 => ("$max", "t", random.date().into()),
            _ => ("$mul", "k", random.number()),
        };
        let operands = update
            .entry(operator.to_owned())
            .or_insert(Bson::Document(Document::new()));
        if let Bson::Document(operands) = operands {
            operands.insert(path, operand);
        }
    }
    update
}
