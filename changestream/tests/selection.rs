//! What a watch takes in, and what it refuses to be asked.

use crate::common;

use bson::{Document, doc, rawdoc};
use common::{ORDERS, collection, common_fields, database, drain, from_oldest, ids, insert_orders, orders, shorts};
use tailwater_changestream::{Error, FullDocument, OperationType, Scope, Watch};
use tailwater_oplog::Durability;
use tailwater_oplog::entry::{EntryKind, StoreEntry};

// What is watched.

#[test]
fn a_scope_takes_in_its_own_events_and_no_others() {
    let (_dir, writer) = orders(1);
    writer.insert("shop.items", &rawdoc! { "_id": 2 });
    writer.insert("town.orders", &rawdoc! { "_id": 3 });
    writer.log.append(200, b"somebody else's", Durability::Disk).unwrap();
    writer.write(EntryKind::Noop, &StoreEntry::default());
    let check = |scope: Scope, expected: &[i32]| {
        let mut stream = writer.watch(scope).start_at_oldest().start().unwrap();
        assert_eq!(ids(&drain(&mut stream)), expected);
    };
    check(Scope::Everything, &[1, 2, 3]);
    check(database("shop"), &[1, 2]);
    check(database("shop.orders"), &[]);
    check(collection(ORDERS), &[1]);
    check(collection("town.orders"), &[3]);
    check(collection("town.other"), &[]);
}

#[test]
fn a_watch_takes_the_operations_it_names_and_is_told_of_its_end() {
    let (_dir, writer) = orders(0);
    writer.create(ORDERS);
    insert_orders(&writer, 1..=2);
    writer.update(ORDERS, 2, 20);
    writer.delete(ORDERS, 1);
    let check = |operations: &[OperationType], expected: &[&str]| {
        let watch = writer.watch(collection(ORDERS)).start_at_oldest();
        let mut stream = watch.operations(operations.iter().copied()).start().unwrap();
        assert_eq!(shorts(&drain(&mut stream)), expected, "{operations:?}");
    };
    use OperationType::{Create, Delete, Drop, Insert};
    check(&[Delete], &["delete shop.orders 1"]);
    check(
        &[Delete, Insert],
        &["insert shop.orders 1", "insert shop.orders 2", "delete shop.orders 1"],
    );
    // Nobody has to ask for expanded events besides.
    check(&[Create], &["create shop.orders"]);
    check(&[], &[]);
    writer.drop_collection(ORDERS);
    check(&[Drop], &["drop shop.orders", "invalidate shop.orders"]);
    check(&[Create], &["create shop.orders", "invalidate shop.orders"]);
}

#[test]
fn a_pipeline_chooses_by_any_field_of_the_event() {
    let (_dir, writer) = orders(3);
    writer.update(ORDERS, 2, 20);
    writer.insert("shop.items", &rawdoc! { "_id": 4, "deep": { "list": [1, 7] } });
    writer.delete(ORDERS, 1);
    let update = from_oldest(&writer)
        .into_iter()
        .find(|e| e.operation_type() == OperationType::Update)
        .unwrap();
    let check = |stages: Vec<Document>, expected: &[&str]| {
        let watch = writer
            .watch(Scope::Everything)
            .start_at_oldest()
            .pipeline(stages.clone());
        let events = drain(&mut watch.full_document(FullDocument::UpdateLookup).start().unwrap());
        assert_eq!(shorts(&events), expected, "{stages:?}");
    };
    let matching = |condition: Document| vec![doc! { "$match": condition }];
    check(
        vec![],
        &[
            "insert shop.orders 1",
            "insert shop.orders 2",
            "insert shop.orders 3",
            "update shop.orders 2",
            "insert shop.items 4",
            "delete shop.orders 1",
        ],
    );
    check(matching(doc! { "operationType": "delete" }), &["delete shop.orders 1"]);
    check(
        matching(doc! { "operationType": { "$in": ["update", "delete"] } }),
        &["update shop.orders 2", "delete shop.orders 1"],
    );
    check(matching(doc! { "ns.coll": "items" }), &["insert shop.items 4"]);
    check(
        matching(doc! { "ns": { "db": "shop", "coll": "items" } }),
        &["insert shop.items 4"],
    );
    check(
        matching(doc! { "fullDocument.n": { "$gte": 3 } }),
        &["insert shop.orders 3", "update shop.orders 2"],
    );
    check(matching(doc! { "fullDocument.deep.list": 7 }), &["insert shop.items 4"]);
    check(
        matching(doc! { "updateDescription.updatedFields.n": { "$exists": true } }),
        &["update shop.orders 2"],
    );
    check(
        matching(doc! { "documentKey._id": 1 }),
        &["insert shop.orders 1", "delete shop.orders 1"],
    );
    check(
        matching(doc! { "_id._data": update.resume_token().to_string() }),
        &["update shop.orders 2"],
    );
    let since = common_fields(&update, "").remove("clusterTime").unwrap();
    check(
        matching(doc! { "clusterTime": { "$gt": since } }),
        &["insert shop.items 4", "delete shop.orders 1"],
    );
    check(
        vec![
            doc! { "$match": { "operationType": "insert" } },
            doc! { "$match": { "fullDocument.n": { "$lt": 3 } } },
        ],
        &["insert shop.orders 1", "insert shop.orders 2"],
    );
}

#[test]
fn a_text_filter_speaks_of_the_document_after_the_operation() {
    let (_dir, writer) = orders(3);
    writer.update(ORDERS, 1, 50);
    writer.update(ORDERS, 3, 0);
    writer.replace(ORDERS, &rawdoc! { "_id": 2, "n": 60, "tags": ["urgent"] });
    writer.delete(ORDERS, 3);
    let check = |filter: &str, expected: &[&str]| {
        let mut stream = writer
            .watch(collection(ORDERS))
            .filter(filter)
            .start_at_oldest()
            .start()
            .unwrap();
        assert_eq!(shorts(&drain(&mut stream)), expected, "{filter}");
    };
    check(
        "n > 2",
        &["insert shop.orders 3", "update shop.orders 1", "replace shop.orders 2"],
    );
    check("n > 2 and tags has \"urgent\"", &["replace shop.orders 2"]);
    check("n < 2", &["insert shop.orders 1", "update shop.orders 3"]);
}

#[test]
fn an_event_without_a_document_satisfies_no_text_filter() {
    let (_dir, writer) = orders(1);
    writer.delete(ORDERS, 1);
    writer.rename("shop.other", "shop.another");
    writer.drop_collection(ORDERS);
    for filter in ["n != 5", "not n = 5", "not (n = 5 and n = 6)", "n != 5 or n = 7"] {
        let mut stream = writer
            .watch(database("shop"))
            .filter(filter)
            .start_at_oldest()
            .start()
            .unwrap();
        assert_eq!(shorts(&drain(&mut stream)), ["insert shop.orders 1"], "{filter}");
    }
}

#[test]
fn filter_and_pipeline_both_hold() {
    let (_dir, writer) = orders(5);
    writer.update(ORDERS, 1, 4);
    let watch = writer.watch(collection(ORDERS)).start_at_oldest();
    let watch = watch
        .filter("n > 3")
        .pipeline([doc! { "$match": { "operationType": "insert" } }]);
    assert_eq!(ids(&drain(&mut watch.start().unwrap())), [4, 5]);
}

// What is asked for wrongly.

fn refusal(watch: Watch) -> (Error, String) {
    let error = watch.start().unwrap_err();
    let text = error.to_string();
    (error, text)
}

#[test]
fn a_malformed_filter_shows_the_place() {
    let (_dir, writer) = orders(0);
    let (error, text) = refusal(writer.watch(Scope::Everything).filter("age >"));
    assert!(matches!(error, Error::Filter(_)), "{error:?}");
    assert!(text.contains("age >") && text.contains('^'), "{text}");
    let refused = writer
        .watch(Scope::Everything)
        .filter("age ~ 3")
        .subscribe()
        .unwrap_err();
    assert!(matches!(refused, Error::Filter(_)), "{refused:?}");
}

#[test]
fn a_malformed_pipeline_names_stage_and_operator() {
    let (_dir, writer) = orders(0);
    let watch = |stages: Vec<Document>| refusal(writer.watch(Scope::Everything).pipeline(stages));
    let fine = doc! { "$match": {} };

    let (error, text) = watch(vec![
        fine.clone(),
        doc! { "$match": { "fullDocument.age": { "$near": 1 } } },
    ]);
    assert!(matches!(error, Error::Match { stage: 1, .. }), "{error:?}");
    assert!(
        text.contains("stage 1") && text.contains("$near") && text.contains("fullDocument.age"),
        "{text}"
    );

    let (error, text) = watch(vec![fine.clone(), fine.clone(), doc! { "$group": { "_id": null } }]);
    assert!(
        matches!(&error, Error::UnsupportedStage { stage: 2, name, known: true } if name == "$group"),
        "{error:?}"
    );
    assert!(
        text.contains("stage 2") && text.contains("$group") && text.contains("$match"),
        "{text}"
    );

    for malformed in [doc! {}, doc! { "$match": {}, "$project": {} }] {
        let (error, text) = watch(vec![malformed]);
        assert!(matches!(error, Error::MalformedStage { stage: 0, .. }), "{error:?}");
        assert!(text.contains("stage 0"), "{text}");
    }
}

#[test]
fn what_is_wrong_with_the_question_comes_before_where_to_start() {
    let ((_one, writer), (_other, stranger)) = (orders(1), orders(1));
    let token = from_oldest(&stranger)[0].resume_token();
    let watch = writer.watch(Scope::Everything).resume_after(token).filter("age >");
    assert!(matches!(watch.start(), Err(Error::Filter(_))));
}
