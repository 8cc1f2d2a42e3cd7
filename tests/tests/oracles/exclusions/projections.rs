//! Projections.

use super::{Exclusion, holds, is_dotted, is_nested_array, of};
use crate::oracle::Oracle::{Mingo, Mongomock};

pub(super) const EXCLUSIONS: &[Exclusion] = &[
    of(
        Mingo,
        "$slice goes with fields that stay and with fields that go; it takes it for one that stays",
        |found| found.case.uses("$slice") && found.theirs.is_err(),
    ),
    of(
        Mingo,
        "what is excluded goes from arrays within arrays, too; it stays there",
        |found| is_dotted(found) && holds(found, is_nested_array),
    ),
    of(
        Mongomock,
        "$slice that skips more from the end than there is begins with the first; it finds nothing",
        |found| found.case.uses("$slice"),
    ),
    of(
        Mongomock,
        "what is excluded below a scalar is not there, and the scalar stays; it goes",
        is_dotted,
    ),
];
