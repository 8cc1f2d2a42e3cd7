//! Decimal128 among ints, longs and doubles: comparisons, order, arithmetic, updates. Values near each other, with as many digits
//! as there are, at the ends of the range, and those that are no numbers.

use bson::{Bson, Document, doc};

use super::Random;
use crate::case::Case;

/// Decimals at the ends of what there is, near doubles and near longs, and spelled with zeros.
const DECIMALS: &[&str] = &[
    "0",
    "-0",
    "0E+3",
    "0.00",
    "1",
    "1.0",
    "1.00",
    "1E+3",
    "-1.50",
    "2.5",
    "3.5",
    "0.1",
    "0.1000000000000000055511151231257827",
    "0.3333333333333333333333333333333333",
    "9007199254740993",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808.5",
    "1234567890.123456789012345678901234",
    "9.999999999999999999999999999999999E+6144",
    "9.999999999999999999999999999999999",
    "-9999999999999999999999999999999999",
    "1E-6176",
    "5E-6176",
    "1E-3100",
    "7E+3000",
    "1E+6144",
    "1.797693134862315708145274237317043E+308",
    "NaN",
    "Infinity",
    "-Infinity",
];

const DOUBLES: &[f64] = &[
    0.0,
    -0.0,
    1.0,
    -1.5,
    2.5,
    0.1,
    0.3,
    1e300,
    1e-300,
    9_007_199_254_740_992.0,
    9_223_372_036_854_775_808.0,
    f64::MAX,
    5e-324,
    f64::NAN,
    f64::INFINITY,
    f64::NEG_INFINITY,
];

const LONGS: &[i64] = &[0, 1, -2, 3, 9_007_199_254_740_993, i64::MAX, i64::MIN];

fn decimal(random: &mut Random) -> Bson {
    let text = match random.below(4) {
        0 | 1 => random.pick(DECIMALS).to_owned(),
        _ => digits(random),
    };
    Bson::Decimal128(text.parse().unwrap())
}

/// Up to 34 digits, most often of an everyday size.
fn digits(random: &mut Random) -> String {
    let length = random.pick(&[1, 2, 3, 5, 17, 33, 34]);
    let sign = if random.one_in(3) { "-" } else { "" };
    let digits: String = (0..length).map(|_| char::from(b'0' + random.0.u8(..10))).collect();
    let exponent = random.pick(&[0, 0, -1, -2, -5, -34, 3, 20]);
    format!("{sign}{digits}E{exponent}")
}

fn number(random: &mut Random) -> Bson {
    match random.below(8) {
        0 => Bson::Int32(random.integer()),
        1 => Bson::Int64(random.pick(LONGS)),
        2 => Bson::Double(random.pick(DOUBLES)),
        3 => Bson::Double(f64::from(random.0.i32(-5000..5000)) / 100.0),
        _ => decimal(random),
    }
}

fn document(random: &mut Random, id: usize) -> Document {
    doc! { "_id": i32::try_from(id).unwrap(), "a": number(random), "b": number(random), "c": decimal(random) }
}

/// For what sums up: one double, because the sum of several would be rounded in binary.
fn summands(random: &mut Random, count: usize) -> Vec<Document> {
    let mut documents = documents(random, count);
    let mut has_odd_one = false;
    for value in documents
        .iter_mut()
        .flat_map(Document::iter_mut)
        .map(|(_, value)| value)
    {
        if let Bson::Double(double) = &value
            && double.is_finite()
            && std::mem::replace(&mut has_odd_one, true)
        {
            *value = Bson::Int32(random.integer());
        }
    }
    documents
}

fn documents(random: &mut Random, count: usize) -> Vec<Document> {
    (0..count).map(|id| document(random, id)).collect()
}

pub(super) fn decimals(random: &mut Random) -> Case {
    match random.below(10) {
        0..3 => find(random),
        3..5 => update(random),
        5 => sort(random),
        6 => group(random),
        _ => Case::Aggregate {
            pipeline: vec![doc! { "$project": { "v": expression(random) } }],
            documents: summands(random, 1),
            others: Vec::new(),
        },
    }
}

fn find(random: &mut Random) -> Case {
    let documents = documents(random, 12);
    // Often one that is there, or it would seldom be equal.
    let operand = |random: &mut Random| match random.one_in(3) {
        true => random.pick(&documents)[random.pick(&["a", "b", "c"])].clone(),
        false => number(random),
    };
    let operator = random.pick(&["$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$type"]);
    let operand = match operator {
        "$in" | "$nin" => Bson::Array((0..3).map(|_| operand(random)).collect()),
        "$type" => "decimal".into(),
        _ => operand(random),
    };
    Case::Find {
        filter: doc! { random.pick(&["a", "c"]): { operator: operand } },
        documents,
    }
}

fn update(random: &mut Random) -> Case {
    let mut update = Document::new();
    for field in ["a", "c"] {
        let operator = random.pick(&["$inc", "$mul", "$min", "$max"]);
        let operands = update.entry(operator.to_owned()).or_insert(Bson::Document(doc! {}));
        if let Bson::Document(operands) = operands {
            operands.insert(field, number(random));
        }
    }
    Case::Update {
        filter: doc! {},
        update,
        array_filters: Vec::new(),
        documents: documents(random, 1),
    }
}

fn sort(random: &mut Random) -> Case {
    Case::Aggregate {
        pipeline: vec![doc! { "$sort": { "a": random.pick(&[1, -1]), "_id": 1 } }],
        documents: documents(random, 10),
        others: Vec::new(),
    }
}

fn group(random: &mut Random) -> Case {
    let mut group = doc! { "_id": null };
    for operator in ["$sum", "$avg", "$min", "$max"] {
        let field = random.pick(&["$a", "$b", "$c"]);
        group.insert(operator.trim_start_matches('$'), doc! { operator: field });
    }
    let count = 1 + random.below(5);
    Case::Aggregate {
        pipeline: vec![doc! { "$group": group }],
        documents: summands(random, count),
        others: Vec::new(),
    }
}

fn expression(random: &mut Random) -> Document {
    let operand = |random: &mut Random| random.pick(&["$a", "$b", "$c"]);
    match random.below(5) {
        0 => {
            let operator = random.pick(&["$cmp", "$eq", "$ne", "$gt", "$gte", "$lt", "$lte"]);
            doc! { operator: [operand(random), operand(random)] }
        }
        1 => {
            let operator = random.pick(&["$subtract", "$divide", "$mod"]);
            // One of them is a decimal.
            match random.one_in(2) {
                true => doc! { operator: [operand(random), "$c"] },
                false => doc! { operator: ["$c", operand(random)] },
            }
        }
        2 => {
            let operator = random.pick(&["$add", "$multiply", "$sum", "$avg", "$min", "$max"]);
            let first = operand(random);
            doc! { operator: [first, operand(random), operand(random)] }
        }
        3 => match random.below(5) {
            0 => doc! { "$round": ["$c", random.0.i32(-3..36)] },
            1 => doc! { "$trunc": ["$c", random.0.i32(-3..36)] },
            _ => doc! { random.pick(&["$abs", "$ceil", "$floor", "$sqrt"]): "$c" },
        },
        _ => {
            let operator = random.pick(&["$toDecimal", "$toDouble", "$toInt", "$toLong", "$toString"]);
            doc! { operator: if operator == "$toDecimal" { operand(random) } else { "$c" } }
        }
    }
}
