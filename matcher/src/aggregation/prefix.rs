//! Expressions as written, one document further down.
//!
//! A filter on documents becomes one on change events by putting `fullDocument.` in front of its
//! paths. In an expression these are strings that begin with `$`, save for variables, for what
//! `$literal` holds, and for paths from a `CURRENT` that `$let` has bound to something else.

use bson::{RawArrayBuf, RawBson, RawBsonRef, RawDocument, RawDocumentBuf};

use crate::elements::{self, Elements};

pub(crate) fn moved(source: RawBsonRef<'_>, prefix: &str) -> RawBson {
    value(source, prefix, true)
}

/// `current` says whether paths without a variable begin at the root. Expressions have been parsed,
/// so they do not nest too deep.
fn value(source: RawBsonRef<'_>, prefix: &str, current: bool) -> RawBson {
    match source {
        RawBsonRef::String(text) => RawBson::String(path(text, prefix, current)),
        RawBsonRef::Array(array) => {
            let mut moved = RawArrayBuf::new();
            for item in array.into_iter().flatten() {
                moved.push(value(item, prefix, current));
            }
            RawBson::Array(moved)
        }
        RawBsonRef::Document(document) => RawBson::Document(fields(document, |name, inner| match name {
            "$literal" | "$const" => inner.into(),
            "$let" => bindings(inner, prefix, current),
            _ => value(inner, prefix, current),
        })),
        other => other.into(),
    }
}

fn bindings(source: RawBsonRef<'_>, prefix: &str, current: bool) -> RawBson {
    let RawBsonRef::Document(document) = source else {
        return value(source, prefix, current);
    };
    let rebound = match elements::find(document, "vars") {
        Some(RawBsonRef::Document(variables)) => elements::find(variables, "CURRENT").is_some(),
        _ => false,
    };
    RawBson::Document(fields(document, |name, inner| {
        value(inner, prefix, current && !(rebound && name == "in"))
    }))
}

fn fields(document: &RawDocument, mut each: impl FnMut(&str, RawBsonRef<'_>) -> RawBson) -> RawDocumentBuf {
    let mut moved = RawDocumentBuf::new();
    let mut elements = Elements::new(document);
    while let Some((element, inner)) = elements.next_value() {
        if let Ok(name) = std::str::from_utf8(element.name)
            && let Ok(key) = bson::raw::CString::try_from(name)
        {
            moved.append(key, each(name, inner));
        }
    }
    moved
}

fn path(text: &str, prefix: &str, current: bool) -> String {
    let variable = text
        .strip_prefix("$$")
        .map(|rest| rest.split_once('.').unwrap_or((rest, "")));
    let rest = match variable {
        Some(("ROOT", rest)) => rest,
        Some(("CURRENT", rest)) if current => rest,
        Some(_) => return text.to_owned(),
        None => match text.strip_prefix('$') {
            Some(rest) if current => rest,
            _ => return text.to_owned(),
        },
    };
    match (variable, rest) {
        (None, rest) => format!("${prefix}.{rest}"),
        (Some(_), "") => format!("$$ROOT.{prefix}"),
        (Some(_), rest) => format!("$$ROOT.{prefix}.{rest}"),
    }
}
