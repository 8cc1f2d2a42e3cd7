//! `validate`: compares a collection's indexes with its documents.

use bson::raw::CString;
use bson::{RawArrayBuf, RawDocumentBuf, rawdoc};
use tailwater_auth::Action;

use super::{Command, Kind, Needs, Runs};
use crate::context::Context;
use crate::error::CommandResult;

pub(super) const VALIDATE: Command = Command {
    name: "validate",
    aliases: &[],
    help: "Compares a collection's indexes with its documents",
    kind: Kind::Alone,
    runs: Runs::OptIn,
    needs: Needs::Collection(&[Action::Validate]),
    run: validate,
};

fn validate(context: &mut Context<'_>) -> CommandResult {
    for field in context.request.arguments() {
        match field.name {
            // Everything is looked at, beside running writes, whatever is asked for.
            "full" | "background" | "checkBSONConformance" | "metadata" => drop(field.boolean()?),
            "repair" | "enforceFastCount" => field.unsupported(!field.boolean()?)?,
            _ => return Err(field.unknown()),
        }
    }
    let found = context.collection()?.validate()?;
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let mut keys = RawDocumentBuf::new();
    for (name, count) in &found.keys {
        // Names of indexes have no NUL.
        if let Ok(name) = CString::try_from(name.as_str()) {
            keys.append(name, number(*count));
        }
    }
    Ok(rawdoc! {
        "ns": context.namespace()?,
        "nrecords": number(found.documents),
        "nIndexes": number(found.keys.len() as u64 + 1),
        "keysPerIndex": keys,
        "valid": found.is_valid(),
        "warnings": [],
        "errors": RawArrayBuf::from_iter(found.findings),
    })
}
