//! A watcher's process: it follows the log through a filter and keeps every event in its [`Journal`].
//!
//! It opens the log for reading, beside the writer, and knows nothing of it: when the writer is killed it waits, and goes on
//! when there is one again. When it is killed itself, it goes on behind the token in the last whole line of its file.

use std::path::Path;
use std::time::{Duration, Instant};

use tailwater::{LogView, WatchError, log_directory};

use super::effect::Effect;
use super::journal::{self, Journal};
use super::watcher::Watcher;
use super::wire::{Message, Orders, tell};
use crate::failure::Outcome;

/// How often it reports at the most, and looks for orders at the least.
const INTERVAL: Duration = Duration::from_millis(40);

/// Follows the log until the director has it end.
pub(crate) fn run(dir: &Path, watcher: Watcher) -> Outcome {
    let orders = Orders::listen()?;
    let mut journal = Journal::open(&journal::path(dir, watcher))?;
    let watch = watcher.watch(LogView::open(log_directory(dir))?);
    let watch = match &journal.last {
        Some(effect) => watch.resume_after(effect.token.parse().map_err(|e: WatchError| e)?),
        None => watch.start_at_oldest(),
    };
    let mut stream = watch.start()?;
    tell([Message::Ready { found: journal.count }])?;

    let mut reported = Instant::now();
    let mut last = None;
    loop {
        if let Some(event) = stream.wait_next(Some(INTERVAL))? {
            journal.append(Effect::of(&event)?)?;
        }
        // The stream's token also moves over what does not match, so the end is seen even where nothing matches any more.
        let position = stream.resume_token().op_id();
        let through = orders.are_fulfilled_at(position);
        let message = Message::Seen {
            count: journal.count,
            position,
        };
        if last != Some(message) && (through || reported.elapsed() >= INTERVAL) {
            tell([message])?;
            (reported, last) = (Instant::now(), Some(message));
        }
        if through {
            return tell([Message::Done]);
        }
    }
}
