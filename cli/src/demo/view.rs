//! What the user sees while the demo runs: bars on a terminal, plain lines elsewhere.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{HumanCount, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::failure::{Failure, Outcome};

/// How often plain lines tell of progress.
const PLAIN_INTERVAL: Duration = Duration::from_secs(1);

/// How one process stands, to be shown.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) name: &'static str,
    /// Operations acknowledged or events received.
    pub(crate) count: u64,
    pub(crate) state: String,
}

/// Everything there is to show.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) writer: Standing,
    pub(crate) operations: u64,
    pub(crate) watchers: Vec<Standing>,
}

/// Standard output, as the demo uses it.
#[derive(Debug)]
pub(crate) struct View {
    started: Instant,
    bars: Option<Bars>,
    told: Option<Instant>,
    /// Why standard output could not be written.
    broken: Option<io::Error>,
}

#[derive(Debug)]
struct Bars {
    all: MultiProgress,
    writer: ProgressBar,
    watchers: Vec<ProgressBar>,
}

impl View {
    /// A view of a demo that begins now.
    pub(crate) fn new() -> View {
        View {
            started: Instant::now(),
            bars: None,
            told: None,
            broken: None,
        }
    }

    /// How long the demo has been running.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Whether somebody reads the output; a reader that has gone away is no error, as pipes go.
    pub(crate) fn is_read(&self) -> Outcome<bool> {
        match &self.broken {
            None => Ok(true),
            Some(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            Some(error) => Err(Failure::io("write to standard output", error)),
        }
    }

    /// Shows bars from now on, where standard output is a terminal that can have them.
    pub(crate) fn raise(&mut self, scene: &Scene) {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stdout());
        if !io::stdout().is_terminal() || all.is_hidden() {
            return;
        }
        let bar = |template: &str, name: &'static str, length| {
            let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            all.add(ProgressBar::new(length).with_style(style).with_prefix(name))
        };
        let writer = "  {prefix:8} {bar:20.cyan/blue} {human_pos:>5}/{human_len} acknowledged  {wide_msg}";
        let watcher = "  {prefix:8} {human_pos:>26} events received     {wide_msg}";
        let bars = Bars {
            writer: bar(writer, scene.writer.name, scene.operations),
            watchers: scene.watchers.iter().map(|w| bar(watcher, w.name, u64::MAX)).collect(),
            all: all.clone(),
        };
        self.bars = Some(bars);
    }

    /// Shows how things stand.
    pub(crate) fn progress(&mut self, scene: &Scene) {
        if let Some(bars) = &self.bars {
            let standings = std::iter::once(&scene.writer).chain(&scene.watchers);
            for (bar, standing) in std::iter::once(&bars.writer).chain(&bars.watchers).zip(standings) {
                bar.set_position(standing.count);
                if bar.message() != standing.state {
                    bar.set_message(standing.state.clone());
                }
            }
            return;
        }
        if self.told.is_some_and(|told| told.elapsed() < PLAIN_INTERVAL) {
            return;
        }
        if self.told.replace(Instant::now()).is_some() {
            let received = |w: &Standing| format!("{} {}", w.name, HumanCount(w.count));
            let received: Vec<String> = scene.watchers.iter().map(received).collect();
            let (done, all) = (HumanCount(scene.writer.count), HumanCount(scene.operations));
            self.tell(&match received.as_slice() {
                [] => format!("the writer is {}", scene.writer.state),
                received => format!("{done}/{all} acknowledged; {}", received.join(", ")),
            });
        }
    }

    /// Takes the bars away.
    pub(crate) fn lower(&mut self) {
        if let Some(bars) = self.bars.take() {
            let _ = bars.all.clear();
        }
    }

    /// Says that something has happened, with the time.
    pub(crate) fn tell(&mut self, text: &str) {
        let seconds = self.elapsed().as_secs_f64();
        self.say(&format!("{seconds:5.1} s  {text}"));
    }

    /// Prints a text, above the bars if there are any.
    pub(crate) fn say(&mut self, text: &str) {
        let printed = match &self.bars {
            Some(bars) => bars.all.println(text),
            None => {
                let mut out = io::stdout().lock();
                writeln!(out, "{text}").and_then(|()| out.flush())
            }
        };
        if let Err(error) = printed {
            self.broken.get_or_insert(error);
        }
    }
}
