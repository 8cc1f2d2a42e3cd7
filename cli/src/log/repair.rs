//! `tailwater log repair`: making a damaged log openable again.

use std::path::PathBuf;

use bson::{Bson, doc};
use tailwater::oplog::repair::{Action, Keep, RepairPlan, apply, plan};
use tailwater::oplog::verify;

use super::number;
use crate::directory::{log_within, store_around};
use crate::failure::{Exit, Failure, Outcome};
use crate::output;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Directory of the store, or of the log itself.
    #[arg(long)]
    dir: PathBuf,
    /// Which entries stay: those before the damage, or those after it.
    #[arg(long, default_value = "prefix", value_enum)]
    keep: KeepArgument,
    /// Say what would be done and lost, and change nothing. Exit code 5 when there is something to repair.
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON document instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum KeepArgument {
    /// Everything before the damage; what follows is set aside.
    Prefix,
    /// Everything after the last damage, as a log whose history begins there; what comes before is set aside.
    Suffix,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Outcome {
    let log = log_within(&arguments.dir);
    let keep = match arguments.keep {
        KeepArgument::Prefix => Keep::Prefix,
        KeepArgument::Suffix => Keep::Suffix,
    };
    let plan = plan(&log, keep)?;
    let text = |text: &str| if arguments.json { Ok(()) } else { output::print(text) };
    text(&plan.report())?;
    if plan.is_sound() {
        return print_json(arguments, &plan, None);
    }
    if arguments.dry_run {
        print_json(arguments, &plan, None)?;
        return Err(Failure::new(
            Exit::Damage,
            "the log needs repair; nothing was changed. Without --dry-run this is done",
        ));
    }
    let folder = apply(&plan)?.folder;
    print_json(arguments, &plan, folder.as_ref())?;
    let report = verify(&log)?;
    if !report.is_sound() {
        return Err(Failure::new(
            Exit::Damage,
            "the log was repaired and is still damaged: see `tailwater log verify`",
        ));
    }
    if let Some(folder) = folder {
        text(&format!(
            "repaired: OpIDs {} to {} are in the log; what was removed or replaced is in {}\n",
            report.oldest,
            report.newest,
            folder.display()
        ))?;
    }
    if store_around(&arguments.dir).is_some() {
        text(
            "the store's state was made from the log as it was: if the store does not open now, its message says what to do\n",
        )?;
    }
    Ok(())
}

fn print_json(arguments: &Arguments, plan: &RepairPlan, folder: Option<&PathBuf>) -> Outcome {
    if !arguments.json {
        return Ok(());
    }
    let span = |span: &tailwater::oplog::repair::Span| doc! { "first": number(span.first.get()), "last": number(span.last.get()) };
    let losses: Vec<Bson> = plan
        .losses
        .iter()
        .map(|loss| {
            let mut document = span(&loss.span);
            document.insert("readable", loss.readable);
            Bson::Document(document)
        })
        .collect();
    let changes: Vec<Bson> = plan
        .changes
        .iter()
        .map(|change| {
            let action = match change.action {
                Action::SetAside => "set aside",
                Action::Replace => "replace",
                _ => "create",
            };
            Bson::Document(doc! { "file": &change.name, "bytes": number(change.bytes), "action": action })
        })
        .collect();
    let document = doc! {
        "logId": plan.log_id.to_string(),
        "sound": plan.is_sound(),
        "reasons": plan.reasons.clone(),
        "runs": plan.runs.iter().map(|run| Bson::Document(span(run))).collect::<Vec<_>>(),
        "kept": plan.kept.as_ref().map(span),
        "losses": losses,
        "changes": changes,
        "interrupted": plan.interrupted.as_ref().map(|path| path.display().to_string()),
        "folder": folder.map(|path| path.display().to_string()),
    };
    output::print(&format!("{}\n", Bson::Document(document).into_relaxed_extjson()))
}
