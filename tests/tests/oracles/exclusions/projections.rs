//! Projections.

use super::{Exclusion, is_dotted, of};
use crate::oracle::Oracle::{Mingo, Mongomock};

pub(super) const EXCLUSIONS: &[Exclusion] = &[
    of(
        Mingo,
        "$slice goes with fields that stay and with fields that go; it takes it for one that stays",
        |found| found.case.uses("$slice") && found.theirs.is_err(),
    ),
    of(
        Mongomock,
        "what is excluded below a scalar is not there, and the scalar stays; it goes",
        is_dotted,
    ),
];
