//! `$bucket`: groups between boundaries (MongoDB manual: *$bucket*).

use bson::{RawBson, RawBsonRef, rawdoc};

use super::error::AggregateErrorKind as Kind;
use super::group::{Group, Output};
use super::parse::{Scope, fields};
use super::stage::Place;
use crate::error::Result;
use crate::query::Language;

/// Ascending values, and where what is outside of them goes.
#[derive(Debug)]
pub(super) struct Boundaries {
    values: Vec<RawBson>,
    default: Option<RawBson>,
    language: Language,
}

pub(super) fn parse(scope: &Scope, value: RawBsonRef<'_>) -> Result<Group, Kind> {
    let (mut by, mut values, mut default, mut output) = (None, None, None, None);
    for (name, value) in fields(value, 40201)? {
        match name {
            "groupBy" => by = Some(group_by(scope, value, 40202)?),
            "boundaries" => values = Some(boundaries(scope, value)?),
            "default" => default = Some(constant(scope, value, 40195)?),
            "output" => output = Some(parse_output(scope, value, 40196)?),
            name => return Err(Kind::specification(format!("there is no option {name:?}"), 40197)),
        }
    }
    let (Some(by), Some(values)) = (by, values) else {
        return Err(Kind::specification("groupBy and boundaries are needed", 40198));
    };
    let boundaries = Boundaries {
        values,
        default,
        language: scope.language.clone(),
    };
    // The order of texts, and of what may hold some, is that of the collection's collation, which is not known before the pipeline
    // runs on it.
    let waits = matches!(
        boundaries.values[..],
        [RawBson::String(_) | RawBson::Document(_) | RawBson::Array(_), ..]
    );
    if scope.language.collation().is_some() || !waits {
        boundaries.check()?;
    }
    Ok(Group {
        by,
        boundaries: Some(boundaries),
        output: output.map_or_else(|| count_only(scope), Ok)?,
        language: scope.language.clone(),
    })
}

/// What to group by: a path or an operator.
pub(super) fn group_by(
    scope: &Scope,
    value: RawBsonRef<'_>,
    code: i32,
) -> Result<tailwater_matcher::ValueExpression, Kind> {
    match value {
        RawBsonRef::String(path) if path.starts_with('$') => scope.expression(value),
        RawBsonRef::Document(_) => scope.expression(value),
        _ => Err(Kind::specification(
            "groupBy must be a path with $ in front, or an expression",
            code,
        )),
    }
}

/// `{field: accumulator, …}`.
pub(super) fn parse_output(scope: &Scope, value: RawBsonRef<'_>, code: i32) -> Result<Output, Kind> {
    let mut output = Output::default();
    for (name, value) in fields(value, code)? {
        output.add(scope, name, value)?;
    }
    Ok(output)
}

/// What is put out where nothing is asked for: `{count: {$sum: 1}}`.
pub(super) fn count_only(scope: &Scope) -> Result<Output, Kind> {
    let mut output = Output::default();
    output.add(scope, "count", RawBsonRef::Document(&rawdoc! { "$sum": 1 }))?;
    Ok(output)
}

fn boundaries(scope: &Scope, value: RawBsonRef<'_>) -> Result<Vec<RawBson>, Kind> {
    let RawBsonRef::Array(array) = value else {
        return Err(Kind::specification("boundaries must be an array", 40200));
    };
    let values = array.into_iter().flatten().map(|value| constant(scope, value, 40191));
    let values = values.collect::<Result<Vec<_>, Kind>>()?;
    if values.len() < 2 {
        return Err(Kind::specification("there must be at least two boundaries", 40192));
    }
    for pair in values.windows(2) {
        let [low, high] = [&pair[0], &pair[1]].map(RawBson::as_raw_bson_ref);
        if !is_number(low) && low.element_type() != high.element_type() || is_number(low) != is_number(high) {
            return Err(Kind::specification("boundaries must be of one type", 40193));
        }
    }
    Ok(values)
}

fn is_number(value: RawBsonRef<'_>) -> bool {
    matches!(
        value,
        RawBsonRef::Int32(_) | RawBsonRef::Int64(_) | RawBsonRef::Double(_) | RawBsonRef::Decimal128(_)
    )
}

fn constant(scope: &Scope, value: RawBsonRef<'_>, code: i32) -> Result<RawBson, Kind> {
    let expression = scope.expression(value)?;
    let constant = expression
        .constant()
        .map(tailwater_matcher::Value::into_bson)
        .transpose()?
        .flatten();
    constant.ok_or_else(|| Kind::specification("boundaries and default must be constants", code))
}

impl Boundaries {
    /// Checks that they ascend, and that the default is none of what is between them.
    pub(super) fn check(&self) -> Result<(), Kind> {
        let compare = |a: &RawBson, b: &RawBson| self.language.compare(a.as_raw_bson_ref(), b.as_raw_bson_ref());
        if self.values.windows(2).any(|pair| compare(&pair[0], &pair[1]).is_ge()) {
            return Err(Kind::specification("boundaries must ascend", 40194));
        }
        if let (Some(default), [first, .., last]) = (&self.default, &self.values[..])
            && compare(default, first).is_ge()
            && compare(default, last).is_lt()
        {
            let problem = "the default must be outside of the boundaries";
            return Err(Kind::specification(problem, 40199));
        }
        Ok(())
    }

    /// The lower boundary of the bucket a value falls in, or the default.
    pub(super) fn bucket(&self, value: RawBsonRef<'_>, place: &Place) -> Result<RawBson> {
        let above = |boundary: &RawBson| self.language.compare(boundary.as_raw_bson_ref(), value).is_le();
        let at = self.values.partition_point(above);
        if at > 0 && at < self.values.len() {
            return Ok(self.values[at - 1].clone());
        }
        self.default.clone().ok_or_else(|| {
            let problem = "a value lies in no bucket: name a default, or match such documents away";
            place.error(Kind::specification(problem, 40066))
        })
    }
}
