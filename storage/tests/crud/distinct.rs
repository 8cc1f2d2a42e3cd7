use bson::{Bson, bson, rawdoc};
use tailwater_storage::Error;

use crate::Town;

#[test]
fn distinct_gives_each_value_of_the_matching_documents_once() {
    let town = Town::with(&[
        rawdoc! { "_id": 1, "dept": "A", "sizes": ["S", "M"] },
        rawdoc! { "_id": 2, "dept": "A", "sizes": ["M", "L"] },
        rawdoc! { "_id": 3, "dept": "B", "sizes": "S" },
        rawdoc! { "_id": 4, "n": [1, 1.0, 2] },
    ]);
    for (field, filter, expected) in [
        ("dept", rawdoc! {}, bson!(["A", "B"])),
        ("sizes", rawdoc! { "dept": "A" }, bson!(["S", "M", "L"])),
        ("n", rawdoc! {}, bson!([1, 2])),
        ("_id", rawdoc! { "_id": { "$gt": 2 } }, bson!([3, 4])),
        ("sizes", rawdoc! { "dept": "C" }, bson!([])),
    ] {
        let values = town.people.distinct(field, &filter).unwrap();
        assert_eq!(Bson::Array(values), expected, "{field} of {filter:?}");
    }
    let refused = town.people.distinct("", &rawdoc! {}).unwrap_err();
    assert!(matches!(refused, Error::InvalidField { .. }), "{refused:?}");
}

#[test]
fn distinct_values_have_room_up_to_a_document_s_size() {
    let town = Town::new();
    let large = "x".repeat(1 << 19);
    for n in 0..33 {
        town.people
            .insert_one(&rawdoc! { "_id": n, "text": format!("{n}{large}") })
            .unwrap();
    }
    let refused = town.people.distinct("text", &rawdoc! {}).unwrap_err();
    assert!(matches!(refused, Error::DistinctTooLarge { .. }), "{refused:?}");
    assert_eq!(refused.code().unwrap().number(), 17217);
    assert_eq!(
        town.people
            .distinct("text", &rawdoc! { "_id": { "$lt": 31 } })
            .unwrap()
            .len(),
        31
    );
}
