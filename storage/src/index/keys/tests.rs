use bson::{Bson, Document, RawDocumentBuf, bson, doc};
use tailwater_matcher::KeyString;

use super::*;
use crate::sort::SortPattern;

fn raw(document: &Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).unwrap()
}

fn keys(definition: &Document, document: &Document) -> Result<IndexKeys> {
    of(&IndexDefinition::parse(&raw(definition)).unwrap(), &raw(document))
}

/// The key of these values in an index whose fields ascend.
fn compound(values: &Bson) -> Vec<u8> {
    let values = raw(&doc! { "v": values.clone() });
    let values = values.get_array("v").unwrap();
    KeyString::compound(values.into_iter().map(std::result::Result::unwrap)).into_bytes()
}

#[test]
fn documents_have_the_keys_of_the_manual() {
    let undefined = Bson::Undefined;
    // Key pattern, document, its keys.
    let cases = [
        (doc! { "a": 1 }, doc! { "a": 5 }, vec![bson!([5])]),
        (doc! { "a": 1 }, doc! {}, vec![bson!([null])]),
        (doc! { "a": 1 }, doc! { "a": null }, vec![bson!([null])]),
        (doc! { "a": 1 }, doc! { "a": [1, 2, 1] }, vec![bson!([1]), bson!([2])]),
        (doc! { "a": 1 }, doc! { "a": [] }, vec![bson!([undefined.clone()])]),
        (
            doc! { "a": 1 },
            doc! { "a": [[1, 2], 3] },
            vec![bson!([3]), bson!([[1, 2]])],
        ),
        (doc! { "a": 1 }, doc! { "a": [[]] }, vec![bson!([[]])]),
        (doc! { "a": 1 }, doc! { "a": { "b": 1 } }, vec![bson!([{ "b": 1 }])]),
        (doc! { "a.b": 1 }, doc! { "a": { "b": 1 } }, vec![bson!([1])]),
        (doc! { "a.b": 1 }, doc! { "a": 1 }, vec![bson!([null])]),
        (
            doc! { "a.b": 1 },
            doc! { "a": [{ "b": 1 }, { "b": [2, 3] }] },
            vec![bson!([1]), bson!([2]), bson!([3])],
        ),
        (
            doc! { "a.b": 1 },
            doc! { "a": [{ "b": 1 }, {}, 7] },
            vec![bson!([null]), bson!([1])],
        ),
        (doc! { "a.b": 1 }, doc! { "a": [] }, vec![bson!([null])]),
        (doc! { "a.0": 1 }, doc! { "a": [5, 6] }, vec![bson!([5])]),
        (doc! { "a.2": 1 }, doc! { "a": [5, 6] }, vec![bson!([null])]),
        (
            doc! { "a.0": 1 },
            doc! { "a": [[5, 6], 7] },
            vec![bson!([5]), bson!([6])],
        ),
        (
            doc! { "a.0": 1 },
            doc! { "a": [5, { "0": 6 }] },
            vec![bson!([5]), bson!([6])],
        ),
        (
            doc! { "a.0.b": 1 },
            doc! { "a": [{ "b": 5 }, { "b": 6 }] },
            vec![bson!([5])],
        ),
        (doc! { "a.0": 1 }, doc! { "a": { "0": 5 } }, vec![bson!([5])]),
        (doc! { "a.00": 1 }, doc! { "a": [5] }, vec![bson!([null])]),
        (
            doc! { "a": 1, "b": 1 },
            doc! { "a": [1, 2], "b": 3 },
            vec![bson!([1, 3]), bson!([2, 3])],
        ),
        (
            doc! { "a": 1, "b": 1 },
            doc! { "a": 1, "b": [] },
            vec![bson!([1, undefined])],
        ),
        (
            doc! { "a.b": 1, "a.c": 1 },
            doc! { "a": [{ "b": 1, "c": 2 }, { "b": 3 }] },
            vec![bson!([1, 2]), bson!([3, null])],
        ),
        (
            doc! { "a": 1, "a.b": 1 },
            doc! { "a": [{ "b": 1 }, 5] },
            vec![bson!([5, null]), bson!([{ "b": 1 }, 1])],
        ),
    ];
    for (key, document, expected) in cases {
        let mut expected: Vec<_> = expected.iter().map(compound).collect();
        expected.sort();
        let found = keys(&doc! { "key": key.clone() }, &document).unwrap();
        assert_eq!(found.values, expected, "{key} of {document}");
    }
}

#[test]
fn an_index_is_multikey_from_its_first_array_on() {
    let is_multikey = |document: Document| keys(&doc! { "key": { "a.b": 1 } }, &document).unwrap().multikey;
    for document in [doc! { "a": [] }, doc! { "a": [1] }, doc! { "a": { "b": [1] } }] {
        assert!(is_multikey(document.clone()), "{document}");
    }
    for document in [doc! {}, doc! { "a": { "b": 1 } }, doc! { "a": 1, "c": [1] }] {
        assert!(!is_multikey(document.clone()), "{document}");
    }
}

#[test]
fn descending_fields_turn_the_order_round() {
    let of = |value: Bson| {
        keys(&doc! { "key": { "a": -1, "b": 1 } }, &doc! { "a": value, "b": 1 })
            .unwrap()
            .values
    };
    let mut values = [Bson::Null, bson!(1), bson!(2.5), bson!("x"), bson!({ "a": 1 })].map(of);
    let given = values.clone();
    values.sort();
    values.reverse();
    assert_eq!(values, given);
}

#[test]
fn two_arrays_in_one_document_are_refused() {
    let key = doc! { "key": { "a": 1, "b": 1 } };
    for document in [doc! { "a": [1], "b": [2] }, doc! { "a": [], "b": [] }] {
        let refused = keys(&key, &document);
        assert!(matches!(refused, Err(Error::ParallelArrays { .. })), "{document}");
    }
    let nested = keys(
        &doc! { "key": { "a.b": 1, "a.c": 1 } },
        &doc! { "a": [{ "b": [1], "c": [2] }] },
    );
    assert!(matches!(nested, Err(Error::ParallelArrays { .. })));
}

#[test]
fn sparse_and_partial_indexes_leave_documents_out() {
    // Definition, documents that are in it, documents that are not.
    let cases = [
        (
            doc! { "key": { "a": 1 }, "sparse": true },
            vec![doc! { "a": null }, doc! { "a": [] }],
            vec![doc! {}, doc! { "b": 1 }],
        ),
        (
            doc! { "key": { "a": 1, "b": 1 }, "sparse": true },
            vec![doc! { "a": 1 }, doc! { "b": 1 }],
            vec![doc! {}, doc! { "c": 1 }],
        ),
        (
            doc! { "key": { "a.b": 1 }, "sparse": true },
            vec![doc! { "a": { "b": 1 } }],
            vec![doc! { "a": 1 }, doc! { "a": [] }, doc! { "a": [1, {}] }],
        ),
        (
            doc! { "key": { "a": 1 }, "partialFilterExpression": { "n": { "$gt": 5 } } },
            vec![doc! { "n": 6 }, doc! { "n": [1, 9], "a": 1 }],
            vec![doc! { "a": 1 }, doc! { "a": 1, "n": 5 }],
        ),
    ];
    for (definition, within, without) in cases {
        for document in within {
            assert!(!keys(&definition, &document).unwrap().values.is_empty(), "{document}");
        }
        for document in without {
            assert!(keys(&definition, &document).unwrap().values.is_empty(), "{document}");
        }
    }
    let sparse = doc! { "key": { "a.b": 1 }, "sparse": true };
    let found = keys(&sparse, &doc! { "a": [{ "b": 1 }, {}] }).unwrap();
    assert_eq!(
        found.values,
        [compound(&bson!([1]))],
        "no key for an element without the field"
    );
}

#[test]
fn positions_do_not_multiply_the_keys() {
    let numbers: Vec<i32> = (0..2_000).collect();
    let with_zeros = |first: Bson| {
        let zeros = std::iter::repeat_n(Bson::Int32(0), 2_000);
        Bson::Array(std::iter::once(first).chain(zeros).collect())
    };
    let one = doc! { "a": with_zeros(bson!(numbers.clone())) };
    let found = keys(&doc! { "key": { "a.0": 1 } }, &one).unwrap();
    assert_eq!(found.values.len(), numbers.len());
    // Each level would multiply by 2001.
    let deep = doc! { "a": with_zeros(with_zeros(with_zeros(bson!(numbers)))) };
    let found = keys(&doc! { "key": { "a.0.0.0": 1, "x": 1 } }, &deep).unwrap();
    assert_eq!(found.values.len(), 2_000);
    let sort = SortPattern::parse(&raw(&doc! { "a.0.0.0": 1 })).unwrap().unwrap();
    assert_eq!(sort.key(&raw(&deep)).unwrap(), compound(&bson!([0])));
}

#[test]
fn a_product_of_arrays_is_bounded() {
    let product = |n: i32| {
        let numbers = Bson::Array((0..n).map(Bson::Int32).collect());
        let named = (0..n).map(|b| bson!({ "b": b }));
        doc! { "a": std::iter::once(numbers).chain(named).collect::<Vec<_>>() }
    };
    let definition = doc! { "key": { "a.0": 1, "a.b": 1 } };
    // Those of the list itself have null as their second value.
    assert_eq!(keys(&definition, &product(20)).unwrap().values.len(), 20 * 21);
    let refused = keys(&definition, &product(2_000));
    assert!(matches!(refused, Err(Error::TooManyKeys { .. })));
    let sort = SortPattern::parse(&raw(&doc! { "a.0": 1, "a.b": 1 })).unwrap().unwrap();
    assert!(matches!(
        sort.key(&raw(&product(2_000))),
        Err(Error::TooManyKeys { .. })
    ));
}

#[test]
fn what_has_no_positions_may_have_as_many_keys_as_elements() {
    let mut document = RawDocumentBuf::new();
    document.append(
        bson::raw::cstr!("a"),
        bson::RawArrayBuf::from_iter((0..300_000).map(bson::RawBson::Int32)),
    );
    let definition = IndexDefinition::parse(&raw(&doc! { "key": { "a": 1 } })).unwrap();
    assert_eq!(of(&definition, &document).unwrap().values.len(), 300_000);
}
