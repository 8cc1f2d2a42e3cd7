//! Several paths looked up in one walk over a document.
//!
//! Where [`Path::any`] walks over the document once for each path, this walks once for all, decodes only what a path asks
//! for, and stops at the last field that one does. What is visited is the same.

mod shape;

use bson::{RawBsonRef, RawDocument};

use crate::compare::Class;
use crate::elements::Elements;
use crate::path::Path;

pub use shape::Shape;
use shape::Walked;

/// How many different fields a set may begin with.
const NAMES_MAX: usize = 256;

/// Up to so many names are compared one after the other.
const NAMES_FEW: usize = 8;

/// Paths, under numbers that their owner has given them.
#[derive(Clone, Debug, Default)]
pub struct PathSet {
    /// Sorted by name.
    names: Vec<Name>,
    /// A path goes on below the document's own fields.
    deep: bool,
}

#[derive(Clone, Debug)]
struct Name {
    name: Box<[u8]>,
    paths: Vec<(u32, Path)>,
}

/// Which names a walk has met.
#[derive(Default)]
struct Met([u64; NAMES_MAX / 64]);

impl Met {
    /// Whether that is new.
    fn insert(&mut self, at: usize) -> bool {
        let (word, bit) = (&mut self.0[at / 64], 1 << (at % 64));
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    fn contains(&self, at: usize) -> bool {
        self.0[at / 64] & 1 << (at % 64) != 0
    }
}

impl PathSet {
    /// Adds a path that begins at a field of which the documents are the values: of `fullDocument.a.b` it looks up `a.b`.
    /// Says whether it was taken: not a path of one component, and not one too many.
    pub fn insert_below_root(&mut self, number: u32, path: &Path) -> bool {
        let Some(name) = path.components().nth(1).map(str::as_bytes) else {
            return false;
        };
        let at = match self.names.binary_search_by(|other| (*other.name).cmp(name)) {
            Ok(at) => at,
            Err(_) if self.names.len() == NAMES_MAX => return false,
            Err(at) => {
                let (name, paths) = (name.into(), Vec::new());
                self.names.insert(at, Name { name, paths });
                at
            }
        };
        self.deep |= path.components().nth(2).is_some();
        self.names[at].paths.push((number, path.clone()));
        true
    }

    /// Says whether there is no path.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Visits the values that the paths reach where the root's field is `document`, with the numbers of the paths. `None` is
    /// *missing*; without a document everything is.
    pub fn each(&self, document: Option<&RawDocument>, visit: &mut dyn FnMut(u32, Option<RawBsonRef<'_>>)) {
        let mut met = Met::default();
        let mut left = self.names.len();
        if let Some(document) = document.filter(|_| left > 0) {
            let mut elements = Elements::new(document);
            while let Some(element) = elements.next() {
                let Some(at) = self.find(element.name) else { continue };
                // Of two fields with one name the first counts.
                if !met.insert(at) {
                    continue;
                }
                let value = elements.value(&element);
                for (number, path) in &self.names[at].paths {
                    path.each_below(2, value, &mut |found| visit(*number, found));
                }
                left -= 1;
                if left == 0 {
                    return;
                }
            }
        }
        for (at, name) in self.names.iter().enumerate() {
            if !met.contains(at) {
                name.paths.iter().for_each(|(number, _)| visit(*number, None));
            }
        }
    }

    /// Says whether `within` accepts the number, the class and the place (see [`key_place`](crate::key_place)) of a value that
    /// one of the paths reaches, *missing* being null. Cheaper than [`PathSet::each`], and therefore `None` where it is not
    /// told in passing: for deep paths, values like texts, arrays and documents, and for bytes that are no document.
    ///
    /// `shape` is what has been seen of the documents before; a new one after every change of the set.
    #[inline]
    pub fn any_place(
        &self,
        document: &[u8],
        shape: &mut Shape,
        mut within: impl FnMut(u32, u8, u64) -> bool,
    ) -> Option<bool> {
        if self.deep || self.names.len() > u64::BITS as usize {
            return None;
        }
        let mut accepts = |at: usize, class: Class, place| {
            let paths = &self.names[at].paths;
            paths.iter().any(|(number, _)| within(*number, class as u8, place))
        };
        let walked = shape.walk(document, |at, element| {
            element.place().map(|(class, place)| accepts(at, class, place))
        });
        if let Walked::Told(told) = walked {
            return told;
        }
        shape.begin();
        let mut left = u64::MAX.checked_shr(u64::BITS - self.names.len() as u32).unwrap_or(0);
        let mut elements = Elements::new(RawDocument::from_bytes(document).ok()?);
        while left != 0 {
            let Some(element) = elements.next() else { break };
            let at = self.find(element.name).filter(|at| left & 1 << at != 0);
            shape.note(element.kind, element.name, at);
            let Some(at) = at else { continue };
            let (class, place) = element.place()?;
            if accepts(at, class, place) {
                return Some(true);
            }
            left &= !(1 << at);
        }
        match left {
            0 => shape.finish(),
            _ => shape.forget(),
        }
        while left != 0 {
            if accepts(left.trailing_zeros() as usize, Class::Null, 0) {
                return Some(true);
            }
            left &= left - 1;
        }
        Some(false)
    }

    #[inline]
    fn find(&self, name: &[u8]) -> Option<usize> {
        if self.names.len() > NAMES_FEW {
            return self.names.binary_search_by(|other| (*other.name).cmp(name)).ok();
        }
        let first = name.first();
        self.names
            .iter()
            .position(|other| other.name.len() == name.len() && other.name.first() == first && *other.name == *name)
    }
}

#[cfg(test)]
mod tests {
    use bson::{Bson, Document, RawDocumentBuf, rawdoc};
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = Bson> {
        let plain = prop_oneof![(0..3i32).prop_map(Bson::Int32), Just(Bson::Null), Just(Bson::from("a"))];
        plain.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Bson::Array),
                prop::collection::vec((prop_oneof![Just("a"), Just("b"), Just("0")], inner), 0..3)
                    .prop_map(|fields| Bson::Document(fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
            ]
        })
    }

    fn visited(path: &Path, root: &RawDocument) -> Vec<Option<Bson>> {
        let mut found = Vec::new();
        path.any(root, &mut |value| {
            found.push(value.map(|value| value.try_into().unwrap()));
            false
        });
        found
    }

    proptest! {
        #[test]
        fn one_walk_visits_what_one_for_each_path_does(
            paths in prop::collection::vec("[abc0](\\.[ab0]){0,2}", 1..20),
            fields in prop::collection::vec(("[abcd0]", value()), 0..5),
        ) {
            let mut inner = RawDocumentBuf::new();
            for (name, value) in fields {
                // A name may come twice, as in documents from elsewhere.
                let name = bson::raw::CString::try_from(name).unwrap();
                inner.append(name, bson::RawBson::try_from(value).unwrap());
            }
            let root = rawdoc! { "root": inner.clone() };
            let paths: Vec<_> = paths.iter().map(|path| Path::new(&format!("root.{path}")).unwrap()).collect();
            let mut set = PathSet::default();
            for (number, path) in (0..).zip(&paths) {
                prop_assert!(set.insert_below_root(number, path));
            }
            for document in [Some(&*inner), None] {
                let mut found = vec![Vec::new(); paths.len()];
                set.each(document, &mut |number, value| {
                    found[number as usize].push(value.map(|value| Bson::try_from(value).unwrap()));
                });
                for (path, found) in paths.iter().zip(found) {
                    let root = if document.is_some() { root.clone() } else { RawDocumentBuf::new() };
                    prop_assert_eq!(visited(path, &root), found, "{}", path);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_told_in_passing_is_what_the_values_say(
            names in prop::collection::hash_set("[abcd]", 1..4),
            fields in prop::collection::vec(("[abcd]", prop_oneof![
                3 => prop_oneof![Just(1i64), Just(-7), Just(1 << 60)].prop_map(Bson::from),
                1 => prop_oneof![Just(0.0), Just(f64::NAN)].prop_map(Bson::from),
                1 => (-2..2i64).prop_map(|ms| Bson::DateTime(bson::DateTime::from_millis(ms))),
                1 => any::<[u8; 12]>().prop_map(|id| Bson::ObjectId(bson::oid::ObjectId::from_bytes(id))),
                2 => value(),
            ]), 0..5),
            others in prop::collection::vec(("[abcd]", (0..3i64).prop_map(Bson::from)), 0..5),
            sought in any::<prop::sample::Index>(),
        ) {
            let fields: Document = fields.into_iter().collect();
            let document = RawDocumentBuf::try_from(&fields).unwrap();
            let mut set = PathSet::default();
            for (number, name) in (0..).zip(&names) {
                set.insert_below_root(number, &Path::new(&format!("root.{name}")).unwrap());
            }
            let mut places = Vec::new();
            set.each(Some(&document), &mut |number, value| {
                let value = value.unwrap_or(RawBsonRef::Null);
                places.push((number, crate::key_class(value), crate::key_place(value, &mut Vec::new())));
            });
            let one = *sought.get(&places);
            // Without a shape, along that of the document, of one that has other values, of one that has other fields.
            let alike = fields.iter().map(|(name, value)| (name.clone(), match value {
                Bson::Int64(_) => Bson::Int64(5),
                value => value.clone(),
            }));
            let alike = RawDocumentBuf::try_from(&alike.collect::<Document>()).unwrap();
            let other = RawDocumentBuf::try_from(&others.into_iter().collect::<Document>()).unwrap();
            for before in [vec![], vec![&document], vec![&alike], vec![&other], vec![&other, &alike, &document]] {
                let mut shape = Shape::default();
                for before in before {
                    // One of the two says what it is at the first field that is asked for.
                    for says in [true, false] {
                        set.any_place(before.as_bytes(), &mut shape, |_, _, _| says);
                    }
                }
                let document = document.as_bytes();
                let found = set.any_place(document, &mut shape, |number, class, place| (number, class, place) == one);
                if let Some(found) = found {
                    prop_assert!(found);
                    let of_none = |number, class, place| !places.contains(&(number, class, place));
                    prop_assert_ne!(set.any_place(document, &mut shape, of_none), Some(true));
                }
            }
        }
    }

    #[test]
    fn a_path_to_the_root_field_itself_is_not_taken() {
        let mut set = PathSet::default();
        assert!(!set.insert_below_root(0, &Path::new("root").unwrap()));
        assert!(set.is_empty());
        set.each(Some(&rawdoc! { "a": 1 }), &mut |_, _| panic!("there is no path"));
        let many =
            (0..=NAMES_MAX as u32).filter(|n| set.insert_below_root(*n, &Path::new(&format!("root.f{n}")).unwrap()));
        assert_eq!(many.count(), NAMES_MAX);
        let document = rawdoc! { "f7": 7, "f300": 1 };
        let mut present = Vec::new();
        set.each(Some(&document), &mut |number, value| {
            present.extend(value.map(|_| number));
        });
        assert_eq!(present, [7]);
    }
}
