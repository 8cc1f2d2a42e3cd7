//! Plain predicates allocate nothing: the matcher runs for every entry and every watcher.

use bson::{RawDocumentBuf, rawdoc};
use tailwater_matcher::Expression;

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
        let expression = Expression::parse(filter).unwrap();
        let mut found = Ok(!expected);
        let counted = allocation_counter::measure(|| found = expression.matches(&document));
        assert_eq!(found, Ok(*expected), "{filter:?}");
        assert_eq!(counted.count_total, 0, "{filter:?}");
    }
}
