//! Compiling a change stream's pipeline.

use bson::RawDocumentBuf;
use bson::raw::RawBsonRef;
use tailwater_matcher::Expression;

use crate::error::{Error, Result};

/// Compiles a pipeline of `$match` stages into the one condition that they are together.
pub(crate) fn compile(stages: &[RawDocumentBuf]) -> Result<Expression> {
    let mut condition = Expression::always();
    for (stage, document) in stages.iter().enumerate() {
        let malformed = |what| Error::MalformedStage { stage, what };
        let mut fields = document.iter();
        let Some(Ok((name, value))) = fields.next() else {
            return Err(malformed("it has no operator"));
        };
        if fields.next().is_some() {
            return Err(malformed("it has more than one operator; write one stage for each"));
        }
        if name.as_str() != "$match" {
            return Err(Error::UnsupportedStage {
                stage,
                name: name.as_str().to_owned(),
            });
        }
        let RawBsonRef::Document(predicate) = value else {
            return Err(malformed("$match takes a document"));
        };
        let parsed = Expression::parse(predicate).map_err(|source| Error::Match { stage, source })?;
        condition = Expression::and(condition, parsed);
    }
    Ok(condition)
}
