//! Compiles stages.

use bson::{RawBsonRef, RawDocument};

use super::projection::{Level, Rule};
use super::{Mode, Projection, Stage, redact};
use crate::aggregation::{Parser, SyntaxErrorKind as Syntax, ValueExpression};
use crate::error::ParseError;
use crate::expression::{Expression, ParseOptions};

pub(super) fn stage(at: usize, stage: &RawDocument, options: &ParseOptions) -> Result<Stage, ParseError> {
    let parser = Parser::at(&format!("[{at}]"));
    let fields = parser.fields(stage)?;
    let [(name, value)] = fields[..] else {
        return Err(parser.wrong_value("stage", "a stage has exactly one field, its name", 40323));
    };
    let place = format!("[{at}].{name}");
    let parser = Parser::at(&place);
    Ok(match name {
        "$match" => match value {
            RawBsonRef::Document(document) => Stage::Match(Expression::parse_with(document, options)?),
            other => return Err(parser.wrong_type(name, "a document", other, 15959)),
        },
        "$project" => {
            let RawBsonRef::Document(document) = value else {
                return Err(parser.wrong_type(name, "a document", value, 15969));
            };
            if document.is_empty() {
                return Err(parser.wrong_value(name, "a projection names at least one field", 51272));
            }
            let mut specification = Specification::new(place, name, options);
            specification.document(document, &mut Vec::new())?;
            Stage::Project(specification.project()?)
        }
        "$addFields" | "$set" => {
            let RawBsonRef::Document(document) = value else {
                return Err(parser.wrong_type(name, "a document", value, 40272));
            };
            if document.is_empty() {
                return Err(parser.wrong_value(name, "at least one field must be named", 40177));
            }
            let mut specification = Specification::new(place, name, options);
            specification.additions(document, &mut Vec::new())?;
            Stage::Project(specification.into_projection(Mode::Addition, 40176)?)
        }
        "$unset" => Stage::Project(unset(&parser, place.clone(), name, value, options)?),
        "$replaceRoot" => {
            let mut new = None;
            for (argument, value) in parser.arguments(name, value, 40229)? {
                match argument {
                    "newRoot" => new = Some(value),
                    _ => return Err(parser.unknown_argument(name, argument, 40230)),
                }
            }
            let new = new.ok_or_else(|| parser.missing_argument(name, "newRoot", 40231))?;
            Stage::ReplaceRoot(ValueExpression::parse_at(&format!("{place}.newRoot"), new, options)?)
        }
        "$replaceWith" => Stage::ReplaceRoot(ValueExpression::parse_at(&place, value, options)?),
        "$redact" => Stage::Redact(redact::parse(&place, value, options)?),
        _ => return Err(parser.error(name, Syntax::UnknownStage)),
    })
}

fn unset(
    parser: &Parser,
    place: String,
    name: &str,
    value: RawBsonRef<'_>,
    options: &ParseOptions,
) -> Result<Projection, ParseError> {
    let mut specification = Specification::new(place, name, options);
    let mut add = |path: &str| -> Result<(), ParseError> {
        let path = parser.components(path)?.into_vec();
        specification.leaves.push((path, Leaf::Exclude));
        Ok(())
    };
    match value {
        RawBsonRef::String(path) => add(path)?,
        RawBsonRef::Array(array) => {
            for value in array.into_iter().flatten() {
                match value {
                    RawBsonRef::String(path) => add(path)?,
                    other => return Err(parser.wrong_type(name, "strings", other, 31120)),
                }
            }
        }
        other => return Err(parser.wrong_type(name, "a string or an array of strings", other, 31002)),
    }
    if specification.leaves.is_empty() {
        return Err(parser.wrong_value(name, "at least one field must be named", 31119));
    }
    specification.into_projection(Mode::Exclusion, 31249)
}

/// A projection's specification, flattened to its leaves.
pub(super) struct Specification<'o> {
    place: String,
    stage: String,
    options: &'o ParseOptions,
    pub(super) leaves: Vec<(Vec<Box<str>>, Leaf)>,
}

pub(super) enum Leaf {
    Include,
    Exclude,
    /// A computed field, or a rule of `find` that includes its field.
    Rule(Rule),
    /// A rule that goes with either kind.
    Either(Rule),
}

impl<'o> Specification<'o> {
    pub(super) fn new(place: String, stage: &str, options: &'o ParseOptions) -> Specification<'o> {
        Specification {
            place,
            stage: stage.to_owned(),
            options,
            leaves: Vec::new(),
        }
    }

    pub(super) fn parser(&self) -> Parser {
        Parser::at(&self.place)
    }

    /// Collects the leaves of a `$project`; `prefix` is where the document stands.
    pub(super) fn document(&mut self, document: &RawDocument, prefix: &mut Vec<Box<str>>) -> Result<(), ParseError> {
        let parser = self.parser();
        for (name, value) in parser.fields(document)? {
            let outer = prefix.len();
            prefix.extend(parser.components(name)?);
            self.field(name, value, prefix)?;
            prefix.truncate(outer);
        }
        Ok(())
    }

    pub(super) fn field(
        &mut self,
        name: &str,
        value: RawBsonRef<'_>,
        path: &mut Vec<Box<str>>,
    ) -> Result<(), ParseError> {
        let leaf = match value {
            RawBsonRef::Document(inner) if inner.is_empty() => {
                return Err(self
                    .parser()
                    .wrong_value(name, "an empty document is no projection", 51270));
            }
            RawBsonRef::Document(inner) if !is_operator(inner) => return self.document(inner, path),
            RawBsonRef::Boolean(_) | RawBsonRef::Int32(_) | RawBsonRef::Int64(_) => included(value),
            RawBsonRef::Double(_) | RawBsonRef::Decimal128(_) => included(value),
            value => Leaf::Rule(self.computed(path, value)?),
        };
        self.leaves.push((path.clone(), leaf));
        Ok(())
    }

    /// Collects the leaves of an `$addFields`, where every leaf is an expression.
    fn additions(&mut self, document: &RawDocument, prefix: &mut Vec<Box<str>>) -> Result<(), ParseError> {
        let parser = self.parser();
        for (name, value) in parser.fields(document)? {
            let outer = prefix.len();
            prefix.extend(parser.components(name)?);
            match value {
                RawBsonRef::Document(inner) if !inner.is_empty() && !is_operator(inner) => {
                    self.additions(inner, prefix)?;
                }
                value => {
                    let rule = self.computed(prefix, value)?;
                    self.leaves.push((prefix.clone(), Leaf::Rule(rule)));
                }
            }
            prefix.truncate(outer);
        }
        Ok(())
    }

    fn computed(&self, path: &[Box<str>], value: RawBsonRef<'_>) -> Result<Rule, ParseError> {
        let place = format!("{}.{}", self.place, path.join("."));
        Ok(Rule::Compute(ValueExpression::parse_at(&place, value, self.options)?))
    }

    /// Decides between inclusion and exclusion, which do not mix except for `_id`.
    pub(super) fn project(mut self) -> Result<Projection, ParseError> {
        let mut mode = None;
        for (path, leaf) in &self.leaves {
            let is_id = path.len() == 1 && *path[0] == *"_id";
            let (found, code, problem) = match leaf {
                Leaf::Include => (Mode::Inclusion, 31253, "an exclusion cannot include a field"),
                Leaf::Rule(_) => (Mode::Inclusion, 31252, "an exclusion cannot compute a field"),
                Leaf::Exclude => (
                    Mode::Exclusion,
                    31254,
                    "an inclusion cannot exclude a field other than _id",
                ),
                Leaf::Either(_) => continue,
            };
            if is_id && !matches!(leaf, Leaf::Rule(_)) {
                continue;
            }
            if *mode.get_or_insert(found) != found {
                return Err(self.parser().wrong_value(&path.join("."), problem, code));
            }
        }
        let id = |leaf: &(Vec<Box<str>>, Leaf)| leaf.0.len() == 1 && *leaf.0[0] == *"_id";
        let named = self
            .leaves
            .iter()
            .find(|leaf| id(leaf))
            .map(|(_, leaf)| matches!(leaf, Leaf::Exclude));
        let mode = mode.unwrap_or(match named {
            Some(false) => Mode::Inclusion,
            _ => Mode::Exclusion,
        });
        match (mode, named) {
            // `_id` comes along unless it is told not to.
            (Mode::Inclusion, None) if !self.leaves.iter().any(|(path, _)| *path[0] == *"_id") => {
                self.leaves.push((vec!["_id".into()], Leaf::Include));
            }
            (Mode::Inclusion, Some(true)) | (Mode::Exclusion, Some(false)) => self.leaves.retain(|leaf| !id(leaf)),
            _ => {}
        }
        self.into_projection(mode, 31249)
    }

    /// Builds the tree; `collision` is MongoDB's number for two paths in each other's way.
    fn into_projection(self, mode: Mode, collision: i32) -> Result<Projection, ParseError> {
        let parser = self.parser();
        let mut root = Level::default();
        for (path, leaf) in self.leaves {
            let dotted = path.join(".");
            let rule = match leaf {
                Leaf::Include => Rule::Keep,
                Leaf::Exclude => Rule::Drop,
                Leaf::Rule(rule) | Leaf::Either(rule) => rule,
            };
            if let Err(other) = insert(&mut root, &path, rule) {
                let kind = Syntax::Collision { other, code: collision };
                return Err(parser.error(&format!("{}: `{dotted}`", self.stage), kind));
            }
        }
        Ok(Projection { mode, root })
    }
}

/// Puts a rule at a path, or says which path is in its way.
fn insert(root: &mut Level, path: &[Box<str>], rule: Rule) -> Result<(), String> {
    let mut level = root;
    let mut walked = String::new();
    let Some((last, parents)) = path.split_last() else {
        return Ok(());
    };
    for name in parents {
        walked = if walked.is_empty() {
            name.to_string()
        } else {
            format!("{walked}.{name}")
        };
        let at = match level.entries.iter().position(|(entry, _)| entry == name) {
            Some(at) => at,
            None => {
                level.entries.push((name.clone(), Rule::Nested(Level::default())));
                level.entries.len() - 1
            }
        };
        level = match &mut level.entries[at].1 {
            Rule::Nested(inner) => inner,
            _ => return Err(walked),
        };
    }
    if level.get(last).is_some() {
        return Err(path.join("."));
    }
    level.entries.push((last.clone(), rule));
    Ok(())
}

fn included(value: RawBsonRef<'_>) -> Leaf {
    if crate::aggregation::is_true(value) {
        Leaf::Include
    } else {
        Leaf::Exclude
    }
}

pub(super) fn is_operator(document: &RawDocument) -> bool {
    let first = document.iter_elements().next();
    first.is_some_and(|first| first.is_ok_and(|first| first.key().as_str().starts_with('$')))
}
