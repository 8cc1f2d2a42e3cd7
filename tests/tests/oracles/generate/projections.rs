//! Projections of `find` over documents of any shape: fields that stay or go, `$slice`, `$elemMatch`, and computed ones.

use bson::{Bson, Document, doc};

use super::Random;
use crate::case::Case;

const PATHS: [&str; 6] = ["a", "b", "c", "a.b", "b.a", "c.a"];

pub(super) fn project(random: &mut Random) -> Case {
    let documents = (0..4).map(|id| document(random, id)).collect();
    Case::Project {
        filter: Document::new(),
        projection: projection(random),
        documents,
    }
}

/// A document whose `l` is an array of numbers and whose `t` is one of documents.
fn document(random: &mut Random, id: usize) -> Document {
    let mut document = random.document(id);
    let l: Vec<Bson> = (0..random.below(5)).map(|_| random.number()).collect();
    let t: Vec<Bson> = (0..random.below(4))
        .map(|_| Bson::Document(doc! { "k": random.text(), "v": random.integer() }))
        .collect();
    document.insert("l", l);
    document.insert("t", t);
    document
}

fn projection(random: &mut Random) -> Document {
    let mut projection = Document::new();
    let keeps = random.one_in(2);
    if random.one_in(4) {
        projection.insert("_id", if keeps { random.pick(&[0, 1]) } else { 0 });
    }
    let mut taken: Vec<&str> = Vec::new();
    for _ in 0..=random.below(2) {
        let path = random.pick(&PATHS);
        // One that lies within another is an error, which has cases of its own.
        let first = path.split('.').next().unwrap_or(path);
        if taken.contains(&first) {
            continue;
        }
        taken.push(first);
        projection.insert(path, i32::from(keeps));
    }
    match random.below(6) {
        0 => {
            let slice = match random.below(3) {
                0 => Bson::from(random.pick(&[1, 2, -2, 9])),
                1 => Bson::from(vec![random.pick(&[0, 1, 9]), random.pick(&[1, 2])]),
                _ => Bson::from(vec![random.pick(&[-1, -3]), 2]),
            };
            projection.insert("l", doc! { "$slice": slice });
        }
        1 if keeps => {
            let condition = match random.below(2) {
                0 => doc! { "k": random.text() },
                _ => doc! { "v": { "$gte": random.integer() } },
            };
            projection.insert("t", doc! { "$elemMatch": condition });
        }
        2 if keeps => {
            projection.insert("n", doc! { "$size": "$l" });
        }
        _ => {}
    }
    projection
}
