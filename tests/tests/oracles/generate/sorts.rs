//! Orders of `find`: by fields of mixed types, below documents and arrays, at positions, ascending and descending, of which a part
//! is skipped and a part returned.

use bson::{Bson, Document};

use super::Random;
use crate::case::Case;

const PATHS: [&str; 9] = ["a", "b", "c", "a.b", "b.a", "a.0", "b.1", "c.0.a", "b.0.c"];

pub(super) fn sort(random: &mut Random) -> Case {
    let documents = (0..8).map(|id| random.document(id)).collect();
    let mut sort = Document::new();
    for _ in 0..=random.below(2) {
        sort.insert(random.pick(&PATHS), random.pick(&[1, -1]));
    }
    // Of those that are alike, which comes first is open.
    sort.insert("_id", random.pick(&[1, -1]));
    Case::Sort {
        sort,
        skip: random.pick(&[0, 0, 1, 3]),
        limit: random.pick(&[2, 5, 9]),
        documents,
    }
}

/// What a path leads to in a document: a value, nothing, or an array that has more than one value to go on with, because the path
/// names none of its elements by the position.
pub(crate) fn reached(document: &Document, path: &str) -> Option<Bson> {
    let mut value = Bson::Document(document.clone());
    for name in path.split('.') {
        value = match &value {
            Bson::Document(document) => document.get(name)?.clone(),
            Bson::Array(elements) => match name.parse().ok().and_then(|position: usize| elements.get(position)) {
                Some(element) => element.clone(),
                None => return Some(value),
            },
            _ => return None,
        };
    }
    Some(value)
}
