//! The grammar of filter text: a recursive descent over its tokens.
//!
//! ```text
//! filter     = [ any ]
//! any        = all { ("or" | "||") all }
//! all        = unary { ("and" | "&&") unary }
//! unary      = ("not" | "!") unary | "(" any ")" | condition
//! condition  = path ( comparison value | ["not"] "in" list | ["not"] "exists"
//!                   | ["not"] ( "has_any" | "has_all" ) list
//!                   | ["not"] "matches" ( regex | text ) )
//! comparison = "=" | "==" | "!=" | "<>" | ">" | ">=" | "<" | "<="
//!            | "is" ["not"] | ["not"] "has"
//! list       = "[" [ item { "," item } ] "]" | "(" [ item { "," item } ] ")"
//! item       = value | regex
//! regex      = "/" pattern "/" options
//! value      = text | number | "true" | "false" | "null"
//!            | "date" "(" text ")" | "ObjectId" "(" text ")"
//! ```

use bson::RawBson;

use super::FILTER_DEPTH_MAX;
use super::cursor::Cursor;
use super::error::{FilterError, FilterErrorKind as Kind};
use super::literal;
use super::token::{self, TokenKind};
use crate::condition::Condition;
use crate::expression::{EXPRESSION_NODES_MAX, EXPRESSION_REGEXES_MAX, Expression};
use crate::node::{Comparison, Constant, Node};
use crate::path::Path;
use crate::pattern::Pattern;
use crate::render;

const CONDITION: &str = "a field name, `not` or `(`";
const OPERATOR: &str = "an operator (=, !=, >, >=, <, <=, is, is not, has, not has, has_any, has_all, in, not in, \
                        exists, not exists, matches, not matches)";
const VALUE: &str = "a value (text in quotes, a number, true, false, null, date(\"…\"), ObjectId(\"…\"))";

pub(super) fn parse(text: &str) -> Result<Expression, FilterError> {
    let tokens = token::tokens(text)?;
    let mut parser = Parser {
        cursor: Cursor::new(text, &tokens),
        conditions: 0,
        regexes: 0,
    };
    if parser.cursor.kind() == &TokenKind::End {
        return Ok(Expression::always());
    }
    let root = parser.any(0)?;
    if parser.cursor.kind() != &TokenKind::End {
        return Err(parser.cursor.unexpected("`and`, `or` or the end of the filter"));
    }
    if !render::fits(&root) {
        return Err(FilterError::new(Kind::TooManyLevels, text, 0));
    }
    Ok(Expression { root })
}

struct Parser<'t> {
    cursor: Cursor<'t>,
    conditions: usize,
    regexes: usize,
}

impl Parser<'_> {
    fn any(&mut self, depth: usize) -> Result<Node, FilterError> {
        let mut parts = vec![self.all(depth)?];
        while self.cursor.accept("or") {
            parts.push(self.all(depth)?);
        }
        Ok(Node::or(parts))
    }

    fn all(&mut self, depth: usize) -> Result<Node, FilterError> {
        let mut parts = vec![self.unary(depth)?];
        while self.cursor.accept("and") {
            parts.push(self.unary(depth)?);
        }
        Ok(Node::and(parts))
    }

    fn unary(&mut self, depth: usize) -> Result<Node, FilterError> {
        if depth > FILTER_DEPTH_MAX {
            return Err(self.cursor.error(Kind::TooDeep));
        }
        if self.cursor.accept("not") {
            return Ok(self.unary(depth + 1)?.negate());
        }
        if self.cursor.accept("(") {
            let inner = self.any(depth + 1)?;
            return if self.cursor.accept(")") {
                Ok(inner)
            } else {
                Err(self.cursor.unexpected("`)`, `and` or `or`"))
            };
        }
        self.condition()
    }

    fn condition(&mut self) -> Result<Node, FilterError> {
        self.conditions += 1;
        if self.conditions > EXPRESSION_NODES_MAX {
            return Err(self.cursor.error(Kind::TooManyConditions));
        }
        let path = self.path()?;
        if self.cursor.accept("not") {
            return match self.word_condition(&path)? {
                Some(node) => Ok(node.negate()),
                None => Err(self
                    .cursor
                    .unexpected("`in`, `has`, `has_any`, `has_all`, `exists` or `matches`")),
            };
        }
        if let Some(node) = self.word_condition(&path)? {
            return Ok(node);
        }
        if self.cursor.accept("is") {
            let negated = self.cursor.accept("not");
            let node = self.comparison(path, Comparison::Eq)?;
            return Ok(if negated { node.negate() } else { node });
        }
        if self.cursor.accept("!=") {
            return Ok(self.comparison(path, Comparison::Eq)?.negate());
        }
        for (spelling, operator) in [
            ("=", Comparison::Eq),
            (">", Comparison::Gt),
            (">=", Comparison::Gte),
            ("<", Comparison::Lt),
            ("<=", Comparison::Lte),
        ] {
            if self.cursor.accept(spelling) {
                return self.comparison(path, operator);
            }
        }
        Err(self.cursor.unexpected(OPERATOR))
    }

    /// A condition whose operator is a word that `not` can stand before; nothing when none follows.
    fn word_condition(&mut self, path: &Path) -> Result<Option<Node>, FilterError> {
        Ok(Some(if self.cursor.accept("in") || self.cursor.accept("has_any") {
            self.list(path)?
        } else if self.cursor.accept("has_all") {
            self.every(path)?
        } else if self.cursor.accept("has") {
            self.comparison(path.clone(), Comparison::Eq)?
        } else if self.cursor.accept("exists") {
            Node::leaf(path, Condition::Exists)
        } else if self.cursor.accept("matches") {
            self.regex(path)?
        } else {
            return Ok(None);
        }))
    }

    fn path(&mut self) -> Result<Path, FilterError> {
        let token = self.cursor.token();
        let dotted = match &token.kind {
            TokenKind::Path(dotted) => dotted.as_str(),
            TokenKind::Word => {
                let word = self.cursor.text(token);
                if ["and", "or", "not"]
                    .iter()
                    .any(|keyword| word.eq_ignore_ascii_case(keyword))
                {
                    return Err(self.cursor.unexpected(CONDITION));
                }
                word
            }
            _ => return Err(self.cursor.unexpected(CONDITION)),
        };
        if dotted.starts_with('$') {
            // As a match document it would be an operator.
            return Err(self.cursor.error(Kind::Name {
                problem: "begin with $",
            }));
        }
        let path = Path::new(dotted).map_err(|problem| self.cursor.error(Kind::Path(problem)))?;
        self.cursor.advance();
        Ok(path)
    }

    fn comparison(&mut self, path: Path, operator: Comparison) -> Result<Node, FilterError> {
        let value = Constant::from(self.value()?);
        let condition = Condition::Compare {
            operator,
            value,
            collation: None,
        };
        Ok(Node::Leaf { path, condition })
    }

    fn regex(&mut self, path: &Path) -> Result<Node, FilterError> {
        let pattern = self.pattern()?;
        Ok(Node::leaf(path, Condition::Regex(pattern)))
    }

    /// Compiles the regular expression that comes next: between slashes, or as text.
    fn pattern(&mut self) -> Result<Pattern, FilterError> {
        let (source, options) = match self.cursor.kind() {
            TokenKind::Regex(source, options) => (source, options.as_str()),
            TokenKind::Text(source) => (source, ""),
            _ => return Err(self.cursor.unexpected("a regular expression like /^a.*z$/i")),
        };
        self.regexes += 1;
        if self.regexes > EXPRESSION_REGEXES_MAX {
            return Err(self.cursor.error(Kind::TooManyRegexes));
        }
        let pattern = Pattern::new(source, options).map_err(|problem| self.cursor.error(Kind::Regex(problem)))?;
        self.cursor.advance();
        Ok(pattern)
    }

    /// The value equals one of a list, or a text matches one.
    fn list(&mut self, path: &Path) -> Result<Node, FilterError> {
        let (values, patterns) = self.items()?;
        Ok(Node::leaf(path, Condition::one_of(values, patterns, None)))
    }

    /// Each of a list is found; as with `$all`, none of an empty one.
    fn every(&mut self, path: &Path) -> Result<Node, FilterError> {
        let (values, patterns) = self.items()?;
        let equals = values.into_iter().map(|value| Condition::Compare {
            operator: Comparison::Eq,
            value,
            collation: None,
        });
        let parts: Vec<_> = equals
            .chain(patterns.into_iter().map(Condition::Regex))
            .map(|condition| Node::leaf(path, condition))
            .collect();
        // The first is counted already.
        self.conditions += parts.len().saturating_sub(1);
        if self.conditions > EXPRESSION_NODES_MAX {
            return Err(self.cursor.error(Kind::TooManyConditions));
        }
        Ok(match parts.is_empty() {
            true => Node::leaf(path, Condition::one_of(Vec::new(), Vec::new(), None)),
            false => Node::and(parts),
        })
    }

    fn items(&mut self) -> Result<(Vec<Constant>, Vec<Pattern>), FilterError> {
        let close = if self.cursor.accept("[") {
            "]"
        } else if self.cursor.accept("(") {
            ")"
        } else {
            return Err(self.cursor.unexpected("a list like [1, 2]"));
        };
        let (mut values, mut patterns) = (Vec::new(), Vec::new());
        if self.cursor.accept(close) {
            return Ok((values, patterns));
        }
        loop {
            match self.cursor.kind() {
                TokenKind::Regex(..) => patterns.push(self.pattern()?),
                _ => values.push(Constant::from(self.value()?)),
            }
            if self.cursor.accept(close) {
                return Ok((values, patterns));
            }
            if !self.cursor.accept(",") {
                let expected = if close == "]" { "`,` or `]`" } else { "`,` or `)`" };
                return Err(self.cursor.unexpected(expected));
            }
        }
    }

    fn value(&mut self) -> Result<RawBson, FilterError> {
        let value = match &self.cursor.token().kind {
            TokenKind::Text(text) => RawBson::String(text.clone()),
            TokenKind::Number(number) => number.clone(),
            TokenKind::Word if self.cursor.is("true") => RawBson::Boolean(true),
            TokenKind::Word if self.cursor.is("false") => RawBson::Boolean(false),
            TokenKind::Word if self.cursor.is("null") => RawBson::Null,
            TokenKind::Word if self.cursor.is("date") => return self.call(literal::date),
            TokenKind::Word if self.cursor.is("objectid") => return self.call(literal::object_id),
            _ => return Err(self.cursor.unexpected(VALUE)),
        };
        self.cursor.advance();
        Ok(value)
    }

    /// Reads `name("text")` and converts the text.
    fn call(&mut self, convert: fn(&str) -> Result<RawBson, Kind>) -> Result<RawBson, FilterError> {
        self.cursor.advance();
        if !self.cursor.accept("(") {
            return Err(self.cursor.unexpected("`(`"));
        }
        let TokenKind::Text(text) = self.cursor.kind() else {
            return Err(self.cursor.unexpected("text in quotes"));
        };
        let value = convert(text).map_err(|kind| self.cursor.error(kind))?;
        self.cursor.advance();
        if self.cursor.accept(")") {
            Ok(value)
        } else {
            Err(self.cursor.unexpected("`)`"))
        }
    }
}
