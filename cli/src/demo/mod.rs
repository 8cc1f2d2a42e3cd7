//! `tailwater demo`: proves on the spot that nothing gets lost.
//!
//! # What is proved
//!
//! Every write that was acknowledged reached every watcher whose filter it matches, exactly once and in order, although the
//! writer and a watcher were killed with SIGKILL in the middle of their work. The [`director`] knows what was acknowledged,
//! from outside; the [`proof`] reads the log with code of its own and compares.
//!
//! # The play
//!
//! ```text
//!                    ┌───────────── director (this process) ─────────────┐
//!                    │ starts, kills and resumes; remembers every ack    │
//!                    └──┬──────────────┬──────────────┬──────────────┬───┘
//!             pipes     │              │              │              │
//!                    ┌──▼─────┐     ┌──▼──┐       ┌───▼────┐     ┌───▼───┐
//!                    │ writer │     │ hot │       │downpour│     │changes│
//!                    └──┬─────┘     └──▲─┬┘       └───▲─┬──┘     └───▲─┬─┘
//!                 plan  │         log  │ │ file       │ │            │ │
//!                    ┌──▼──────────────┴─┼────────────┴─┼────────────┴─┼─┐
//!                    │ the store's directory            ▼              ▼ │
//!                    └───────────────────────────────────────────────────┘
//! ```
//!
//! What a kill leaves behind is settled by two files alone: the log tells a resumed [`writer`] how many writes are done, and
//! the [`journal`] tells a resumed [`consumer`] the token behind which to go on.

mod consumer;
mod dataset;
mod director;
mod effect;
mod journal;
mod kills;
mod model;
mod plan;
mod process;
mod proof;
mod report;
mod sabotage;
mod stage;
mod view;
mod watcher;
mod wire;
mod writer;
mod written;

use std::path::PathBuf;
use std::time::Duration;

use self::director::Director;
use self::plan::Plan;
use self::sabotage::Sabotage;
use self::stage::Stage;
use self::view::View;
use self::watcher::{WATCHERS, Watcher};
use crate::failure::{Exit, Failure, Outcome};

/// Kills its own writer and one of its watchers, resumes both, and proves that nothing was lost.
///
/// The demo fills a new store with four years of weather, while three other processes watch it, each through a filter of its
/// own. Twice the writer and once a watcher are killed with SIGKILL in the middle of their work and started anew. In the end
/// it reads the log entry by entry and compares, by count and SHA-256: every acknowledged write has to have reached every
/// matching watcher exactly once and in order.
///
/// It ends by itself within a minute, usually in about 15 seconds. Exit code 5 means that something was lost.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    tailwater demo\n  \
    tailwater demo --dir ./demo-store\n  \
    tailwater watch --dir ./demo-store --from oldest --filter 'temp_max >= 35'")]
pub(crate) struct Arguments {
    /// Directory for the store, new or empty; it stays [default: a temporary one that is removed at the end].
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Leave the temporary directory where it is, to look at.
    #[arg(long)]
    keep: bool,
    /// Run as fast as it goes rather than at a pace for watching.
    #[arg(long)]
    fast: bool,
    /// For the project's own tests: tampers with a watcher's file before the proof, which then has to fail.
    #[arg(long, hide = true, value_enum)]
    sabotage: Option<Sabotage>,
    /// Which of the demo's processes this is.
    #[arg(long, hide = true, value_enum, requires = "dir")]
    role: Option<Role>,
    /// Which watcher.
    #[arg(long, hide = true, value_enum, default_value = "hot")]
    watcher: Watcher,
    /// The operation before which the writer waits.
    #[arg(long, hide = true, default_value_t = usize::MAX)]
    until: usize,
}

/// A process of the demo other than the director.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Role {
    Writer,
    Watcher,
    Sweeper,
}

/// How fast it goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) fast: bool,
    /// For the whole plan.
    pub(crate) total: Duration,
    /// How long a killed writer stays down …
    pub(crate) writer_down: Duration,
    /// … and a killed watcher.
    pub(crate) watcher_down: Duration,
}

impl Pace {
    fn new(fast: bool) -> Pace {
        let (total, writer_down, watcher_down) = if fast { (1200, 30, 100) } else { (14_000, 700, 1500) };
        Pace {
            fast,
            total: Duration::from_millis(total),
            writer_down: Duration::from_millis(writer_down),
            watcher_down: Duration::from_millis(watcher_down),
        }
    }
}

/// Runs the command, or the process that its hidden arguments name.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let pace = Pace::new(arguments.fast);
    match (arguments.role, &arguments.dir) {
        (Some(Role::Writer), Some(dir)) => writer::run(dir, &Plan::new(&dataset::days()?), pace.total, arguments.until),
        (Some(Role::Watcher), Some(dir)) => consumer::run(dir, arguments.watcher),
        (Some(Role::Sweeper), Some(dir)) => stage::sweep(dir),
        _ => play(arguments, pace),
    }
}

fn play(arguments: &Arguments, pace: Pace) -> Outcome {
    let mut view = View::new();
    let days = dataset::days()?;
    let plan = Plan::new(&days);
    let mut stage = Stage::set(arguments.dir.as_deref())?;
    if arguments.keep {
        stage.keep();
    }
    view.say(&report::prologue(&stage, &days, &plan));

    let run = Director::new(&stage, &plan, pace, &mut view).run();
    view.lower();
    let Some(record) = run.map_err(|failure| with_evidence(failure, &mut stage))? else {
        return Ok(());
    };
    view.tell("writer and watchers are done; now the proof");
    if let Some(sabotage) = arguments.sabotage {
        sabotage.tamper_with(&journal::path(stage.dir(), WATCHERS[0]))?;
    }
    let proof = proof::prove(&stage, &plan, &record).map_err(|failure| with_evidence(failure, &mut stage))?;
    view.say(&report::epilogue(&plan, &record, &proof, view.elapsed()));

    let faults = proof.all_faults();
    if faults.is_empty() {
        if !stage.is_temporary() {
            view.say(&report::invitation(&stage));
        }
        return view.is_read().map(drop);
    }
    let message = format!("not everything is as it has to be:\n  {}", faults.join("\n  "));
    let failure = Failure::new(Exit::Damage, message);
    Err(match arguments.sabotage {
        None => with_evidence(failure, &mut stage),
        Some(_) => failure,
    })
}

/// Has the store stay where a failure is to be looked into, and says so.
fn with_evidence(mut failure: Failure, stage: &mut Stage) -> Failure {
    if failure.exit == Exit::Damage {
        stage.keep();
        failure
            .message
            .push_str(&format!("\nthe store is kept: {}", stage.dir().display()));
    }
    failure
}
