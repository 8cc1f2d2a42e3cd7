//! `tailwater log trim`: giving old history's space back.

use std::path::{Path, PathBuf};

use bson::{Bson, doc};
use tailwater::oplog::{LogStat, Options, RetentionSlot, SegmentStat, SlotState, stat};
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
    let store = store_around(&arguments.dir);
    let was = stat(&log)?;
    let before = resolve(&log, place)?;
    if arguments.dry_run {
        // A damaged file of slots: no writer opens the log, and none can say what it would remove.
        if let Some(refused) = was.slots_refused {
            return Err(refused.into());
        }
        return print(arguments, &plan(&was, before, store.is_some()), "would remove");
    }
    match store {
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
    let gone = was
        .segments
        .partition_point(|segment| segment.first < now.watermarks.oldest);
    let is_active = |name: &str| was.slots.iter().any(|slot| slot.name == name && is_active(slot));
    let lost = now.slots.iter().filter(|slot| slot.state == SlotState::Lost);
    let done = Trim {
        gone: &was.segments[..gone],
        left: &now.segments,
        lost: lost.filter(|slot| is_active(&slot.name)).collect(),
        holds: None,
    };
    print(arguments, &done, "removed")
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

/// What a trim does, or would do.
struct Trim<'a> {
    gone: &'a [SegmentStat],
    left: &'a [SegmentStat],
    /// Slots that lag by more than their cap, and hold nothing from then on.
    lost: Vec<&'a RetentionSlot>,
    /// The slot that keeps more from going, if one does.
    holds: Option<&'a RetentionSlot>,
}

/// As [`Oplog::trim`](tailwater::oplog::Oplog::trim) decides it: what holds only durable entries below `before` goes, but for the newest segment and
/// what slots hold; those that lag by more than their cap are lost first.
fn plan(stat: &LogStat, before: OpId, of_a_store: bool) -> Trim<'_> {
    let (lost, holding): (Vec<_>, Vec<_>) = (stat.slots.iter().filter(|slot| is_active(slot)))
        // A store brings its state up to date before it trims, and its own hold goes along.
        .filter(|slot| !(of_a_store && slot.name.starts_with(RESERVED)))
        .partition(|slot| slot.position < stat.watermarks.oldest || slot.lag_bytes > slot.max_lag_bytes);
    let keep_from = |before| {
        let first = stat.segments.iter().rposition(|segment| segment.first <= before);
        first.unwrap_or(0)
    };
    let wanted = keep_from(before.min(stat.watermarks.durable.next()));
    let holds = holding.into_iter().min_by_key(|slot| slot.position);
    let keep = holds.map_or(wanted, |slot| wanted.min(keep_from(slot.position)));
    let (gone, left) = stat.segments.split_at(keep);
    Trim {
        gone,
        left,
        lost,
        holds: holds.filter(|_| keep < wanted),
    }
}

/// How the name of the slot begins that the log's owner has.
const RESERVED: &str = "tailwater.";

fn is_active(slot: &RetentionSlot) -> bool {
    slot.state == SlotState::Active
}

fn print(arguments: &Arguments, trim: &Trim<'_>, verb: &str) -> Outcome {
    let Trim {
        gone,
        left,
        lost,
        holds,
    } = trim;
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
        let names: Vec<&str> = lost.iter().map(|slot| slot.name.as_str()).collect();
        let document = doc! {
            "dryRun": arguments.dry_run,
            "removed": part(gone),
            "left": part(left),
            "lostSlots": names,
            "heldBy": holds.map(|slot| slot.name.as_str()),
        };
        return output::print(&format!("{}\n", Bson::Document(document).into_relaxed_extjson()));
    }
    let describe = |segments: &[SegmentStat]| {
        let entries = match span(segments) {
            Some((first, last)) if first <= last => format!("OpIDs {first} to {last}"),
            _ => String::from("no entries"),
        };
        format!("{} segments ({} bytes, {entries})", segments.len(), bytes(segments))
    };
    let mut text = match *gone {
        [] if holds.is_some() => format!("{verb} nothing\n"),
        [] => format!("{verb} nothing: no segment holds only durable entries before that\n"),
        gone => format!("{verb} {}\n", describe(gone)),
    };
    if let Some(slot) = holds {
        let (name, position) = (&slot.name, slot.position);
        text +=
            &format!("held back by retention slot {name:?}, whose consumer needs OpID {position} and what follows\n");
    }
    for slot in lost {
        let (name, lag, cap) = (&slot.name, slot.lag_bytes, slot.max_lag_bytes);
        let is = if arguments.dry_run { "would be" } else { "is" };
        text += &format!("retention slot {name:?} {is} lost: it lags by {lag} bytes, and its cap is {cap}\n");
    }
    text += &format!("left: {}\n", describe(left));
    output::print(&text)
}
