//! Failures that a test asks for: `configureFailPoint`, as MongoDB has it for the tests of drivers (driver specifications:
//! *Transactions*, `failCommand`; *Change Streams*; *Retryable Writes*). Only a server that was started for tests has them.
//!
//! - `failCommand`: commands of certain names, of all clients or of one application, are answered with an error, or carried
//!   out and answered with a `writeConcernError`, or late, or the connection is closed instead;
//! - `failGetMoreAfterCursorCheckout`: a `getMore` fails when it has its cursor;
//! - `onPrimaryTransactionalWrite`: a write that may be sent again fails before it is carried out, or the connection is closed
//!   when it has been.

mod parse;

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bson::RawDocumentBuf;

use crate::error::{CommandError, CommandResult, RETRYABLE, TRANSIENT_LABEL};
use crate::request::{Numbered, Request};
use crate::value::Value;

/// The fail points that there are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Name {
    FailCommand,
    FailGetMoreAfterCursorCheckout,
    OnPrimaryTransactionalWrite,
}

/// When a fail point fires.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Off,
    Always,
    /// So many times more.
    Times(u64),
    /// Not so many times more, and always then.
    Skip(u64),
}

impl Mode {
    /// Whether it fires this time.
    fn fires(&mut self) -> bool {
        match self {
            Mode::Off | Mode::Times(0) => false,
            Mode::Always | Mode::Skip(0) => true,
            Mode::Times(left) => {
                *left -= 1;
                true
            }
            Mode::Skip(left) => {
                *left -= 1;
                false
            }
        }
    }
}

/// What a fail point does, and to whom.
#[derive(Clone, Default, Debug)]
struct Data {
    commands: Vec<String>,
    app_name: Option<String>,
    close_connection: Option<bool>,
    error_code: Option<i32>,
    /// Instead of the labels that the error would have.
    error_labels: Option<Vec<String>>,
    write_concern_error: Option<RawDocumentBuf>,
    block: Option<Duration>,
}

#[derive(Debug)]
struct Point {
    mode: Mode,
    data: Data,
    /// How often it has fired.
    fired: i64,
}

/// What is to become of a command.
#[derive(Default)]
pub(crate) struct Plan {
    /// It is answered with this instead of being carried out.
    pub(crate) error: Option<CommandError>,
    /// The connection is closed instead.
    pub(crate) closes_before: bool,
    /// The connection is closed when it was carried out.
    pub(crate) closes_behind: bool,
    /// What its answer has besides.
    pub(crate) write_concern_error: Option<RawDocumentBuf>,
    pub(crate) labels: Option<Vec<String>>,
}

/// See the module documentation.
#[derive(Default)]
pub(crate) struct FailPoints {
    points: Mutex<HashMap<Name, Point>>,
    /// Set when the server stops: what is blocked goes on.
    stopping: Mutex<bool>,
    stopped: Condvar,
}

impl FailPoints {
    fn lock(&self) -> MutexGuard<'_, HashMap<Name, Point>> {
        // Every change is one step.
        self.points.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets a fail point; returns how often it had fired.
    pub(crate) fn configure(&self, name: &str, mode: Value<'_>, data: Option<Value<'_>>) -> CommandResult<i64> {
        let name = Name::parse(name)?;
        let mode = Mode::parse(mode)?;
        let data = data.map_or(Ok(Data::default()), Data::parse)?;
        let before = match mode {
            Mode::Off => self.lock().remove(&name),
            _ => self.lock().insert(name, Point { mode, data, fired: 0 }),
        };
        Ok(before.map_or(0, |point| point.fired))
    }

    /// The data of a point that fires now for who it concerns.
    fn fire(&self, name: Name, concerns: impl FnOnce(&Data) -> bool) -> Option<Data> {
        let mut points = self.lock();
        let point = points.get_mut(&name)?;
        if !concerns(&point.data) || !point.mode.fires() {
            return None;
        }
        point.fired += 1;
        Some(point.data.clone())
    }

    /// What is to become of a command, known by its first name in the table. Waits, if the command is to be late.
    pub(crate) fn plan(&self, command: &str, request: &Request<'_>, app_name: Option<&str>) -> Plan {
        let mut plan = Plan::default();
        // Who configures them is never failed, so that they can be switched off.
        if command == "configureFailPoint" {
            return plan;
        }
        let concerns = |data: &Data| {
            data.commands.iter().any(|name| name == command || name == request.name)
                && (data.app_name.is_none() || data.app_name.as_deref() == app_name)
        };
        if let Some(data) = self.fire(Name::FailCommand, concerns) {
            if let Some(time) = data.block {
                self.block(time);
            }
            plan.closes_before = data.close_connection.unwrap_or_default();
            plan.error = data.error_code.map(|code| fail_command(code, command, request, &data));
            plan.labels = data.error_labels.filter(|_| data.write_concern_error.is_some());
            plan.write_concern_error = data.write_concern_error;
        }
        let is_write = matches!(request.numbered, Some(Numbered::Retryable(_)));
        if is_write && let Some(data) = self.fire(Name::OnPrimaryTransactionalWrite, |_| true) {
            match data.error_code {
                Some(code) => plan.error = Some(failure(code, "onPrimaryTransactionalWrite").of_retryable()),
                None => plan.closes_behind = data.close_connection.unwrap_or(true),
            }
        }
        plan
    }

    /// The error of a `getMore` that has its cursor.
    pub(crate) fn after_checkout(&self) -> Option<CommandError> {
        let data = self.fire(Name::FailGetMoreAfterCursorCheckout, |_| true)?;
        let code = data.error_code.unwrap_or(1);
        Some(failure(code, "failGetMoreAfterCursorCheckout"))
    }

    fn block(&self, time: Duration) {
        let until = Instant::now() + time;
        let mut stopping = self.stopping.lock().unwrap_or_else(PoisonError::into_inner);
        while !*stopping {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.stopped.wait_timeout(stopping, left);
            stopping = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The server stops: nothing is blocked any longer.
    pub(crate) fn stop(&self) {
        *self.stopping.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stopped.notify_all();
    }
}

fn failure(code: i32, point: &str) -> CommandError {
    let mut error = CommandError::new((code, ""), format!("Failing command via '{point}' failpoint"));
    error.name = parse::code_name(code);
    error
}

/// The error of `failCommand`, with the labels that it is to have, or else those that such an error has.
fn fail_command(code: i32, command: &str, request: &Request<'_>, data: &Data) -> CommandError {
    let error = failure(code, "failCommand");
    if let Some(labels) = &data.error_labels {
        return labels.iter().fold(error, |error, label| error.labelled(label.clone()));
    }
    let ends = matches!(command, "commitTransaction" | "abortTransaction");
    match request.numbered {
        Some(Numbered::Transaction { .. }) if !ends => match RETRYABLE.contains(&code) || [112, 251].contains(&code) {
            true => error.labelled(TRANSIENT_LABEL),
            false => error,
        },
        Some(_) => error.of_retryable(),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::Mode;

    #[test]
    fn a_mode_says_when_it_fires() {
        for (mut mode, expected) in [
            (Mode::Off, [false, false, false]),
            (Mode::Always, [true, true, true]),
            (Mode::Times(2), [true, true, false]),
            (Mode::Skip(2), [false, false, true]),
        ] {
            assert_eq!([(); 3].map(|()| mode.fires()), expected);
        }
    }
}
