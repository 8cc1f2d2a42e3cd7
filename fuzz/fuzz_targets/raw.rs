//! Documents of any bytes where documents come in: as what a filter, an expression or an update is evaluated on, and into a
//! store with indexes and a validator. Nothing panics; what the store takes is given back as it was, and what it refuses
//! leaves nothing behind.
#![no_main]

use std::cell::RefCell;
use std::sync::LazyLock;

use bson::raw::cstr;
use bson::{RawBsonRef, RawDocument, RawDocumentBuf, doc, rawdoc};
use libfuzzer_sys::fuzz_target;
use tailwater_fuzz::{Input, directory};
use tailwater_matcher::{Expression, KeyString, Transform, ValueExpression, Variables, compare, validate};
use tailwater_oplog::{Durability, Options};
use tailwater_storage::update::{ApplyContext, Update, UpdateDiff};
use tailwater_storage::{Collection, CollectionOptions, IndexModel, Store, StoreOptions};
use tempfile::TempDir;

/// Inputs that one store takes; then there is a new one, so that a long run does not fill the memory.
const INPUTS_OF_A_STORE: u32 = 300;

const DOCUMENT_BYTES_MAX: usize = 16 << 20;

struct Place {
    store: Option<Store>,
    items: Collection,
    inputs: u32,
    _dir: TempDir,
}

impl Place {
    fn new() -> Place {
        let dir = directory();
        let options = StoreOptions {
            oplog: Options {
                segment_bytes: 64 << 20,
                ..Options::default()
            },
            durability: Durability::Memory,
            cache_bytes: 8 << 20,
            ..StoreOptions::default()
        };
        let store = options.open(dir.path()).unwrap();
        let options = CollectionOptions::parse(&rawdoc! {
            "validator": { "$jsonSchema": { "properties": { "a": { "not": { "bsonType": "regex" } } } } },
            "changeStreamPreAndPostImages": { "enabled": true },
        });
        store
            .create_collection_with("fuzz", "items", &options.unwrap())
            .unwrap();
        let items = store.collection("fuzz", "items").unwrap();
        for index in [
            IndexModel::new("a", 1),
            IndexModel::new("a.b", -1).and("c", 1),
            IndexModel::new("u", 1).unique().sparse(),
        ] {
            items.create_index(&index).unwrap();
        }
        Place {
            store: Some(store),
            items,
            inputs: 0,
            _dir: dir,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(store) = self.store.take() {
            store.close().unwrap();
        }
    }
}

thread_local! {
    static PLACE: RefCell<Option<Place>> = const { RefCell::new(None) };
}

static FILTERS: LazyLock<Vec<Expression>> = LazyLock::new(|| {
    let filters = [
        doc! { "a": 1 },
        doc! { "a.b.c": { "$gt": "x" }, "a.0": { "$exists": true } },
        doc! { "$or": [{ "a": { "$elemMatch": { "b": { "$in": [1, null, "x"] } } } }, { "a": { "$size": 2 } }] },
        doc! { "a": { "$regex": "^(a+)+$", "$options": "i" } },
        doc! { "a": { "$type": ["number", "object"] }, "b": { "$all": [1, 2] } },
        doc! { "$expr": { "$gt": [{ "$size": { "$objectToArray": "$$ROOT" } }, "$a"] } },
        doc! { "$jsonSchema": { "required": ["a"], "properties": { "a": { "type": "object", "minProperties": 1 } } } },
        doc! { "a": { "$bitsAllSet": 5 } },
    ];
    filters.map(|filter| Expression::parse(&raw(&filter)).unwrap()).into()
});

static EXPRESSIONS: LazyLock<Vec<ValueExpression>> = LazyLock::new(|| {
    let source = raw(&doc! { "all": [
        { "$mergeObjects": ["$$ROOT", "$a"] },
        { "$concat": [{ "$toString": "$a" }, "$b"] },
        { "$map": { "input": { "$objectToArray": "$$ROOT" }, "in": { "$type": "$$this.v" } } },
        { "$sortArray": { "input": "$a", "sortBy": 1 } },
        { "$dateToString": { "date": "$a" } },
        { "$setUnion": ["$a", "$b"] },
        { "$add": ["$a", "$b"] },
        "$a.b.c",
    ] });
    let all = source.get_array("all").unwrap().into_iter();
    all.map(|expression| ValueExpression::parse(expression.unwrap()).unwrap())
        .collect()
});

static UPDATES: LazyLock<Vec<Update>> = LazyLock::new(|| {
    let updates = [
        doc! { "$set": { "a.b": 1 }, "$unset": { "c": "" } },
        doc! { "$inc": { "a": 1 } },
        doc! { "$push": { "a": { "$each": [1, 2], "$sort": 1, "$slice": -3 } } },
        doc! { "$pull": { "a": { "b": { "$gt": 0 } } }, "$rename": { "b": "d" } },
        doc! { "$addToSet": { "a": { "x": 1 } } },
        doc! { "$mul": { "a.$[].b": 2 } },
    ];
    updates.map(|update| Update::parse(&raw(&update)).unwrap()).into()
});

static PROJECTION: LazyLock<Transform> = LazyLock::new(|| {
    let stages = [raw(
        &doc! { "$project": { "a.b": 1, "n": { "$size": { "$ifNull": ["$a", []] } } } },
    )];
    Transform::parse(stages.iter().map(AsRef::as_ref)).unwrap()
});

fn raw(document: &bson::Document) -> RawDocumentBuf {
    RawDocumentBuf::try_from(document).unwrap()
}

/// The bytes with their outermost length set right, which a mutation rarely does.
fn document(bytes: &[u8]) -> RawDocumentBuf {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().max(5), 0);
    let length = i32::try_from(bytes.len()).unwrap();
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    *bytes.last_mut().unwrap() = 0;
    RawDocumentBuf::from_bytes(bytes).unwrap()
}

/// Whether the document is to be filled up to 16 MiB. One input in many: each takes as long as thousands of others.
fn is_filled(shape: u8, data: &[u8]) -> bool {
    shape >= 254 && crc32fast::hash(data) % 64 == 0
}

/// What the first byte makes of the document: most leave it alone.
fn shaped(shape: u8, levels: u8, is_filled: bool, inner: RawDocumentBuf) -> RawDocumentBuf {
    match shape {
        0..200 | 254.. if !is_filled => inner,
        200..254 => (0..levels).fold(inner, |inner, level| {
            let mut outer = RawDocumentBuf::new();
            if level % 2 == u8::from(shape > 220) {
                outer.append(cstr!("a"), inner);
            } else {
                let mut array = bson::RawArrayBuf::new();
                array.push(inner);
                outer.append(cstr!("a"), array);
            }
            outer
        }),
        _ => {
            let mut outer = rawdoc! { "a": inner };
            let overhead = outer.as_bytes().len() + "\x02f\0".len() + 4 + 1;
            // From a little below the limit to a little above it; a document without an _id gets one of 17 bytes.
            let filled = (DOCUMENT_BYTES_MAX - 64 + usize::from(levels)).saturating_sub(overhead);
            outer.append(cstr!("f"), "x".repeat(filled));
            outer
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let (shape, levels) = (input.u8(), input.u8());
    let is_filled = is_filled(shape, data);
    let made = shaped(shape, levels, is_filled, document(input.0));
    evaluate(&made);
    PLACE.with_borrow_mut(|place| {
        let place = match place {
            Some(place) if place.inputs < INPUTS_OF_A_STORE => place,
            place => place.insert(Place::new()),
        };
        // What was deleted stays in the engine's files for a while, and reads pass it by.
        place.inputs += if is_filled { INPUTS_OF_A_STORE } else { 1 };
        keep(&place.items, &made);
    });
});

fn evaluate(root: &RawDocument) {
    let is_valid = validate(root.as_bytes()).is_ok();
    for filter in FILTERS.iter() {
        let _ = filter.matches(root);
    }
    for expression in EXPRESSIONS.iter() {
        let _ = expression
            .evaluate(&Variables::new(&root))
            .and_then(|value| value.into_bson());
    }
    let _ = PROJECTION.apply(root);
    let values: Vec<RawBsonRef<'_>> = root
        .iter()
        .map_while(Result::ok)
        .map(|(_, value)| value)
        .take(4)
        .collect();
    for &a in &values {
        for &b in &values {
            let (order, keys) = (compare(a, b), [a, b].map(|value| KeyString::new(value)));
            if is_valid {
                assert_eq!(keys[0].as_bytes().cmp(keys[1].as_bytes()), order);
            }
        }
    }
    for update in UPDATES.iter() {
        let Ok(Some(applied)) = update.apply(root, &ApplyContext::default()) else {
            continue;
        };
        let _ = UpdateDiff::between(root, &applied.document);
    }
}

fn keep(items: &Collection, made: &RawDocument) {
    assert_eq!(items.count(&rawdoc! {}).unwrap(), 0);
    let inserted = items.insert_one(made);
    assert!(inserted.is_err() || validate(made.as_bytes()).is_ok());
    let kept: Vec<_> = items.find(&rawdoc! {}).unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(kept.len(), usize::from(inserted.is_ok()));
    let Some(kept) = kept.first() else {
        return;
    };
    let fields = |document: &RawDocument| {
        let named = |(name, value): (&bson::raw::CStr, RawBsonRef<'_>)| (name.to_owned(), format!("{value:?}"));
        document
            .iter()
            .map(Result::unwrap)
            .map(named)
            .filter(|(name, _)| name.as_str() != "_id")
            .collect::<Vec<_>>()
    };
    if made.as_bytes().len() < 4096 {
        assert_eq!(fields(made), fields(kept));
    }
    for filter in [
        rawdoc! { "a": 1 },
        rawdoc! { "a.b": { "$exists": true } },
        rawdoc! { "u": null },
    ] {
        let _ = items.find(&filter).unwrap().collect::<Result<Vec<_>, _>>();
    }
    for update in [
        rawdoc! { "$set": { "a.b": [1, 2] } },
        rawdoc! { "$push": { "a": 1 } },
        rawdoc! { "$rename": { "a": "u" } },
    ] {
        let _ = items.update_one(&rawdoc! {}, &update);
    }
    assert_eq!(items.delete_many(&rawdoc! {}).unwrap().modified, 1);
}
