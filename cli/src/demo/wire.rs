//! How the director and its processes talk: lines of words through pipes.
//!
//! ```text
//! director ──► stdin   end OPID             watcher: nothing is written any more; end once you are past this OpID
//!              stdin closed                 the director is gone: end at once
//! director ◄── stdout  ready N              open, with N operations or events found from before
//!              ack INDEX OPID               writer: this operation of the plan is on disk
//!              seen N OPID                  watcher: N events are in the file, the stream has come to this OpID
//!              done                         finished
//! ```
//!
//! Lines are written by one call each (or many at once), so a killed process leaves whole lines and at most one beginning.

use std::io::{self, BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tailwater::OpId;

use crate::failure::{Exit, Failure, Outcome};

/// What a process tells the director.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Message {
    Ready { found: u64 },
    Ack { index: usize, op_id: OpId },
    Seen { count: u64, position: OpId },
    Done,
}

impl Message {
    /// The line, with its end.
    pub(crate) fn line(self) -> String {
        match self {
            Message::Ready { found } => format!("ready {found}\n"),
            Message::Ack { index, op_id } => format!("ack {index} {op_id}\n"),
            Message::Seen { count, position } => format!("seen {count} {position}\n"),
            Message::Done => "done\n".to_owned(),
        }
    }

    /// Reads a line without its end.
    pub(crate) fn parse(line: &str) -> Option<Message> {
        let words: Vec<&str> = line.split(' ').collect();
        Some(match words[..] {
            ["ready", found] => Message::Ready {
                found: found.parse().ok()?,
            },
            ["ack", index, op_id] => Message::Ack {
                index: index.parse().ok()?,
                op_id: OpId::new(op_id.parse().ok()?),
            },
            ["seen", count, position] => Message::Seen {
                count: count.parse().ok()?,
                position: OpId::new(position.parse().ok()?),
            },
            ["done"] => Message::Done,
            _ => return None,
        })
    }
}

/// Tells the director.
pub(crate) fn tell(messages: impl IntoIterator<Item = Message>) -> Outcome {
    let text: String = messages.into_iter().map(Message::line).collect();
    let mut out = io::stdout().lock();
    let told = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    told.map_err(|e| Failure::io("report to the director", &e))
}

/// What the director says, as a thread hears it.
#[derive(Clone, Debug)]
pub(crate) struct Orders {
    /// OpID after which to end; [`u64::MAX`] until there is one.
    end: Arc<AtomicU64>,
}

impl Orders {
    /// Begins to listen. When the director is gone, the process ends, wherever it is: as after a kill, nothing is lost.
    pub(crate) fn listen() -> Outcome<Orders> {
        let orders = Orders {
            end: Arc::new(AtomicU64::new(u64::MAX)),
        };
        let end = Arc::clone(&orders.end);
        let listener = move || {
            for line in io::stdin().lock().lines().map_while(Result::ok) {
                if let Some(op_id) = line.strip_prefix("end ").and_then(|text| text.parse().ok()) {
                    end.store(op_id, Ordering::SeqCst);
                }
            }
            std::process::exit(Exit::Failure as i32);
        };
        let thread = std::thread::Builder::new().name("demo-orders".into()).spawn(listener);
        thread.map_err(|e| Failure::io("start a thread", &e))?;
        Ok(orders)
    }

    /// Whether a stream that has come to `position` is through.
    pub(crate) fn are_fulfilled_at(&self, position: OpId) -> bool {
        position.get() >= self.end.load(Ordering::SeqCst)
    }
}

/// The order to end after `op_id`.
pub(crate) fn end_order(op_id: OpId) -> String {
    format!("end {op_id}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_wire() {
        let op_id = OpId::new(7);
        for message in [
            Message::Ready { found: 3 },
            Message::Ack { index: 4, op_id },
            Message::Seen {
                count: 5,
                position: op_id,
            },
            Message::Done,
        ] {
            assert_eq!(Message::parse(message.line().trim_end()), Some(message));
        }
        assert_eq!(Message::parse("ack 1"), None);
    }
}
