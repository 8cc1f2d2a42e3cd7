//! `docs/read_log.py`, which was written from `docs/oplog-format.md` alone, and the engine agree about every log here:
//! entry by entry, and in what they say is wrong.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tailwater_oplog::{Error, Finding, OplogView, ReadConcern, verify};

use crate::common;

use common::{CASES, append_to, copy, names, options};

/// What a reader has made of a log.
#[derive(PartialEq, Debug)]
struct Account {
    entries: Vec<Value>,
    verdict: Value,
}

fn script(dir: &Path) -> Account {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/read_log.py");
    let output = Command::new("python3").arg(&script).arg(dir).output();
    let output = output.expect("this test needs python3 on the PATH, to run docs/read_log.py");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let mut entries: Vec<Value> = lines.collect();
    let errors = String::from_utf8_lossy(&output.stderr);
    let mut verdict = entries
        .pop()
        .unwrap_or_else(|| panic!("the script said nothing: {errors}"));
    assert!(errors.is_empty(), "{errors}");
    let sound = ["sound", "torn tail"].contains(&verdict["verdict"].as_str().unwrap());
    assert_eq!(output.status.code(), Some(i32::from(!sound)), "{verdict}");
    // Notes are for people; but of a log that is as it should be there is nothing to note.
    let notes = verdict.as_object_mut().unwrap().remove("notes").unwrap();
    for entry in &mut entries {
        // The engine shows no watermarks.
        let watermark = entry.as_object_mut().unwrap().remove("watermark").unwrap();
        assert!(watermark.as_u64() < entry["op_id"].as_u64());
    }
    if verdict["verdict"] == "sound" {
        let notes = notes.as_array().unwrap();
        assert!(
            notes.iter().all(|note| note.as_str().unwrap().contains("header copy")),
            "{notes:?}"
        );
    }
    Account { entries, verdict }
}

fn verdict(error: &Error) -> Value {
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    match error {
        Error::Corrupt {
            path, offset, expected, ..
        } => {
            json!({"verdict": "corrupt", "file": name(path), "offset": offset, "op_id": expected.get()})
        }
        Error::MissingSegment { sequence, .. } => json!({"verdict": "missing segment", "sequence": sequence}),
        Error::ForeignSegment { path, .. } => json!({"verdict": "foreign segment", "file": name(path)}),
        Error::DamagedMetadata { path, what } => json!({"verdict": "damaged", "file": name(path), "what": what}),
        Error::NewerFormat { found, .. } => json!({"verdict": "newer format", "found": found}),
        other => panic!("{other:?}"),
    }
}

fn engine(dir: &Path) -> Account {
    let mut entries = Vec::new();
    let view = match OplogView::open(dir) {
        Ok(view) => view,
        Err(error) => {
            return Account {
                entries,
                verdict: verdict(&error),
            };
        }
    };
    let mut cursor = view.cursor_from_oldest(ReadConcern::Durable);
    loop {
        match cursor.try_next() {
            Err(error) => {
                return Account {
                    entries,
                    verdict: verdict(&error),
                };
            }
            Ok(None) => break,
            Ok(Some(entry)) => entries.push(json!({
                "op_id": entry.op_id().get(),
                "term": entry.term().get(),
                "kind": entry.kind(),
                "flags": u8::from(entry.in_batch()) + 2 * u8::from(entry.in_batch() && entry.ends_batch()),
                "timestamp": entry.timestamp().as_nanos(),
                "crc": crc32fast::hash(entry.payload()),
            })),
        }
    }
    // Whether the tail is torn shows in what a writer does with it.
    let newest = view.newest(ReadConcern::Durable).get();
    let copied = copy(dir);
    let log = options().open(copied.path()).unwrap();
    assert_eq!(log.watermarks().durable.get(), newest);
    drop(log);
    let torn: Vec<_> = names(copied.path())
        .into_iter()
        .filter(|name| name.starts_with("torn-"))
        .collect();
    let verdict = if torn.is_empty() { "sound" } else { "torn tail" };
    Account {
        entries,
        verdict: json!({"verdict": verdict, "newest": newest}),
    }
}

fn agree(dir: &Path, what: &str) -> Account {
    let (mut script, engine) = (script(dir), engine(dir));
    let findings = verify(dir).map_or(Vec::new(), |report| report.findings);
    // The first; the others are of segments behind the end.
    if let Some(Finding::TornTail { path, offset, .. }) = findings.first() {
        assert_eq!(script.verdict["verdict"], "torn tail", "{what}");
        assert_eq!(script.verdict["offset"], *offset, "{what}");
        assert_eq!(
            script.verdict["file"],
            path.file_name().unwrap().to_str().unwrap(),
            "{what}"
        );
    }
    if ["sound", "torn tail"].contains(&script.verdict["verdict"].as_str().unwrap()) {
        // Where the newest frame ends is not to be had from the engine's public face.
        let verdict = script.verdict.as_object_mut().unwrap();
        verdict.remove("file");
        verdict.remove("offset");
    }
    assert_eq!(script, engine, "{what}");
    script
}

#[test]
fn script_and_engine_agree_about_every_log_made_now() {
    for case in CASES {
        agree(case.make().path(), case.name);
    }
}

#[test]
fn script_and_engine_agree_about_every_kept_log() {
    for (name, text) in common::kept() {
        agree(common::unpack(&text).path(), &name);
    }
}

#[test]
fn script_and_engine_agree_about_a_log_of_many_segments_and_terms() {
    let dir = common::temporary();
    let log = options().open(dir.path()).unwrap();
    append_to(&log, 30);
    log.close().unwrap();
    for round in 0..6 {
        let log = options().open(dir.path()).unwrap();
        for n in 0..700 {
            let payload = vec![round; 7 * n % 1000];
            log.append(128 + round, &payload, tailwater_oplog::Durability::Memory)
                .unwrap();
        }
        log.close().unwrap();
    }
    let account = agree(copy(dir.path()).path(), "six more terms");
    assert_eq!(account.entries.len(), 30 + 6 * 700);
    assert!(common::segments(dir.path()).len() >= 4);
}

#[test]
fn script_and_engine_agree_about_an_index_that_no_segment_can_have() {
    let sound = common::closed(common::LAST);
    let frames = common::frames(&std::fs::read(&common::segments(sound.path())[1]).unwrap());
    let (second, end) = (frames[8].start as u32 / 8, frames[9].end as u32 / 8);
    let forgeries: [&[u32]; 8] = [
        &[512, second],
        &[],
        &[512],
        &[0, second],
        &[512, 512],
        &[512, 512 + 39],
        &[512, end - 4],
        &[512, second, end - 5],
    ];
    for forgery in forgeries {
        let dir = common::closed(common::LAST);
        common::forge_index(&common::segments(dir.path())[1], forgery);
        let account = agree(dir.path(), &format!("{forgery:?}"));
        assert_eq!(account.entries.len() as u64, common::LAST, "{forgery:?}");
    }
}

/// One bit after the other of a small log's newest segment: whatever it does to the frames, the two see the same.
#[test]
fn script_and_engine_agree_about_flipped_bits_anywhere() {
    let dir = common::closed(10);
    let segment = common::segments(dir.path()).remove(0);
    let last = common::frames(&std::fs::read(&segment).unwrap()).pop().unwrap();
    let metadata = (0..2048).step_by(97);
    let frames = (common::FRAMES_START..last.end + 64).step_by(61);
    for offset in metadata.chain(frames) {
        common::flip(&segment, offset);
        agree(dir.path(), &format!("a flipped bit at {offset}"));
        common::flip(&segment, offset);
    }
}
