//! Backup, restore and export as scripts use them: exit codes, messages, and what is there afterwards.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use bson::{Bson, RawDocumentBuf, doc, rawdoc};
use serde_json::Value;
use tailwater::{Store, StoreOptions};

fn tailwater(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tailwater"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
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

/// A directory for a test, with paths in it as arguments.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn at(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Runs a command whose arguments that begin with `@` are paths in here.
    fn run(&self, command: &str) -> Output {
        let arguments: Vec<String> = command
            .split(' ')
            .map(|argument| match argument.strip_prefix('@') {
                Some(name) => self.at(name),
                None => argument.to_owned(),
            })
            .collect();
        tailwater(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn open(dir: &Path) -> Store {
    let mut options = StoreOptions::default();
    options.oplog.segment_bytes = 1 << 20;
    Store::open_with(dir, &options).unwrap()
}

fn insert(store: &Store, ids: std::ops::Range<i32>, bytes: usize) {
    let collection = store.collection("d", "c").unwrap();
    for id in ids {
        collection
            .insert_one(&rawdoc! { "_id": id, "text": "x".repeat(bytes) })
            .unwrap();
    }
}

fn documents(dir: &Path) -> Vec<RawDocumentBuf> {
    let store = open(dir);
    let found = store
        .collection("d", "c")
        .unwrap()
        .find(&rawdoc! {})
        .unwrap()
        .map(Result::unwrap)
        .collect();
    store.close().unwrap();
    found
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_backup_is_restored_to_its_end_and_to_points_before_it() {
    let place = Place::new();
    let store = open(&place.path("store"));
    insert(&store, 0..20, 10);
    store.close().unwrap();
    check(
        &place.run("backup --dir @store --to @backup --whole-log"),
        0,
        &["20 documents", "ends with entry 21", "can be restored from entry 1 on"],
    );
    check(&place.run("log verify --dir @backup"), 0, &["sound"]);
    check(
        &place.run("backup --dir @store --to @backup"),
        2,
        &["does not exist or is empty"],
    );
    check(
        &place.run("restore --from @backup --to @all"),
        0,
        &["20 documents", "entry 21"],
    );
    assert_eq!(documents(&place.path("all")), documents(&place.path("store")));
    let restored = json(&place.run("restore --from @backup --to @early --to-opid 6 --json"));
    assert_eq!((&restored["opId"], &restored["documents"]), (&6.into(), &5.into()));
    assert_eq!(documents(&place.path("early")).len(), 5);
    for (arguments, code, said) in [
        ("restore --from @backup --to @early", 2, "already"),
        ("restore --from @backup --to @x --to-opid 99", 6, "the last is 21"),
        (
            "restore --from @backup --to @x --to-time 2200-01-01T00:00:00Z",
            6,
            "after the last entry",
        ),
        (
            "restore --from @backup --to @x --to-time 1980-01-01T00:00:00Z",
            6,
            "earliest is 1",
        ),
        ("restore --from @backup --to @x --to-time soon", 2, "give a time"),
        ("restore --from @nowhere --to @x", 4, "no backup"),
        ("backup --dir @nowhere --to @x", 4, "nowhere"),
    ] {
        check(&place.run(arguments), code, &[said]);
    }
    assert_eq!(place.names(), ["all", "backup", "early", "store"]);
}

#[test]
fn a_store_in_use_gives_its_log_or_says_what_to_do() {
    let place = Place::new();
    let store = open(&place.path("store"));
    insert(&store, 0..100, 30_000);
    check(
        &place.run("backup --dir @store --to @backup"),
        0,
        &["the log alone", "can be restored from entry 1 on"],
    );
    check(
        &place.run("export --dir @store --db d --collection c"),
        4,
        &["open for writing elsewhere"],
    );
    check(&place.run("restore --from @store --to @x"), 4, &["open for writing"]);
    let backup = store
        .backup(place.path("own"), &tailwater::BackupOptions::default())
        .unwrap();
    store.trim_log(backup.op_id).unwrap();
    check(
        &place.run("backup --dir @store --to @x"),
        4,
        &["another process has the store open", "Store::backup"],
    );
    insert(&store, 100..110, 10);
    // Beyond the backup, by the log of the store that is still being written.
    check(
        &place.run("restore --from @own --to @now --log @store"),
        0,
        &["110 documents"],
    );
    check(
        &place.run("restore --from @own --to @x --to-opid 5"),
        6,
        &["the earliest is 101", "older backup"],
    );
    store.close().unwrap();
    check(&place.run("restore --from @backup --to @log"), 0, &["100 documents"]);
    assert_eq!(documents(&place.path("log")).len(), 100);
}

/// One document with every type of BSON there is, and some numbers that are easily lost.
fn all_types() -> RawDocumentBuf {
    use bson::spec::BinarySubtype;
    let every = doc! {
        "_id": "types",
        "double": [1.5, -0.0, 1e300, f64::INFINITY, f64::NEG_INFINITY, 3.0],
        "string": "π \u{0} \" \\ \n",
        "document": { "": {}, "a.b": [] , "$x": 1 },
        "binary": Bson::Binary(bson::Binary { subtype: BinarySubtype::Generic, bytes: vec![0, 255, 7] }),
        "uuid": Bson::Binary(bson::Binary { subtype: BinarySubtype::Uuid, bytes: vec![9; 16] }),
        "old": Bson::Binary(bson::Binary { subtype: BinarySubtype::BinaryOld, bytes: vec![1, 2] }),
        "undefined": Bson::Undefined,
        "oid": bson::oid::ObjectId::from_bytes([7; 12]),
        "bool": [true, false],
        "date": [bson::DateTime::from_millis(0), bson::DateTime::from_millis(-1), bson::DateTime::from_millis(i64::MAX)],
        "null": Bson::Null,
        "regex": Bson::RegularExpression(bson::Regex { pattern: "^a/".try_into().unwrap(), options: "im".try_into().unwrap() }),
        "code": Bson::JavaScriptCode("f()".into()),
        "scope": Bson::JavaScriptCodeWithScope(bson::JavaScriptCodeWithScope { code: "g()".into(), scope: doc! { "x": 1 } }),
        "symbol": Bson::Symbol("s".into()),
        "int": [0, i32::MIN, i32::MAX],
        "long": [0i64, i64::MIN, i64::MAX],
        "timestamp": Bson::Timestamp(bson::Timestamp { time: u32::MAX, increment: 1 }),
        "decimal": "0.10".parse::<bson::Decimal128>().unwrap(),
        "min": Bson::MinKey,
        "max": Bson::MaxKey,
    };
    RawDocumentBuf::try_from(&every).unwrap()
}

#[test]
fn what_is_exported_is_imported_as_it_was() {
    let place = Place::new();
    let store = open(&place.path("store"));
    let collection = store.collection("d", "c").unwrap();
    collection.insert_one(&all_types()).unwrap();
    insert(&store, 0..3, 5);
    drop(collection);
    store.close().unwrap();
    let before = documents(&place.path("store"));
    for format in ["jsonl", "json"] {
        let export = format!("export --dir @store --db d --collection c --canonical --format {format} --out @{format}");
        check(&place.run(&export), 0, &["exported 4 documents"]);
        let import = format!("import --dir @store-{format} --db d --collection c @{format}");
        check(&place.run(&import), 0, &["imported 4 documents"]);
        assert_eq!(documents(&place.path(&format!("store-{format}"))), before, "{format}");
    }
    // Relaxed: one document a line.
    let lines = place.run("export --dir @store --db d --collection c");
    let lines: Vec<Value> = lines
        .stdout
        .split(|b| *b == b'\n')
        .filter(|l| !l.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[0], serde_json::json!({"_id": 0, "text": "xxxxx"}));
}

#[test]
fn an_export_is_filtered_in_both_languages_and_refuses_by_name() {
    let place = Place::new();
    let store = open(&place.path("store"));
    insert(&store, 0..10, 5);
    store.close().unwrap();
    let export = |more: &[&str]| {
        let dir = place.at("store");
        tailwater(&[&["export", "--dir", &dir, "--db", "d", "--collection", "c"], more].concat())
    };
    for filter in ["_id >= 7", r#"{"_id": {"$gte": 7}}"#] {
        let array = json(&export(&["--filter", filter, "--format", "json"]));
        assert_eq!(array.as_array().unwrap().len(), 3, "{filter}");
    }
    assert_eq!(
        json(&export(&["--filter", "_id > 70", "--format", "json"])),
        serde_json::json!([])
    );
    check(&export(&["--filter", "_id >"]), 2, &["--filter"]);
    check(&export(&["--filter", r#"{"_id": {"$no": 1}}"#]), 2, &["$no"]);
    check(&export(&["--filter", r#"{"_id": 1} 7"#]), 2, &["--filter"]);
    check(
        &place.run("export --dir @store --db d --collection missing"),
        2,
        &["no collection d.missing"],
    );
    check(
        &place.run("export --dir @nowhere --db d --collection c"),
        4,
        &["nowhere"],
    );
    // An output that cannot be written leaves what was there.
    std::fs::File::create(place.path("old"))
        .unwrap()
        .write_all(b"old")
        .unwrap();
    check(&export(&["--filter", "_id >", "--out", &place.at("old")]), 2, &[]);
    assert_eq!(std::fs::read(place.path("old")).unwrap(), b"old");
    check(&export(&["--out", &place.at("no/such/file")]), 1, &["cannot write"]);
    assert_eq!(place.names(), ["old", "store"]);
}

#[test]
fn help_teaches() {
    check(
        &tailwater(&["backup", "--help"]),
        0,
        &["--whole-log", "Examples", "Store::backup"],
    );
    check(
        &tailwater(&["restore", "--help"]),
        0,
        &["--to-time", "--to-opid", "--log"],
    );
    check(
        &tailwater(&["export", "--help"]),
        0,
        &["--canonical", "--filter", "import"],
    );
}
