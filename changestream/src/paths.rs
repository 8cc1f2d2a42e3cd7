//! The ambiguous paths of an update (MongoDB manual: *update Event*, `updateDescription.disambiguatedPaths`).
//!
//! A number in a path is an index where the document has an array, and a name where it has a document. Only the second is
//! ambiguous, and not at the top, where there are no arrays. Names with dots do not occur in the paths of a diff.

use bson::raw::{CString, RawArrayBuf, RawBsonRef};
use bson::{RawDocument, RawDocumentBuf};

/// `updateDescription` as expanded events show it: with `disambiguatedPaths`, in which each ambiguous path of `diff` has its
/// components, names as strings and indexes as 32-bit integers. `document` is the document after the update.
///
/// Paths are left out of it where the bytes of `diff` are malformed; the log's checksums stand for them.
pub(crate) fn disambiguated(diff: &RawDocument, document: Option<&RawDocument>) -> RawDocumentBuf {
    let mut paths = RawDocumentBuf::new();
    for path in document.into_iter().flat_map(|_| paths_of(diff)) {
        if let Some(components) = document.and_then(|document| components(path, document))
            && let Ok(name) = CString::try_from(path)
        {
            paths.append(name, components);
        }
    }
    let mut description = diff.to_owned();
    description.append(bson::raw::cstr!("disambiguatedPaths"), paths);
    description
}

/// Every path of a diff, in its order.
fn paths_of(diff: &RawDocument) -> impl Iterator<Item = &str> {
    let updated = diff.get_document("updatedFields").ok().into_iter();
    let updated = updated.flat_map(|fields| fields.iter().filter_map(|field| Some(field.ok()?.0.as_str())));
    let removed = diff.get_array("removedFields").ok().into_iter();
    let removed = removed.flat_map(|paths| paths.into_iter().filter_map(|path| path.ok()?.as_str()));
    let truncated = diff.get_array("truncatedArrays").ok().into_iter();
    let truncated = truncated.flat_map(|arrays| {
        let fields = arrays.into_iter().filter_map(|array| array.ok()?.as_document());
        fields.filter_map(|array| array.get_str("field").ok())
    });
    updated.chain(removed).chain(truncated)
}

/// The components of a path if it is ambiguous.
fn components(path: &str, document: &RawDocument) -> Option<RawArrayBuf> {
    // Nearly every path ends here.
    path.split('.').skip(1).find(|name| index(name).is_some())?;
    let mut components = RawArrayBuf::new();
    let mut ambiguous = false;
    let mut container = Some(RawBsonRef::Document(document));
    for (depth, name) in path.split('.').enumerate() {
        match (container, index(name)) {
            (Some(RawBsonRef::Array(array)), Some(index)) => {
                components.push(index);
                container = usize::try_from(index).ok().and_then(|index| array.get(index).ok()?);
            }
            (within, number) => {
                ambiguous |= depth > 0 && number.is_some();
                components.push(name);
                container = within.and_then(|within| within.as_document()?.get(name).ok()?);
            }
        }
    }
    ambiguous.then_some(components)
}

/// The index that a component may be: digits without zeros in front.
fn index(name: &str) -> Option<i32> {
    let canonical = name == "0" || !name.starts_with('0') && name.bytes().all(|byte| byte.is_ascii_digit());
    canonical.then(|| name.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use bson::{Document, doc, rawdoc};

    use super::*;

    #[test]
    fn only_numbers_that_are_names_are_ambiguous() {
        let document = rawdoc! {
            "0": { "1": 1 }, "plain": { "x": 1 }, "array": [{ "n": 1 }, [1, 2]], "mixed": [[{ "1": { "b": 2 } }]], "zero": { "007": 1 },
        };
        let diff = rawdoc! {
            "updatedFields": {
                "0": 1, "0.1": 1, "plain.x": 1, "array.0.n": 2, "array.1.1": 3, "mixed.0.0.1": { "b": 2 }, "zero.007": 1,
            },
            "removedFields": ["plain.3", "gone.4"],
            "truncatedArrays": [{ "field": "mixed.0.0.1.b", "newSize": 1 }],
        };
        let described = Document::try_from(disambiguated(&diff, Some(&document)).as_ref()).unwrap();
        let mut expected = Document::try_from(diff.as_ref()).unwrap();
        expected.insert(
            "disambiguatedPaths",
            doc! {
                "0.1": ["0", "1"],
                "mixed.0.0.1": ["mixed", 0, 0, "1"],
                "plain.3": ["plain", "3"],
                "gone.4": ["gone", "4"],
                "mixed.0.0.1.b": ["mixed", 0, 0, "1", "b"],
            },
        );
        assert_eq!(described, expected);
    }
}
