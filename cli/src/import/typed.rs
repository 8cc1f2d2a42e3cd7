//! The typed values of Extended JSON v2: objects such as `{"$oid": "…"}`.
//!
//! The first key of an object decides. If it is one of [`TypeKey`], the object
//! must be that type, whole and alone; if such a key comes later, the object is
//! refused as well. So nothing that looks like a type is ever stored as a
//! document by mistake. Other keys with a dollar sign (`$ref`, `$regex`, …) mean
//! nothing here and stay fields.
//!
//! Accepted beyond the specification: a plain number as `$date`, in milliseconds,
//! as old exports write it.

use std::borrow::Cow;

use bson::spec::ElementType;

use super::{
    base64,
    error::{Fault, ImportError},
    lexer::Number,
    parser::Parser,
    scalar,
};

/// A key that makes its object a typed value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TypeKey {
    Binary,
    Code,
    Date,
    DbPointer,
    MaxKey,
    MinKey,
    NumberDecimal,
    NumberDouble,
    NumberInt,
    NumberLong,
    Oid,
    RegularExpression,
    Scope,
    Symbol,
    Timestamp,
    Undefined,
    Uuid,
}

impl TypeKey {
    /// Each with its name and what its value has to be.
    const TABLE: [(Self, &str, &str); 17] = [
        (
            Self::Binary,
            "$binary",
            "an object of base64 (padded) and subType (one or two hexadecimal digits)",
        ),
        (Self::Code, "$code", "a string"),
        (
            Self::Date,
            "$date",
            "an RFC 3339 string or a $numberLong of milliseconds",
        ),
        (
            Self::DbPointer,
            "$dbPointer",
            "an object of $ref (a string) and $id (an $oid)",
        ),
        (Self::MaxKey, "$maxKey", "1"),
        (Self::MinKey, "$minKey", "1"),
        (
            Self::NumberDecimal,
            "$numberDecimal",
            "a string that holds a decimal of at most 34 digits",
        ),
        (
            Self::NumberDouble,
            "$numberDouble",
            "a string that holds a number, Infinity, -Infinity or NaN",
        ),
        (Self::NumberInt, "$numberInt", "a string that holds a 32-bit integer"),
        (Self::NumberLong, "$numberLong", "a string that holds a 64-bit integer"),
        (Self::Oid, "$oid", "a string of 24 hexadecimal digits"),
        (
            Self::RegularExpression,
            "$regularExpression",
            "an object of pattern and options (strings without NUL)",
        ),
        (Self::Scope, "$scope", "a document beside $code"),
        (Self::Symbol, "$symbol", "a string"),
        (
            Self::Timestamp,
            "$timestamp",
            "an object of t and i (unsigned 32-bit integers)",
        ),
        (Self::Undefined, "$undefined", "true"),
        (
            Self::Uuid,
            "$uuid",
            "a string of 32 hexadecimal digits in groups of 8-4-4-4-12",
        ),
    ];

    pub(super) fn named(name: &str) -> Option<Self> {
        if !name.starts_with('$') {
            return None;
        }
        let mut table = Self::TABLE.iter();
        table.find(|(_, known, _)| *known == name).map(|&(key, ..)| key)
    }

    pub(super) fn name(self) -> &'static str {
        Self::TABLE[self as usize].1
    }

    fn expected(self) -> &'static str {
        Self::TABLE[self as usize].2
    }

    /// The fault of a value at `at` that does not fit this key.
    fn invalid(self, at: usize) -> Fault {
        let (key, expected) = (self.name(), self.expected());
        Fault::new(at, ImportError::InvalidValue { key, expected })
    }
}

/// The table is indexed by the variant.
const _: () = {
    let mut index = 0;
    while index < TypeKey::TABLE.len() {
        assert!(TypeKey::TABLE[index].0 as usize == index);
        index += 1;
    }
};

impl<'a> Parser<'a, '_> {
    /// Parses the rest of an object after its first key, which is `key`, and
    /// writes the value. The object stands where a document at `level` would.
    pub(super) fn typed(&mut self, key: TypeKey, level: usize) -> Result<ElementType, Fault> {
        self.colon()?;
        let element_type = match key {
            TypeKey::Code | TypeKey::Scope => return self.code(key, level),
            TypeKey::Binary => self.binary()?,
            TypeKey::Date => {
                let millis = self.date()?;
                self.out.raw(&millis.to_le_bytes());
                ElementType::DateTime
            }
            TypeKey::DbPointer => self.db_pointer()?,
            TypeKey::MaxKey => self.bound(key, ElementType::MaxKey)?,
            TypeKey::MinKey => self.bound(key, ElementType::MinKey)?,
            TypeKey::NumberDecimal => {
                let value = self.parsed(key, scalar::decimal)?;
                self.out.raw(&value.bytes());
                ElementType::Decimal128
            }
            TypeKey::NumberDouble => {
                let value = self.parsed(key, scalar::double)?;
                self.out.raw(&value.to_le_bytes());
                ElementType::Double
            }
            TypeKey::NumberInt => {
                let value: i32 = self.parsed(key, scalar::integer)?;
                self.out.raw(&value.to_le_bytes());
                ElementType::Int32
            }
            TypeKey::NumberLong => {
                let value: i64 = self.parsed(key, scalar::integer)?;
                self.out.raw(&value.to_le_bytes());
                ElementType::Int64
            }
            TypeKey::Oid => {
                let id = self.parsed(key, scalar::object_id)?;
                self.out.raw(&id);
                ElementType::ObjectId
            }
            TypeKey::RegularExpression => self.regular_expression()?,
            TypeKey::Symbol => {
                let symbol = self.typed_string(key)?;
                self.out.string(&symbol);
                ElementType::Symbol
            }
            TypeKey::Timestamp => self.timestamp()?,
            TypeKey::Undefined => {
                self.require(key, b't')?;
                self.lexer.word("true")?;
                ElementType::Undefined
            }
            TypeKey::Uuid => {
                let value = self.parsed(key, scalar::uuid)?;
                let subtype = bson::spec::BinarySubtype::Uuid.into();
                self.out.binary(subtype, &value);
                ElementType::Binary
            }
        };
        self.close_typed(key)?;
        Ok(element_type)
    }

    /// `$code`, alone or with a `$scope` on either side of it.
    fn code(&mut self, first: TypeKey, level: usize) -> Result<ElementType, Fault> {
        let value = self.out.begin();
        self.code_part(first, level)?;
        self.lexer.skip_whitespace();
        if self.lexer.peek() != Some(b',') {
            if first == TypeKey::Scope {
                return Err(first.invalid(self.lexer.at()));
            }
            self.close_typed(first)?;
            self.out.unbegin(&value);
            return Ok(ElementType::JavaScriptCode);
        }
        self.lexer.expect(b',', "','")?;
        self.lexer.skip_whitespace();
        let at = self.lexer.at();
        let other = match (first, TypeKey::named(&self.lexer.string()?)) {
            (TypeKey::Code, Some(TypeKey::Scope)) => TypeKey::Scope,
            (TypeKey::Scope, Some(TypeKey::Code)) => TypeKey::Code,
            _ => {
                let key = first.name();
                return Err(Fault::new(at, ImportError::MixedTypeKey { key }));
            }
        };
        self.colon()?;
        let middle = self.out.position();
        self.code_part(other, level)?;
        self.close_typed(other)?;
        if first == TypeKey::Scope {
            self.out.swap_parts(&value, middle);
        }
        self.out.end(&value);
        Ok(ElementType::JavaScriptCodeWithScope)
    }

    fn code_part(&mut self, key: TypeKey, level: usize) -> Result<(), Fault> {
        if key == TypeKey::Scope {
            self.require(key, b'{')?;
            return self.document(level);
        }
        let code = self.typed_string(key)?;
        self.out.string(&code);
        Ok(())
    }

    fn binary(&mut self) -> Result<ElementType, Fault> {
        const KEY: TypeKey = TypeKey::Binary;
        let (mut bytes, mut subtype) = (Vec::new(), 0);
        self.members(KEY, ["base64", "subType"], |parser, member| {
            if member == 0 {
                bytes = parser.parsed(KEY, base64::decode)?;
            } else {
                subtype = parser.parsed(KEY, scalar::subtype)?;
            }
            Ok(())
        })?;
        self.out.binary(subtype, &bytes);
        Ok(ElementType::Binary)
    }

    /// The milliseconds of a date, which has three spellings.
    fn date(&mut self) -> Result<i64, Fault> {
        const KEY: TypeKey = TypeKey::Date;
        let at = self.lexer.at();
        match self.lexer.peek() {
            Some(b'{') => {
                self.lexer.expect(b'{', "'{'")?;
                self.lexer.skip_whitespace();
                let inner = self.lexer.string()?;
                if TypeKey::named(&inner) != Some(TypeKey::NumberLong) {
                    return Err(KEY.invalid(at));
                }
                self.colon()?;
                let millis = self.parsed(TypeKey::NumberLong, scalar::integer)?;
                self.close_typed(TypeKey::NumberLong)?;
                Ok(millis)
            }
            Some(b'-' | b'0'..=b'9') => match self.lexer.number()? {
                Number::Int32(millis) => Ok(millis.into()),
                Number::Int64(millis) => Ok(millis),
                Number::Double(_) => Err(KEY.invalid(at)),
            },
            _ => self.parsed(KEY, scalar::date),
        }
    }

    fn db_pointer(&mut self) -> Result<ElementType, Fault> {
        const KEY: TypeKey = TypeKey::DbPointer;
        let (mut namespace, mut id) = (Cow::Borrowed(""), [0; 12]);
        self.members(KEY, ["$ref", "$id"], |parser, member| {
            if member == 0 {
                namespace = parser.typed_string(KEY)?;
                return Ok(());
            }
            let at = parser.lexer.at();
            parser.require(KEY, b'{')?;
            parser.lexer.expect(b'{', "'{'")?;
            parser.lexer.skip_whitespace();
            if TypeKey::named(&parser.lexer.string()?) != Some(TypeKey::Oid) {
                return Err(KEY.invalid(at));
            }
            parser.colon()?;
            id = parser.parsed(TypeKey::Oid, scalar::object_id)?;
            parser.close_typed(TypeKey::Oid)
        })?;
        self.out.string(&namespace);
        self.out.raw(&id);
        Ok(ElementType::DbPointer)
    }

    fn regular_expression(&mut self) -> Result<ElementType, Fault> {
        const KEY: TypeKey = TypeKey::RegularExpression;
        let mut parts = [String::new(), String::new()];
        self.members(KEY, ["pattern", "options"], |parser, member| {
            parts[member] = parser.parsed(KEY, scalar::without_nul)?;
            Ok(())
        })?;
        let [pattern, options] = parts;
        // BSON keeps options in alphabetical order.
        let mut options: Vec<char> = options.chars().collect();
        options.sort_unstable();
        self.out.cstring(&pattern);
        self.out.cstring(&String::from_iter(options));
        Ok(ElementType::RegularExpression)
    }

    fn timestamp(&mut self) -> Result<ElementType, Fault> {
        const KEY: TypeKey = TypeKey::Timestamp;
        let mut parts = [0; 2];
        self.members(KEY, ["t", "i"], |parser, member| {
            parts[member] = parser.unsigned(KEY)?;
            Ok(())
        })?;
        let [time, increment] = parts;
        self.out.raw(&increment.to_le_bytes());
        self.out.raw(&time.to_le_bytes());
        Ok(ElementType::Timestamp)
    }

    /// `$minKey` or `$maxKey`, whose value is always 1 and is not stored.
    fn bound(&mut self, key: TypeKey, element_type: ElementType) -> Result<ElementType, Fault> {
        let at = self.lexer.at();
        match self.unsigned(key)? {
            1 => Ok(element_type),
            _ => Err(key.invalid(at)),
        }
    }

    /// Parses an object of exactly the two named members, in either order, and
    /// has `read` parse each value by the index of its name.
    fn members(
        &mut self,
        key: TypeKey,
        names: [&str; 2],
        mut read: impl FnMut(&mut Self, usize) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        self.require(key, b'{')?;
        self.lexer.expect(b'{', "'{'")?;
        let mut seen = [false; 2];
        for separator in [None, Some(b',')] {
            self.lexer.skip_whitespace();
            if let Some(separator) = separator {
                self.require(key, separator)?;
                self.lexer.expect(separator, "','")?;
                self.lexer.skip_whitespace();
            }
            let at = self.lexer.at();
            self.require(key, b'"')?;
            let name = self.lexer.string()?;
            let member = names.iter().position(|known| *known == name);
            let Some(member) = member.filter(|&member| !seen[member]) else {
                return Err(key.invalid(at));
            };
            seen[member] = true;
            self.colon()?;
            read(self, member)?;
        }
        self.lexer.skip_whitespace();
        self.require(key, b'}')?;
        self.lexer.expect(b'}', "'}'")
    }

    /// Parses a string and has `parse` understand it.
    fn parsed<T>(&mut self, key: TypeKey, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, Fault> {
        let at = self.lexer.at();
        let string = self.typed_string(key)?;
        parse(&string).ok_or_else(|| key.invalid(at))
    }

    fn typed_string(&mut self, key: TypeKey) -> Result<Cow<'a, str>, Fault> {
        self.require(key, b'"')?;
        self.lexer.string()
    }

    fn unsigned(&mut self, key: TypeKey) -> Result<u32, Fault> {
        let at = self.lexer.at();
        if !matches!(self.lexer.peek(), None | Some(b'-' | b'0'..=b'9')) {
            return Err(key.invalid(at));
        }
        let value = match self.lexer.number()? {
            Number::Int32(value) => u32::try_from(value).ok(),
            Number::Int64(value) => u32::try_from(value).ok(),
            Number::Double(_) => None,
        };
        value.ok_or_else(|| key.invalid(at))
    }

    /// Refuses a value that does not begin with `byte`. The end of the text is
    /// left to whoever reads on.
    fn require(&self, key: TypeKey, byte: u8) -> Result<(), Fault> {
        match self.lexer.peek() {
            Some(other) if other != byte => Err(key.invalid(self.lexer.at())),
            _ => Ok(()),
        }
    }

    /// Consumes the brace after a typed value, with which it has to end.
    fn close_typed(&mut self, key: TypeKey) -> Result<(), Fault> {
        self.lexer.skip_whitespace();
        if self.lexer.peek() == Some(b',') {
            let key = key.name();
            return Err(self.lexer.fault(ImportError::MixedTypeKey { key }));
        }
        self.lexer.expect(b'}', "'}'")
    }
}
