//! What `tailwater follow` shows of itself: a bar on a terminal, lines elsewhere.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tailwater::replication::FollowerEvent;

/// A copy is counted in bytes, …
const BYTES: &str = "{spinner} {msg} {wide_bar} {bytes}/{total_bytes} {binary_bytes_per_sec}";
/// … the log in entries.
const ENTRIES: &str = "{spinner} {msg} {wide_bar} {human_pos}/{human_len} entries";
/// How often a line says how far a copy has come.
const PACE: Duration = Duration::from_secs(10);

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// What a follower shows.
#[derive(Clone)]
pub(super) struct Display {
    /// It says how far a copy has come, and afterwards how far the log, or what was heard last.
    bar: ProgressBar,
    /// When a line last said how far a copy has come.
    said: Arc<Mutex<Option<Instant>>>,
}

impl Display {
    /// On standard error.
    pub(super) fn new() -> Display {
        if !std::io::stderr().is_terminal() {
            return Display::on(ProgressDrawTarget::hidden());
        }
        let display = Display::on(ProgressDrawTarget::stderr());
        display.bar.enable_steady_tick(Duration::from_millis(200));
        display
    }

    fn on(target: ProgressDrawTarget) -> Display {
        Display {
            bar: ProgressBar::with_draw_target(Some(0), target).with_style(style(BYTES)),
            said: Arc::default(),
        }
    }

    /// Takes the bar away.
    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }

    /// Shows what happens.
    #[expect(clippy::print_stderr, reason = "a command line prints")]
    pub(super) fn show(&self, event: &FollowerEvent) {
        if let Some(line) = self.draw(event, Instant::now()) {
            eprintln!("tailwater: {line}");
        }
    }

    /// Shows it on the bar; returns what is to be printed where there is none.
    fn draw(&self, event: &FollowerEvent, now: Instant) -> Option<String> {
        let bar = &self.bar;
        let text = match event {
            FollowerEvent::Preparing { bytes, expected } => {
                return self.draw_copy("the primary copies its state", *bytes, (*expected).max(*bytes), now);
            }
            FollowerEvent::Copying { bytes, total } => return self.draw_copy("copying", *bytes, *total, now),
            FollowerEvent::Progress(progress) => {
                bar.set_style(style(ENTRIES));
                bar.set_message(match progress.entries_behind() {
                    0 => "up to date".to_owned(),
                    _ => format!("{:.1} s behind", progress.behind.as_secs_f64()),
                });
                bar.set_length(progress.newest.get());
                bar.set_position(progress.durable.get());
                return None;
            }
            FollowerEvent::Following { term, from } => format!("following in term {term}, from entry {from} on"),
            FollowerEvent::RolledBack { last, file } => {
                format!(
                    "entries behind {last} are not the primary's: they are in {}, and removed",
                    file.display()
                )
            }
            FollowerEvent::Resyncing { .. } => "what is here is replaced by a new copy".to_owned(),
            FollowerEvent::Retrying { error, after } => match error {
                Some(error) => format!("{error}; trying again in {after:?}"),
                None => {
                    format!("the primary is not one to follow at the moment; trying again in {after:?}")
                }
            },
            _ => return None,
        };
        if bar.is_hidden() {
            return Some(text);
        }
        bar.set_message(text);
        None
    }

    fn draw_copy(&self, what: &'static str, bytes: u64, total: u64, now: Instant) -> Option<String> {
        self.bar.set_style(style(BYTES));
        self.bar.set_message(what);
        self.bar.set_length(total);
        self.bar.set_position(bytes);
        // Every change is one step.
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = said.is_none_or(|last| now.saturating_duration_since(last) >= PACE);
        if !self.bar.is_hidden() || !is_due {
            return None;
        }
        *said = Some(now);
        Some(format!("{what}: {} of {}", HumanBytes(bytes), HumanBytes(total)))
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use indicatif::TermLike;
    use tailwater::OpId;
    use tailwater::oplog::Term;
    use tailwater::replication::decision::Apart;
    use tailwater::replication::{Error, FollowerProgress};

    use super::*;

    /// A terminal of which the last line is kept.
    #[derive(Clone, Debug, Default)]
    struct Line(Arc<Mutex<String>>);

    impl TermLike for Line {
        fn width(&self) -> u16 {
            100
        }

        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }

        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)
        }

        fn write_str(&self, text: &str) -> io::Result<()> {
            self.0.lock().unwrap().push_str(text);
            Ok(())
        }

        fn clear_line(&self) -> io::Result<()> {
            self.0.lock().unwrap().clear();
            Ok(())
        }

        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn progress(durable: u64, newest: u64, behind: Duration) -> FollowerEvent {
        let mut progress = FollowerProgress::default();
        (progress.durable, progress.newest, progress.behind) = (OpId::new(durable), OpId::new(newest), behind);
        FollowerEvent::Progress(progress)
    }

    fn events() -> Vec<(FollowerEvent, &'static [&'static str])> {
        let copying = |bytes| FollowerEvent::Copying { bytes, total: 8 << 20 };
        let preparing = FollowerEvent::Preparing {
            bytes: 3 << 20,
            expected: 2 << 20,
        };
        let retrying = |error| FollowerEvent::Retrying {
            error,
            after: Duration::from_millis(400),
        };
        vec![
            (preparing, &["the primary copies its state", "3.00 MiB/3.00 MiB"]),
            (copying(0), &["copying", "0 B/8.00 MiB"]),
            (copying(2 << 20), &["copying", "2.00 MiB/8.00 MiB", "/s"]),
            (
                FollowerEvent::Following {
                    term: Term::new(7),
                    from: OpId::new(12),
                },
                &["following in term", "from entry 12 on"],
            ),
            (
                progress(1000, 2500, Duration::from_millis(1500)),
                &["1.5 s behind", "1,000/2,500 entries"],
            ),
            (
                progress(2500, 2500, Duration::ZERO),
                &["up to date", "2,500/2,500 entries"],
            ),
            (
                retrying(Some(Error::Busy)),
                &["a copy of the state is being made already; trying again in 400ms"],
            ),
            (retrying(None), &["not one to follow at the moment"]),
            (
                FollowerEvent::RolledBack {
                    last: OpId::new(9),
                    file: "kept.jsonl".into(),
                },
                &["entries behind 9", "kept.jsonl"],
            ),
            (
                FollowerEvent::Resyncing {
                    apart: Apart::Unrelated,
                },
                &["replaced by a new copy"],
            ),
        ]
    }

    #[test]
    fn a_bar_says_how_far_it_has_come() {
        let line = Line::default();
        let display = Display::on(ProgressDrawTarget::term_like(Box::new(line.clone())));
        for (event, parts) in events() {
            assert_eq!(display.draw(&event, Instant::now()), None, "a bar and lines");
            display.bar.force_draw();
            let drawn = line.0.lock().unwrap().clone();
            for part in parts {
                assert!(drawn.contains(part), "{part} in {drawn:?}");
            }
        }
        display.end();
        assert_eq!(line.0.lock().unwrap().trim(), "");
    }

    #[test]
    fn without_a_terminal_lines_say_what_happens_and_seldom_how_far_it_has_come() {
        let (display, begun) = (Display::on(ProgressDrawTarget::hidden()), Instant::now());
        let at = |second: u64| {
            let event = FollowerEvent::Copying {
                bytes: second << 20,
                total: 64 << 20,
            };
            display.draw(&event, begun + Duration::from_secs(second))
        };
        let said: Vec<String> = (0..25).filter_map(at).collect();
        assert_eq!(
            said,
            [
                "copying: 0 B of 64.00 MiB",
                "copying: 10.00 MiB of 64.00 MiB",
                "copying: 20.00 MiB of 64.00 MiB"
            ]
        );
        for (event, parts) in events() {
            let said = display.draw(&event, begun).unwrap_or_default();
            match event {
                FollowerEvent::Preparing { .. } | FollowerEvent::Copying { .. } | FollowerEvent::Progress(_) => {
                    assert_eq!(said, "");
                }
                _ => assert!(parts.iter().all(|part| said.contains(part)), "{said}"),
            }
        }
    }
}
