//! The examples of MongoDB's manual, operator by operator: document, update, result.

use bson::{Decimal128, Document, RawDocumentBuf, doc};

use super::apply;

#[track_caller]
fn check(cases: impl IntoIterator<Item = (Document, Document, Document)>) {
    let raw = |document: &Document| RawDocumentBuf::try_from(document).unwrap();
    for (old, update, new) in cases {
        let applied = apply(&raw(&old), &raw(&update)).unwrap();
        let found = applied.map_or_else(|| raw(&old), |applied| applied.document);
        assert_eq!(found, raw(&new), "{old} {update}");
    }
}

fn decimal(text: &str) -> Decimal128 {
    text.parse().unwrap()
}

#[test]
fn set() {
    let product = doc! {
        "_id": 100, "quantity": 250, "instock": true, "reorder": false,
        "details": { "model": "14QQ", "make": "Clothes Corp" },
        "tags": ["apparel", "clothing"], "ratings": [{ "by": "Customer007", "rating": 4 }],
    };
    check([(
        product,
        doc! { "$set": {
            "quantity": 500, "details": { "model": "2600", "make": "Fashionaires" },
            "tags.1": "rain gear", "ratings.0.rating": 2,
        } },
        doc! {
            "_id": 100, "quantity": 500, "instock": true, "reorder": false,
            "details": { "model": "2600", "make": "Fashionaires" },
            "tags": ["apparel", "rain gear"], "ratings": [{ "by": "Customer007", "rating": 2 }],
        },
    )]);
}

#[test]
fn inc_and_mul() {
    check([
        (
            doc! { "_id": 1, "sku": "abc123", "quantity": 10, "metrics": { "orders": 2, "ratings": 3.5 } },
            doc! { "$inc": { "quantity": -2, "metrics.orders": 1 } },
            doc! { "_id": 1, "sku": "abc123", "quantity": 8, "metrics": { "orders": 3, "ratings": 3.5 } },
        ),
        (
            doc! { "_id": 1, "item": "Hats", "price": decimal("10.99"), "quantity": 25 },
            doc! { "$mul": { "price": decimal("1.25"), "quantity": 2 } },
            doc! { "_id": 1, "item": "Hats", "price": decimal("13.7375"), "quantity": 50 },
        ),
        (
            doc! { "_id": 2, "item": "Unknown" },
            doc! { "$mul": { "price": 100_i64 } },
            doc! { "_id": 2, "item": "Unknown", "price": 0_i64 },
        ),
        (
            doc! { "_id": 3, "item": "Scarf", "price": decimal("10") },
            doc! { "$mul": { "price": 5 } },
            doc! { "_id": 3, "item": "Scarf", "price": decimal("50") },
        ),
    ]);
}

#[test]
fn min_and_max() {
    check([
        (
            doc! { "_id": 1, "highScore": 800, "lowScore": 200 },
            doc! { "$min": { "lowScore": 150 } },
            doc! { "_id": 1, "highScore": 800, "lowScore": 150 },
        ),
        (
            doc! { "_id": 1, "highScore": 800, "lowScore": 150 },
            doc! { "$min": { "lowScore": 250 }, "$max": { "highScore": 950 } },
            doc! { "_id": 1, "highScore": 950, "lowScore": 150 },
        ),
        (
            doc! { "_id": 1, "a": 5, "b": "text" },
            doc! { "$max": { "a": "any text is more", "b": 7, "c": 0 } },
            doc! { "_id": 1, "a": "any text is more", "b": "text", "c": 0 },
        ),
    ]);
}

#[test]
fn rename() {
    check([
        (
            doc! { "_id": 1, "nmae": { "first": "george", "last": "washington" }, "cell": "555" },
            doc! { "$rename": { "nmae": "name", "cell": "mobile" } },
            doc! { "_id": 1, "mobile": "555", "name": { "first": "george", "last": "washington" } },
        ),
        (
            doc! { "_id": 1, "name": { "first": "george", "last": "washington" } },
            doc! { "$rename": { "name.first": "name.fname" } },
            doc! { "_id": 1, "name": { "last": "washington", "fname": "george" } },
        ),
        (
            doc! { "_id": 1, "name": { "last": "washington" }, "contact": 7 },
            doc! { "$rename": { "name.last": "contact", "wife": "spouse" } },
            doc! { "_id": 1, "name": {}, "contact": "washington" },
        ),
    ]);
}

#[test]
fn unset() {
    check([(
        doc! { "_id": 1, "item": "chisel", "sku": "C001", "quantity": 4, "instock": true },
        doc! { "$unset": { "quantity": "", "instock": "" } },
        doc! { "_id": 1, "item": "chisel", "sku": "C001" },
    )]);
}

#[test]
fn bit() {
    check([
        (
            doc! { "_id": 1, "expdata": 13 },
            doc! { "$bit": { "expdata": { "and": 10 } } },
            doc! { "_id": 1, "expdata": 8 },
        ),
        (
            doc! { "_id": 2, "expdata": 3_i64 },
            doc! { "$bit": { "expdata": { "or": 5 } } },
            doc! { "_id": 2, "expdata": 7_i64 },
        ),
        (
            doc! { "_id": 3, "expdata": 1 },
            doc! { "$bit": { "expdata": { "xor": 5 } } },
            doc! { "_id": 3, "expdata": 4 },
        ),
        (
            doc! { "_id": 4 },
            doc! { "$bit": { "expdata": { "or": 5, "xor": 4 } } },
            doc! { "_id": 4, "expdata": 1 },
        ),
    ]);
}

#[test]
fn push() {
    let quizzes = doc! { "_id": 5, "quizzes": [
        { "wk": 1, "score": 10 }, { "wk": 2, "score": 8 }, { "wk": 3, "score": 5 }, { "wk": 4, "score": 6 },
    ] };
    check([
        (
            doc! { "_id": 1, "scores": [44, 78, 38, 80] },
            doc! { "$push": { "scores": { "$each": [90, 92, 85] } } },
            doc! { "_id": 1, "scores": [44, 78, 38, 80, 90, 92, 85] },
        ),
        (
            quizzes,
            doc! { "$push": { "quizzes": {
                "$each": [{ "wk": 5, "score": 8 }, { "wk": 6, "score": 7 }, { "wk": 7, "score": 6 }],
                "$sort": { "score": -1 }, "$slice": 3,
            } } },
            doc! { "_id": 5, "quizzes": [
                { "wk": 1, "score": 10 }, { "wk": 2, "score": 8 }, { "wk": 5, "score": 8 },
            ] },
        ),
        (
            doc! { "_id": 1, "scores": [100] },
            doc! { "$push": { "scores": { "$each": [50, 60, 70], "$position": 0 } } },
            doc! { "_id": 1, "scores": [50, 60, 70, 100] },
        ),
        (
            doc! { "_id": 1, "scores": [50, 60, 70, 100] },
            doc! { "$push": { "scores": { "$each": [90, 80], "$position": -2 } } },
            doc! { "_id": 1, "scores": [50, 60, 90, 80, 70, 100] },
        ),
        (
            doc! { "_id": 1, "tests": [89, 70, 89, 50] },
            doc! { "$push": { "tests": { "$each": [], "$sort": -1, "$slice": -3 } } },
            doc! { "_id": 1, "tests": [89, 70, 50] },
        ),
    ]);
}

#[test]
fn sets_and_pulls() {
    check([
        (
            doc! { "_id": 1, "letters": ["a", "b"] },
            doc! { "$addToSet": { "letters": ["c", "d"] } },
            doc! { "_id": 1, "letters": ["a", "b", ["c", "d"]] },
        ),
        (
            doc! { "_id": 2, "item": "cable", "tags": ["electronics", "supplies"] },
            doc! { "$addToSet": { "tags": { "$each": ["camera", "electronics", "accessories"] } } },
            doc! { "_id": 2, "item": "cable", "tags": ["electronics", "supplies", "camera", "accessories"] },
        ),
        (
            doc! { "_id": 1, "scores": [8, 9, 10] },
            doc! { "$pop": { "scores": -1 } },
            doc! { "_id": 1, "scores": [9, 10] },
        ),
        (
            doc! { "_id": 1, "fruits": ["apples", "pears", "grapes"], "vegetables": ["carrots", "celery"] },
            doc! { "$pull": { "fruits": { "$in": ["apples", "oranges"] }, "vegetables": "carrots" } },
            doc! { "_id": 1, "fruits": ["pears", "grapes"], "vegetables": ["celery"] },
        ),
        (
            doc! { "_id": 1, "votes": [3, 5, 6, 7, 7, 8] },
            doc! { "$pull": { "votes": { "$gte": 6 } } },
            doc! { "_id": 1, "votes": [3, 5] },
        ),
        (
            doc! { "_id": 1, "results": [{ "item": "A", "score": 5 }, { "item": "B", "score": 8 }] },
            doc! { "$pull": { "results": { "score": 8, "item": "B" } } },
            doc! { "_id": 1, "results": [{ "item": "A", "score": 5 }] },
        ),
        (
            doc! { "_id": 1, "scores": [0, 2, 5, 5, 1, 0] },
            doc! { "$pullAll": { "scores": [0, 5] } },
            doc! { "_id": 1, "scores": [2, 1] },
        ),
    ]);
}
