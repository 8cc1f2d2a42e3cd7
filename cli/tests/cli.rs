//! The command line as scripts use it: exit codes, messages, and what is left after a mistake.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn tailwater(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tailwater"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn with_input(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tailwater"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that refuses its arguments does not read its input.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn import(dir: &Path, input: &str, more: &[&str]) -> Output {
    let dir = dir.to_str().unwrap();
    let arguments = [&["import", "--dir", dir, "--db", "d", "--collection", "c", "-"], more].concat();
    with_input(&arguments, input)
}

#[track_caller]
fn check(output: &Output, code: i32, said: &[&str]) {
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(output.status.code(), Some(code), "{text}");
    for said in said {
        assert!(text.contains(said), "{said:?} is not in: {text}");
    }
}

/// Events or entries that a command printed.
fn lines(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn ids(events: &[Value]) -> Vec<i64> {
    events
        .iter()
        .map(|event| event["documentKey"]["_id"].as_i64().unwrap())
        .collect()
}

fn watch(dir: &Path, more: &[&str]) -> Output {
    let arguments = [&["watch", "--dir", dir.to_str().unwrap(), "--no-follow"], more].concat();
    tailwater(&arguments)
}

#[test]
fn what_is_imported_is_watched_in_order() {
    let dir = tempfile::tempdir().unwrap();
    check(
        &import(dir.path(), r#"{"_id":1,"b":1,"a":2} {"_id":2} {"_id":3}"#, &[]),
        0,
        &["imported 3 documents into d.c"],
    );
    let events = lines(&watch(dir.path(), &["--from", "oldest", "--db", "d"]));
    assert_eq!(ids(&events), [1, 2, 3]);
    // The order of fields is the document's.
    let fields: Vec<_> = events[0]["fullDocument"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(fields, ["_id", "b", "a"]);
}

#[test]
fn an_array_of_documents_is_imported_from_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("rows.json");
    std::fs::write(
        &file,
        r#"[{"_id": {"$numberLong": "7"}, "at": {"$date": "2024-05-06T07:08:09Z"}}]"#,
    )
    .unwrap();
    let store = dir.path().join("store");
    let arguments = [
        "import",
        "--dir",
        store.to_str().unwrap(),
        "--db",
        "d",
        "--collection",
        "c",
        file.to_str().unwrap(),
    ];
    check(&tailwater(&arguments), 0, &["imported 1 documents"]);
    let events = lines(&watch(&store, &["--from", "oldest", "--canonical"]));
    let document = &events[0]["fullDocument"];
    assert_eq!(document["_id"]["$numberLong"], "7");
    assert_eq!(document["at"]["$date"]["$numberLong"], "1714979289000");
}

#[test]
fn malformed_json_names_the_line_keeps_what_came_before_and_can_be_continued() {
    let dir = tempfile::tempdir().unwrap();
    let broken = "{\"_id\": 1}\n{\"_id\": 2}\n{\"_id\": 3,}\n{\"_id\": 4}\n";
    check(
        &import(dir.path(), broken, &[]),
        3,
        &["line 3, column", "2 documents are imported", "--skip 2"],
    );
    let mended = broken.replace(",}", "}");
    check(
        &import(dir.path(), &mended, &["--skip", "2"]),
        0,
        &["imported 2 documents"],
    );
    assert_eq!(ids(&lines(&watch(dir.path(), &["--from", "oldest"]))), [1, 2, 3, 4]);
}

#[test]
fn a_duplicate_key_names_its_line_and_can_be_continued_after() {
    let dir = tempfile::tempdir().unwrap();
    let output = import(
        dir.path(),
        "{\"_id\": 1}\n{\"_id\": 2}\n{\"_id\": 1}\n{\"_id\": 3}\n",
        &[],
    );
    check(
        &output,
        3,
        &[
            "line 3: E11000 duplicate key error collection: d.c index: _id_",
            "--skip 2",
        ],
    );
    assert_eq!(ids(&lines(&watch(dir.path(), &["--from", "oldest"]))), [1, 2]);
}

#[test]
fn a_resume_file_goes_on_where_it_stopped() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let token = other.path().join("place");
    let resume = ["--from", "oldest", "--resume-file", token.to_str().unwrap()];
    check(&import(dir.path(), r#"{"_id":1}{"_id":2}{"_id":3}"#, &[]), 0, &[]);
    assert_eq!(
        ids(&lines(&watch(dir.path(), &[&resume[..], &["--count", "2"]].concat()))),
        [1, 2]
    );
    check(&import(dir.path(), r#"{"_id":4}"#, &[]), 0, &[]);
    assert_eq!(ids(&lines(&watch(dir.path(), &resume))), [3, 4]);
    assert_eq!(ids(&lines(&watch(dir.path(), &resume))), Vec::<i64>::new());
}

#[test]
fn a_token_from_elsewhere_and_a_damaged_one_are_refused() {
    let (dir, stranger, other) = (
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
    );
    let token = other.path().join("place");
    let resume = ["--from", "oldest", "--resume-file", token.to_str().unwrap()];
    check(&import(dir.path(), r#"{"_id":1}"#, &[]), 0, &[]);
    check(&import(stranger.path(), r#"{"_id":1}"#, &[]), 0, &[]);
    check(&watch(dir.path(), &resume), 0, &[]);
    check(&watch(stranger.path(), &resume), 6, &["belongs to log"]);
    let text = std::fs::read_to_string(&token).unwrap();
    std::fs::write(&token, text.replacen('0', "f", 1)).unwrap();
    check(
        &watch(dir.path(), &resume),
        2,
        &["malformed resume token", "remove the file"],
    );
}

#[test]
fn a_watch_can_be_narrowed_and_begun_anywhere() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    check(
        &import(
            path,
            r#"{"_id":1,"city":"Bern"}{"_id":2,"city":"bern"}{"_id":3,"city":"Biel"}"#,
            &[],
        ),
        0,
        &[],
    );
    let store = tailwater::Store::open(path).unwrap();
    store
        .collection("d", "c")
        .unwrap()
        .delete_one(&bson::rawdoc! { "_id": 3 })
        .unwrap();
    drop(store);
    let oldest = |more: &[&str]| lines(&watch(path, &[&["--from", "oldest"], more].concat()));
    let all = oldest(&[]);
    assert_eq!(ids(&all), [1, 2, 3, 3]);
    assert_eq!(ids(&oldest(&["--operations", "delete"])), [3]);
    assert_eq!(ids(&oldest(&["--operations", "insert, drop"])), [1, 2, 3]);
    assert_eq!(oldest(&["--operations", "create"])[0]["operationType"], "create");
    assert_eq!(ids(&oldest(&["--split", "--operations", "insert"])), [1, 2, 3]);
    let bern = ["--pipeline", r#"[{"$match": {"fullDocument.city": "BERN"}}]"#];
    let letters = ["--collation", r#"{"locale": "de", "strength": 1}"#];
    assert_eq!(ids(&oldest(&[bern, letters].concat())), [1, 2]);
    assert!(oldest(&bern).is_empty());

    let token = all[1]["_id"]["_data"].as_str().unwrap();
    assert_eq!(ids(&lines(&watch(path, &["--resume-after", token]))), [3, 3]);
    assert_eq!(
        ids(&lines(&watch(path, &["--start-after", &all[1]["_id"].to_string()]))),
        [3, 3]
    );
    assert_eq!(
        ids(&lines(&watch(path, &["--start-at", "2020-01-01T00:00:00Z"]))),
        [1, 2, 3, 3]
    );
    assert!(lines(&watch(path, &["--start-at", "2100-01-01T00:00:00Z"])).is_empty());
}

#[test]
fn wrong_arguments_of_watch_are_refused_with_what_to_give() {
    let dir = tempfile::tempdir().unwrap();
    check(&import(dir.path(), r#"{"_id":1}"#, &[]), 0, &[]);
    let split = r#"[{"$changeStreamSplitLargeEvent": {}}]"#;
    for (arguments, said) in [
        (
            &["--operations", "insert,upsert"][..],
            &["upsert", "no such type", "dropDatabase"][..],
        ),
        (&["--operations", ""], &["no such type"]),
        (
            &["--resume-after", "0123"],
            &["--resume-after", "malformed resume token"],
        ),
        (&["--start-after", "{}"], &["--start-after", "malformed resume token"]),
        (&["--start-after", "{"], &["--start-after"]),
        (&["--start-at", "yesterday"], &["--start-at", "2026-11-21T09:30:00Z"]),
        (&["--start-at", "1960-01-01T00:00:00Z"], &["before 1970"]),
        (
            &["--start-at", "2020-01-01T00:00:00Z", "--from", "oldest"],
            &["cannot be used with"],
        ),
        (&["--collation", "[]"], &["malformed collation", "JSON object"]),
        (
            &["--collation", r#"{"strength": 1}"#],
            &["malformed collation", "locale"],
        ),
        (
            &["--collation", r#"{"locale": "en"}"#, "--filter", "a = \"b\""],
            &["text filter", "collation"],
        ),
        (&["--pipeline", split, "--split"], &["must be the last stage"]),
        (&["--full-document", "always"], &["--full-document", "updateLookup"]),
    ] {
        check(&watch(dir.path(), arguments), 2, said);
    }
}

#[test]
fn malformed_filters_and_pipelines_name_the_place() {
    let dir = tempfile::tempdir().unwrap();
    check(&import(dir.path(), r#"{"_id":1}"#, &[]), 0, &[]);
    check(
        &watch(dir.path(), &["--filter", "age > and"]),
        2,
        &["malformed filter", "column 7"],
    );
    let pipeline = r#"[{"$match": {"a": 1}}, {"$match": {"age": {"$near": 1}}}]"#;
    check(
        &watch(dir.path(), &["--pipeline", pipeline]),
        2,
        &["stage 1", "$near", "age"],
    );
    check(
        &watch(dir.path(), &["--pipeline", r#"[{"$lookup": {}}]"#]),
        2,
        &["stage 0", "$lookup", "$match"],
    );
    check(&watch(dir.path(), &["--pipeline", "{"]), 2, &["malformed pipeline"]);
    check(&watch(dir.path(), &["--collection", "c"]), 2, &["--db"]);
}

#[test]
fn directories_that_hold_no_store_are_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    check(
        &watch(&dir.path().join("nowhere"), &[]),
        4,
        &["there is no log at", "nowhere"],
    );
    std::fs::write(dir.path().join("letter.txt"), "dear store").unwrap();
    check(&watch(dir.path(), &[]), 4, &["is not a log"]);
    check(&import(dir.path(), "{}", &[]), 4, &["is not a log"]);
    let names: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(names, ["letter.txt"]);
}

#[test]
fn a_store_in_use_is_refused_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = tailwater::Store::open(dir.path()).unwrap();
    check(
        &import(dir.path(), "{}", &[]),
        4,
        &["open for writing elsewhere", "pid"],
    );
    store.create_collection("d", "c").unwrap();
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    check(&import(dir.path(), r#"{"_id":1}"#, &[]), 0, &[]);
    let path = dir.path().join("oplog/MANIFEST");
    let mut manifest = std::fs::read(&path).unwrap();
    // The version is the body's first field; the checksum covers length and body.
    manifest[16] = 9;
    let body = 16 + u32::from_le_bytes(manifest[12..16].try_into().unwrap()) as usize;
    let crc = tailwater::oplog::codec::checksum(&manifest[12..body]);
    manifest[8..12].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&path, manifest).unwrap();
    check(&watch(dir.path(), &[]), 4, &["format version 9", "use a newer release"]);
    check(&import(dir.path(), "{}", &[]), 4, &["format version 9"]);
}

#[test]
fn log_commands_read_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    check(&import(dir.path(), r#"{"_id":1}{"_id":2}"#, &[]), 0, &[]);
    let path = dir.path().to_str().unwrap();
    let entries = lines(&tailwater(&["log", "tail", "--dir", path, "--no-follow"]));
    let kinds: Vec<_> = entries.iter().map(|e| e["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["create", "insert", "insert"]);
    assert_eq!(entries[2]["document"]["_id"], 2);
    assert_eq!(
        lines(&tailwater(&[
            "log",
            "tail",
            "--dir",
            path,
            "--no-follow",
            "--from",
            "3"
        ]))
        .len(),
        1
    );
    let future = [
        "log",
        "tail",
        "--dir",
        path,
        "--no-follow",
        "--from",
        "2200-01-01T00:00:00Z",
    ];
    assert_eq!(lines(&tailwater(&future)).len(), 0);
    check(
        &tailwater(&["log", "tail", "--dir", path, "--from", "yesterday"]),
        2,
        &["yesterday", "an OpID"],
    );
    check(&tailwater(&["log", "verify", "--dir", path]), 0, &["sound"]);
    check(
        &tailwater(&["log", "inspect", "--dir", path]),
        0,
        &["OpIDs 1 to 3", "0000000001-"],
    );
    let report: Value = serde_json::from_slice(&tailwater(&["log", "verify", "--dir", path, "--json"]).stdout).unwrap();
    assert_eq!(
        (report["sound"].as_bool(), report["newest"].as_i64()),
        (Some(true), Some(3))
    );
}

#[test]
fn damage_is_reported_with_its_own_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    check(
        &import(dir.path(), r#"{"_id":1,"text":"unharmed"}{"_id":2}"#, &[]),
        0,
        &[],
    );
    let segment = dir.path().join("oplog/0000000001-00000000000000000001.seg");
    let mut bytes = std::fs::read(&segment).unwrap();
    let at = bytes.windows(8).position(|window| window == b"unharmed").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let path = dir.path().to_str().unwrap();
    check(
        &tailwater(&["log", "verify", "--dir", path]),
        5,
        &["corrupt at offset", "no valid entry 2"],
    );
    check(&watch(dir.path(), &["--from", "oldest"]), 5, &["no valid entry 2"]);
}

#[test]
fn help_teaches() {
    check(&tailwater(&["--help"]), 0, &["tailwater demo", "Exit codes", "import"]);
    check(&tailwater(&["help", "filter"]), 0, &["Match documents", "age > 18"]);
    check(&tailwater(&["watch", "--help"]), 0, &["--resume-file", "Examples"]);
    check(&tailwater(&["frobnicate"]), 2, &["frobnicate"]);
}
