//! Sets of BSON types, as `$type` and `bsonType` name them.
//!
//! A type is named by MongoDB's alias (`"string"`), by its number in the BSON specification, or by
//! the alias `"number"`, which stands for the four numeric types.

use bson::RawBsonRef;
use bson::spec::ElementType;

use crate::error::type_name;

/// All types that have a number and an alias, in the order of the specification.
const TYPES: [ElementType; 21] = [
    ElementType::MinKey,
    ElementType::Double,
    ElementType::String,
    ElementType::EmbeddedDocument,
    ElementType::Array,
    ElementType::Binary,
    ElementType::Undefined,
    ElementType::ObjectId,
    ElementType::Boolean,
    ElementType::DateTime,
    ElementType::Null,
    ElementType::RegularExpression,
    ElementType::DbPointer,
    ElementType::JavaScriptCode,
    ElementType::Symbol,
    ElementType::JavaScriptCodeWithScope,
    ElementType::Int32,
    ElementType::Timestamp,
    ElementType::Int64,
    ElementType::Decimal128,
    ElementType::MaxKey,
];

const NUMERIC: [ElementType; 4] = [
    ElementType::Double,
    ElementType::Int32,
    ElementType::Int64,
    ElementType::Decimal128,
];

/// A set of BSON types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TypeSet(u32);

impl TypeSet {
    /// The set of the four numeric types.
    pub(crate) fn numeric() -> TypeSet {
        NUMERIC.into_iter().collect()
    }

    /// The types an alias stands for.
    pub(crate) fn from_alias(alias: &str) -> Option<TypeSet> {
        if alias == "number" {
            return Some(TypeSet::numeric());
        }
        let found = TYPES.into_iter().find(|&kind| type_name(kind) == alias)?;
        Some(TypeSet::from_iter([found]))
    }

    /// The type of that number; MinKey is -1, as in MongoDB's manual.
    pub(crate) fn from_number(number: i64) -> Option<TypeSet> {
        let found = TYPES.into_iter().find(|&kind| type_number(kind) == number)?;
        Some(TypeSet::from_iter([found]))
    }

    pub(crate) fn union(self, other: TypeSet) -> TypeSet {
        TypeSet(self.0 | other.0)
    }

    /// Says whether the set has no type that the other one lacks.
    pub(crate) fn is_within(self, other: TypeSet) -> bool {
        self.0 & !other.0 == 0
    }

    /// Says whether the type is in the set.
    #[must_use]
    pub fn contains(self, kind: ElementType) -> bool {
        self.0 & bit(kind) != 0
    }

    #[inline]
    pub(crate) fn accepts(self, value: RawBsonRef<'_>) -> bool {
        self.contains(value.element_type())
    }

    /// The aliases of the set's types, in the order of their numbers.
    pub fn aliases(self) -> impl Iterator<Item = &'static str> {
        TYPES
            .into_iter()
            .filter(move |&kind| self.contains(kind))
            .map(type_name)
    }
}

impl FromIterator<ElementType> for TypeSet {
    fn from_iter<I: IntoIterator<Item = ElementType>>(kinds: I) -> TypeSet {
        TypeSet(kinds.into_iter().fold(0, |set, kind| set | bit(kind)))
    }
}

fn bit(kind: ElementType) -> u32 {
    match kind {
        ElementType::MinKey => 1 << 30,
        ElementType::MaxKey => 1 << 31,
        kind => 1 << (kind as u8 & 0x1f),
    }
}

fn type_number(kind: ElementType) -> i64 {
    match kind {
        ElementType::MinKey => -1,
        kind => i64::from(kind as u8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_its_own_bit_number_and_alias() {
        for (at, kind) in TYPES.into_iter().enumerate() {
            let alone = TypeSet::from_iter([kind]);
            assert_eq!(TypeSet::from_alias(type_name(kind)), Some(alone));
            assert_eq!(TypeSet::from_number(type_number(kind)), Some(alone));
            for other in &TYPES[at + 1..] {
                assert!(!alone.contains(*other), "{kind:?} {other:?}");
            }
        }
        assert_eq!(TypeSet::from_alias("Number"), None);
        assert_eq!(TypeSet::from_number(0), None);
        assert_eq!(TypeSet::from_number(255), None);
    }
}
