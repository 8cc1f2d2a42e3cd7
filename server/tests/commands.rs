//! Commands, as drivers send them. What the store does with documents is tested there; here is what the server adds.

use crate::common;

use bson::{Bson, Document, doc};
use common::{Running, batch, cursor_id, session};

#[test]
fn unknown_commands_and_fields_are_refused_by_name() {
    let running = Running::new();
    let mut client = running.client();
    for (command, code, name) in [
        (doc! { "nope": 1 }, 59, "CommandNotFound"),
        (doc! { "atlasVersion": 1 }, 59, "CommandNotFound"),
        (doc! { "find": "c", "fitler": {} }, 40415, "IDLUnknownField"),
        (doc! { "find": "c", "filter": 1 }, 14, "TypeMismatch"),
        (doc! { "find": "c", "skip": -1 }, 2, "BadValue"),
        (doc! { "find": "c", "filter": { "$nope": 1 } }, 2, "BadValue"),
        (doc! { "find": "c", "tailable": true }, 238, "NotImplemented"),
        (doc! { "create": "c", "collation": { "strength": 1 } }, 2, "BadValue"),
        (doc! { "find": "c", "collation": { "strength": 1 } }, 2, "BadValue"),
        (doc! { "find": 7 }, 73, "InvalidNamespace"),
        (doc! { "insert": "c" }, 40414, "IDLFailedToParse"),
        (doc! { "insert": "c", "documents": [] }, 16, "InvalidLength"),
        (
            doc! { "update": "c", "updates": [{ "q": {} }] },
            40414,
            "IDLFailedToParse",
        ),
        (
            doc! { "update": "c", "updates": [{ "q": {}, "u": {}, "nope": 1 }] },
            40415,
            "IDLUnknownField",
        ),
        (
            doc! { "update": "c", "updates": [{ "q": {}, "u": { "a": 1 }, "multi": true }] },
            9,
            "FailedToParse",
        ),
        (
            doc! { "delete": "c", "deletes": [{ "q": {}, "limit": 2 }] },
            9,
            "FailedToParse",
        ),
        (doc! { "aggregate": "c", "pipeline": [] }, 9, "FailedToParse"),
        (
            doc! { "aggregate": "c", "pipeline": [{ "$nope": 1 }], "cursor": {} },
            40324,
            "Location40324",
        ),
        (doc! { "find": "c", "readConcern": { "level": "nope" } }, 2, "BadValue"),
        (doc! { "getMore": 5_i64, "collection": "c" }, 43, "CursorNotFound"),
        (
            doc! { "createIndexes": "c", "indexes": [{ "key": { "a": "text" }, "name": "a" }] },
            67,
            "CannotCreateIndex",
        ),
        (doc! { "drop": "a$b" }, 73, "InvalidNamespace"),
        (doc! { "collMod": "nope" }, 26, "NamespaceNotFound"),
        (doc! { "getLog": "nope" }, 2, "BadValue"),
        (doc! { "commitTransaction": 1 }, 72, "InvalidOptions"),
        (doc! { "ping": 1, "nope": 1 }, 40415, "IDLUnknownField"),
        (
            doc! { "find": "c", "readConcern": { "level": "snapshot" } },
            238,
            "NotImplemented",
        ),
        (
            doc! { "find": "c", "readConcern": { "nope": 1 } },
            40415,
            "IDLUnknownField",
        ),
        (
            doc! { "listCollections": Bson::Null, "nope": 1 },
            40415,
            "IDLUnknownField",
        ),
    ] {
        assert_eq!(client.refused(command.clone()), (code, name.to_owned()), "{command}");
    }
}

#[test]
fn what_a_driver_has_left_unset_is_as_if_it_were_not_there() {
    let running = Running::new();
    let mut client = running.client();
    client.ok(doc! { "find": "c", "sort": Bson::Null, "limit": Bson::Undefined, "readConcern": Bson::Null });
    let stages = [doc! { "$changeStream": { "resumeAfter": Bson::Null } }];
    client.ok(doc! { "aggregate": "c", "pipeline": stages, "cursor": {} });
}

#[test]
fn every_command_of_the_table_is_listed_and_answers() {
    let running = Running::with(|options| options.test_commands = true);
    let mut client = running.client();
    let listed = client.ok(doc! { "listCommands": 1 });
    let listed: Vec<&String> = listed.get_document("commands").unwrap().keys().collect();
    let known: Vec<&str> = tailwater_server::help().map(|(name, _)| name).collect();
    assert_eq!(listed, known);
    for name in known {
        let answer = client.run(doc! { name: 1 });
        assert_ne!(answer.get_i32("code").ok(), Some(59), "{name}");
        assert_ne!(answer.get_i32("code").ok(), Some(1), "{name}: {answer}");
    }
}

#[test]
fn refused_writes_are_reported_one_by_one() {
    let running = Running::new();
    let mut client = running.client();
    client.ok(doc! { "insert": "c", "documents": [{ "_id": 1 }] });
    for (ordered, inserted, indexes) in [(true, 1, vec![1]), (false, 2, vec![1, 3])] {
        let ids = [10, 1, 11, 1].map(|id| doc! { "_id": if id > 1 { id + i32::from(ordered) * 10 } else { id } });
        let answer = client.ok(doc! { "insert": "c", "documents": ids.to_vec(), "ordered": ordered });
        assert_eq!(answer.get_i32("n").ok(), Some(inserted));
        let errors = answer.get_array("writeErrors").unwrap();
        let found: Vec<i32> = errors
            .iter()
            .map(|error| {
                let error = error.as_document().unwrap();
                assert_eq!(error.get_i32("code").ok(), Some(11000));
                assert_eq!(error.get_document("keyValue").ok(), Some(&doc! { "_id": 1 }));
                assert!(
                    error
                        .get_str("errmsg")
                        .unwrap()
                        .starts_with("E11000 duplicate key error collection: test.c")
                );
                error.get_i32("index").unwrap()
            })
            .collect();
        assert_eq!(found, indexes);
    }
}

#[test]
fn updates_say_what_they_matched_changed_and_inserted() {
    let running = Running::new();
    let mut client = running.client();
    client.ok(doc! { "insert": "c", "documents": [{ "_id": 1, "n": 1 }, { "_id": 2, "n": 1 }] });
    let updates = vec![
        doc! { "q": { "n": 1 }, "u": { "$set": { "n": 1 } } },
        doc! { "q": {}, "u": { "$inc": { "n": 1 } }, "multi": true },
        doc! { "q": { "_id": 9 }, "u": { "$set": { "n": 5 } }, "upsert": true },
        doc! { "q": { "_id": 1 }, "u": { "m": 3 } },
        doc! { "q": { "_id": 2 }, "u": [{ "$set": { "sum": { "$add": ["$n", 1] } } }] },
    ];
    let answer = client.ok(doc! { "update": "c", "updates": updates });
    assert_eq!(
        (answer.get_i32("n").ok(), answer.get_i32("nModified").ok()),
        (Some(6), Some(4))
    );
    assert_eq!(
        answer.get_array("upserted").unwrap(),
        &[doc! { "index": 2, "_id": 9 }.into()]
    );
    let found = batch(&client.ok(doc! { "find": "c", "sort": { "_id": 1 } }));
    let expected = [
        doc! { "_id": 1, "m": 3 },
        doc! { "_id": 2, "n": 2, "sum": 3 },
        doc! { "_id": 9, "n": 5 },
    ];
    assert_eq!(found, expected);
}

#[test]
fn find_and_modify_tells_whether_it_has_inserted() {
    let running = Running::new();
    let mut client = running.client();
    for (new, value) in [(false, Bson::Null), (true, doc! { "_id": 1, "n": 1 }.into())] {
        let answer = client.ok(doc! {
            "findAndModify": "c", "query": { "_id": 1 }, "update": { "$inc": { "n": 1 } }, "upsert": true, "new": new,
        });
        let last = answer.get_document("lastErrorObject").unwrap();
        assert_eq!(last, &doc! { "n": 1, "updatedExisting": false, "upserted": 1 });
        assert_eq!(answer.get("value"), Some(&value));
        let removed = client.ok(doc! { "findAndModify": "c", "query": { "_id": 1 }, "remove": true });
        assert_eq!(removed.get_document("lastErrorObject").unwrap(), &doc! { "n": 1 });
        assert_eq!(removed.get_document("value").unwrap(), &doc! { "_id": 1, "n": 1 });
    }
    let nothing = client.ok(doc! { "findAndModify": "c", "query": { "_id": 1 }, "update": { "$inc": { "n": 1 } } });
    assert_eq!(nothing.get("value"), Some(&Bson::Null));
    assert_eq!(
        nothing.get_document("lastErrorObject").unwrap(),
        &doc! { "n": 0, "updatedExisting": false }
    );
}

#[test]
fn cursors_give_batches_and_are_killed() {
    let running = Running::new();
    let mut client = running.client();
    let documents: Vec<Document> = (0..250).map(|i| doc! { "_id": i }).collect();
    client.ok(doc! { "insert": "c", "documents": documents });
    let first = client.ok(doc! { "find": "c" });
    assert_eq!(batch(&first).len(), 101);
    let id = cursor_id(&first);
    assert_ne!(id, 0);
    let rest = client.ok(doc! { "getMore": id, "collection": "c" });
    assert_eq!((batch(&rest).len(), cursor_id(&rest)), (149, 0));
    assert_eq!(client.refused(doc! { "getMore": id, "collection": "c" }).0, 43);

    let single = client.ok(doc! { "find": "c", "batchSize": 3, "singleBatch": true });
    assert_eq!((batch(&single).len(), cursor_id(&single)), (3, 0));
    let none = client.ok(doc! { "find": "c", "batchSize": 0 });
    assert_eq!(batch(&none).len(), 0);
    let id = cursor_id(&none);
    assert_eq!(client.refused(doc! { "getMore": id, "collection": "other" }).0, 13);
    let killed = client.ok(doc! { "killCursors": "c", "cursors": [id, 5_i64] });
    assert_eq!(killed.get_array("cursorsKilled").unwrap(), &[id.into()]);
    assert_eq!(killed.get_array("cursorsNotFound").unwrap(), &[5_i64.into()]);
    assert_eq!(client.refused(doc! { "getMore": id, "collection": "c" }).0, 43);
}

#[test]
fn a_cursor_belongs_to_its_session_and_ends_with_it() {
    let running = Running::new();
    let mut client = running.client();
    client.ok(doc! { "insert": "c", "documents": [{}, {}, {}] });
    let (own, other) = (session(), session());
    let first = client.ok(doc! { "find": "c", "batchSize": 1, "lsid": own.clone() });
    let id = cursor_id(&first);
    let of_other = doc! { "getMore": id, "collection": "c", "lsid": other };
    assert_eq!(client.refused(of_other).0, 50738);
    client.ok(doc! { "endSessions": [own.clone()] });
    assert_eq!(
        client.refused(doc! { "getMore": id, "collection": "c", "lsid": own }).0,
        43
    );
}

#[test]
fn a_cursor_that_nobody_asks_is_closed() {
    let running = Running::with(|options| options.cursor_timeout = std::time::Duration::from_millis(20));
    let mut client = running.client();
    client.ok(doc! { "insert": "c", "documents": [{}, {}, {}] });
    let id = cursor_id(&client.ok(doc! { "find": "c", "batchSize": 1 }));
    let kept = cursor_id(&client.ok(doc! { "find": "c", "batchSize": 1, "noCursorTimeout": true }));
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let open = |client: &mut common::Client| {
        let status = client.ok(doc! { "serverStatus": 1 });
        let metrics = status.get_document("metrics").unwrap();
        let open = metrics.get_document("cursor").unwrap().get_document("open").unwrap();
        open.get_i64("total").unwrap()
    };
    while open(&mut client) > 1 {
        assert!(std::time::Instant::now() < deadline, "the cursor is still open");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(client.refused(doc! { "getMore": id, "collection": "c" }).0, 43);
    client.ok(doc! { "getMore": kept, "collection": "c" });
}

#[test]
fn batches_stay_below_the_limit_of_a_document() {
    let running = Running::new();
    let mut client = running.client();
    let text = "x".repeat(6 << 20);
    for i in 0..5 {
        client.ok(doc! { "insert": "c", "documents": [{ "_id": i, "text": text.as_str() }] });
    }
    let first = client.ok(doc! { "find": "c" });
    assert_eq!(batch(&first).len(), 2);
    let second = client.ok(doc! { "getMore": cursor_id(&first), "collection": "c" });
    let third = client.ok(doc! { "getMore": cursor_id(&second), "collection": "c" });
    let ids: Vec<i32> = [&first, &second, &third]
        .into_iter()
        .flat_map(batch)
        .map(|document| document.get_i32("_id").unwrap())
        .collect();
    assert_eq!((ids, cursor_id(&third)), ((0..5).collect(), 0));
}

#[test]
fn collections_and_indexes_are_made_listed_and_dropped() {
    let running = Running::new();
    let mut client = running.client();
    client.ok(doc! { "create": "c", "changeStreamPreAndPostImages": { "enabled": true } });
    assert_eq!(client.refused(doc! { "create": "c" }).0, 48);
    assert_eq!(client.refused(doc! { "create": "v", "viewOn": "c" }).0, 238);
    let indexes = [doc! { "key": { "a": 1 }, "name": "a_1", "unique": true }];
    let answer = client.ok(doc! { "createIndexes": "c", "indexes": indexes.to_vec() });
    assert_eq!(answer.get_i32("numIndexesBefore").ok(), Some(1));
    assert_eq!(answer.get_i32("numIndexesAfter").ok(), Some(2));
    assert!(!answer.get_bool("createdCollectionAutomatically").unwrap());
    let names = |answer: &Document| -> Vec<String> {
        let documents = batch(answer);
        documents
            .iter()
            .map(|index| index.get_str("name").unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&client.ok(doc! { "listIndexes": "c" })), ["_id_", "a_1"]);
    assert_eq!(client.refused(doc! { "dropIndexes": "c", "index": "b_1" }).0, 27);
    // A key that two indexes have says not which of them is to go.
    let sparse = [doc! { "key": { "a": 1 }, "name": "few", "sparse": true }];
    client.ok(doc! { "createIndexes": "c", "indexes": sparse.to_vec() });
    assert_eq!(client.refused(doc! { "dropIndexes": "c", "index": { "a": 1 } }).0, 181);
    client.ok(doc! { "dropIndexes": "c", "index": "few" });
    client.ok(doc! { "dropIndexes": "c", "index": { "a": 1 } });
    assert_eq!(names(&client.ok(doc! { "listIndexes": "c" })), ["_id_"]);

    let listed = client.ok(doc! { "listCollections": 1, "filter": { "name": "c" } });
    let options = batch(&listed)[0].get_document("options").unwrap().clone();
    assert_eq!(options, doc! { "changeStreamPreAndPostImages": { "enabled": true } });
    let databases = client.run_on("admin", doc! { "listDatabases": 1, "nameOnly": true });
    assert_eq!(
        databases.get_array("databases").unwrap(),
        &[doc! { "name": "test" }.into()]
    );
    let renamed = client.run_on("admin", doc! { "renameCollection": "test.c", "to": "test.d" });
    assert_eq!(renamed.get_f64("ok").ok(), Some(1.0), "{renamed}");
    client.ok(doc! { "drop": "d" });
    client.ok(doc! { "drop": "d" });
    client.ok(doc! { "dropDatabase": 1 });
}

#[test]
fn collections_and_indexes_have_collations() {
    let running = Running::new();
    let mut client = running.client();
    let letters = doc! { "locale": "en", "strength": 1 };
    client.ok(doc! { "create": "c", "collation": letters.clone() });
    let french = doc! { "key": { "b": 1 }, "name": "b_1", "collation": { "locale": "fr" } };
    let plain = doc! { "key": { "c": 1 }, "name": "c_1", "collation": { "locale": "simple" } };
    let indexes = vec![doc! { "key": { "a": 1 }, "name": "a_1" }, french, plain];
    let answer = client.ok(doc! { "createIndexes": "c", "indexes": indexes });
    assert_eq!(answer.get_i32("numIndexesBefore").ok(), Some(1));
    assert_eq!(answer.get_i32("numIndexesAfter").ok(), Some(4));
    let locale = |index: &Document| Some(index.get_document("collation").ok()?.get_str("locale").ok()?.to_owned());
    let locales: Vec<_> = batch(&client.ok(doc! { "listIndexes": "c" }))
        .iter()
        .map(locale)
        .collect();
    let expected = [Some("en"), Some("en"), Some("fr"), None];
    assert_eq!(locales, expected.map(|locale| locale.map(str::to_owned)));
    let listed = batch(&client.ok(doc! { "listCollections": 1 }));
    let options = listed[0].get_document("options").unwrap();
    assert_eq!(
        options.get_document("collation").unwrap().get_i32("strength").ok(),
        Some(1)
    );
    assert_eq!(
        locale(listed[0].get_document("idIndex").unwrap()),
        Some("en".to_owned())
    );

    client.ok(doc! { "insert": "c", "documents": [{ "_id": "Zoé", "a": "x" }] });
    let found = client.ok(doc! { "find": "c", "filter": { "_id": "zoe", "a": "X" } });
    assert_eq!(batch(&found).len(), 1);
    let by_bytes = doc! { "find": "c", "filter": { "a": "X" }, "collation": { "locale": "simple" } };
    assert_eq!(batch(&client.ok(by_bytes)).len(), 0);
    let counted = doc! { "aggregate": "c", "pipeline": [{ "$match": { "a": "X" } }, { "$count": "n" }], "cursor": {} };
    assert_eq!(batch(&client.ok(counted))[0].get_i32("n").ok(), Some(1));
    let again = client.run(doc! { "insert": "c", "documents": [{ "_id": "ZOE" }] });
    assert_eq!(
        again.get_array("writeErrors").unwrap()[0]
            .as_document()
            .unwrap()
            .get_i32("code")
            .ok(),
        Some(11000)
    );
}

#[test]
fn a_query_can_be_explained() {
    let running = Running::new();
    let mut client = running.client();
    let indexes = [doc! { "key": { "a": 1 }, "name": "a_1" }];
    client.ok(doc! { "createIndexes": "c", "indexes": indexes.to_vec() });
    let answer = client.ok(doc! { "explain": { "find": "c", "filter": { "a": 1 } }, "verbosity": "queryPlanner" });
    let plan = answer
        .get_document("queryPlanner")
        .unwrap()
        .get_document("winningPlan")
        .unwrap();
    assert_eq!(
        plan.get_document("inputStage").unwrap().get_str("indexName").ok(),
        Some("a_1")
    );
}

#[test]
fn a_pipeline_can_ask_for_the_size_of_its_collection() {
    let running = Running::new();
    let mut client = running.client();
    client.ok(doc! { "insert": "c", "documents": [{ "_id": 1 }, { "_id": 2 }] });
    let stages = [
        doc! { "$collStats": { "storageStats": {}, "count": {} } },
        doc! { "$project": { "storageStats": 1, "count": 1 } },
    ];
    let answer = client.ok(doc! { "aggregate": "c", "pipeline": stages.to_vec(), "cursor": {} });
    let found = &batch(&answer)[0];
    assert_eq!(found.get_i64("count").ok(), Some(2));
    let stats = found.get_document("storageStats").unwrap();
    assert_eq!(
        (stats.get_i64("size").ok(), stats.get_i64("nindexes").ok()),
        (Some(28), Some(1))
    );
    assert_eq!(
        answer.get_document("cursor").unwrap().get_str("ns").ok(),
        Some("test.c")
    );
}

#[test]
fn the_compatibility_page_lists_the_commands_that_there_are() {
    let page = include_str!("../../docs/wire-compatibility.md");
    let (table, _) = page.split_once("## In general").unwrap();
    let listed: Vec<(&str, &str)> = table
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split(" | ");
            Some((cells.next()?.strip_suffix('`')?, cells.next()?))
        })
        .collect();
    let known: Vec<_> = tailwater_server::help().collect();
    assert_eq!(listed, known);
}

#[test]
fn a_write_that_more_members_should_hold_than_there_are_is_carried_out_and_says_so() {
    let running = Running::new();
    let mut client = running.client();
    for (id, w, code) in [(1, bson::bson!(2), 100), (2, bson::bson!("west"), 79)] {
        let insert = doc! { "insert": "c", "documents": [{ "_id": id }], "writeConcern": { "w": w } };
        let answer = client.ok(insert);
        assert_eq!(answer.get_i32("n").unwrap(), 1);
        let error = answer.get_document("writeConcernError").unwrap();
        assert_eq!(error.get_i32("code").unwrap(), code, "{answer}");
        assert_eq!(client.ok(doc! { "count": "c" }).get_i32("n").unwrap(), id);
    }
}

#[test]
fn pipelines_take_variables_and_a_hint_and_are_explained() {
    let running = Running::new();
    let mut client = running.client();
    client.ok(doc! { "insert": "c", "documents": (0..20).map(|n| doc! { "_id": n, "a": n % 5 }).collect::<Vec<_>>() });
    client.ok(doc! { "createIndexes": "c", "indexes": [{ "key": { "a": 1 }, "name": "a_1" }] });
    let dear = doc! { "$match": { "$expr": { "$gt": ["$a", "$$least"] } } };
    let command = doc! { "aggregate": "c", "pipeline": [dear, { "$count": "n" }], "cursor": {}, "let": { "least": { "$add": [1, 2] } } };
    assert_eq!(batch(&client.ok(command)), [doc! { "n": 4 }]);

    let by_a = doc! { "$match": { "a": 3 } };
    let planned = |answer: &Document| {
        let planner = answer.get_document("queryPlanner").unwrap();
        planner
            .get_document("winningPlan")
            .unwrap()
            .get_str("stage")
            .unwrap()
            .to_owned()
    };
    let explain = |hint: Bson| doc! { "aggregate": "c", "pipeline": [by_a.clone()], "explain": true, "hint": hint };
    assert_eq!(planned(&client.ok(explain("a_1".into()))), "FETCH");
    assert_eq!(planned(&client.ok(explain(doc! { "$natural": 1 }.into()))), "COLLSCAN");
    assert_eq!(client.refused(explain("b_1".into())).0, 2);
    let hinted = doc! { "aggregate": "c", "pipeline": [by_a.clone()], "cursor": {}, "hint": { "a": 1 } };
    assert_eq!(batch(&client.ok(hinted)).len(), 4);

    // What is behind the query is told stage by stage, and nothing is written.
    let group = doc! { "$group": { "_id": "$a" } };
    let out = doc! { "$out": "d" };
    let command = doc! { "aggregate": "c", "pipeline": [by_a, group.clone(), out.clone()], "cursor": {} };
    let told = client.ok(doc! { "explain": command, "verbosity": "executionStats" });
    let stages = told.get_array("stages").unwrap();
    assert_eq!(stages[1..], [group.into(), out.into()]);
    let cursor = stages[0].as_document().unwrap().get_document("$cursor").unwrap();
    assert_eq!(planned(cursor), "FETCH");
    let stats = cursor.get_document("executionStats").unwrap();
    assert_eq!(
        stats
            .get_i64("nReturned")
            .or_else(|_| stats.get_i32("nReturned").map(i64::from))
            .unwrap(),
        4,
        "{stats}"
    );
    assert!(stats.contains_key("executionTimeMillis") && stats.contains_key("executionStages"));
    assert_eq!(client.ok(doc! { "count": "d" }).get_i32("n").unwrap(), 0);
    // Only who asks for numbers is told some.
    let find = |verbosity: &str| doc! { "explain": { "find": "c" }, "verbosity": verbosity };
    assert!(!client.ok(find("queryPlanner")).contains_key("executionStats"));
    assert!(client.ok(find("allPlansExecution")).contains_key("executionStats"));
    assert_eq!(client.refused(find("everything")).0, 2);
    let watch = doc! { "aggregate": "c", "pipeline": [{ "$changeStream": {} }], "cursor": {}, "hint": "a_1" };
    assert_eq!(client.refused(watch).0, 238);
}

#[test]
fn who_may_can_pass_the_validator_by() {
    let running = Running::new();
    let mut client = running.client();
    client.ok(doc! { "create": "c", "validator": { "a": { "$type": "int" } } });
    let wrong = doc! { "a": "text" };
    let refused = |answer: Document| {
        answer.contains_key("writeErrors")
            || answer.get_i32("nErrors").is_ok_and(|errors| errors > 0)
            || answer.contains_key("code")
    };
    for (bypass, expected) in [(false, true), (true, false)] {
        let insert = doc! { "insert": "c", "documents": [&wrong], "bypassDocumentValidation": bypass };
        assert_eq!(refused(client.run(insert)), expected, "insert {bypass}");
        let mut bulk = doc! { "bulkWrite": 1, "nsInfo": [{ "ns": "test.c" }] };
        bulk.extend(doc! { "ops": [{ "insert": 0, "document": &wrong }], "bypassDocumentValidation": bypass });
        assert_eq!(refused(client.run_on("admin", bulk)), expected, "bulkWrite {bypass}");
        let source = doc! { "$documents": [&wrong] };
        let merge = doc! { "aggregate": 1, "pipeline": [source, { "$merge": "c" }], "cursor": {}, "bypassDocumentValidation": bypass };
        assert_eq!(refused(client.run(merge)), expected, "aggregate {bypass}");
    }
}

#[test]
fn a_sequence_that_is_not_asked_for_or_comes_twice_is_refused() {
    let running = Running::new();
    let mut client = running.client();
    let document = bson::rawdoc! { "_id": 1 };
    let sequence = |identifier| tailwater_wire::Sequence {
        identifier,
        documents: vec![&document],
    };
    for (body, name, code) in [
        (doc! { "insert": "c", "$db": "test" }, "documents", 0),
        (
            doc! { "insert": "c", "documents": [{ "_id": 2 }], "$db": "test" },
            "documents",
            40413,
        ),
        (
            doc! { "insert": "c", "documents": [{ "_id": 3 }], "$db": "test" },
            "updates",
            40415,
        ),
        (doc! { "find": "c", "$db": "test" }, "filter", 40415),
    ] {
        client.send(&body, tailwater_wire::MsgFlags::default(), vec![sequence(name)]);
        let (answer, ..) = client.receive();
        assert_eq!(answer.get_i32("code").unwrap_or(0), code, "{answer}");
    }
    assert_eq!(client.ok(doc! { "count": "c" }).get_i32("n").unwrap(), 1);
}
