//! Expressions by the type of what they yield, over a document with fields of known types: `n` and `m` are numbers, `s` and `t`
//! text, `a` an array of numbers, `w` one of texts, `q` one of documents, `o` a document, `d` a date, `b` a boolean, `z` is null
//! and `u` missing.

use bson::{Bson, Document, doc};

use super::Random;

pub(super) fn document(random: &mut Random) -> Document {
    let a: Vec<Bson> = (0..random.below(5)).map(|_| random.number()).collect();
    let w: Vec<Bson> = (0..random.below(4)).map(|_| Bson::String(random.text())).collect();
    let q: Vec<Bson> = (0..random.below(4))
        .map(|_| Bson::from(doc! { "k": random.text(), "v": random.integer() }))
        .collect();
    doc! {
        "_id": 1, "n": random.number(), "m": random.number(), "s": random.text(), "t": random.text(), "a": a, "w": w, "q": q,
        "o": { "x": random.scalar(), "y": random.integer() }, "d": random.date(), "b": random.one_in(2), "z": Bson::Null,
    }
}

/// An expression of any type, with so many levels below it.
pub(super) fn any(random: &mut Random, levels: usize) -> Bson {
    match random.below(12) {
        0..4 => number(random, levels),
        4 | 5 => text(random, levels),
        6 | 7 => truth(random, levels),
        8 | 9 => array(random, levels),
        10 => object(random, levels),
        _ => date(random, levels),
    }
}

/// The argument of an operator that has one: an array in the place of it would be several.
fn one(argument: Bson) -> Bson {
    match argument {
        Bson::Array(_) => doc! { "$concatArrays": [argument] }.into(),
        argument => argument,
    }
}

/// One in some operands is null or missing.
fn nothing(random: &mut Random) -> Option<Bson> {
    random.one_in(25).then(|| random.pick(&["$z", "$u"]).into())
}

fn number(random: &mut Random, levels: usize) -> Bson {
    if let Some(nothing) = nothing(random) {
        return nothing;
    }
    if levels == 0 {
        return match random.below(3) {
            0 => random.number(),
            1 => "$n".into(),
            _ => "$m".into(),
        };
    }
    let levels = levels - 1;
    let n = |random: &mut Random| number(random, levels);
    Bson::Document(match random.below(42) {
        0 => doc! { "$add": [n(random), n(random)] },
        1 => doc! { "$subtract": [n(random), n(random)] },
        2 => doc! { "$multiply": [n(random), n(random)] },
        3 => doc! { "$divide": [n(random), random.pick(&[1, 2, -4])] },
        4 => doc! { "$mod": [n(random), random.pick(&[2, 3, -2])] },
        5 => doc! { random.pick(&["$abs", "$ceil", "$floor"]): n(random) },
        6 => doc! { "$round": [n(random), random.pick(&[0, 1])] },
        7 => doc! { "$trunc": [n(random), random.pick(&[0, 1])] },
        8 => doc! { "$sqrt": { "$abs": n(random) } },
        9 => doc! { "$pow": [n(random), random.pick(&[0, 1, 2])] },
        10 => doc! { random.pick(&["$exp", "$sin", "$cos", "$tan", "$atan", "$sinh", "$tanh", "$asinh"]): n(random) },
        11 => doc! { random.pick(&["$ln", "$log10"]): { "$add": [{ "$abs": n(random) }, 1] } },
        12 => doc! { "$log": [{ "$add": [{ "$abs": n(random) }, 1] }, 2] },
        13 => doc! { "$cmp": [n(random), n(random)] },
        14 => {
            doc! { random.pick(&["$sum", "$avg", "$min", "$max", "$stdDevPop", "$stdDevSamp"]): array_of_numbers(random, levels) }
        }
        15 => doc! { random.pick(&["$sum", "$avg", "$min", "$max"]): [n(random), n(random)] },
        16 => doc! { "$size": one(array(random, levels)) },
        17 => doc! { "$strLenCP": text(random, levels) },
        18 => doc! { "$strLenBytes": text(random, levels) },
        19 => doc! { "$strcasecmp": [text(random, levels), text(random, levels)] },
        20 => doc! { "$indexOfCP": [text(random, levels), text(random, levels)] },
        21 => doc! { "$indexOfBytes": [text(random, levels), text(random, levels)] },
        22 => doc! { "$indexOfArray": [array_of_numbers(random, levels), n(random)] },
        23 => doc! { "$arrayElemAt": [array_of_numbers(random, levels), random.pick(&[0, 1, -1, 7])] },
        24 => doc! { random.pick(&["$first", "$last"]): one(array_of_numbers(random, levels)) },
        25 => doc! { "$cond": [truth(random, levels), n(random), n(random)] },
        26 => doc! { "$ifNull": [n(random), n(random)] },
        27 => {
            doc! { "$switch": { "branches": [{ "case": truth(random, levels), "then": n(random) }], "default": n(random) } }
        }
        28 => doc! { "$let": { "vars": { "x": n(random) }, "in": { "$add": ["$$x", "$$x"] } } },
        29 => {
            doc! { "$reduce": { "input": array_of_numbers(random, levels), "initialValue": 0, "in": { "$add": ["$$value", "$$this"] } } }
        }
        30 => {
            doc! { random.pick(&["$year", "$month", "$dayOfMonth", "$dayOfWeek", "$dayOfYear", "$hour", "$minute", "$second", "$millisecond"]): date(random, levels) }
        }
        31 => doc! { random.pick(&["$week", "$isoWeek", "$isoWeekYear", "$isoDayOfWeek"]): date(random, levels) },
        32 => {
            doc! { "$dateDiff": { "startDate": date(random, levels), "endDate": date(random, levels), "unit": random.pick(&["day", "hour", "month", "year", "quarter", "week"]) } }
        }
        33 => doc! { "$toInt": n(random) },
        34 => doc! { "$toDouble": n(random) },
        35 => doc! { "$toLong": date(random, levels) },
        36 => doc! { "$convert": { "input": text(random, levels), "to": "int", "onError": -9, "onNull": -8 } },
        37 => {
            doc! { random.pick(&["$bitAnd", "$bitOr", "$bitXor"]): [{ "$toInt": n(random) }, random.pick(&[1, 3, 6])] }
        }
        38 => doc! { "$bitNot": { "$toInt": n(random) } },
        39 => doc! { "$getField": { "field": "y", "input": object(random, levels) } },
        40 => doc! { random.pick(&["$degreesToRadians", "$radiansToDegrees"]): n(random) },
        _ => doc! { "$toInt": truth(random, levels) },
    })
}

fn text(random: &mut Random, levels: usize) -> Bson {
    if let Some(nothing) = nothing(random) {
        return nothing;
    }
    if levels == 0 {
        return match random.below(3) {
            0 => random.text().into(),
            1 => "$s".into(),
            _ => "$t".into(),
        };
    }
    let levels = levels - 1;
    let s = |random: &mut Random| text(random, levels);
    Bson::Document(match random.below(15) {
        0 => doc! { "$concat": [s(random), s(random)] },
        1 => doc! { "$toUpper": s(random) },
        2 => doc! { "$toLower": s(random) },
        3 => doc! { random.pick(&["$trim", "$ltrim", "$rtrim"]): { "input": { "$concat": [" ", s(random), "\n"] } } },
        4 => {
            doc! { random.pick(&["$trim", "$ltrim", "$rtrim"]): { "input": s(random), "chars": random.pick(&["a", "ab", "x"]) } }
        }
        5 => doc! { "$substrCP": [s(random), random.pick(&[0, 1, 5]), random.pick(&[0, 1, 9])] },
        6 => doc! { "$substrBytes": [s(random), random.pick(&[0, 1, 5]), random.pick(&[0, 1, 9])] },
        7 => {
            doc! { random.pick(&["$replaceOne", "$replaceAll"]): { "input": s(random), "find": random.pick(&["a", "b", "x "]), "replacement": s(random) } }
        }
        8 => doc! { "$toString": random.pick(&["$b", "$s", "$d"]) },
        9 => doc! { "$toString": { "$toInt": number(random, levels) } },
        10 => {
            doc! { "$dateToString": { "date": date(random, levels), "format": random.pick(&["%Y-%m-%d", "%H:%M:%S.%L", "%j %u %G-%V", "%d/%m/%Y%%"]) } }
        }
        11 => doc! { "$type": one(any(random, levels)) },
        12 => doc! { "$cond": { "if": truth(random, levels), "then": s(random), "else": s(random) } },
        13 => doc! { "$ifNull": ["$u", "$z", s(random)] },
        _ => doc! { "$reduce": { "input": "$w", "initialValue": "", "in": { "$concat": ["$$value", "$$this"] } } },
    })
}

fn truth(random: &mut Random, levels: usize) -> Bson {
    if levels == 0 {
        return match random.below(2) {
            0 => Bson::Boolean(random.one_in(2)),
            _ => "$b".into(),
        };
    }
    let levels = levels - 1;
    Bson::Document(match random.below(14) {
        0 => {
            doc! { random.pick(&["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"]): [number(random, levels), number(random, levels)] }
        }
        1 => {
            doc! { random.pick(&["$eq", "$ne"]): [any(random, levels), any(random, levels)] }
        }
        2 => doc! { random.pick(&["$and", "$or"]): [truth(random, levels), any(random, levels)] },
        3 => doc! { "$not": [any(random, levels)] },
        4 => doc! { "$in": [number(random, levels), array_of_numbers(random, levels)] },
        5 => doc! { "$isArray": [any(random, levels)] },
        6 => doc! { "$isNumber": one(any(random, levels)) },
        7 => doc! { random.pick(&["$allElementsTrue", "$anyElementTrue"]): [array(random, levels)] },
        8 => {
            doc! { random.pick(&["$setEquals", "$setIsSubset"]): [array_of_numbers(random, levels), array_of_numbers(random, levels)] }
        }
        9 => {
            doc! { "$regexMatch": { "input": text(random, levels), "regex": random.pick(&["^a", "b$", "A", "a.?b"]), "options": random.pick(&["", "i"]) } }
        }
        10 => doc! { "$toBool": one(any(random, levels)) },
        11 => doc! { "$gt": [date(random, levels), date(random, levels)] },
        12 => doc! { "$lt": [text(random, levels), text(random, levels)] },
        _ => doc! { "$cond": [truth(random, levels), truth(random, levels), truth(random, levels)] },
    })
}

fn array_of_numbers(random: &mut Random, levels: usize) -> Bson {
    if let Some(nothing) = nothing(random) {
        return nothing;
    }
    if levels == 0 {
        return match random.one_in(3) {
            true => vec![random.number(), random.number()].into(),
            false => "$a".into(),
        };
    }
    let levels = levels - 1;
    let a = |random: &mut Random| array_of_numbers(random, levels);
    Bson::Document(match random.below(15) {
        0 => doc! { "$concatArrays": [a(random), a(random)] },
        1 => doc! { "$filter": { "input": a(random), "cond": { "$gt": ["$$this", number(random, levels)] } } },
        2 => {
            doc! { "$filter": { "input": a(random), "as": "e", "cond": { "$lte": ["$$e", number(random, levels)] }, "limit": random.pick(&[1, 2]) } }
        }
        3 => doc! { "$map": { "input": a(random), "as": "e", "in": { "$add": ["$$e", 1] } } },
        4 => doc! { "$slice": [a(random), random.pick(&[1, 2, -1, 9])] },
        5 => doc! { "$slice": [a(random), random.pick(&[0, 1, -2, 9]), random.pick(&[1, 3])] },
        6 => doc! { "$reverseArray": one(a(random)) },
        7 => doc! { "$range": [random.pick(&[0, 2]), random.pick(&[0, 5]), random.pick(&[1, 2, -1])] },
        8 => doc! { "$setUnion": [a(random), a(random)] },
        9 => doc! { "$setIntersection": [a(random), a(random)] },
        10 => doc! { "$setDifference": [a(random), a(random)] },
        11 => doc! { "$sortArray": { "input": a(random), "sortBy": random.pick(&[1, -1]) } },
        12 => {
            doc! { random.pick(&["$firstN", "$lastN", "$maxN", "$minN"]): { "n": random.pick(&[1, 2, 9]), "input": a(random) } }
        }
        13 => doc! { "$ifNull": [a(random), []] },
        _ => doc! { "$cond": [truth(random, levels), a(random), a(random)] },
    })
}

fn array(random: &mut Random, levels: usize) -> Bson {
    if levels == 0 {
        return random.pick(&["$a", "$w", "$q"]).into();
    }
    let below = levels - 1;
    Bson::Document(match random.below(11) {
        0 => doc! { "$split": [text(random, below), random.pick(&["a", " ", "bc"])] },
        1 => doc! { "$objectToArray": object(random, below) },
        2 => doc! { "$zip": { "inputs": [array(random, below), array(random, below)] } },
        3 => doc! { "$zip": { "inputs": ["$a", "$w"], "useLongestLength": true, "defaults": [0, "-"] } },
        4 => {
            doc! { "$map": { "input": "$q", "in": { "k": "$$this.k", "n": { "$multiply": ["$$this.v", number(random, below)] } } } }
        }
        5 => doc! { "$filter": { "input": "$q", "as": "e", "cond": { "$eq": ["$$e.k", text(random, below)] } } },
        6 => {
            doc! { "$sortArray": { "input": "$q", "sortBy": { "k": random.pick(&[1, -1]), "v": random.pick(&[1, -1]) } } }
        }
        7 => doc! { "$regexFindAll": { "input": text(random, below), "regex": random.pick(&["a", "b+", "(a)(b)?"]) } },
        8 => return "$q.v".into(),
        9 => return vec![any(random, below), any(random, below)].into(),
        _ => return array_of_numbers(random, levels),
    })
}

fn object(random: &mut Random, levels: usize) -> Bson {
    if levels == 0 {
        return "$o".into();
    }
    let below = levels - 1;
    Bson::Document(match random.below(8) {
        0 => doc! { "$mergeObjects": [object(random, below), object(random, below)] },
        1 => doc! { "$arrayToObject": "$q" },
        2 => doc! { "$arrayToObject": { "$map": { "input": "$w", "in": ["$$this", number(random, below)] } } },
        3 => doc! { "$setField": { "field": "y", "input": object(random, below), "value": any(random, below) } },
        4 => doc! { "$unsetField": { "field": "x", "input": object(random, below) } },
        5 => doc! { "$dateToParts": { "date": date(random, below) } },
        6 => doc! { "$regexFind": { "input": text(random, below), "regex": random.pick(&["a", "(b)(c)?", "z"]) } },
        _ => doc! { "p": any(random, below), "y": any(random, below) },
    })
}

fn date(random: &mut Random, levels: usize) -> Bson {
    if levels == 0 {
        return match random.one_in(4) {
            true => random.date().into(),
            false => "$d".into(),
        };
    }
    let below = levels - 1;
    let units = [
        "year",
        "quarter",
        "month",
        "week",
        "day",
        "hour",
        "minute",
        "second",
        "millisecond",
    ];
    Bson::Document(match random.below(6) {
        0 | 1 => {
            let amount = random.pick(&[1, 2, -3, 12]);
            doc! { random.pick(&["$dateAdd", "$dateSubtract"]): { "startDate": date(random, below), "unit": random.pick(&units), "amount": amount } }
        }
        2 => doc! { "$dateTrunc": { "date": date(random, below), "unit": random.pick(&units) } },
        3 => {
            doc! { "$dateFromParts": { "year": random.pick(&[2000, 2017]), "month": random.pick(&[1, 2, 12]), "day": random.pick(&[1, 28]), "hour": random.pick(&[0, 23]) } }
        }
        4 => doc! { "$dateFromString": { "dateString": random.pick(&["2017-02-08T12:10:40.787Z", "2000-02-29"]) } },
        _ => doc! { "$add": [date(random, below), random.pick(&[1, 86_400_000])] },
    })
}
