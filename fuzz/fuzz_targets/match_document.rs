//! Match expressions from any bytes, evaluated on any bytes; and, where both are sound, the properties that the matcher
//! promises.
#![no_main]

use std::cmp::Ordering;

use bson::{RawBsonRef, RawDocument};
use libfuzzer_sys::fuzz_target;
use tailwater_matcher::{Conjunct, Expression, KeyString, compare, parse_filter, validate};

/// Sets the outermost length right, which a mutation rarely does.
fn document(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().max(5), 0);
    let length = i32::try_from(bytes.len()).unwrap();
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    *bytes.last_mut().unwrap() = 0;
    bytes
}

fuzz_target!(|data: &[u8]| {
    let Some((&at, data)) = data.split_first() else {
        return;
    };
    let (left, right) = data.split_at(usize::from(at).min(data.len()));
    let right = document(right);
    let is_valid = validate(&right).is_ok();
    let Ok(root) = RawDocument::from_bytes(&right) else {
        return;
    };
    let left_document = document(left);
    let parsed = RawDocument::from_bytes(&left_document)
        .ok()
        .and_then(|d| Expression::parse(d).ok());
    let filter = std::str::from_utf8(left).ok().and_then(|text| parse_filter(text).ok());
    for expression in [parsed, filter].into_iter().flatten() {
        let found = expression.matches(root);
        let again = Expression::parse(&expression.to_document()).expect("what was rendered can be parsed");
        assert_eq!(again.matches(root), found);
        // What an index may conclude holds of every document that matches.
        if found == Ok(true) && is_valid {
            for conjunct in expression.indexable() {
                assert_eq!(conjunct.to_expression().matches(root), Ok(true));
            }
            let alternatives = expression.alternatives(8);
            let holds = |conjunct: &Conjunct<'_>| conjunct.to_expression().matches(root) == Ok(true);
            assert!(alternatives.iter().any(|all| all.iter().all(holds)));
        }
    }
    if is_valid {
        let values: Vec<RawBsonRef<'_>> = root.iter().flatten().map(|(_, value)| value).take(4).collect();
        for &a in &values {
            assert_eq!(compare(a, a), Ordering::Equal);
            for &b in &values {
                let order = compare(a, b);
                assert_eq!(order, compare(b, a).reverse());
                assert_eq!(KeyString::new(a).as_bytes().cmp(KeyString::new(b).as_bytes()), order);
            }
        }
    }
});
