//! `tailwater log slots` and `tailwater log slot drop`: what consumers hold of a log, and ending that.

use std::path::PathBuf;

use bson::{Bson, doc};
use clap::Subcommand;
use tailwater::oplog::{Options, RetentionSlot, SlotState};

use super::{DirectoryArguments, number};
use crate::directory::{log_within, open_view};
use crate::failure::Outcome;
use crate::output;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Drops a slot, lost or not: what it holds goes with the next trim.
    #[command(after_help = "Exit code 4 when another process writes the log.")]
    Drop(DropArguments),
}

#[derive(Debug, clap::Args)]
struct DropArguments {
    /// The slot's name, as `tailwater log slots` prints it.
    name: String,
    /// Directory of the store, or of the log itself.
    #[arg(long)]
    dir: PathBuf,
}

/// Lists the slots.
pub(super) fn list(arguments: &DirectoryArguments) -> Outcome {
    let view = open_view(&arguments.dir, None)?;
    let slots = view.slots()?;
    if arguments.json {
        return output::print(&format!("{}\n", json(&slots).into_relaxed_extjson()));
    }
    output::print(&match text(&slots) {
        text if text.is_empty() => String::from("no retention slots\n"),
        text => text,
    })
}

/// Runs `slot drop`.
pub(super) fn run(arguments: &Arguments) -> Outcome {
    let Command::Drop(arguments) = &arguments.command;
    let options = Options {
        create: false,
        ..Options::default()
    };
    let log = options.open(log_within(&arguments.dir))?;
    log.slot_drop(&arguments.name)?;
    log.close()?;
    output::print(&format!("dropped retention slot {:?}\n", arguments.name))
}

fn state_name(slot: &RetentionSlot) -> &'static str {
    match slot.state {
        SlotState::Active => "active",
        SlotState::Lost => "lost",
    }
}

/// What a slot keeps on disk.
fn held_bytes(slot: &RetentionSlot) -> u64 {
    match slot.state {
        SlotState::Active => slot.lag_bytes,
        SlotState::Lost => 0,
    }
}

/// A table; nothing when there are none.
pub(super) fn text(slots: &[RetentionSlot]) -> String {
    if slots.is_empty() {
        return String::new();
    }
    let mut text = String::from(
        "slot                                     state   position      entries       held (bytes)    cap (bytes)\n",
    );
    for slot in slots {
        let cap = match slot.max_lag_bytes {
            u64::MAX => String::from("none"),
            bytes => bytes.to_string(),
        };
        text += &format!(
            "{:<40} {:<7} {:<13} {:<13} {:<15} {cap}\n",
            slot.name,
            state_name(slot),
            slot.position,
            slot.lag_entries,
            held_bytes(slot),
        );
    }
    text
}

pub(super) fn json(slots: &[RetentionSlot]) -> Bson {
    let slot = |slot: &RetentionSlot| {
        Bson::Document(doc! {
            "name": &slot.name,
            "state": state_name(slot),
            "position": number(slot.position.get()),
            "lagEntries": number(slot.lag_entries),
            "heldBytes": number(held_bytes(slot)),
            "maxLagBytes": number(slot.max_lag_bytes),
        })
    };
    Bson::Array(slots.iter().map(slot).collect())
}
