//! Plain predicates allocate nothing: the matcher runs for every entry and every watcher.

use bson::oid::ObjectId;
use bson::{DateTime, RawDocument, RawDocumentBuf, rawdoc};
use tailwater_matcher::Expression;

/// Those that `benches -- match` measures as `match-equality-miss` and `match-conjunction`, on its document: an equality on one
/// of twelve fields that does not match, and ten conditions that all hold.
#[test]
fn the_measured_predicates_allocate_nothing() {
    let document = rawdoc! {
        "_id": ObjectId::from_bytes([7; 12]),
        "name": "Ada Lovelace", "email": "ada@example.org", "city": "Oslo", "country": "NL",
        "status": "open", "n": 42, "level": 3, "price": 19.5, "score": 77_i64, "active": true,
        "created": DateTime::from_millis(1_700_000_000_000),
    };
    assert_eq!(document.iter().count(), 12);
    let conjunction = rawdoc! {
        "status": "open", "n": { "$gte": 10, "$lt": 1000 }, "price": { "$gt": 1.5 },
        "active": true, "country": { "$in": ["DE", "FR", "NL"] }, "level": { "$ne": 9 },
        "email": { "$exists": true }, "score": { "$lte": 99_i64 }, "city": "Oslo",
    };
    let cases = [
        (rawdoc! { "status": "closed" }, false),
        (rawdoc! { "status": "open" }, true),
        (conjunction.clone(), true),
        (rawdoc! { "$and": [conjunction, { "level": 4 }] }, false),
    ];
    for (filter, expected) in &cases {
        assert_allocates_nothing(filter, &document, *expected);
    }
}

fn assert_allocates_nothing(filter: &RawDocument, document: &RawDocument, expected: bool) {
    let expression = Expression::parse(filter).unwrap();
    let mut found = Ok(!expected);
    let counted = allocation_counter::measure(|| found = expression.matches(document));
    assert_eq!(found, Ok(expected), "{filter:?}");
    assert_eq!(counted.count_total, 0, "{filter:?}");
}

#[test]
fn plain_predicates_allocate_nothing() {
    let document = rawdoc! {
        "_id": 1, "name": "Ada", "city": "Oslo", "n": 42, "price": 19.5, "tags": ["a", "b"],
        "address": { "zip": "0150", "geo": [{ "at": 5 }, { "at": 9 }] }, "none": null,
    };
    let filters: [(RawDocumentBuf, bool); 9] = [
        (rawdoc! { "city": "Rome" }, false),
        (rawdoc! { "n": { "$gte": 42_i64, "$lt": 43.5 } }, true),
        (rawdoc! { "city": { "$in": ["Rome", "Oslo"] } }, true),
        (rawdoc! { "tags": "b", "address.geo.at": { "$gt": 8 } }, true),
        (rawdoc! { "$or": [{ "n": 1 }, { "name": { "$ne": "Bob" } }] }, true),
        (
            rawdoc! { "$nor": [{ "n": 1 }, { "missing": { "$exists": true } }] },
            true,
        ),
        (rawdoc! { "address": { "zip": "0150", "geo": [] } }, false),
        (
            rawdoc! { "tags": { "$size": 2, "$type": "array" }, "n": { "$mod": [4, 2] } },
            true,
        ),
        (
            rawdoc! { "address.geo": { "$elemMatch": { "at": { "$gt": 5, "$lt": 10 } } } },
            true,
        ),
    ];
    for (filter, expected) in &filters {
        assert_allocates_nothing(filter, &document, *expected);
    }
}
