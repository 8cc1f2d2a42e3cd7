//! `tailwater log`: looking into a log without a store, also while another process writes it, and mending it.

pub(crate) mod place;
mod repair;
mod slots;
mod stat;
mod trim;

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use bson::{Bson, RawDocument, RawDocumentBuf, rawdoc};
use clap::Subcommand;
use tailwater::oplog::entry::{EntryKind, StoreEntry};
use tailwater::oplog::{Cursor, Entry, Finding, Interrupt, SegmentState, Timestamp, VerifyReport, verify};
use tailwater::{LogView, ReadConcern};

use self::place::Place;
use crate::directory::{log_within, open_view};
use crate::failure::{Exit, Failure, Outcome};
use crate::output::{self, Json};

/// Looks into a store's log: what it holds, whether it is sound, what is being written. Trims it, and repairs it.
///
/// `inspect`, `stat`, `slots`, `verify` and `tail` only read, and work beside a process that writes the store. `trim`, `repair`
/// and `slot drop` change the log and need it for themselves; with --dry-run the first two say what they would do.
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
    /// Shows what the log consists of, at a glance and without reading its entries: watermarks, bytes, segments, whether a
    /// writer is alive.
    Stat(DirectoryArguments),
    /// Lists the retention slots: what each consumer holds of the log, as it is written on disk.
    Slots(DirectoryArguments),
    /// Changes the retention slots.
    Slot(slots::Arguments),
    /// Prints entries as JSON lines, and follows the log as it grows; or the newest first, with --reverse.
    #[command(after_help = "Examples:\n  \
        tailwater log tail --dir ./store --reverse --limit 10\n  \
        tailwater log tail --dir ./store --from oldest --no-follow\n  \
        tailwater log tail --dir ./store --from 120000\n  \
        tailwater log tail --dir ./store --from 2026-11-21T09:30:00Z")]
    Tail(TailArguments),
    /// Removes the oldest entries: whole segments that hold only durable entries before an OpID or a time.
    ///
    /// A store's state is written out first, and nothing is removed that it still needs. A watcher whose token is older
    /// finds its history gone.
    #[command(after_help = "Examples:\n  \
        tailwater log trim --dir ./store --before 2026-11-01T00:00:00Z --dry-run\n  \
        tailwater log trim --dir ./store --before 120000\n\n\
        Exit code 4 when another process writes the log.")]
    Trim(trim::Arguments),
    /// Makes a damaged log one that opens, and keeps every byte it removes.
    ///
    /// OpIDs are dense, so of the entries on the two sides of the damage one side can stay the log. What is taken out of it
    /// goes to a folder `repair-<time>` in the log's directory, with a report. Restoring a copy of the log loses less, where
    /// there is one. A repair that was interrupted is carried to its end by the next.
    #[command(after_help = "Examples:\n  \
        tailwater log repair --dir ./store --dry-run\n  \
        tailwater log repair --dir ./store\n  \
        tailwater log repair --dir ./store --keep suffix\n\n\
        Exit codes: 0 when nothing is to be repaired or it is done; 4 when another process writes the log; 5 when a\n\
        dry run finds something to repair, or nothing can be kept.")]
    Repair(repair::Arguments),
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
    /// Where to begin: oldest, now, an OpID, or a time such as 2026-11-21T09:30:00Z. Without it at the oldest; with
    /// --reverse, at the newest.
    #[arg(long)]
    from: Option<String>,
    /// Go backward, to the oldest entry; from a time, begin with the last entry before it.
    #[arg(long)]
    reverse: bool,
    /// End after so many entries.
    #[arg(long)]
    limit: Option<u64>,
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
        Command::Stat(arguments) => stat::run(arguments),
        Command::Slots(arguments) => slots::list(arguments),
        Command::Slot(arguments) => slots::run(arguments),
        Command::Tail(arguments) => tail(arguments),
        Command::Trim(arguments) => trim::run(arguments),
        Command::Repair(arguments) => repair::run(arguments),
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

/// As JSON has numbers.
fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
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
    let mut out = BufWriter::with_capacity(64 << 10, io::stdout().lock());
    let mut left = arguments.limit.unwrap_or(u64::MAX);
    if arguments.reverse {
        let from = Place::parse("--from", arguments.from.as_deref().unwrap_or("now"))?;
        let mut cursor = from.backward(&view, concern)?;
        while left > 0
            && let Some(cursor) = &mut cursor
            && let Some(entry) = cursor.try_next()?
        {
            output::line(&mut out, &entry_document(&entry)?, json)?;
            left -= 1;
        }
        return output::written(out.flush());
    }
    let mut cursor = position(&view, arguments.from.as_deref().unwrap_or("oldest"), concern)?;
    loop {
        while left > 0
            && let Some(entry) = cursor.try_next()?
        {
            output::line(&mut out, &entry_document(&entry)?, json)?;
            left -= 1;
        }
        output::written(out.flush())?;
        if arguments.no_follow || left == 0 {
            return Ok(());
        }
        // Ends by a signal, or when the reader of the output goes away.
        let _ = cursor.wait(None, &Interrupt::new());
    }
}

fn position(view: &LogView, from: &str, concern: ReadConcern) -> Outcome<Cursor> {
    Ok(match Place::parse("--from", from)? {
        Place::Oldest => view.cursor_from_oldest(concern),
        Place::Now => view.cursor_from_now(concern),
        Place::Entry(op_id) => view.cursor(op_id, concern)?,
        Place::Time(time) => view.cursor_from_time(time, concern)?,
    })
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
