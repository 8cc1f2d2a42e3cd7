//! `tailwater backup` and `tailwater restore`: a store's copy that is a store, and a store as it was at one point.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;

use bson::{Bson, DateTime, doc};
use indicatif::{ProgressBar, ProgressDrawTarget};
use tailwater::oplog::Timestamp;
use tailwater::{
    BackupError, BackupOptions, BackupOutcome, BackupProgress, Error, LogError, OpId, RestoreOptions, RestorePoint,
    Store, StoreOptions, backup_log,
};

use crate::directory::log_within;
use crate::failure::{Exit, Failure, Outcome};
use crate::log::place::Place;
use crate::output;

/// Copies a store to a directory that is a store itself: consistent, complete, and there only when it is whole.
///
/// While another process has the store open, its state is that process's. Then the log alone is copied, which needs it complete
/// from entry 1 on; the backup's first opening replays it. Otherwise have that process make the backup (Store::backup, beside
/// its writes), or stop it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    tailwater backup --dir ./store --to /backup/store-2026-11-21\n  \
    tailwater backup --dir ./store --to /backup/store-2026-11-21 --whole-log\n\n\
    A backup is restored by `tailwater restore`, to its end or to a point before it.")]
pub(crate) struct BackupArguments {
    /// Directory of the store.
    #[arg(long)]
    dir: PathBuf,
    /// Directory of the backup; it must not exist or be empty.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Copy all of the log, so that the backup can be restored to older points: to any, if the log was never trimmed.
    #[arg(long)]
    whole_log: bool,
    /// Print one JSON document instead of text.
    #[arg(long)]
    json: bool,
}

/// Makes a store of a backup: as it was at the backup's end, or at a point before it.
///
/// With --log, the point may also lie behind the backup: up to there, the log of the original store goes on. The backup is
/// only read.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    tailwater restore --from /backup/store-2026-11-21 --to ./store\n  \
    tailwater restore --from /backup/store-2026-11-21 --to ./store --to-time 2026-11-21T09:30:00Z\n  \
    tailwater restore --from /backup/store-2026-11-21 --to ./store --log ./broken/oplog --to-opid 120000\n\n\
    `tailwater log tail` shows entries with their OpIDs and times.")]
pub(crate) struct RestoreArguments {
    /// Directory of the backup.
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// Directory of the store to be made; it must not exist or be empty.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// End with this entry, the last of its batch.
    #[arg(long, value_name = "OPID", conflicts_with = "to_time")]
    to_opid: Option<u64>,
    /// End with the last entry written at this time or before, such as 2026-11-21T09:30:00Z.
    #[arg(long, value_name = "TIME")]
    to_time: Option<String>,
    /// Directory of the log that goes on from the backup, or of the store that it is the log of.
    #[arg(long, value_name = "DIR")]
    log: Option<PathBuf>,
    /// Print one JSON document instead of text.
    #[arg(long)]
    json: bool,
}

/// Runs `tailwater backup`.
pub(crate) fn backup(arguments: &BackupArguments) -> Outcome {
    let (mut options, bar) = options();
    options.whole_log = arguments.whole_log;
    let mut open = StoreOptions::default();
    open.oplog.create = false;
    let made = match Store::open_with(&arguments.dir, &open) {
        Ok(store) => {
            let made = store.backup(&arguments.to, &options);
            store.close()?;
            made
        }
        Err(Error::Log(LogError::Locked { .. })) => backup_log(&arguments.dir, &arguments.to, &options),
        Err(error) => Err(error.into()),
    };
    bar.finish_and_clear();
    let made = made?;
    if arguments.json {
        let document = doc! {
            "opId": number(made.op_id.get()),
            "time": made.time.map(date),
            "earliest": number(made.earliest.get()),
            "documents": made.documents.map(number),
            "bytes": number(made.bytes),
        };
        return print_json(document);
    }
    output::print(&described(arguments, &made))
}

fn described(arguments: &BackupArguments, made: &BackupOutcome) -> String {
    let holds = match made.documents {
        Some(documents) => format!("{documents} documents and the log behind them"),
        None => String::from("the log alone, because another process has the store open"),
    };
    format!(
        "backed up {} to {}: {holds}, {} bytes\nends with entry {}{}; can be restored from entry {} on\n",
        arguments.dir.display(),
        arguments.to.display(),
        made.bytes,
        made.op_id,
        written(made.time),
        made.earliest
    )
}

/// Runs `tailwater restore`.
pub(crate) fn restore(arguments: &RestoreArguments) -> Outcome {
    let mut options = RestoreOptions::default();
    options.to = match (arguments.to_opid, &arguments.to_time) {
        (Some(op_id), _) => Some(RestorePoint::Entry(OpId::new(op_id))),
        (None, Some(text)) => match Place::parse_number_or_time(text) {
            Some(Place::Time(time)) => Some(RestorePoint::Time(time)),
            _ => {
                let message = format!("--to-time {text:?}: give a time such as 2026-11-21T09:30:00Z");
                return Err(Failure::new(Exit::Usage, message));
            }
        },
        (None, None) => None,
    };
    options.log = arguments.log.as_deref().map(log_within);
    let (backup, bar) = self::options();
    options.backup = backup;
    let made = tailwater::restore(&arguments.from, &arguments.to, &options);
    bar.finish_and_clear();
    let made = made?;
    if arguments.json {
        let document = doc! {
            "opId": number(made.op_id.get()),
            "time": made.time.map(date),
            "documents": number(made.documents),
            "bytes": number(made.bytes),
        };
        return print_json(document);
    }
    output::print(&format!(
        "restored {} to {}: {} documents, {} bytes\nends with entry {}{}\n",
        arguments.from.display(),
        arguments.to.display(),
        made.documents,
        made.bytes,
        made.op_id,
        written(made.time)
    ))
}

/// With a counter on a terminal.
fn options() -> (BackupOptions, ProgressBar) {
    let bar = match std::io::stderr().is_terminal() {
        true => ProgressBar::new_spinner(),
        false => ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()),
    };
    let mut options = BackupOptions::default();
    let shown = bar.clone();
    options.progress = Some(Arc::new(move |progress| {
        let (what, bytes) = match progress {
            BackupProgress::State(bytes) => ("state", bytes),
            BackupProgress::Log(bytes) => ("log", bytes),
            _ => return,
        };
        shown.set_message(format!("{what}: {} MiB", bytes >> 20));
        shown.tick();
    }));
    (options, bar)
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn date(time: Timestamp) -> String {
    let date = DateTime::from_millis(time.as_millis());
    date.try_to_rfc3339_string().unwrap_or_default()
}

fn written(time: Option<Timestamp>) -> String {
    time.map_or(String::new(), |time| format!(", written {}", date(time)))
}

fn print_json(document: bson::Document) -> Outcome {
    output::print(&format!("{}\n", Bson::Document(document).into_relaxed_extjson()))
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Failure {
        use BackupError as E;
        let exit = match &error {
            E::Log(error) => return error.clone().into(),
            E::Store(error) => return error.clone().into(),
            E::TargetTaken { .. } => Exit::Usage,
            E::LogTrimmed { .. } | E::NotABackup { .. } | E::InUse { .. } | E::NoSpace { .. } | E::Io { .. } => {
                Exit::Environment
            }
            E::TooEarly { .. } | E::TooLate { .. } | E::TimeTooLate { .. } => Exit::History,
            _ => Exit::Failure,
        };
        Failure::of(exit, &error)
    }
}
