//! Filters on fields of BSON's own types: `i` is an ObjectId, `d` a date, `x` one of several; each may be missing.
//!
//! Decimal128 is not among them, and ObjectIds are compared for equality only: mingo has neither type, mongomock's ObjectIds have
//! no order, and its decimals are those of a driver that it is not given here.

use bson::oid::ObjectId;
use bson::{Bson, Document, doc};

use super::Random;
use crate::case::Case;

fn object_id(random: &mut Random) -> ObjectId {
    let mut bytes = [0x60; 12];
    bytes[11] = random.pick(&[0, 1, 2, 0x7f, 0xff]);
    bytes[0] = random.pick(&[0x60, 0x00, 0xff]);
    ObjectId::from_bytes(bytes)
}

/// A scalar of some type.
pub(super) fn value(random: &mut Random) -> Bson {
    match random.below(5) {
        0 | 1 => object_id(random).into(),
        2 => random.date().into(),
        _ => random.scalar(),
    }
}

pub(super) fn find(random: &mut Random) -> Case {
    let documents = (0..8).map(|id| document(random, id)).collect();
    Case::Find {
        filter: filter(random),
        documents,
    }
}

fn document(random: &mut Random, id: usize) -> Document {
    let mut document = doc! { "_id": i32::try_from(id).unwrap() };
    for (name, value) in [
        ("i", object_id(random).into()),
        ("d", random.date().into()),
        ("x", value(random)),
        ("l", Bson::Array((0..random.below(3)).map(|_| value(random)).collect())),
    ] {
        if !random.one_in(5) {
            document.insert(name, value);
        }
    }
    document
}

fn filter(random: &mut Random) -> Document {
    let comparison = |random: &mut Random| random.pick(&["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"]);
    match random.below(8) {
        0 => doc! { "i": { random.pick(&["$eq", "$ne"]): object_id(random) } },
        1 => doc! { "d": { comparison(random): random.date() } },
        2 => doc! { "x": { comparison(random): value(random) } },
        3 => doc! { "i": { random.pick(&["$in", "$nin"]): [object_id(random), object_id(random)] } },
        4 => doc! { "d": { "$gte": random.date(), "$lt": random.date() } },
        5 => {
            doc! { random.pick(&["i", "d", "x"]): { "$type": random.pick(&["objectId", "date", "string", "null", "bool"]) } }
        }
        6 => doc! { "l": value(random) },
        _ => doc! { "$or": [{ "i": object_id(random) }, { "d": { "$not": { "$gt": random.date() } } }] },
    }
}
