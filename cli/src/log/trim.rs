//! `tailwater log trim`: giving old history's space back.

use std::path::{Path, PathBuf};

use bson::{Bson, doc};
use tailwater::oplog::{LogStat, Options, SegmentStat, stat};
use tailwater::{LogView, OpId, ReadConcern, Store, StoreOptions};

use super::number;
use super::place::Place;
use crate::directory::{log_within, store_around};
use crate::failure::{Exit, Failure, Outcome};
use crate::output;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Directory of the store, or of the log itself.
    #[arg(long)]
    dir: PathBuf,
    /// Remove what lies before this OpID, or before this time, such as 2026-11-21T09:30:00Z.
    #[arg(long)]
    before: String,
    /// Say what would be removed, and remove nothing; this also works beside a writer.
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON document instead of text.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Outcome {
    let place = Place::parse_number_or_time(&arguments.before).ok_or_else(|| {
        let message = format!(
            "--before {:?}: give an OpID, or a time such as 2026-11-21T09:30:00Z",
            arguments.before
        );
        Failure::new(Exit::Usage, message)
    })?;
    let log = log_within(&arguments.dir);
    let was = stat(&log)?;
    let before = resolve(&log, place)?;
    if arguments.dry_run {
        let keep = kept_from(&was, before);
        let (gone, left) = was.segments.split_at(keep);
        return print(arguments, gone, left, "would remove");
    }
    match store_around(&arguments.dir) {
        // A store must not lose entries that its state still needs.
        Some(dir) => {
            let mut options = StoreOptions::default();
            options.oplog.create = false;
            let store = Store::open_with(dir, &options)?;
            store.trim_log(before)?;
            store.close()?;
        }
        None => {
            let options = Options {
                create: false,
                ..Options::default()
            };
            let log = options.open(&log)?;
            log.trim(before)?;
            log.close()?;
        }
    }
    let now = stat(&log)?;
    let gone: Vec<SegmentStat> = was
        .segments
        .into_iter()
        .filter(|segment| segment.first < now.watermarks.oldest)
        .collect();
    print(arguments, &gone, &now.segments, "removed")
}

fn resolve(log: &Path, place: Place) -> Outcome<OpId> {
    match place {
        Place::Entry(op_id) => Ok(op_id),
        Place::Time(time) => {
            let view = LogView::open(log)?;
            Ok(view.cursor_from_time(time, ReadConcern::Durable)?.position())
        }
        Place::Oldest | Place::Now => Err(Failure::new(Exit::Usage, "--before: give an OpID or a time")),
    }
}

/// How many segments would go: those that hold only durable entries below `before`, never the newest.
fn kept_from(stat: &LogStat, before: OpId) -> usize {
    let before = before.min(stat.watermarks.durable.next());
    let first = stat.segments.iter().rposition(|segment| segment.first <= before);
    first.unwrap_or(0)
}

fn print(arguments: &Arguments, gone: &[SegmentStat], left: &[SegmentStat], verb: &str) -> Outcome {
    let bytes = |segments: &[SegmentStat]| segments.iter().map(|segment| segment.file_bytes).sum::<u64>();
    let span = |segments: &[SegmentStat]| Some((segments.first()?.first, segments.last()?.last));
    if arguments.json {
        let part = |segments: &[SegmentStat]| {
            doc! {
                "segments": number(segments.len() as u64),
                "bytes": number(bytes(segments)),
                "first": span(segments).map(|(first, _)| number(first.get())),
                "last": span(segments).map(|(_, last)| number(last.get())),
            }
        };
        let document = doc! { "dryRun": arguments.dry_run, "removed": part(gone), "left": part(left) };
        return output::print(&format!("{}\n", Bson::Document(document).into_relaxed_extjson()));
    }
    let describe = |segments: &[SegmentStat]| {
        let entries = match span(segments) {
            Some((first, last)) if first <= last => format!("OpIDs {first} to {last}"),
            _ => String::from("no entries"),
        };
        format!("{} segments ({} bytes, {entries})", segments.len(), bytes(segments))
    };
    let mut text = match gone {
        [] => format!("{verb} nothing: no segment holds only durable entries before that\n"),
        gone => format!("{verb} {}\n", describe(gone)),
    };
    text += &format!("left: {}\n", describe(left));
    output::print(&text)
}
