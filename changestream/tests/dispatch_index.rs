//! The predicate index never misses: watches found through it get exactly what a stream gets that evaluates everything.

use crate::common;

use bson::{Bson, Document, RawDocumentBuf, doc};
use common::{ORDERS, PATIENCE, Writer, collection, drain, ids};
use proptest::prelude::*;
use tailwater_changestream::{Dispatcher, FullDocument, Watch};
use tailwater_oplog::{Durability, ReadConcern};

/// Values that are equal, near or far in MongoDB's order, whatever their types.
fn value() -> impl Strategy<Value = Bson> {
    let plain = prop_oneof![
        4 => (-2..4i32).prop_map(Bson::Int32),
        2 => (-2..4i64).prop_map(Bson::Int64),
        3 => prop_oneof![Just(-0.0), Just(0.0), Just(1.0), Just(1.5), Just(f64::NAN), Just(f64::INFINITY)].prop_map(Bson::Double),
        1 => Just(Bson::Decimal128("1.00".parse().unwrap())),
        1 => Just(Bson::Int64((1 << 53) + 1)),
        4 => prop_oneof![Just("a"), Just("ab"), Just("abcdefgh"), Just("abcdefghi"), Just(""), Just("b\0c")].prop_map(Bson::from),
        2 => Just(Bson::Null),
        1 => any::<bool>().prop_map(Bson::Boolean),
        1 => (0..3i64).prop_map(|ms| Bson::DateTime(bson::DateTime::from_millis(ms))),
        1 => Just(Bson::MinKey),
        1 => Just(Bson::Undefined),
    ];
    plain.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Bson::Array),
            (prop_oneof![Just("b"), Just("c"), Just("0")], inner)
                .prop_map(|(name, value)| Bson::Document(doc! { name: value })),
        ]
    })
}

fn path() -> impl Strategy<Value = String> {
    let field = prop_oneof![
        Just("a"),
        Just("a.b"),
        Just("a.b.c"),
        Just("a.0"),
        Just("a.0.b"),
        Just("d"),
        Just("d.b")
    ];
    field.prop_map(|field| format!("fullDocument.{field}"))
}

fn condition() -> impl Strategy<Value = Bson> {
    let operator = prop_oneof![
        Just("$eq"),
        Just("$gt"),
        Just("$gte"),
        Just("$lt"),
        Just("$lte"),
        Just("$ne")
    ];
    prop_oneof![
        4 => value(),
        4 => (operator, value()).prop_map(|(operator, value)| Bson::Document(doc! { operator: value })),
        3 => (value(), value()).prop_map(|(low, high)| Bson::Document(doc! { "$gte": low, "$lt": high })),
        2 => prop::collection::vec(value(), 0..4).prop_map(|values| Bson::Document(doc! { "$in": values })),
        1 => any::<bool>().prop_map(|exists| Bson::Document(doc! { "$exists": exists })),
        1 => prop_oneof![Just("^a"), Just("^abcdefghi"), Just("b")].prop_map(|text| Bson::Document(doc! { "$regex": text })),
        1 => value().prop_map(|value| Bson::Document(doc! { "$elemMatch": { "b": value } })),
        1 => Just(Bson::Document(doc! { "$type": "number" })),
    ]
}

fn filter() -> impl Strategy<Value = Document> {
    let leaf = (path(), condition()).prop_map(|(path, condition)| doc! { path: condition });
    let operation = prop_oneof![Just("insert"), Just("update"), Just("delete")];
    let operation = operation.prop_map(|name| doc! { "operationType": name });
    // What a tenant's watches are: one value that many share, and something that sets each apart.
    let shared = prop_oneof![Just(Bson::Int32(1)), Just(Bson::from("a")), Just(Bson::Null)];
    let apart = (shared, path(), condition(), condition());
    let apart = apart.prop_map(
        |(value, path, one, other)| doc! { "fullDocument.d": value, "$and": [{ path: one }, { "fullDocument.a": other }] },
    );
    let leaf = prop_oneof![8 => leaf, 4 => apart, 1 => operation];
    leaf.prop_recursive(2, 8, 3, |inner| {
        let several = prop::collection::vec(inner, 1..4);
        (
            several,
            prop_oneof![4 => Just("$and"), 4 => Just("$or"), 1 => Just("$nor")],
        )
            .prop_map(|(parts, operator)| doc! { operator: parts })
    })
}

fn document() -> impl Strategy<Value = Document> {
    let field = |name: &'static str| prop::option::of(value()).prop_map(move |value| value.map(|value| (name, value)));
    (field("a"), field("d")).prop_map(|(a, d)| {
        let fields = a.into_iter().chain(d);
        fields.map(|(name, value)| (name.to_owned(), value)).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn what_is_found_through_the_index_is_what_a_scan_finds(
        // Few are not indexed, but checked.
        filters in prop_oneof![1 => 1..8usize, 3 => 30..80usize]
            .prop_flat_map(|count| prop::collection::vec((filter(), any::<bool>()), count)),
        documents in prop::collection::vec((document(), 0..3u8), 20..60),
        leave in prop::collection::vec(any::<bool>(), 80),
    ) {
        let dir = common::temporary();
        let writer = Writer { durability: Durability::Memory, ..Writer::open(dir.path()) };
        let dispatcher = Dispatcher::new(writer.log.view());
        let ask = |watch: Watch, (filter, lookup): &(Document, bool)| {
            let full_document = if *lookup { FullDocument::UpdateLookup } else { FullDocument::Default };
            let watch = watch.full_document(full_document).read_concern(ReadConcern::Local);
            watch.pipeline([doc! { "$match": filter.clone() }])
        };
        let mut watches = Vec::new();
        for question in &filters {
            // What a stream refuses a subscription refuses.
            let plain = ask(writer.watch(collection(ORDERS)), question).start();
            let shared = ask(dispatcher.watch(collection(ORDERS)), question).subscribe();
            prop_assert_eq!(plain.is_ok(), shared.is_ok());
            if let (Ok(plain), Ok(shared)) = (plain, shared) {
                watches.push((question, plain, shared));
            }
        }
        // Some go again, and take their entries out of the index.
        let mut staying = leave.into_iter();
        watches.retain(|_| staying.next().unwrap_or(true));
        for (id, (document, operation)) in (0..).zip(&documents) {
            let mut document = document.clone();
            document.insert("_id", id);
            let document = RawDocumentBuf::try_from(&document).unwrap();
            match operation {
                0 => writer.insert(ORDERS, &document),
                1 => writer.replace(ORDERS, &document),
                _ => writer.write_update(ORDERS, id, &document),
            };
        }
        for (question, plain, (_handle, receiver)) in &mut watches {
            let expected = ids(&drain(plain));
            let received: Vec<_> = (0..expected.len()).map_while(|_| receiver.recv_timeout(PATIENCE).ok()).collect();
            prop_assert_eq!(ids(&received), expected, "{:?}", question);
        }
        common::eventually("the tail is behind", || {
            watches.is_empty() || dispatcher.stats(ReadConcern::Local).position.get() == documents.len() as u64
        });
        for (question, _, (_handle, receiver)) in &watches {
            prop_assert!(receiver.is_empty(), "more than there is: {:?}", question);
        }
    }
}
