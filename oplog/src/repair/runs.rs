//! The gap-free runs of entries that damage has left, across segments.

use super::found::Found;
use super::{Loss, Span};
use crate::format::FRAMES_START;
use crate::ids::{OpId, Term};

/// Consecutive entries across segments: indices of the first and the last segment, and of their pieces.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) span: Span,
    pub(super) from: (usize, usize),
    pub(super) to: (usize, usize),
}

/// Of several files with one sequence number at most one belongs to the log: the one that goes on where its predecessor
/// ends, otherwise one that is what its name says.
pub(super) fn choose_among_doubles(found: &mut Vec<Found>, others: &mut Vec<Found>) {
    let rank = |candidate: &Found, before: Option<OpId>| {
        let first = candidate.pieces.first().map(|piece| piece.span.first);
        (
            first.is_some() && first == before.map(OpId::next),
            first == Some(candidate.first),
            first.is_some(),
        )
    };
    let mut chosen: Vec<Found> = Vec::new();
    for candidate in found.drain(..) {
        let before = chosen.iter().rev().find(|f| f.sequence < candidate.sequence);
        let before = before.and_then(|f| f.pieces.last()).map(|piece| piece.span.last);
        match chosen.last_mut() {
            Some(last) if last.sequence == candidate.sequence => {
                if rank(&candidate, before) > rank(last, before) {
                    others.push(std::mem::replace(last, candidate));
                } else {
                    others.push(candidate);
                }
            }
            _ => chosen.push(candidate),
        }
    }
    *found = chosen;
}

/// The runs that are left of the log, oldest first. What lies behind a hole that was never durable is a torn tail, no run.
pub(super) fn runs(found: &[Found], oldest: Option<OpId>, durable: OpId) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut term = Term::default();
    for (i, segment) in found.iter().enumerate() {
        for (j, piece) in segment.pieces.iter().enumerate() {
            let place = (i, j);
            if let Some(run) = runs.last_mut() {
                let next = run.span.last.next();
                let adjacent = run.to.0 + 1 == i && found[run.to.0].sequence.next() == segment.sequence;
                if piece.span.first == next && piece.start == FRAMES_START && adjacent && piece.terms.0 >= term {
                    (run.span.last, run.to) = (piece.span.last, place);
                    term = piece.terms.1;
                    continue;
                }
                if piece.span.first <= next.previous() {
                    // Of entries that are there twice, the earlier ones count.
                    continue;
                }
                if piece.span.first.previous() > durable && run.span.last >= durable {
                    return runs;
                }
            } else if oldest.is_some_and(|oldest| piece.span.first > oldest && oldest > durable) {
                return runs;
            }
            term = piece.terms.1;
            runs.push(Run {
                span: piece.span,
                from: place,
                to: place,
            });
        }
    }
    runs
}

/// What will not be in the log.
pub(super) fn losses(found: &[Found], runs: &[Run], kept: Run, oldest: Option<OpId>, durable: OpId) -> Vec<Loss> {
    let mut losses = Vec::new();
    let mut next = oldest
        .into_iter()
        .chain(found.first().map(|f| f.first))
        .min()
        .unwrap_or(OpId::FIRST);
    for run in runs {
        if run.span.first > next {
            losses.push(Loss {
                span: Span {
                    first: next,
                    last: run.span.first.previous(),
                },
                readable: false,
            });
        }
        if run.from != kept.from {
            losses.push(Loss {
                span: run.span,
                readable: true,
            });
        }
        next = run.span.last.next();
    }
    if next <= durable {
        losses.push(Loss {
            span: Span {
                first: next,
                last: durable,
            },
            readable: false,
        });
    }
    losses
}
