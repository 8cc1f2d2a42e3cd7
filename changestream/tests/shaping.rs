//! Pipelines that give events another shape: what they may do, what they may not, and that tokens do not notice.

use crate::common;

use bson::{Document, doc};
use common::{ORDERS, Writer, decoded, drain, orders};
use tailwater_changestream::{Error, ResumeToken, Scope};

/// Documents of the events of three orders (`{_id: n, n: n}`), after a pipeline.
fn shaped(writer: &Writer, pipeline: Vec<Document>) -> Vec<Document> {
    let watch = writer.watch(Scope::Everything).start_at_oldest().pipeline(pipeline);
    let events = drain(&mut watch.start().unwrap());
    for event in &events {
        let token = event.to_document();
        let token = ResumeToken::from_document(token.get_document("_id").unwrap()).unwrap();
        assert_eq!(token, event.resume_token());
    }
    let mut documents: Vec<_> = events.iter().map(decoded).collect();
    for document in &mut documents {
        document.remove("_id");
    }
    documents
}

#[test]
fn stages_shape_the_event_in_their_order() {
    let (_dir, writer) = orders(3);
    let expected: Vec<_> = (2..=3)
        .map(|n| doc! { "operationType": "insert", "twice": 2 * n })
        .collect();
    let pipeline = vec![
        doc! { "$match": { "operationType": "insert" } },
        doc! { "$addFields": { "twice": { "$multiply": ["$fullDocument._id", 2] } } },
        doc! { "$match": { "twice": { "$gt": 2 } } },
        doc! { "$project": { "operationType": 1, "twice": 1 } },
    ];
    let got = shaped(&writer, pipeline);
    assert_eq!(got.len(), 2, "{got:?}");
    assert_eq!(got, expected);
}

#[test]
fn unset_and_redact_take_away() {
    let (_dir, writer) = orders(2);
    let pipeline = vec![
        doc! { "$unset": ["clusterTime", "wallTime", "fullDocument", "ns", "documentKey"] },
        doc! { "$redact": { "$cond": [{ "$eq": ["$operationType", "insert"] }, "$$KEEP", "$$PRUNE"] } },
    ];
    assert_eq!(shaped(&writer, pipeline), vec![doc! { "operationType": "insert" }; 2]);
}

#[test]
fn a_replaced_root_must_bring_the_token_along() {
    let (_dir, writer) = orders(1);
    let kept = vec![doc! { "$replaceWith": { "_id": "$_id", "order": "$fullDocument._id" } }];
    assert_eq!(shaped(&writer, kept), [doc! { "order": 1 }]);

    let lost = vec![doc! { "$replaceRoot": { "newRoot": "$fullDocument" } }];
    let watch = writer.watch(Scope::Everything).start_at_oldest().pipeline(lost);
    let mut stream = watch.start().unwrap();
    let before = stream.resume_token();
    for _ in 0..2 {
        let error = stream.next_if_any().unwrap_err();
        assert!(matches!(error, Error::TokenModified { .. }), "{error:?}");
    }
    assert_eq!(stream.resume_token(), before, "the event has not been delivered");
}

#[test]
fn a_pipeline_that_always_drops_the_token_is_refused_at_once() {
    let (_dir, writer) = orders(0);
    for stage in [
        doc! { "$project": { "_id": 0 } },
        doc! { "$unset": "_id" },
        doc! { "$unset": "_id._data" },
    ] {
        let error = writer.watch(Scope::Everything).pipeline([stage]).start().unwrap_err();
        assert!(matches!(error, Error::TokenDropped), "{error:?}");
    }
}

#[test]
fn an_event_that_cannot_be_shaped_is_not_passed_over() {
    let (_dir, writer) = orders(1);
    let pipeline = vec![doc! { "$addFields": { "n": { "$divide": [1, { "$subtract": ["$fullDocument._id", 1] }] } } }];
    let watch = writer.watch(Scope::Everything).start_at_oldest().pipeline(pipeline);
    let error = watch.start().unwrap().next_if_any().unwrap_err();
    assert!(matches!(error, Error::Evaluate(_)), "{error:?}");
    assert!(error.to_string().contains("$divide"), "{error}");
}

#[test]
fn an_invalidate_event_goes_through_the_pipeline_too() {
    let (_dir, writer) = orders(1);
    let scope = Scope::Collection {
        database: "shop".into(),
        collection: "orders".into(),
    };
    let _ = writer.drop_collection(ORDERS);
    let watch = writer.watch(scope).start_at_oldest();
    let pipeline = [
        doc! { "$addFields": { "seen": true } },
        doc! { "$project": { "operationType": 1, "seen": 1 } },
    ];
    let events = drain(&mut watch.pipeline(pipeline).start().unwrap());
    let kinds: Vec<_> = events.iter().map(decoded).collect();
    let kind = |n: usize| {
        (
            kinds[n].get_str("operationType").unwrap(),
            kinds[n].get_bool("seen").unwrap(),
        )
    };
    assert_eq!(kinds.len(), 3);
    assert_eq!(
        (kind(0), kind(1), kind(2)),
        (("insert", true), ("drop", true), ("invalidate", true))
    );
}
