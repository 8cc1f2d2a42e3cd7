//! `tailwater log stat`: what a log consists of, at a glance.

use bson::{Bson, doc};
use tailwater::oplog::{Files, LogStat, SegmentState, Timestamp, stat};

use super::{DirectoryArguments, number, slots, state_name, time_text};
use crate::directory::log_within;
use crate::failure::Outcome;
use crate::output;

/// Runs the command.
pub(super) fn run(arguments: &DirectoryArguments) -> Outcome {
    let stat = stat(log_within(&arguments.dir))?;
    if arguments.json {
        return output::print(&format!("{}\n", json(&stat).into_relaxed_extjson()));
    }
    output::print(&text(&stat))
}

fn range(stat: &LogStat) -> Option<(Timestamp, Timestamp)> {
    let times = || stat.segments.iter().filter_map(|segment| segment.timestamps);
    Some((times().next()?.0, times().next_back()?.1))
}

fn in_state(stat: &LogStat, state: SegmentState) -> usize {
    stat.segments.iter().filter(|segment| segment.state == state).count()
}

fn text(stat: &LogStat) -> String {
    let marks = stat.watermarks;
    let mut text = format!(
        "log        {}, term {}, created {}\n",
        stat.log_id,
        stat.term,
        time_text(stat.created)
    );
    text += &format!(
        "writer     {}\n",
        stat.writer
            .as_ref()
            .map_or(String::from("none"), |holder| format!("alive ({holder})"))
    );
    text += &format!(
        "entries    oldest {}, released {}, durable {}, appended {}\n",
        marks.oldest, marks.released, marks.durable, marks.appended
    );
    if let Some((first, last)) = range(stat) {
        text += &format!("written    {} to {}\n", time_text(first), time_text(last));
    }
    let segment_bytes: u64 = stat.segments.iter().map(|segment| segment.file_bytes).sum();
    text += &format!(
        "segments   {} ({} sealed, {} full, {} open), {segment_bytes} bytes\n",
        stat.segments.len(),
        in_state(stat, SegmentState::Sealed),
        in_state(stat, SegmentState::Full),
        in_state(stat, SegmentState::Open)
    );
    let kinds = [
        ("spares", stat.spares),
        ("buffer", stat.buffer),
        ("torn", stat.torn),
        ("repairs", stat.repairs),
    ];
    for (name, files) in kinds {
        if files.count > 0 {
            text += &format!("{name:<10} {} files, {} bytes\n", files.count, files.bytes);
        }
    }
    text += &format!("all files  {} bytes\n\n", stat.bytes);
    text += "segment                                  state   first OpID    last OpID     frames (bytes)  file (bytes)  last written\n";
    for segment in &stat.segments {
        let name = segment.path.file_name().unwrap_or_default().to_string_lossy();
        let frames = segment.frame_bytes.map_or(String::from("-"), |bytes| bytes.to_string());
        let written = segment
            .timestamps
            .map_or(String::from("-"), |(_, last)| time_text(last));
        text += &format!(
            "{name:<40} {:<7} {:<13} {:<13} {frames:<15} {:<13} {written}\n",
            state_name(segment.state),
            segment.first,
            segment.last,
            segment.file_bytes
        );
        if let Some(error) = &segment.refused {
            text += &format!("  damage: {error}\n");
        }
    }
    if !stat.slots.is_empty() {
        text += "\n";
        text += &slots::text(&stat.slots);
    }
    if let Some(error) = &stat.slots_refused {
        text += &format!("\ndamage: {error}\n");
    }
    text
}

fn json(stat: &LogStat) -> Bson {
    let files = |files: Files| doc! { "count": number(files.count), "bytes": number(files.bytes) };
    let count = |state| number(in_state(stat, state) as u64);
    let segments: Vec<Bson> = stat
        .segments
        .iter()
        .map(|segment| {
            Bson::Document(doc! {
                "path": segment.path.display().to_string(),
                "state": state_name(segment.state),
                "first": number(segment.first.get()),
                "last": number(segment.last.get()),
                "frameBytes": segment.frame_bytes.map(number),
                "fileBytes": number(segment.file_bytes),
                "firstWritten": segment.timestamps.map(|(first, _)| time_text(first)),
                "lastWritten": segment.timestamps.map(|(_, last)| time_text(last)),
                "damage": segment.refused.as_ref().map(ToString::to_string),
            })
        })
        .collect();
    Bson::Document(doc! {
        "logId": stat.log_id.to_string(),
        "term": number(stat.term.get().into()),
        "created": time_text(stat.created),
        "writer": { "alive": stat.writer.is_some(), "holder": stat.writer.as_deref() },
        "watermarks": {
            "oldest": number(stat.watermarks.oldest.get()),
            "released": number(stat.watermarks.released.get()),
            "durable": number(stat.watermarks.durable.get()),
            "appended": number(stat.watermarks.appended.get()),
        },
        "firstWritten": range(stat).map(|(first, _)| time_text(first)),
        "lastWritten": range(stat).map(|(_, last)| time_text(last)),
        "bytes": number(stat.bytes),
        "sealed": count(SegmentState::Sealed),
        "full": count(SegmentState::Full),
        "open": count(SegmentState::Open),
        "spares": files(stat.spares),
        "buffer": files(stat.buffer),
        "torn": files(stat.torn),
        "repairs": files(stat.repairs),
        "segments": segments,
        "slots": slots::json(&stat.slots),
        "slotsDamage": stat.slots_refused.as_ref().map(ToString::to_string),
    })
}
