//! Language-specific order of strings.
//!
//! A collation replaces the byte order of strings by that of a language, at a chosen strength: 1
//! looks at base letters only, 2 at accents as well, 3, the default, also at case. It applies to the
//! values of fields, also inside documents and arrays, in predicates, expressions and stages; never
//! to field names and, as in MongoDB, never to regular expressions.
//!
//! ICU4X does the comparing, with data compiled in. Its sort keys ([`Collation::encode_key`]) are
//! good as long as the version of the crate is the same: an index that stores them must be rebuilt
//! when that changes ([`Collation::KEYS`]).
//!
//! Rules: <https://www.mongodb.com/docs/manual/reference/collation/>

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use bson::{RawBsonRef, RawDocument, RawDocumentBuf, rawdoc};
use icu_collator::options::{AlternateHandling, CaseLevel, CollatorOptions, MaxVariable, Strength};
use icu_collator::preferences::{CollationCaseFirst, CollationNumericOrdering};
use icu_collator::{Collator, CollatorBorrowed, CollatorPreferences};
use icu_locale_core::Locale;

use crate::error::type_name;
use crate::{compare, keystring};

/// A compiled collation. Clones share it.
#[derive(Clone)]
pub struct Collation(Arc<Compiled>);

struct Compiled {
    spec: Spec,
    collator: CollatorBorrowed<'static>,
}

/// A collation document, read.
#[derive(Clone, Debug, Default, PartialEq)]
struct Spec {
    locale: String,
    strength: Option<Strength>,
    case_level: bool,
    case_first: Option<CollationCaseFirst>,
    numeric_ordering: bool,
    shifted: Option<bool>,
    max_variable: Option<MaxVariable>,
}

/// Why a collation document is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CollationError {
    /// The document has no `locale`.
    #[error("a collation needs a locale, such as \"en\", or \"simple\" for the order of bytes")]
    NoLocale,
    /// The locale is malformed.
    #[error("{found:?} is not a locale, expected one like \"en_US\"")]
    Locale {
        /// The text.
        found: String,
    },
    /// A field with a value it cannot have.
    #[error("the collation's {field} must be {expected}, found {found}")]
    Value {
        /// The field.
        field: &'static str,
        /// What it takes.
        expected: &'static str,
        /// What it was given.
        found: String,
    },
    /// A field that collations do not have.
    #[error("a collation has no field {field:?}")]
    UnknownField {
        /// The field.
        field: String,
    },
    /// The tables of the locale cannot be loaded.
    #[error("the collation of {locale:?} cannot be loaded: {reason}")]
    Data {
        /// The locale.
        locale: String,
        /// What ICU4X said.
        reason: String,
    },
}

impl Collation {
    /// Names the rules by which [`encode_key`](Collation::encode_key) makes keys: those of two versions that have the same name
    /// here can be compared. The crate is pinned to the version that this names.
    pub const KEYS: &str = "icu4x 2.4.0";

    /// Compiles a collation document such as `{ locale: "en", strength: 2 }`. The locale `simple`
    /// stands for the order of bytes, which is no collation.
    pub fn parse(document: &RawDocument) -> Result<Option<Collation>, CollationError> {
        let spec = Spec::parse(document)?;
        if spec.locale == "simple" {
            return Ok(None);
        }
        let collator = spec.compile()?;
        Ok(Some(Collation(Arc::new(Compiled { spec, collator }))))
    }

    /// The collation as a document, with what the locale decides where nothing was said. It parses to an equal collation.
    ///
    /// ```
    /// use bson::rawdoc;
    /// use tailwater_matcher::Collation;
    ///
    /// let letters = Collation::parse(&rawdoc! { "locale": "en", "strength": 1 })?.unwrap();
    /// let whole = letters.to_document();
    /// assert_eq!(whole.get_str("alternate")?, "non-ignorable");
    /// assert_eq!(Collation::parse(&whole)?, Some(letters));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn to_document(&self) -> RawDocumentBuf {
        let options = self.0.collator.resolved_options();
        rawdoc! {
            "locale": self.0.spec.locale.as_str(),
            "caseLevel": options.case_level == CaseLevel::On,
            "caseFirst": match options.case_first {
                CollationCaseFirst::Upper => "upper",
                CollationCaseFirst::Lower => "lower",
                _ => "off",
            },
            "strength": match options.strength {
                Strength::Primary => 1,
                Strength::Secondary => 2,
                Strength::Quaternary => 4,
                Strength::Identical => 5,
                _ => 3,
            },
            "numericOrdering": options.numeric == CollationNumericOrdering::True,
            "alternate": match options.alternate_handling {
                AlternateHandling::Shifted => "shifted",
                _ => "non-ignorable",
            },
            "maxVariable": match options.max_variable {
                MaxVariable::Space => "space",
                _ => "punct",
            },
            "normalization": false,
            "backwards": false,
        }
    }

    /// Compares two strings.
    #[must_use]
    pub fn compare(&self, a: &str, b: &str) -> Ordering {
        self.0.collator.compare(a, b)
    }

    /// Compares two values in MongoDB's order, strings inside them by the collation.
    #[must_use]
    pub fn compare_values(&self, a: RawBsonRef<'_>, b: RawBsonRef<'_>) -> Ordering {
        compare::compare_with(a, b, Some(self))
    }

    /// As [`encode_key`](crate::encode_key): bytes in the order of
    /// [`compare_values`](Collation::compare_values).
    pub fn encode_key(&self, value: RawBsonRef<'_>, out: &mut Vec<u8>) {
        keystring::encode_with(value, out, Some(self));
    }

    /// Appends the sort key of a string.
    pub(crate) fn sort_key(&self, text: &str, out: &mut Vec<u8>) {
        // Writing to a vector cannot fail.
        let Ok(()) = self.0.collator.write_sort_key_to(text, out);
    }
}

/// Whether they say the same, in whatever words: what one leaves to the locale the other may spell out.
impl PartialEq for Collation {
    fn eq(&self, other: &Collation) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.spec == other.0.spec || self.to_document() == other.to_document()
    }
}

/// Whether comparisons with a value depend on a collation: it is, or may hold, a string.
pub(crate) fn matters_to(value: RawBsonRef<'_>) -> bool {
    matches!(
        value,
        RawBsonRef::String(_)
            | RawBsonRef::Symbol(_)
            | RawBsonRef::Document(_)
            | RawBsonRef::Array(_)
            | RawBsonRef::JavaScriptCodeWithScope(_)
    )
}

impl fmt::Debug for Collation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Collation").field(&self.0.spec).finish()
    }
}

impl Spec {
    fn parse(document: &RawDocument) -> Result<Spec, CollationError> {
        let mut spec = Spec::default();
        for element in document {
            let Ok((name, value)) = element else {
                return Err(wrong("locale", "readable", &"malformed bytes"));
            };
            match name.as_str() {
                "locale" => spec.locale = text("locale", value)?.to_owned(),
                "strength" => spec.strength = Some(strength(value)?),
                "caseLevel" => spec.case_level = truth("caseLevel", value)?,
                "numericOrdering" => spec.numeric_ordering = truth("numericOrdering", value)?,
                "caseFirst" => {
                    spec.case_first = match text("caseFirst", value)? {
                        "upper" => Some(CollationCaseFirst::Upper),
                        "lower" => Some(CollationCaseFirst::Lower),
                        "off" => Some(CollationCaseFirst::False),
                        other => return Err(wrong("caseFirst", "\"upper\", \"lower\" or \"off\"", &other)),
                    }
                }
                "alternate" => {
                    spec.shifted = match text("alternate", value)? {
                        "non-ignorable" => Some(false),
                        "shifted" => Some(true),
                        other => return Err(wrong("alternate", "\"non-ignorable\" or \"shifted\"", &other)),
                    }
                }
                "maxVariable" => {
                    spec.max_variable = match text("maxVariable", value)? {
                        "punct" => Some(MaxVariable::Punctuation),
                        "space" => Some(MaxVariable::Space),
                        other => return Err(wrong("maxVariable", "\"punct\" or \"space\"", &other)),
                    }
                }
                // Text is always compared as if it were normalized.
                "normalization" => _ = truth("normalization", value)?,
                "backwards" if truth("backwards", value)? => {
                    return Err(wrong("backwards", "false; choose the locale \"fr_CA\" for it", &true));
                }
                "backwards" => {}
                // Drivers send what the server told them.
                "version" => {}
                field => {
                    let field = field.to_owned();
                    return Err(CollationError::UnknownField { field });
                }
            }
        }
        if spec.locale.is_empty() {
            return Err(CollationError::NoLocale);
        }
        Ok(spec)
    }

    fn compile(&self) -> Result<CollatorBorrowed<'static>, CollationError> {
        let (language, variant) = self.locale.split_once("@collation=").unwrap_or((&self.locale, ""));
        let mut tag = language.replace('_', "-");
        if !variant.is_empty() {
            tag = format!("{tag}-u-co-{variant}");
        }
        let locale = Locale::try_from_str(&tag).map_err(|_| CollationError::Locale {
            found: self.locale.clone(),
        })?;
        let mut preferences = CollatorPreferences::from(&locale);
        preferences.case_first = self.case_first;
        preferences.numeric_ordering = self.numeric_ordering.then_some(CollationNumericOrdering::True);
        let mut options = CollatorOptions::default();
        options.strength = Some(self.strength.unwrap_or(Strength::Tertiary));
        options.case_level = self.case_level.then_some(CaseLevel::On);
        options.max_variable = self.max_variable;
        options.alternate_handling = self.shifted.map(|shifted| match shifted {
            true => AlternateHandling::Shifted,
            false => AlternateHandling::NonIgnorable,
        });
        Collator::try_new(preferences, options).map_err(|error| CollationError::Data {
            locale: self.locale.clone(),
            reason: error.to_string(),
        })
    }
}

fn strength(value: RawBsonRef<'_>) -> Result<Strength, CollationError> {
    let number = crate::number::Number::from_bson(value).and_then(crate::number::Number::exact);
    Ok(match number {
        Some(1) => Strength::Primary,
        Some(2) => Strength::Secondary,
        Some(3) => Strength::Tertiary,
        Some(4) => Strength::Quaternary,
        Some(5) => Strength::Identical,
        _ => return Err(wrong("strength", "an integer from 1 to 5", &value)),
    })
}

fn text<'a>(field: &'static str, value: RawBsonRef<'a>) -> Result<&'a str, CollationError> {
    value
        .as_str()
        .ok_or_else(|| wrong(field, "a string", &type_name(value.element_type())))
}

fn truth(field: &'static str, value: RawBsonRef<'_>) -> Result<bool, CollationError> {
    value
        .as_bool()
        .ok_or_else(|| wrong(field, "a boolean", &type_name(value.element_type())))
}

fn wrong(field: &'static str, expected: &'static str, found: &dyn fmt::Debug) -> CollationError {
    CollationError::Value {
        field,
        expected,
        found: format!("{found:?}"),
    }
}
