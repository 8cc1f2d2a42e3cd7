//! Splitting an event that is too large for one document: which of its fields go into which fragment.
//!
//! As `$changeStreamSplitLargeEvent` does it (MongoDB manual: *$changeStreamSplitLargeEvent*): only whole fields at the top are
//! distributed, the smallest first, so that the first fragment has as many as possible; a field that is too large by itself
//! cannot be split. What becomes of an event depends on nothing but the names and sizes of its fields, so a stream that is
//! resumed behind a fragment finds the same ones again.

/// The largest event that is one document, in bytes. MongoDB's figure: 16 MiB, and a part of the room that it keeps above that
/// for what commands add.
pub const EVENT_BYTES_MAX: usize = (16 << 20) + (8 << 10);

/// Which fragment of how many: the field `splitEvent` of a fragment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct SplitEvent {
    /// Its number, from 1.
    pub fragment: u32,
    /// How many there are.
    pub of: u32,
}

/// The fields of each fragment, by their places in the event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Split(Vec<Vec<usize>>);

impl Split {
    /// Distributes fields, given with their bytes (type, name and value), over fragments of at most `bytes_max`, of which
    /// `envelope` are needed for what each fragment has besides. Fails with the place of a field that does not fit by itself.
    pub(crate) fn of(fields: &[(&str, usize)], envelope: usize, bytes_max: usize) -> Result<Split, usize> {
        let mut places: Vec<usize> = (0..fields.len()).collect();
        places.sort_by_key(|&place| {
            let (name, bytes) = fields[place];
            (bytes, name)
        });
        let mut fragments: Vec<Vec<usize>> = Vec::new();
        let mut left = 0;
        for place in places {
            let (_, bytes) = fields[place];
            if bytes > left || fragments.is_empty() {
                left = bytes_max.saturating_sub(envelope);
                if bytes > left {
                    return Err(place);
                }
                fragments.push(Vec::new());
            }
            left -= bytes;
            if let Some(last) = fragments.last_mut() {
                last.push(place);
            }
        }
        Ok(Split(fragments))
    }

    /// How many fragments there are.
    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    /// The places of the fields of a fragment, which is numbered from 1.
    pub(crate) fn fields(&self, fragment: u32) -> &[usize] {
        let at = fragment.checked_sub(1).and_then(|at| usize::try_from(at).ok());
        at.and_then(|at| self.0.get(at)).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(fields: &[(&str, usize)], bytes_max: usize, expected: &[&[&str]]) {
        let split = Split::of(fields, 10, bytes_max).unwrap();
        let names: Vec<Vec<&str>> = (1..=split.len())
            .map(|fragment| split.fields(fragment).iter().map(|&place| fields[place].0).collect())
            .collect();
        assert_eq!(names, expected);
    }

    #[test]
    fn the_first_fragment_has_as_many_fields_as_fit() {
        check(&[("a", 40), ("b", 20), ("c", 30)], 60, &[&["b", "c"], &["a"]]);
        check(&[("a", 40), ("b", 20), ("c", 30)], 100, &[&["b", "c", "a"]]);
        // By name where sizes are equal.
        check(&[("z", 50), ("y", 50), ("x", 50)], 110, &[&["x", "y"], &["z"]]);
    }

    #[test]
    fn a_field_that_is_too_large_by_itself_is_named() {
        assert_eq!(Split::of(&[("a", 10), ("b", 51)], 10, 60), Err(1));
        assert_eq!(Split::of(&[("a", 1)], 70, 60), Err(0));
    }

    proptest! {
        #[test]
        fn every_field_is_in_one_fragment_and_none_is_too_large(
            sizes in prop::collection::vec(1usize..100, 1..40),
            envelope in 0usize..20,
        ) {
            let names: Vec<String> = (0..sizes.len()).map(|n| format!("f{n}")).collect();
            let fields: Vec<(&str, usize)> = names.iter().map(String::as_str).zip(sizes.iter().copied()).collect();
            let split = Split::of(&fields, envelope, 120).unwrap();
            let mut seen = Vec::new();
            for fragment in 1..=split.len() {
                let places = split.fields(fragment);
                prop_assert!(!places.is_empty());
                prop_assert!(envelope + places.iter().map(|&place| sizes[place]).sum::<usize>() <= 120);
                seen.extend_from_slice(places);
            }
            prop_assert!(seen.windows(2).all(|two| sizes[two[0]] <= sizes[two[1]]));
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..sizes.len()).collect::<Vec<_>>());
            prop_assert!(split.fields(0).is_empty() && split.fields(split.len() + 1).is_empty());
        }
    }
}
