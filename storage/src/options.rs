//! Options of a collection, as `create` and `collMod` take them (MongoDB manual: *create*, *collMod*).

use bson::raw::RawBsonRef;
use bson::{RawDocument, RawDocumentBuf, rawdoc};
use tailwater_matcher::{Collation, Expression, ParseOptions};

use crate::error::{Error, Result};

/// Smallest size of a capped collection; MongoDB raises smaller ones to it.
pub const CAPPED_BYTES_MIN: i64 = 4096;

/// What happens to a document that the validator refuses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ValidationAction {
    /// The write fails.
    #[default]
    Error,
    /// The write goes on, and a warning is logged.
    Warn,
}

/// Which writes the validator sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ValidationLevel {
    /// None.
    Off,
    /// Inserts, and updates of documents that were valid before.
    Moderate,
    /// Inserts and updates.
    #[default]
    Strict,
}

/// A bound on a collection; the oldest documents leave when it is reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capped {
    /// Bytes of BSON that its documents may take.
    pub bytes_max: i64,
    /// How many documents there may be; no bound when `None`.
    pub documents_max: Option<i64>,
}

/// Options of a collection. The default is what a collection has that came into being with its first document.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct CollectionOptions {
    /// Updates, replacements and deletes keep the document as it was before, for change streams.
    pub pre_and_post_images: bool,
    /// What every document must match.
    validator: Option<Validator>,
    /// Which writes the validator sees.
    pub validation_level: ValidationLevel,
    /// What happens to what it refuses.
    pub validation_action: ValidationAction,
    /// Set for a capped collection.
    pub capped: Option<Capped>,
    /// How operations and indexes compare strings that do not say it themselves; by their bytes if there is none. It stays.
    pub(crate) collation: Option<Collation>,
}

#[derive(Clone, PartialEq, Debug)]
struct Validator {
    document: RawDocumentBuf,
    expression: Expression,
}

impl CollectionOptions {
    /// Options as `create` takes them: `changeStreamPreAndPostImages`, `validator`, `validationLevel`, `validationAction`,
    /// `capped`, `size`, `max`, `collation`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOptions`] for unknown ones, and for values they cannot have; [`Error::Filter`] for the validator;
    /// [`Error::Collation`].
    pub fn parse(document: &RawDocument) -> Result<CollectionOptions> {
        // The validator compares by it, wherever it stands.
        let collation = match document.get("collation") {
            Ok(Some(RawBsonRef::Document(nothing))) if nothing.is_empty() => None,
            Ok(Some(RawBsonRef::Document(collation))) => Collation::parse(collation).map_err(Error::Collation)?,
            Ok(None) => None,
            _ => return Err(invalid("collation must be a document")),
        };
        let mut options = CollectionOptions {
            collation,
            ..CollectionOptions::default()
        };
        let (mut capped, mut bytes_max, mut documents_max) = (false, None, None);
        for field in document {
            let (name, value) = field.map_err(|_| invalid("they are malformed"))?;
            match name.as_str() {
                "capped" => capped = value.as_bool().ok_or_else(|| invalid("capped must be a boolean"))?,
                "size" => bytes_max = Some(positive(value).ok_or_else(|| invalid("size must be a positive number"))?),
                "max" => documents_max = Some(positive(value).ok_or_else(|| invalid("max must be a positive number"))?),
                "collation" => {}
                name => options.set(name, value)?,
            }
        }
        options.capped = match (capped, bytes_max) {
            (true, Some(bytes)) => Some(Capped {
                bytes_max: bytes.max(CAPPED_BYTES_MIN),
                documents_max,
            }),
            (true, None) => return Err(invalid("a capped collection needs a size in bytes")),
            (false, None) if documents_max.is_none() => None,
            (false, _) => return Err(invalid("size and max belong to a capped collection")),
        };
        Ok(options)
    }

    /// Changes one option that may be changed later, too (`collMod`).
    pub(crate) fn set(&mut self, name: &str, value: RawBsonRef<'_>) -> Result<()> {
        match (name, value) {
            ("changeStreamPreAndPostImages", RawBsonRef::Document(images)) => {
                let enabled = images.get_bool("enabled");
                self.pre_and_post_images =
                    enabled.map_err(|_| invalid("changeStreamPreAndPostImages must be { enabled: <boolean> }"))?;
            }
            ("validator", RawBsonRef::Document(document)) => self.set_validator(document)?,
            ("validationLevel", RawBsonRef::String(level)) => {
                self.validation_level = match level {
                    "off" => ValidationLevel::Off,
                    "moderate" => ValidationLevel::Moderate,
                    "strict" => ValidationLevel::Strict,
                    _ => return Err(invalid("validationLevel must be off, moderate or strict")),
                }
            }
            ("validationAction", RawBsonRef::String(action)) => {
                self.validation_action = match action {
                    "error" => ValidationAction::Error,
                    "warn" => ValidationAction::Warn,
                    _ => return Err(invalid("validationAction must be error or warn")),
                }
            }
            (name @ ("changeStreamPreAndPostImages" | "validator" | "validationLevel" | "validationAction"), _) => {
                return Err(Error::InvalidOptions {
                    what: format!("{name} has the wrong type"),
                });
            }
            (name, _) => {
                return Err(Error::InvalidOptions {
                    what: format!("{name} is not supported"),
                });
            }
        }
        Ok(())
    }

    /// Says what every document must match; an empty document takes that back.
    ///
    /// # Errors
    ///
    /// [`Error::Filter`].
    pub fn set_validator(&mut self, validator: &RawDocument) -> Result<()> {
        let language = ParseOptions::default().with_collation(self.collation.clone());
        let expression = Expression::parse_with(validator, &language)?;
        self.validator = (!expression.is_always()).then(|| Validator {
            document: validator.to_owned(),
            expression,
        });
        Ok(())
    }

    /// What every document must match.
    #[must_use]
    pub fn validator(&self) -> Option<&RawDocument> {
        self.validator.as_ref().map(|validator| &*validator.document)
    }

    /// How operations and indexes compare strings that do not say it themselves, `{locale: …, strength: …}` with all that the
    /// locale decides (MongoDB manual: *Collation*); by their bytes if there is none.
    #[must_use]
    pub fn collation(&self) -> Option<RawDocumentBuf> {
        self.collation.as_ref().map(Collation::to_document)
    }

    pub(crate) fn validator_expression(&self) -> Option<&Expression> {
        self.validator.as_ref().map(|validator| &validator.expression)
    }

    /// The options as `listCollections` shows them; what is as by default is left out.
    #[must_use]
    pub fn to_document(&self) -> RawDocumentBuf {
        let mut document = RawDocumentBuf::new();
        if let Some(capped) = &self.capped {
            document.append(bson::raw::cstr!("capped"), true);
            document.append(bson::raw::cstr!("size"), capped.bytes_max);
            if let Some(documents) = capped.documents_max {
                document.append(bson::raw::cstr!("max"), documents);
            }
        }
        if self.pre_and_post_images {
            document.append(
                bson::raw::cstr!("changeStreamPreAndPostImages"),
                rawdoc! { "enabled": true },
            );
        }
        if let Some(validator) = self.validator() {
            document.append(bson::raw::cstr!("validator"), validator.to_owned());
        }
        let level = match self.validation_level {
            ValidationLevel::Off => Some("off"),
            ValidationLevel::Moderate => Some("moderate"),
            ValidationLevel::Strict => None,
        };
        if let Some(level) = level {
            document.append(bson::raw::cstr!("validationLevel"), level);
        }
        if self.validation_action == ValidationAction::Warn {
            document.append(bson::raw::cstr!("validationAction"), "warn");
        }
        if let Some(collation) = self.collation() {
            document.append(bson::raw::cstr!("collation"), collation);
        }
        document
    }
}

fn invalid(what: &str) -> Error {
    Error::InvalidOptions { what: what.to_owned() }
}

fn positive(value: RawBsonRef<'_>) -> Option<i64> {
    let number = match value {
        RawBsonRef::Int32(n) => n.into(),
        RawBsonRef::Int64(n) => n,
        #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and small")]
        RawBsonRef::Double(n) if n.fract() == 0.0 && n.abs() < 1e15 => n as i64,
        _ => return None,
    };
    (number > 0).then_some(number)
}
