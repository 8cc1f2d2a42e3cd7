//! `tailwater log`: looking into a log without a store, also while another process writes it.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use bson::{Bson, RawDocument, RawDocumentBuf, rawdoc};
use clap::Subcommand;
use tailwater::oplog::entry::{EntryKind, StoreEntry};
use tailwater::oplog::{Cursor, Entry, Finding, Interrupt, SegmentState, Timestamp, VerifyReport, verify};
use tailwater::{LogView, OpId, ReadConcern};

use crate::directory::{log_within, open_view};
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{self, Json};

/// Looks into a store's log: what it holds, whether it is sound, what is being written.
///
/// Every subcommand only reads, and works beside a process that writes the store.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows the log's segments: first and last OpID, bytes, times.
    Inspect(DirectoryArguments),
    /// Reads the whole log with every checksum. Exit code 5 when something durable is damaged.
    Verify(DirectoryArguments),
    /// Prints entries as JSON lines, and follows the log as it grows.
    #[command(after_help = "Examples:\n  \
        tailwater log tail --dir ./store --from oldest --no-follow\n  \
        tailwater log tail --dir ./store --from 120000\n  \
        tailwater log tail --dir ./store --from 2026-11-21T09:30:00Z")]
    Tail(TailArguments),
}

#[derive(Debug, clap::Args)]
struct DirectoryArguments {
    /// Directory of the store, or of the log itself.
    #[arg(long)]
    dir: PathBuf,
    /// Print one JSON document instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct TailArguments {
    /// Directory of the store, or of the log itself.
    #[arg(long)]
    dir: PathBuf,
    /// Where to begin: oldest, now, an OpID, or a time such as 2026-11-21T09:30:00Z.
    #[arg(long, default_value = "oldest")]
    from: String,
    /// End when there is nothing more to read.
    #[arg(long)]
    no_follow: bool,
    /// Show entries at once, before they are durable.
    #[arg(long)]
    local: bool,
    /// Write numbers and dates so that every BSON type can be told.
    #[arg(long)]
    canonical: bool,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    match &arguments.command {
        Command::Inspect(arguments) => inspect(arguments),
        Command::Verify(arguments) => check(arguments),
        Command::Tail(arguments) => tail(arguments),
    }
}

fn inspect(arguments: &DirectoryArguments) -> Outcome {
    let report = verify(log_within(&arguments.dir))?;
    if arguments.json {
        return print_json(&report);
    }
    let mut text = head(&report);
    text +=
        "segment                                  state   first OpID    last OpID     frames (bytes)  first written\n";
    for segment in &report.segments {
        let name = segment.path.file_name().unwrap_or_default().to_string_lossy();
        let written = segment
            .timestamps
            .map_or(String::from("-"), |(first, _)| time_text(first));
        text += &format!(
            "{name:<40} {:<7} {:<13} {:<13} {:<15} {written}\n",
            state_name(segment.state),
            segment.first,
            segment.last,
            segment.frame_bytes,
        );
    }
    output::print(&text)
}

fn check(arguments: &DirectoryArguments) -> Outcome {
    let report = verify(log_within(&arguments.dir))?;
    if arguments.json {
        print_json(&report)?;
    } else {
        let mut text = head(&report);
        for finding in &report.findings {
            text += &format!("{}\n", finding_text(finding));
        }
        if report.is_sound() {
            text += "sound: every entry was read and every checksum holds\n";
        }
        output::print(&text)?;
    }
    if report.is_sound() {
        return Ok(());
    }
    Err(Failure::new(Exit::Damage, "the log is damaged; nothing was changed"))
}

fn head(report: &VerifyReport) -> String {
    format!(
        "log {}, term {}, OpIDs {} to {}, {} segments\n",
        report.log_id,
        report.term,
        report.oldest,
        report.newest,
        report.segments.len()
    )
}

fn finding_text(finding: &Finding) -> String {
    match finding {
        Finding::TornTail { path, offset, bytes } => format!(
            "torn tail: {} has {bytes} bytes behind offset {offset} that a crash left; the next writer cuts them off and keeps a copy",
            path.display()
        ),
        Finding::Damage(error) => format!("damage: {error}"),
        other => format!("{other:?}"),
    }
}

fn state_name(state: SegmentState) -> &'static str {
    match state {
        SegmentState::Sealed => "sealed",
        SegmentState::Full => "full",
        SegmentState::Torn => "torn",
        _ => "open",
    }
}

fn print_json(report: &VerifyReport) -> Outcome {
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let segments: Vec<Bson> = report
        .segments
        .iter()
        .map(|segment| {
            Bson::Document(bson::doc! {
                "path": segment.path.display().to_string(),
                "state": state_name(segment.state),
                "first": number(segment.first.get()),
                "last": number(segment.last.get()),
                "frameBytes": number(segment.frame_bytes),
                "fileBytes": number(segment.file_bytes),
                "term": number(segment.term.get().into()),
                "firstWritten": segment.timestamps.map(|(first, _)| time_text(first)),
                "lastWritten": segment.timestamps.map(|(_, last)| time_text(last)),
            })
        })
        .collect();
    let findings: Vec<Bson> = report
        .findings
        .iter()
        .map(|finding| Bson::String(finding_text(finding)))
        .collect();
    let document = bson::doc! {
        "logId": report.log_id.to_string(),
        "term": number(report.term.get().into()),
        "oldest": number(report.oldest.get()),
        "newest": number(report.newest.get()),
        "sound": report.is_sound(),
        "segments": segments,
        "findings": findings,
    };
    output::print(&format!("{}\n", Bson::Document(document).into_relaxed_extjson()))
}

fn tail(arguments: &TailArguments) -> Outcome {
    let view = open_view(&arguments.dir, None)?;
    let concern = if arguments.local {
        ReadConcern::Local
    } else {
        ReadConcern::Durable
    };
    let json = if arguments.canonical {
        Json::Canonical
    } else {
        Json::Relaxed
    };
    let mut cursor = position(&view, &arguments.from, concern)?;
    let mut out = BufWriter::with_capacity(64 << 10, io::stdout().lock());
    loop {
        while let Some(entry) = cursor.try_next()? {
            output::line(&mut out, &entry_document(&entry)?, json)?;
        }
        output::written(out.flush())?;
        if arguments.no_follow {
            return Ok(());
        }
        // Ends by a signal, or when the reader of the output goes away.
        let _ = cursor.wait(None, &Interrupt::new());
    }
}

fn position(view: &LogView, from: &str, concern: ReadConcern) -> Outcome<Cursor> {
    if from == "oldest" {
        return Ok(view.cursor_from_oldest(concern));
    }
    if from == "now" {
        return Ok(view.cursor_from_now(concern));
    }
    if let Ok(number) = from.parse() {
        return Ok(view.cursor(OpId::new(number), concern)?);
    }
    let time = bson::DateTime::parse_rfc3339_str(from).map_err(|_| {
        let message = format!("--from {from:?}: give oldest, now, an OpID, or a time such as 2026-11-21T09:30:00Z");
        Failure::new(Exit::Usage, message)
    })?;
    let millis = u64::try_from(time.timestamp_millis()).unwrap_or(0);
    Ok(view.cursor_from_time(Timestamp::from_nanos(millis.saturating_mul(1_000_000)), concern)?)
}

/// One entry as a document, its sections under their names.
fn entry_document(entry: &Entry<'_>) -> Outcome<RawDocumentBuf> {
    let mut document = rawdoc! {
        "opId": i64::try_from(entry.op_id().get()).unwrap_or(i64::MAX),
        "term": i64::from(entry.term().get()),
        "time": bson::DateTime::from_millis(entry.timestamp().as_millis()),
    };
    let Some(kind) = EntryKind::from_number(entry.kind()) else {
        document.append(bson::raw::cstr!("kind"), i32::from(entry.kind()));
        let payload = bson::RawBinaryRef {
            subtype: bson::spec::BinarySubtype::Generic,
            bytes: entry.payload(),
        };
        document.append(bson::raw::cstr!("payload"), payload);
        return Ok(document);
    };
    let store = StoreEntry::decode(entry.payload())?;
    document.append(bson::raw::cstr!("kind"), kind.name());
    if entry.in_batch() {
        document.append(
            bson::raw::cstr!("batch"),
            if entry.ends_batch() { "end" } else { "member" },
        );
    }
    document.append(bson::raw::cstr!("db"), store.database);
    if !store.collection.is_empty() {
        document.append(bson::raw::cstr!("coll"), store.collection);
    }
    let sections: [(&bson::raw::CStr, Option<&RawDocument>); 6] = [
        (bson::raw::cstr!("key"), store.key),
        (bson::raw::cstr!("document"), store.document),
        (bson::raw::cstr!("diff"), store.diff),
        (bson::raw::cstr!("preImage"), store.pre_image),
        (bson::raw::cstr!("session"), store.session),
        (bson::raw::cstr!("detail"), store.detail),
    ];
    for (name, section) in sections {
        if let Some(section) = section {
            document.append(name, section);
        }
    }
    Ok(document)
}

fn time_text(time: Timestamp) -> String {
    bson::DateTime::from_millis(time.as_millis())
        .try_to_rfc3339_string()
        .unwrap_or_default()
}
