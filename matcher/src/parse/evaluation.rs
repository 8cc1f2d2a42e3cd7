//! What `$type`, `$mod` and `$regex` take.

use bson::{RawBsonRef, RawDocument};

use super::Parser;
use crate::condition::{Modulo, TypeSet};
use crate::error::{ParseError, type_name};
use crate::number::Number;
use crate::pattern::Pattern;

impl Parser<'_> {
    /// One type or an array of them, by alias or number.
    pub(super) fn type_set(&self, value: RawBsonRef<'_>) -> Result<TypeSet, ParseError> {
        const EXPECTED: &str = "the alias or number of a type, or an array of at least one of them";
        let RawBsonRef::Array(array) = value else {
            return self.one_type(value);
        };
        let mut types = TypeSet::default();
        for value in array.into_iter().flatten() {
            types = types.union(self.one_type(value)?);
        }
        if types == TypeSet::default() {
            return Err(self.wrong("$type", EXPECTED, "an empty array"));
        }
        Ok(types)
    }

    fn one_type(&self, value: RawBsonRef<'_>) -> Result<TypeSet, ParseError> {
        const EXPECTED: &str = "the alias of a type or its number";
        let (found, types) = match value {
            RawBsonRef::String(alias) => (alias.to_owned(), TypeSet::from_alias(alias)),
            value => match Number::from_bson(value).and_then(Number::exact) {
                Some(number) => (number.to_string(), TypeSet::from_number(number)),
                None => return Err(self.wrong("$type", EXPECTED, type_name(value.element_type()))),
            },
        };
        types.ok_or_else(|| ParseError::UnknownType {
            path: self.place.clone(),
            operator: "$type".to_owned(),
            found,
        })
    }

    /// A divisor and a remainder, cut to whole numbers.
    pub(super) fn modulo(&self, value: RawBsonRef<'_>) -> Result<Modulo, ParseError> {
        const EXPECTED: &str = "an array of a divisor, which is not zero, and a remainder";
        let RawBsonRef::Array(array) = value else {
            return Err(self.wrong("$mod", EXPECTED, type_name(value.element_type())));
        };
        let mut values = array.into_iter().flatten();
        let (Some(divisor), Some(remainder)) = (values.next(), values.next()) else {
            return Err(self.wrong("$mod", EXPECTED, "too few elements"));
        };
        if values.next().is_some() {
            return Err(self.wrong("$mod", EXPECTED, "too many elements"));
        }
        let whole = |value: RawBsonRef<'_>| {
            let number = Number::from_bson(value).and_then(Number::truncated);
            number.ok_or_else(|| self.wrong("$mod", "64-bit numbers", type_name(value.element_type())))
        };
        let modulo = Modulo {
            divisor: whole(divisor)?,
            remainder: whole(remainder)?,
        };
        if modulo.divisor == 0 {
            return Err(self.wrong("$mod", EXPECTED, "the divisor zero"));
        }
        Ok(modulo)
    }

    /// A pattern with its options, which may be written in one of two places but not in both.
    pub(super) fn regex(&mut self, value: RawBsonRef<'_>, document: &RawDocument) -> Result<Pattern, ParseError> {
        let beside = match crate::elements::find(document, "$options") {
            None => None,
            Some(RawBsonRef::String(options)) => Some(options),
            Some(value) => return Err(self.wrong("$options", "a string", type_name(value.element_type()))),
        };
        match value {
            RawBsonRef::String(source) => self.pattern(source, beside.unwrap_or_default()),
            RawBsonRef::RegularExpression(regex) => {
                let own = regex.options.as_str();
                if !own.is_empty() && beside.is_some() {
                    return Err(self.wrong("$options", "a $regex without options of its own", "options in both"));
                }
                self.pattern(regex.pattern.as_str(), beside.unwrap_or(own))
            }
            value => Err(self.wrong(
                "$regex",
                "a string or a regular expression",
                type_name(value.element_type()),
            )),
        }
    }
}
