//! Filters: mostly one predicate, so that a difference shows its reason.

use bson::{Bson, Document, doc};

use super::Random;

const PATHS: [&str; 9] = ["a", "b", "c", "a.b", "a.c", "b.a", "a.0", "a.b.c", "b.1.a"];

/// A filter with so many levels of logical operators at most.
pub(super) fn filter(random: &mut Random, levels: usize) -> Document {
    if levels > 0 && random.one_in(4) {
        let mut clauses = Vec::new();
        for _ in 0..=random.below(2) {
            clauses.push(Bson::Document(filter(random, levels - 1)));
        }
        let operator = random.pick(&["$and", "$or", "$nor"]);
        return doc! { operator: clauses };
    }
    if random.one_in(20) {
        let (operator, left, right) = (
            random.pick(&["$eq", "$gt", "$lte"]),
            random.pick(&["$a", "$b"]),
            random.scalar(),
        );
        return doc! { "$expr": { operator: [left, { "$literal": right }] } };
    }
    let path = random.pick(&PATHS);
    match random.below(10) {
        0 | 1 => doc! { path: random.value(2) },
        2 if levels > 0 => doc! { path: { "$not": predicate(random, 1) } },
        3 => {
            let mut both = predicate(random, 1);
            both.extend(predicate(random, 1));
            doc! { path: both }
        }
        _ => doc! { path: predicate(random, 1) },
    }
}

/// An operator with its operand.
fn predicate(random: &mut Random, levels: usize) -> Document {
    match random.below(20) {
        operator @ 0..6 => {
            let operator = ["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"][operator];
            let operand = if random.one_in(3) {
                random.value(2)
            } else {
                random.scalar()
            };
            doc! { operator: operand }
        }
        6 | 7 => {
            let values: Vec<Bson> = (0..random.below(4)).map(|_| random.value(1)).collect();
            doc! { random.pick(&["$in", "$nin"]): values }
        }
        8 => doc! { "$exists": random.one_in(2) },
        9 | 10 => {
            let types = ["double", "string", "object", "array", "bool", "date", "null", "number"];
            let named = random.pick(&types);
            let numbers = [2, 3, 4, 8, 9, 10];
            match random.below(3) {
                0 => doc! { "$type": random.pick(&numbers) },
                1 => doc! { "$type": [named, random.pick(&types)] },
                _ => doc! { "$type": named },
            }
        }
        11 => doc! { "$mod": [random.pick(&[2, 3, -2]), random.pick(&[0, 1, -1])] },
        12 | 13 => {
            let pattern = random.pick(&["^a", "b$", "a.?b", "A", "^$", "x\\sy", "(a|b)c?"]);
            match random.one_in(2) {
                true => doc! { "$regex": pattern, "$options": random.pick(&["i", "s", "m"]) },
                false => doc! { "$regex": pattern },
            }
        }
        14 => {
            let values: Vec<Bson> = (0..=random.below(2)).map(|_| random.value(1)).collect();
            doc! { "$all": values }
        }
        15 => doc! { "$size": random.pick(&[0, 1, 2, 3]) },
        16 | 17 if levels > 0 => match random.one_in(2) {
            true => doc! { "$elemMatch": predicate(random, levels - 1) },
            false => {
                let name = random.pick(&["a", "b"]);
                doc! { "$elemMatch": { name: predicate(random, levels - 1) } }
            }
        },
        18 => {
            let operator = random.pick(&["$bitsAllSet", "$bitsAnySet", "$bitsAllClear", "$bitsAnyClear"]);
            doc! { operator: random.pick(&[1, 2, 3, 5]) }
        }
        _ => doc! { "$eq": random.scalar() },
    }
}
