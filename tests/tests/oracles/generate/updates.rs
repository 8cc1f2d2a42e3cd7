//! Updates, and documents whose fields have the types that they ask for: `n` and `m` are numbers, `s` is text, `l` and `p` are
//! arrays of scalars, `t` is one of documents, `o` a document, `d` a date.

use bson::{Bson, Document, doc};

use super::Random;
use crate::case::Case;

fn document(random: &mut Random) -> Document {
    let mut numbers = |most: usize| -> Vec<Bson> { (0..random.below(most)).map(|_| random.number()).collect() };
    let (l, p) = (numbers(5), numbers(4));
    let t: Vec<Bson> = (0..random.below(4))
        .map(|_| Bson::Document(doc! { "k": random.text(), "v": random.integer() }))
        .collect();
    let mut document = doc! {
        "_id": 1, "n": random.number(), "m": random.number(), "s": random.text(), "l": l, "p": p, "t": t,
        "o": { "x": random.scalar(), "y": random.integer() }, "d": random.date(),
    };
    // Now and then something is not there.
    if random.one_in(4) {
        document.remove(random.pick(&["n", "s", "l", "t", "o"]));
    }
    document
}

pub(super) fn update(random: &mut Random) -> Case {
    let document = document(random);
    let (mut filter, mut array_filters) = (doc! {}, Vec::new());
    let mut update = Document::new();
    let mut taken: Vec<&str> = Vec::new();
    for _ in 0..=random.below(3) {
        let (field, operator, path, operand) = match random.below(14) {
            0 if !taken.contains(&"t") => {
                let positioned = positioned(random);
                filter = positioned.filter;
                array_filters = positioned.array_filters;
                ("t", positioned.operator, positioned.path, positioned.operand)
            }
            _ => plain(random),
        };
        // One operator for each field, else the parts would conflict, which has cases of its own.
        if taken.contains(&field) || (field == "z" && taken.contains(&"m")) {
            continue;
        }
        taken.push(field);
        let operands = update.entry(operator).or_insert(Bson::Document(Document::new()));
        if let Bson::Document(operands) = operands {
            operands.insert(path, operand);
        }
    }
    if update.is_empty() {
        update = doc! { "$set": { "n": 1 } };
    }
    Case::Update {
        filter,
        update,
        array_filters,
        documents: vec![document],
    }
}

type Change = (&'static str, String, String, Bson);

fn change(field: &'static str, operator: &str, path: &str, operand: impl Into<Bson>) -> Change {
    (field, operator.to_owned(), path.to_owned(), operand.into())
}

fn plain(random: &mut Random) -> Change {
    match random.below(22) {
        0 => change("o", "$set", random.pick(&["o.x", "o.z", "o.z.a"]), random.value(2)),
        1 => change("new", "$set", random.pick(&["new", "new.a.b"]), random.value(2)),
        2 => change("l", "$set", random.pick(&["l.0", "l.1", "l.6"]), random.scalar()),
        3 => {
            let path = random.pick(&["n", "s", "o.x", "l.0", "o.none", "none.a", "t.0.k"]);
            let field = ["n", "s", "o", "l", "t"]
                .into_iter()
                .find(|field| path.split('.').next() == Some(field));
            change(field.unwrap_or("none"), "$unset", path, "")
        }
        4 => change("n", "$inc", "n", random.number()),
        5 => change("o", "$inc", random.pick(&["o.y", "o.z"]), random.number()),
        6 => change("n", "$mul", "n", random.number()),
        7 => change("m", "$mul", random.pick(&["m", "m2"]), random.number()),
        8 => change("m", random.pick(&["$min", "$max"]), "m", random.number()),
        9 => change("d", random.pick(&["$min", "$max"]), "d", random.date()),
        10 => change("m", "$rename", "m", "z"),
        11 => change("s", "$setOnInsert", "s", 1),
        12 => {
            let operation = random.pick(&["and", "or", "xor"]);
            change("o", "$bit", "o.y", doc! { operation: random.pick(&[1, 3, 6]) })
        }
        13 => change("l", "$push", "l", random.scalar()),
        14 | 15 => {
            let each: Vec<Bson> = (0..random.below(4)).map(|_| random.number()).collect();
            let mut operand = doc! { "$each": each };
            if random.one_in(3) {
                operand.insert("$position", random.pick(&[0, 1, 9, -1, -9]));
            }
            if random.one_in(3) {
                operand.insert("$slice", random.pick(&[0, 2, -2, 9]));
            }
            if random.one_in(3) {
                operand.insert("$sort", random.pick(&[1, -1]));
            }
            change("l", "$push", "l", operand)
        }
        16 => {
            let each = vec![Bson::from(doc! { "k": random.text(), "v": random.integer() })];
            let by = random.pick(&["k", "v"]);
            change(
                "t",
                "$push",
                "t",
                doc! { "$each": each, "$sort": { by: random.pick(&[1, -1]) } },
            )
        }
        17 => match random.one_in(2) {
            true => change("l", "$addToSet", "l", random.scalar()),
            false => {
                let each: Vec<Bson> = (0..3).map(|_| random.number()).collect();
                change("p", "$addToSet", "p", doc! { "$each": each })
            }
        },
        18 => change("l", "$pop", random.pick(&["l", "none"]), random.pick(&[1, -1])),
        19 => {
            let condition = match random.below(3) {
                0 => random.number(),
                1 => Bson::from(doc! { "$gte": random.number() }),
                _ => Bson::from(doc! { "$in": [random.number(), random.number()] }),
            };
            change("p", "$pull", "p", condition)
        }
        20 => {
            let condition = match random.below(3) {
                0 => doc! { "k": random.text() },
                1 => doc! { "v": { "$lt": random.integer() } },
                _ => doc! { "k": random.text(), "v": { "$gt": random.integer() } },
            };
            change("t", "$pull", "t", condition)
        }
        _ => change("p", "$pullAll", "p", vec![random.number(), random.number()]),
    }
}

/// A change of some elements of `t`.
struct Positioned {
    filter: Document,
    array_filters: Vec<Document>,
    operator: String,
    path: String,
    operand: Bson,
}

fn positioned(random: &mut Random) -> Positioned {
    let operator = random.pick(&["$set", "$inc"]).to_owned();
    let (filter, array_filters, position) = match random.below(3) {
        0 => (doc! { "t.v": { "$gte": random.integer() } }, vec![], "$"),
        1 => (doc! {}, vec![], "$[]"),
        _ => (doc! {}, vec![doc! { "e.v": { "$lt": random.integer() } }], "$[e]"),
    };
    Positioned {
        filter,
        array_filters,
        operator,
        path: format!("t.{position}.v"),
        operand: random.number(),
    }
}
