//! Projections.

use super::Exclusion;

pub(super) const EXCLUSIONS: &[Exclusion] = &[];
