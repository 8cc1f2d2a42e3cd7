//! Deciding what a repair does: what is wrong, which run stays, and what becomes of each file.

use super::found::{Found, look, proven};
use super::runs::{Run, choose_among_doubles, losses, runs};
use super::salvage::commonest_log;
use super::{Action, Change, Keep, RepairPlan, apply};
use crate::buffer::LeftOver;
use crate::error::{Error, Result};
use crate::folders::Folders;
use crate::format::{
    self, BUFFER, FRAMES_START, FileName, MANIFEST, Manifest, SegmentHeader, TAIL, VERSION, parse_name,
};
use crate::ids::{LogId, OpId, Sequence, Term};
use crate::slot_file::{RETENTION, read_slots};
use crate::verify::{Finding, verify_on};
use crate::view::{OplogView, read_manifest};

/// How a new file comes about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Make {
    /// Frames in this range of the segment `from`, as they stand, and those that the log buffer holds behind them.
    Cut {
        from: String,
        frames: std::ops::Range<usize>,
        behind: Vec<u8>,
        header: SegmentHeader,
    },
    /// An empty segment.
    Empty { sequence: Sequence, length: u64 },
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Work {
    /// Files to take out of the log.
    pub(super) retire: Vec<String>,
    /// Files to make, by name.
    pub(super) make: Vec<(String, Make)>,
    pub(super) manifest: Option<Manifest>,
    /// Folder of an interrupted repair that is to be carried to its end instead.
    pub(super) interrupted: Option<String>,
}

pub(crate) fn plan_on(disk: &dyn Folders, keep: Keep) -> Result<RepairPlan> {
    let path = disk.path().to_path_buf();
    let names = match disk.names() {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(Error::NotFound { path }),
        other => other.map_err(Error::io("list", &path))?,
    };
    let mut plan = RepairPlan {
        path: path.clone(),
        keep,
        log_id: LogId::from_bytes([0; 16]),
        reasons: Vec::new(),
        runs: Vec::new(),
        kept: None,
        losses: Vec::new(),
        changes: Vec::new(),
        interrupted: None,
        work: Work::default(),
    };
    let manifest = match read_manifest(disk) {
        Ok(manifest) => Some(manifest),
        Err(error @ (Error::DamagedMetadata { .. } | Error::NotALog { .. })) => {
            if matches!(error, Error::NotALog { .. })
                && let Some(folder) = apply::interrupted(disk, &names)?
            {
                plan.interrupted = Some(path.join(&folder));
                plan.work.interrupted = Some(folder);
                return Ok(plan);
            }
            let any = names
                .iter()
                .any(|name| matches!(parse_name(name), FileName::Segment(..)));
            if !any {
                return Err(error);
            }
            plan.reasons.push(match error {
                Error::NotALog { path } => format!("{} is missing", path.join(MANIFEST).display()),
                error => error.to_string(),
            });
            None
        }
        Err(error) => return Err(error),
    };
    let log_id = match &manifest {
        Some(manifest) => LogId::from_bytes(manifest.log_id),
        None => commonest_log(disk, &names)?,
    };
    plan.log_id = log_id;

    let slots = match read_slots(disk, log_id) {
        Ok(_) => None,
        Err(error @ Error::DamagedMetadata { .. }) => Some(error),
        Err(error) => return Err(error),
    };

    let left_over = LeftOver::open(disk, log_id)?;
    let mut found = Vec::new();
    let mut others = Vec::new();
    for name in &names {
        if let FileName::Segment(sequence, first) = parse_name(name)
            && manifest.as_ref().is_none_or(|m| sequence.0 >= m.first_sequence)
        {
            found.push(look(disk, log_id, name, sequence, first, left_over.as_ref())?);
        }
    }
    found.sort_by_key(|f| (f.sequence, f.first));
    choose_among_doubles(&mut found, &mut others);

    let durable = proven(disk, log_id, &found)?;
    let wanted = manifest
        .as_ref()
        .map(|m| (Sequence(m.first_sequence), OpId::new(m.first_op_id)));
    let runs = runs(&found, wanted.map(|wanted| wanted.1), durable);
    if manifest.is_some() {
        plan.reasons = findings(disk, &runs, wanted, durable, !others.is_empty());
    }
    plan.runs = runs.iter().map(|run| run.span).collect();
    let sound = plan.reasons.is_empty();
    if let Some(error) = slots {
        // Without the file the log opens, and holds nothing for anybody.
        plan.reasons.push(error.to_string());
        set_aside(disk, &mut plan, RETENTION)?;
    }
    if sound {
        plan.kept = plan.runs.first().copied();
        plan.work.manifest = manifest;
        return Ok(plan);
    }
    let kept = match keep {
        Keep::Prefix => runs.first(),
        Keep::Suffix => runs.last(),
    };
    let Some(&kept) = kept else {
        return Err(Error::Unrepairable {
            path,
            what: "no whole entry is left of it; restore it from a copy",
        });
    };
    plan.kept = Some(kept.span);
    plan.losses = losses(&found, &runs, kept, wanted.map(|w| w.1), durable);
    arrange(disk, &mut plan, &found, &others, kept, manifest.as_ref(), &names)?;
    Ok(plan)
}

/// What opening and verifying say is wrong; empty when the log opens and every durable entry can be read.
fn findings(
    disk: &dyn Folders,
    runs: &[Run],
    wanted: Option<(Sequence, OpId)>,
    durable: OpId,
    doubles: bool,
) -> Vec<String> {
    let mut errors = Vec::new();
    let view = OplogView::on(disk.again());
    let opens = view.is_ok();
    errors.extend(view.err());
    match verify_on(disk) {
        Ok(report) => errors.extend(report.findings.into_iter().filter_map(|finding| match finding {
            Finding::TornTail { .. } => None,
            // They say nothing of the entries, and are looked at apart.
            finding if finding.is_of_slots() => None,
            Finding::Damage(error) => Some(error),
        })),
        Err(error) => errors.push(error),
    }
    // After power loss a full segment may end early: the next writable open makes it the newest again, and that is no damage
    // as long as nothing proves that its missing entries were durable.
    let first = wanted.map_or(OpId::FIRST, |wanted| wanted.1);
    let whole = match runs.first() {
        Some(run) => run.span.first == first && run.span.last >= durable,
        None => durable < first,
    };
    let ends_early = |error: &Error| matches!(error, Error::Corrupt { .. });
    if opens && whole && !doubles && errors.iter().all(ends_early) {
        return Vec::new();
    }
    let mut reasons: Vec<String> = errors.iter().map(ToString::to_string).collect();
    // Opening and verifying often meet the same.
    reasons.dedup();
    if reasons.is_empty() && !whole {
        reasons.push(format!(
            "entries up to {durable} were durable, whole are only those up to {}",
            runs.first().map_or(first.previous(), |run| run.span.last)
        ));
    }
    reasons
}

/// Decides what becomes of each file.
fn arrange(
    disk: &dyn Folders,
    plan: &mut RepairPlan,
    found: &[Found],
    others: &[Found],
    kept: Run,
    manifest: Option<&Manifest>,
    names: &[String],
) -> Result<()> {
    let mut retired: Vec<(&Found, Action)> = others.iter().map(|other| (other, Action::SetAside)).collect();
    let mut make = Vec::new();
    let mut empty_newest = None;
    for (i, segment) in found.iter().enumerate() {
        let inside = (kept.from.0..=kept.to.0).contains(&i);
        if !inside {
            if empty_newest != Some(i) {
                retired.push((segment, Action::SetAside));
            }
            continue;
        }
        let j = if i == kept.from.0 { kept.from.1 } else { 0 };
        let (Some(header), Some(piece)) = (&segment.header, segment.pieces.get(j)) else {
            continue;
        };
        let last_of_run = i == kept.to.0;
        let sealed_whole = segment.sealed == Some(piece.span.last);
        let cut = (piece.start, piece.span.first) != (FRAMES_START, segment.first)
            || segment.refused.is_some()
            || !segment.behind.is_empty()
            || (last_of_run && (segment.durable > kept.span.last || (segment.sealed.is_some() && !sealed_whole)));
        if cut {
            retired.push((segment, Action::Replace));
            let is_last = j + 1 == segment.pieces.len();
            make.push((
                format::segment_name(segment.sequence, piece.span.first),
                Make::Cut {
                    from: segment.name.clone(),
                    frames: piece.start..piece.end,
                    behind: if is_last { segment.behind.clone() } else { Vec::new() },
                    header: header.clone(),
                },
            ));
        } else if last_of_run && sealed_whole {
            // A sealed segment has a successor.
            let (sequence, first) = (segment.sequence.next(), kept.span.last.next());
            let fits = |next: &Found| {
                (next.sequence, next.first) == (sequence, first)
                    && next.refused.is_none()
                    && next.written == FRAMES_START
                    && next.slot == OpId::ZERO
            };
            if found.get(i + 1).is_some_and(fits) {
                empty_newest = Some(i + 1);
            } else {
                let length = header.length;
                make.push((format::segment_name(sequence, first), Make::Empty { sequence, length }));
            }
        }
    }
    for (segment, action) in retired {
        plan.changes.push(Change {
            name: segment.name.clone(),
            bytes: segment.bytes,
            action,
        });
        plan.work.retire.push(segment.name.clone());
    }
    // What they say of the log is no longer so; what the buffer held for the entries that stay is in the new files.
    for name in [TAIL, BUFFER] {
        if names.iter().any(|n| n == name) {
            set_aside(disk, plan, name)?;
        }
    }
    for (name, how) in &make {
        if matches!(how, Make::Empty { .. }) && !plan.work.retire.contains(name) {
            plan.changes.push(Change {
                name: name.clone(),
                bytes: 0,
                action: Action::Create,
            });
        }
    }
    plan.work.make = make;

    let term = found
        .iter()
        .chain(others)
        .map(|f| f.term)
        .fold(Term::default(), Term::max);
    let created = found.iter().filter_map(|f| Some(f.header.as_ref()?.created)).min();
    let fresh = Manifest {
        version: VERSION,
        log_id: plan.log_id.to_bytes(),
        created: manifest.map_or(created.unwrap_or(0), |m| m.created),
        term: manifest.map_or(0, |m| m.term).max(term.get()),
        first_sequence: found[kept.from.0].sequence.0,
        first_op_id: kept.span.first.get(),
    };
    if manifest != Some(&fresh) {
        let exists = names.iter().any(|n| n == MANIFEST);
        plan.changes.push(Change {
            name: MANIFEST.to_owned(),
            bytes: if exists {
                disk.length(MANIFEST)
                    .map_err(Error::io("look at", disk.path().join(MANIFEST)))?
            } else {
                0
            },
            action: if exists { Action::Replace } else { Action::Create },
        });
    }
    plan.work.manifest = Some(fresh);
    Ok(())
}

/// Plans to take a file other than a segment out of the log.
fn set_aside(disk: &dyn Folders, plan: &mut RepairPlan, name: &str) -> Result<()> {
    let bytes = disk
        .length(name)
        .map_err(Error::io("look at", disk.path().join(name)))?;
    plan.changes.push(Change {
        name: name.to_owned(),
        bytes,
        action: Action::SetAside,
    });
    plan.work.retire.push(name.to_owned());
    Ok(())
}
