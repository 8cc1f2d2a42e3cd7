//! The shape that the documents of a collection share, remembered.
//!
//! One program mostly writes the same fields of the same types in the same order. A [`Shape`] is how the last documents began: type
//! and name of each element up to the last field that was asked for, as they lie. A document that begins alike is walked by
//! comparing sixteen bytes for each element, without looking for the ends of names; any other one says so, and is walked as
//! ever. Two documents that fit one shape have the same elements in the same order, so which of them are asked for is the same.

use crate::elements::{Element, value_size};

/// Elements that are remembered at the most.
const STEPS_MAX: usize = 32;

/// Of the documents that do not fit, every so-manieth is remembered instead.
const LEARN_EVERY: u32 = 4;

/// One element: its type and name, and the zero behind that.
#[derive(Clone, Copy, Debug)]
struct Step {
    /// As they lie, in the lowest bytes.
    head: u128,
    mask: u128,
    length: usize,
    kind: u8,
    /// Which field it is of those that are asked for.
    asked: Option<u8>,
}

/// See the module documentation. It belongs to one [`PathSet`](crate::PathSet), and is made anew when that changes.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    steps: Vec<Step>,
    /// Documents that did not fit.
    misses: u32,
    /// The one that is walked now is being remembered.
    learning: bool,
}

/// What a walk along a shape came to.
pub(super) enum Walked {
    /// The document does not fit.
    Otherwise,
    /// What was asked for told what it does; `None` is that it does not tell in passing.
    Told(Option<bool>),
}

impl Shape {
    /// Walks over a document that fits, and hands each field that is asked for to `accepts`, until that says yes, or nothing.
    #[inline]
    pub(super) fn walk(&self, document: &[u8], mut accepts: impl FnMut(usize, &Element<'_>) -> Option<bool>) -> Walked {
        if self.steps.is_empty() || self.learning {
            return Walked::Otherwise;
        }
        let mut at = 4;
        for step in &self.steps {
            let Some(head) = document.get(at..).and_then(<[u8]>::first_chunk) else {
                return Walked::Otherwise;
            };
            if u128::from_le_bytes(*head) & step.mask != step.head {
                return Walked::Otherwise;
            }
            let value = document.get(at + step.length..).unwrap_or_default();
            let Some(size) = value_size(step.kind, value) else {
                return Walked::Otherwise;
            };
            if let Some(asked) = step.asked {
                let Some(bytes) = value.get(..size) else {
                    return Walked::Otherwise;
                };
                match accepts(asked.into(), &Element::of(step.kind, bytes)) {
                    Some(false) => {}
                    told => return Walked::Told(told),
                }
            }
            at += step.length + size;
        }
        Walked::Told(Some(false))
    }

    /// A document that does not fit is about to be walked.
    pub(super) fn begin(&mut self) {
        // What was begun and not finished is the shape of nothing.
        self.forget();
        self.learning = self.misses.is_multiple_of(LEARN_EVERY);
        self.misses = self.misses.wrapping_add(1);
        if self.learning {
            self.steps.clear();
        }
    }

    /// An element of it; `asked` is which field that is of those that are asked for.
    pub(super) fn note(&mut self, kind: u8, name: &[u8], asked: Option<usize>) {
        if !self.learning {
            return;
        }
        let mut head = [0; 16];
        let length = name.len() + 2;
        let asked = asked.map(u8::try_from).transpose();
        let (Ok(asked), true, Some(place)) = (asked, self.steps.len() < STEPS_MAX, head.get_mut(1..length - 1)) else {
            return self.forget();
        };
        // The zero behind the name is compared as well.
        if length > 16 {
            return self.forget();
        }
        place.copy_from_slice(name);
        head[0] = kind;
        self.steps.push(Step {
            head: u128::from_le_bytes(head),
            mask: u128::MAX >> (128 - 8 * length),
            length,
            kind,
            asked,
        });
    }

    /// Everything that is asked for has been found.
    pub(super) fn finish(&mut self) {
        self.learning = false;
    }

    /// It is not told by the beginning of the document.
    pub(super) fn forget(&mut self) {
        if std::mem::take(&mut self.learning) {
            self.steps.clear();
        }
    }
}
