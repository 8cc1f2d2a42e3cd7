//! A field of a command, taken as the type that it must have; anything else is refused in MongoDB's words.

use std::sync::LazyLock;
use std::time::Duration;

use bson::{RawArray, RawBsonRef, RawDocument, RawDocumentBuf, Timestamp};
use tailwater::Hint;
use tailwater::matcher::type_name;

use crate::error::{CommandError, CommandResult, code};

/// The empty document: the filter that everything matches.
pub(crate) fn empty() -> &'static RawDocument {
    static EMPTY: LazyLock<RawDocumentBuf> = LazyLock::new(RawDocumentBuf::new);
    &EMPTY
}

/// One field. Numbers may be of any numeric type, as everywhere in MongoDB's commands.
#[derive(Clone, Copy)]
pub(crate) struct Value<'a> {
    /// The command it is in.
    pub(crate) command: &'a str,
    /// The field's name.
    pub(crate) name: &'a str,
    pub(crate) value: RawBsonRef<'a>,
}

/// The fields of a document of a command. One that is null or undefined is as one that is not there, as in MongoDB: drivers
/// send what their user has not set so. Names that stand for two are an error before any of the fields.
pub(crate) fn fields<'a>(
    command: &'a str,
    document: &'a RawDocument,
) -> impl Iterator<Item = CommandResult<Value<'a>>> {
    let repeated = check_names(command, document).err().map(Err);
    let fields = document.iter().filter_map(move |field| match field {
        Ok((_, RawBsonRef::Null | RawBsonRef::Undefined)) => None,
        Ok((name, value)) => Some(Ok(Value {
            command,
            name: name.as_str(),
            value,
        })),
        Err(error) => Some(Err(CommandError::new(code::INVALID_BSON, error.to_string()))),
    });
    repeated.into_iter().chain(fields)
}

/// Refuses a document of a command in which a name stands for two fields, as MongoDB does: what a client may is asked of one of
/// them, and it must not be the other that is carried out.
pub(crate) fn check_names(command: &str, document: &RawDocument) -> CommandResult<()> {
    let names = document.iter().filter_map(Result::ok).map(|(name, _)| name.as_str());
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(()),
        Some(pair) => Err(CommandError::new(
            code::DUPLICATE_FIELD,
            format!("BSON field '{command}.{}' is a duplicate field", pair[0]),
        )),
    }
}

impl<'a> Value<'a> {
    /// A field that its document does not have.
    pub(crate) fn unknown(self) -> CommandError {
        CommandError::new(
            code::UNKNOWN_FIELD,
            format!("BSON field '{}.{}' is an unknown field.", self.command, self.name),
        )
    }

    fn mismatch(&self, expected: &str) -> CommandError {
        let Value { command, name, value } = self;
        let found = type_name(value.element_type());
        CommandError::new(
            code::TYPE_MISMATCH,
            format!("BSON field '{command}.{name}' is the wrong type '{found}', expected type '{expected}'"),
        )
    }

    fn bad(&self, what: &str) -> CommandError {
        let Value { command, name, .. } = self;
        CommandError::new(code::BAD_VALUE, format!("BSON field '{command}.{name}' {what}"))
    }

    pub(crate) fn document(self) -> CommandResult<&'a RawDocument> {
        self.value.as_document().ok_or_else(|| self.mismatch("object"))
    }

    /// A document, kept.
    pub(crate) fn owned(self) -> CommandResult<RawDocumentBuf> {
        self.document().map(RawDocument::to_owned)
    }

    /// A document, if it is not empty.
    pub(crate) fn filled(self) -> CommandResult<Option<RawDocumentBuf>> {
        let document = self.document()?;
        Ok((!document.is_empty()).then(|| document.to_owned()))
    }

    pub(crate) fn array(self) -> CommandResult<&'a RawArray> {
        self.value.as_array().ok_or_else(|| self.mismatch("array"))
    }

    /// The members of an array, all of which must be documents.
    pub(crate) fn documents(self) -> CommandResult<Vec<&'a RawDocument>> {
        let members = self.array()?.into_iter();
        members
            .map(|member| {
                let value = member.map_err(|_| self.bad("is malformed"))?;
                Value { value, ..self }.document()
            })
            .collect()
    }

    pub(crate) fn string(self) -> CommandResult<&'a str> {
        self.value.as_str().ok_or_else(|| self.mismatch("string"))
    }

    /// A whole number.
    pub(crate) fn integer(self) -> CommandResult<i64> {
        match self.value {
            RawBsonRef::Int32(number) => Ok(number.into()),
            RawBsonRef::Int64(number) => Ok(number),
            RawBsonRef::Double(number) if number.fract() == 0.0 && number.abs() < 9.0e15 => Ok(number as i64),
            RawBsonRef::Double(_) => Err(self.bad("must be a whole number")),
            _ => Err(self.mismatch("long")),
        }
    }

    /// A whole number of 32 bits.
    pub(crate) fn int32(self) -> CommandResult<i32> {
        i32::try_from(self.integer()?).map_err(|_| self.bad("must be a number of 32 bits"))
    }

    /// A number from 0 on.
    pub(crate) fn count(self) -> CommandResult<u64> {
        u64::try_from(self.integer()?).map_err(|_| self.bad("must be greater than or equal to 0"))
    }

    pub(crate) fn milliseconds(self) -> CommandResult<Duration> {
        self.count().map(Duration::from_millis)
    }

    /// A boolean, or a number that is none when it is 0.
    pub(crate) fn boolean(self) -> CommandResult<bool> {
        match self.value {
            RawBsonRef::Boolean(value) => Ok(value),
            RawBsonRef::Int32(number) => Ok(number != 0),
            RawBsonRef::Int64(number) => Ok(number != 0),
            RawBsonRef::Double(number) => Ok(number != 0.0),
            _ => Err(self.mismatch("bool")),
        }
    }

    pub(crate) fn timestamp(self) -> CommandResult<Timestamp> {
        self.value.as_timestamp().ok_or_else(|| self.mismatch("timestamp"))
    }

    /// An index's name or key; none when it is an empty document.
    pub(crate) fn hint(self) -> CommandResult<Option<Hint>> {
        match self.value {
            RawBsonRef::String(name) => Ok(Some(Hint::Name(name.to_owned()))),
            RawBsonRef::Document(key) if key.is_empty() => Ok(None),
            RawBsonRef::Document(key) => Ok(Some(Hint::from_document(key)?)),
            _ => Err(self.mismatch("string or object")),
        }
    }

    /// Something that is taken only when it says nothing: an option that this server does not have.
    pub(crate) fn unsupported(self, nothing: bool) -> CommandResult<()> {
        match nothing {
            true => Ok(()),
            false => Err(CommandError::not_implemented(format_args!(
                "{}.{}",
                self.command, self.name
            ))),
        }
    }

    /// Variables of which there are none.
    pub(crate) fn no_variables(self) -> CommandResult<()> {
        let none = self.document()?.is_empty();
        self.unsupported(none)
    }
}
