//! The `tailwater` command: import and export documents, back up, restore and replicate stores, watch changes, look into a log, and prove on the spot that nothing gets lost.

#![expect(clippy::print_stderr, reason = "a command line prints")]

mod backup;
mod demo;
mod directory;
mod export;
mod failure;
mod import;
mod log;
mod log_lines;
mod output;
mod replicate;
mod serve;
mod settings;
mod top;
mod watch;

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::failure::{Failure, Outcome};
use crate::settings::Settings;

/// The command that has settings elsewhere than on the command line.
const SERVE: &str = "serve";

/// An oplog-based document store with change streams.
///
/// A store is a directory. One process at a time writes it; any number of others can watch it live.
#[derive(Debug, Parser)]
#[command(
    name = "tailwater",
    version,
    disable_help_subcommand = true,
    after_help = "Try it:\n  \
        tailwater demo\n  \
        tailwater import --dir ./store --db shop --collection orders orders.json\n  \
        tailwater watch --dir ./store --db shop --filter 'total > 100 and status is \"open\"'\n  \
        tailwater serve --dir ./store\n  \
        tailwater backup --dir ./store --to ./backup\n  \
        tailwater log verify --dir ./store\n\n\
        Exit codes:\n  \
        0  done\n  \
        1  something else went wrong\n  \
        2  wrong arguments, a malformed filter, pipeline or token\n  \
        3  malformed input: the message names the line; what came before it is imported\n  \
        4  no store there, in use by another writer, newer than this release, not primary any more, or the disk is full\n  \
        5  data on disk is damaged, or the demo found something lost\n  \
        6  the history asked for has been trimmed, is not in the backup, or belongs to another log\n\n\
        Set TAILWATER_LOG=debug to see what the engine does."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Arguments),
    Import(import::Arguments),
    Export(export::Arguments),
    Watch(Box<watch::Arguments>),
    Serve(Box<serve::Arguments>),
    Top(top::Arguments),
    Backup(backup::BackupArguments),
    Restore(backup::RestoreArguments),
    Replicate(replicate::PrimaryArguments),
    Follow(replicate::FollowArguments),
    Promote(replicate::PromoteArguments),
    Log(log::Arguments),
    /// Shows the reference of the filter and match languages: `tailwater help filter`.
    Help(HelpArguments),
}

#[derive(Debug, clap::Args)]
struct HelpArguments {
    /// A topic: filter.
    #[arg(value_parser = ["filter"])]
    topic: Option<String>,
}

fn main() -> ExitCode {
    let done = parse().and_then(|arguments| {
        let Some(Arguments { command }) = arguments else {
            return Ok(());
        };
        tracing_subscriber::fmt()
            .with_env_filter(log_filter(&command))
            .with_ansi(false)
            .with_writer(log_lines::Escaped)
            .init();
        run(command)
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { exit, message }) => {
            eprintln!("tailwater: {message}");
            ExitCode::from(exit as u8)
        }
    }
}

/// What is told on the standard error output. For `serve` it is a setting, which has the same variable.
fn log_filter(command: &Command) -> EnvFilter {
    match command {
        Command::Serve(arguments) => EnvFilter::new(&arguments.log),
        _ => EnvFilter::try_from_env("TAILWATER_LOG").unwrap_or_else(|_| EnvFilter::new("error")),
    }
}

/// The arguments; nothing when they have only asked for what was said at once.
fn parse() -> Outcome<Option<Arguments>> {
    let all: Vec<OsString> = env::args_os().collect();
    if all.get(1).is_none_or(|command| command != SERVE) {
        return Ok(Some(Arguments::parse_from(all)));
    }
    let mut command = Arguments::command();
    // Completes what each command inherits.
    command.build();
    let serve = command.find_subcommand(SERVE).cloned().unwrap_or_default();
    let settings = Settings::read(&all, |name| env::var_os(name), &serve)?;
    let command = Arguments::command().mut_subcommand(SERVE, |serve| settings.apply(serve));
    let matches = command.get_matches_from(all);
    match matches.subcommand() {
        Some((SERVE, matches)) if matches.get_flag("print_config") => {
            output::print(&settings.print(&serve, matches))?;
            Ok(None)
        }
        _ => match Arguments::from_arg_matches(&matches) {
            Ok(arguments) => Ok(Some(arguments)),
            Err(error) => error.exit(),
        },
    }
}

fn run(command: Command) -> Outcome {
    match command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Import(arguments) => import::run(&arguments),
        Command::Export(arguments) => export::run(&arguments),
        Command::Watch(arguments) => watch::run(&arguments),
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Top(arguments) => top::run(&arguments),
        Command::Backup(arguments) => backup::backup(&arguments),
        Command::Restore(arguments) => backup::restore(&arguments),
        Command::Replicate(arguments) => replicate::replicate(&arguments),
        Command::Follow(arguments) => replicate::follow(&arguments),
        Command::Promote(arguments) => replicate::promote(&arguments),
        Command::Log(arguments) => log::run(&arguments),
        Command::Help(HelpArguments { topic: Some(_) }) => output::print(&reference()),
        Command::Help(HelpArguments { topic: None }) => {
            output::print(&Arguments::command().render_long_help().to_string())
        }
    }
}

/// The reference page for reading: without the lines of its examples that only the compiler wants.
fn reference() -> String {
    let mut code = false;
    let shown = tailwater::matcher::REFERENCE.lines().filter(|line| {
        code ^= line.starts_with("```");
        !(code && line.starts_with("# "))
    });
    shown.flat_map(|line| [line, "\n"]).collect()
}
