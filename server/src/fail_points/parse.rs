//! The fields of `configureFailPoint`.

use std::borrow::Cow;

use super::{Data, Mode, Name};
use crate::error::{CommandError, CommandResult, code};
use crate::value::{Value, fields};

impl Name {
    pub(super) fn parse(name: &str) -> CommandResult<Name> {
        match name {
            "failCommand" => Ok(Name::FailCommand),
            "failGetMoreAfterCursorCheckout" => Ok(Name::FailGetMoreAfterCursorCheckout),
            "onPrimaryTransactionalWrite" => Ok(Name::OnPrimaryTransactionalWrite),
            _ => Err(CommandError::new(
                (211, "FailPointSetFailed"),
                format!("{name} not found"),
            )),
        }
    }
}

impl Mode {
    pub(super) fn parse(field: Value<'_>) -> CommandResult<Mode> {
        let unknown = || CommandError::new(code::BAD_VALUE, "'mode' is one of off, alwaysOn, {times} and {skip}");
        match field.value.as_str() {
            Some("off") => return Ok(Mode::Off),
            Some("alwaysOn") => return Ok(Mode::Always),
            Some(_) => return Err(unknown()),
            None => {}
        }
        let option = fields("configureFailPoint.mode", field.document()?).next();
        let option = option.ok_or_else(unknown)??;
        match option.name {
            "times" => Ok(Mode::Times(option.count()?)),
            "skip" => Ok(Mode::Skip(option.count()?)),
            _ => Err(unknown()),
        }
    }
}

impl Data {
    pub(super) fn parse(field: Value<'_>) -> CommandResult<Data> {
        let mut data = Data::default();
        let (mut blocks, mut time) = (false, None);
        for option in fields("configureFailPoint.data", field.document()?) {
            let option = option?;
            match option.name {
                "failCommands" => data.commands = strings(option)?,
                "appName" => data.app_name = Some(option.string()?.to_owned()),
                "closeConnection" => data.close_connection = Some(option.boolean()?),
                "errorCode" | "failBeforeCommitExceptionCode" => data.error_code = Some(option.int32()?),
                "errorLabels" => data.error_labels = Some(strings(option)?),
                "writeConcernError" => data.write_concern_error = Some(option.owned()?),
                "blockConnection" => blocks = option.boolean()?,
                "blockTimeMS" => time = Some(option.milliseconds()?),
                // Commands that members send each other: there are none.
                "failInternalCommands" => drop(option.boolean()?),
                _ => return Err(option.unknown()),
            }
        }
        if blocks && time.is_none() {
            return Err(CommandError::new(
                code::BAD_VALUE,
                "'blockConnection' needs 'blockTimeMS'",
            ));
        }
        data.block = time.filter(|_| blocks);
        Ok(data)
    }
}

fn strings(field: Value<'_>) -> CommandResult<Vec<String>> {
    let members = field.array()?.into_iter();
    let strings = members.map(|member| Some(member.ok()?.as_str()?.to_owned()));
    strings.collect::<Option<_>>().ok_or_else(|| {
        let message = format!(
            "BSON field '{}.{}' must be an array of strings",
            field.command, field.name
        );
        CommandError::new(code::TYPE_MISMATCH, message)
    })
}

/// The name of an error that a test may ask for.
pub(super) fn code_name(code: i32) -> Cow<'static, str> {
    Cow::Borrowed(match code {
        1 => "InternalError",
        2 => "BadValue",
        6 => "HostUnreachable",
        7 => "HostNotFound",
        10 => "CannotMutateObject",
        18 => "AuthenticationFailed",
        43 => "CursorNotFound",
        50 => "MaxTimeMSExpired",
        64 => "WriteConcernFailed",
        89 => "NetworkTimeout",
        91 => "ShutdownInProgress",
        112 => "WriteConflict",
        133 => "FailedToSatisfyReadPreference",
        136 => "CappedPositionLost",
        189 => "PrimarySteppedDown",
        234 => "RetryChangeStream",
        237 => "CursorKilled",
        251 => "NoSuchTransaction",
        262 => "ExceededTimeLimit",
        280 => "ChangeStreamFatalError",
        391 => "ReauthenticationRequired",
        9001 => "SocketException",
        10107 => "NotWritablePrimary",
        11600 => "InterruptedAtShutdown",
        11601 => "Interrupted",
        11602 => "InterruptedDueToReplStateChange",
        13388 => "StaleConfig",
        13435 => "NotPrimaryNoSecondaryOk",
        13436 => "NotPrimaryOrSecondary",
        _ => return Cow::Owned(format!("Location{code}")),
    })
}
