//! Compiles expressions.
//!
//! A string that begins with `$` is a field path, with `$$` a variable; a document whose first name
//! begins with `$` is an operator; other documents and arrays are built from their parts; all else
//! is a constant. Nothing is skipped: what is not known is an error that names it and its place.

use bson::{RawBsonRef, RawDocument};

use super::error::SyntaxErrorKind as Syntax;
use super::operator::{self, Form};
use super::order::Comparer;
use super::tree::{Body, Call, Tree};
use crate::collation::Collation;
use crate::elements::Elements;
use crate::error::{ParseError, type_name};
use crate::expression::ParseOptions;
use crate::path::{PATH_COMPONENTS_MAX, is_reference_field};
use crate::validate::DEPTH_MAX;

/// How many levels an expression may nest; as deep as a document may.
pub const AGGREGATION_DEPTH_MAX: usize = DEPTH_MAX;

/// How many operators, paths and computed parts an expression may hold.
pub const AGGREGATION_NODES_MAX: usize = 10_000;

pub(crate) struct Parser {
    /// Where the parser is, for errors.
    place: String,
    nodes: usize,
    depth: usize,
    /// Variables in sight with their slots, the innermost last.
    scope: Vec<(String, usize)>,
    /// How many slots are taken.
    pub(crate) slots: usize,
    /// Whether the root is used as a whole.
    pub(crate) whole_root: bool,
    /// For what is computed while parsing.
    collation: Option<Collation>,
}

impl Parser {
    /// A parser at `place`, for the form of arguments: of no variables, and comparing strings by their bytes.
    pub(crate) fn at(place: &str) -> Parser {
        Parser::new(place, &ParseOptions::default())
    }

    /// A parser at `place`, with variables that whoever evaluates will bind, in that order.
    pub(crate) fn new(place: &str, options: &ParseOptions) -> Parser {
        let mut parser = Parser {
            place: place.to_owned(),
            nodes: 0,
            depth: 0,
            scope: Vec::new(),
            slots: 0,
            whole_root: false,
            collation: options.collation.clone(),
        };
        for name in &options.variables {
            parser.declare(name);
        }
        parser
    }

    pub(crate) fn expression(&mut self, value: RawBsonRef<'_>) -> Result<Tree, ParseError> {
        if self.depth >= AGGREGATION_DEPTH_MAX {
            return Err(ParseError::TooDeep);
        }
        self.depth += 1;
        let tree = match value {
            RawBsonRef::String(text) if text.starts_with('$') => self.path(text),
            RawBsonRef::Array(_) => self.list(value).map(|items| self.folded(Tree::Array(items))),
            RawBsonRef::Document(document) => self.document(document),
            value => Ok(Tree::constant(value)),
        };
        self.depth -= 1;
        tree
    }

    /// The elements of an array as expressions; a value that is no array as a list of one.
    pub(crate) fn list(&mut self, value: RawBsonRef<'_>) -> Result<Vec<Tree>, ParseError> {
        let RawBsonRef::Array(array) = value else {
            return Ok(vec![self.expression(value)?]);
        };
        let mut trees = Vec::new();
        for (at, value) in array.into_iter().enumerate() {
            let value = value.map_err(|_| self.malformed())?;
            trees.push(self.inside(&format!("[{at}]"), |parser| parser.expression(value))?);
        }
        Ok(trees)
    }

    fn document(&mut self, document: &RawDocument) -> Result<Tree, ParseError> {
        let fields = self.fields(document)?;
        match fields.first() {
            Some((name, value)) if name.starts_with('$') => {
                if fields.len() > 1 {
                    let problem = "an operator must be the only field of its document";
                    return Err(self.error(name, Syntax::WrongValue { problem, code: 15983 }));
                }
                self.operator(name, *value)
            }
            _ => self.object(&fields),
        }
    }

    fn object(&mut self, fields: &[(&str, RawBsonRef<'_>)]) -> Result<Tree, ParseError> {
        self.count()?;
        let mut trees: Vec<(Box<str>, Tree)> = Vec::with_capacity(fields.len());
        for (name, value) in fields {
            let problem = if name.starts_with('$') {
                Some(("an operator must be the only field of its document", 15983))
            } else if name.contains('.') {
                Some(("a field name in a computed document cannot hold a dot", 16405))
            } else if trees.iter().any(|(earlier, _)| **earlier == **name) {
                Some(("the field is there twice", 16406))
            } else {
                None
            };
            if let Some((problem, code)) = problem {
                return Err(self.error(name, Syntax::WrongValue { problem, code }));
            }
            let tree = self.inside(name, |parser| parser.expression(*value))?;
            trees.push(((*name).into(), tree));
        }
        Ok(self.folded(Tree::Object(trees)))
    }

    fn operator(&mut self, name: &str, value: RawBsonRef<'_>) -> Result<Tree, ParseError> {
        self.count()?;
        if matches!(name, "$literal" | "$const") {
            return Ok(Tree::constant(value));
        }
        let Some(operator) = operator::lookup(name) else {
            return Err(self.error(name, Syntax::UnknownOperator));
        };
        let path = self.place.clone().into_boxed_str();
        let body = self.inside(operator.name, |parser| match &operator.form {
            Form::Positional { least, most, apply } => {
                let arguments = parser.list(value)?;
                parser.arity(operator.name, arguments.len(), *least, *most)?;
                Ok(Body::Positional {
                    apply: *apply,
                    arguments,
                })
            }
            Form::Named {
                arguments,
                bare,
                codes,
                apply,
            } => {
                let arguments = match value {
                    RawBsonRef::Document(document) if !*bare || !begins_with_operator(document) => {
                        parser.named(operator.name, document, arguments, codes.1)?
                    }
                    value if *bare => {
                        let first = parser.list(value)?;
                        parser.arity(operator.name, first.len(), 1, 1)?;
                        let mut first: Vec<_> = first.into_iter().map(Some).collect();
                        first.resize(arguments.len(), None);
                        first
                    }
                    value => {
                        let expected = "a document of named arguments";
                        return Err(parser.wrong_type(operator.name, expected, value, codes.0));
                    }
                };
                Ok(Body::Named {
                    apply: *apply,
                    arguments,
                })
            }
            Form::Special(parse) => parse(parser, operator.name, value),
        })?;
        let call = Call {
            operator: operator.name,
            path,
            body,
        };
        Ok(self.folded(Tree::Call(Box::new(call))))
    }

    fn folded(&self, tree: Tree) -> Tree {
        tree.folded(Comparer::new(self.collation.as_ref()))
    }

    /// The named arguments in the order of `arguments`.
    fn named(
        &mut self,
        operator: &str,
        document: &RawDocument,
        arguments: &'static [operator::Argument],
        unknown: i32,
    ) -> Result<Vec<Option<Tree>>, ParseError> {
        let mut trees: Vec<Option<Tree>> = vec![None; arguments.len()];
        for (name, value) in self.fields(document)? {
            let Some(at) = arguments.iter().position(|argument| argument.name == name) else {
                return Err(self.unknown_argument(operator, name, unknown));
            };
            trees[at] = Some(self.inside(name, |parser| parser.expression(value))?);
        }
        for (argument, tree) in arguments.iter().zip(&trees) {
            if let (Some(code), None) = (argument.missing, tree) {
                return Err(self.missing_argument(operator, argument.name, code));
            }
        }
        Ok(trees)
    }

    fn path(&mut self, text: &str) -> Result<Tree, ParseError> {
        self.count()?;
        let Some(variable) = text.strip_prefix("$$") else {
            let path = self.components(&text[1..])?;
            return Ok(match self.slot("CURRENT") {
                Some(slot) => Tree::Variable { slot, path },
                None => Tree::Root(path),
            });
        };
        let (name, path) = match variable.split_once('.') {
            Some((name, path)) => (name, self.components(path)?),
            None => (variable, Box::default()),
        };
        if let Some(slot) = self.slot(name) {
            return Ok(Tree::Variable { slot, path });
        }
        match name {
            "ROOT" | "CURRENT" => {
                self.whole_root |= path.is_empty();
                Ok(Tree::Root(path))
            }
            "REMOVE" => Ok(Tree::Missing),
            "NOW" if path.is_empty() => Ok(Tree::Now),
            // A date has no fields.
            "NOW" => Ok(Tree::Missing),
            _ => {
                let name = name.to_owned();
                Err(self.error(text, Syntax::UnknownVariable { name }))
            }
        }
    }

    /// Splits a field path, which may not be empty anywhere, nor hold names that begin with `$`.
    pub(crate) fn components(&self, path: &str) -> Result<Box<[Box<str>]>, ParseError> {
        let refuse = |problem, code| Err(self.error(path, Syntax::WrongValue { problem, code }));
        if path.is_empty() {
            return refuse("a field path cannot be empty", 16872);
        }
        if path.contains('\0') {
            return refuse("a field path cannot hold a zero byte", 16411);
        }
        if path.ends_with('.') {
            return refuse("a field path cannot end with a dot", 40353);
        }
        if path.split('.').any(str::is_empty) {
            return refuse("a field path cannot hold an empty name", 15998);
        }
        let mut names = path.split('.').enumerate();
        if names.any(|(at, name)| name.starts_with('$') && !is_reference_field(at, name)) {
            return refuse("a name in a field path cannot begin with `$`; use $getField", 16410);
        }
        if path.split('.').count() > PATH_COMPONENTS_MAX {
            return refuse("a field path cannot have more than 128 components", 15);
        }
        Ok(path.split('.').map(Into::into).collect())
    }

    /// The slot of a variable in sight.
    fn slot(&self, name: &str) -> Option<usize> {
        let found = self.scope.iter().rev().find(|(declared, _)| declared == name);
        found.map(|(_, slot)| *slot)
    }

    /// Declares a variable until [`Parser::forget`], and returns its slot.
    pub(crate) fn declare(&mut self, name: &str) -> usize {
        let slot = self.slots;
        self.slots += 1;
        self.scope.push((name.to_owned(), slot));
        slot
    }

    /// Takes the last `count` declarations out of sight.
    pub(crate) fn forget(&mut self, count: usize) {
        self.scope.truncate(self.scope.len().saturating_sub(count));
    }

    /// Checks the name of a variable that an expression declares.
    pub(crate) fn variable_name<'n>(&self, operator: &str, name: &'n str) -> Result<&'n str, ParseError> {
        let good_start = |first: char| first.is_ascii_lowercase() || !first.is_ascii();
        let good = |c: char| c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii();
        let problem = match name.chars().next() {
            _ if name == "CURRENT" => return Ok(name),
            None => Some(("a variable name cannot be empty", 16866)),
            Some(first) if !good_start(first) => Some(("a variable name must begin with a lowercase letter", 16867)),
            _ if !name.chars().all(good) => Some(("a variable name holds only letters, digits and `_`", 16868)),
            _ => None,
        };
        match problem {
            Some((problem, code)) => Err(self.error(operator, Syntax::WrongValue { problem, code })),
            None => Ok(name),
        }
    }

    /// The fields of a document, all of them readable.
    pub(crate) fn fields<'d>(&self, document: &'d RawDocument) -> Result<Vec<(&'d str, RawBsonRef<'d>)>, ParseError> {
        let mut fields = Vec::new();
        let mut elements = Elements::new(document);
        while let Some(element) = elements.next() {
            let name = std::str::from_utf8(element.name).ok();
            let (Some(name), Some(value)) = (name, elements.value(&element)) else {
                return Err(self.malformed());
            };
            fields.push((name, value));
        }
        Ok(fields)
    }

    /// The fields of a special operator's document.
    pub(crate) fn arguments<'d>(
        &self,
        operator: &str,
        value: RawBsonRef<'d>,
        code: i32,
    ) -> Result<Vec<(&'d str, RawBsonRef<'d>)>, ParseError> {
        match value {
            RawBsonRef::Document(document) => self.fields(document),
            value => Err(self.wrong_type(operator, "a document of named arguments", value, code)),
        }
    }

    /// Runs `parse` one place further in.
    pub(crate) fn inside<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&mut Parser) -> Result<T, ParseError>,
    ) -> Result<T, ParseError> {
        let outer = self.place.len();
        if !self.place.is_empty() && !name.starts_with('[') {
            self.place.push('.');
        }
        self.place.push_str(name);
        let parsed = parse(self);
        self.place.truncate(outer);
        parsed
    }

    pub(crate) fn arity(&self, operator: &str, found: usize, least: usize, most: usize) -> Result<(), ParseError> {
        if (least..=most).contains(&found) {
            return Ok(());
        }
        let expected = match most {
            usize::MAX => format!("at least {least}"),
            _ if least == most => format!("exactly {least}"),
            _ => format!("{least} to {most}"),
        };
        Err(self.error(operator, Syntax::Arguments { expected, found }))
    }

    fn count(&mut self) -> Result<(), ParseError> {
        self.nodes += 1;
        if self.nodes > AGGREGATION_NODES_MAX {
            return Err(ParseError::TooManyNodes);
        }
        Ok(())
    }

    pub(crate) fn error(&self, operator: &str, kind: Syntax) -> ParseError {
        ParseError::Aggregation {
            path: self.place.clone(),
            operator: operator.to_owned(),
            kind,
        }
    }

    pub(crate) fn wrong_type(
        &self,
        operator: &str,
        expected: &'static str,
        found: RawBsonRef<'_>,
        code: i32,
    ) -> ParseError {
        let found = type_name(found.element_type());
        self.error(operator, Syntax::WrongType { expected, found, code })
    }

    pub(crate) fn wrong_value(&self, operator: &str, problem: &'static str, code: i32) -> ParseError {
        self.error(operator, Syntax::WrongValue { problem, code })
    }

    pub(crate) fn unknown_argument(&self, operator: &str, name: &str, code: i32) -> ParseError {
        let name = name.to_owned();
        self.error(operator, Syntax::UnknownArgument { name, code })
    }

    pub(crate) fn missing_argument(&self, operator: &str, name: &'static str, code: i32) -> ParseError {
        self.error(operator, Syntax::MissingArgument { name, code })
    }

    fn malformed(&self) -> ParseError {
        self.wrong_value("document", "the bytes are not valid bson", 22)
    }
}

fn begins_with_operator(document: &RawDocument) -> bool {
    Elements::new(document)
        .next()
        .is_some_and(|first| first.name.first() == Some(&b'$'))
}
