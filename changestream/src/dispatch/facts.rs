//! What an event has at the paths of a space, as far as checks and ranges ask for it: for each class of values the span in
//! which they lie.

/// Classes of values at one path that are kept apart. An array has two: that of its elements and its own.
const CLASSES_MAX: usize = 3;

#[derive(Clone, Copy, Debug, Default)]
struct Span {
    class: u8,
    low: u64,
    high: u64,
}

/// The values at one path.
#[derive(Clone, Copy, Debug, Default)]
struct At {
    spans: [Span; CLASSES_MAX],
    classes: u8,
    /// There are more classes than are kept: anything may be there.
    anything: bool,
    /// There is a value.
    any: bool,
}

/// The values of one event. See the module documentation.
#[derive(Debug, Default)]
pub(crate) struct Facts(Vec<At>);

impl Facts {
    /// Forgets everything, and has room for so many paths.
    pub(crate) fn clear(&mut self, paths: usize) {
        for at in &mut self.0 {
            (at.classes, at.anything, at.any) = (0, false, false);
        }
        if self.0.len() < paths {
            self.0.resize(paths, At::default());
        }
    }

    /// Notes that there is a value at a path.
    #[inline]
    pub(crate) fn note_any(&mut self, path: u32) {
        self.0[path as usize].any = true;
    }

    pub(crate) fn any(&self, path: u32) -> bool {
        self.0[path as usize].any
    }

    /// Notes a value.
    #[inline]
    pub(crate) fn note(&mut self, path: u32, class: u8, place: u64) {
        let at = &mut self.0[path as usize];
        let known = usize::from(at.classes);
        match at.spans[..known].iter_mut().find(|span| span.class == class) {
            Some(span) => (span.low, span.high) = (span.low.min(place), span.high.max(place)),
            None if known < CLASSES_MAX => {
                let (low, high) = (place, place);
                at.spans[known] = Span { class, low, high };
                at.classes += 1;
            }
            None => at.anything = true,
        }
    }

    /// The span of the values of a class.
    pub(crate) fn span(&self, path: u32, class: u8) -> Option<(u64, u64)> {
        let at = &self.0[path as usize];
        let spans = &at.spans[..usize::from(at.classes)];
        match spans.iter().find(|span| span.class == class) {
            _ if at.anything => Some((0, u64::MAX)),
            span => span.map(|span| (span.low, span.high)),
        }
    }

    /// Whether values of a class lie within bounds, or on both sides of them.
    #[inline]
    pub(crate) fn overlap(&self, path: u16, class: u8, low: u64, high: u64) -> bool {
        let at = &self.0[usize::from(path)];
        let spans = &at.spans[..usize::from(at.classes)];
        at.anything
            || spans
                .iter()
                .any(|span| span.class == class && span.low <= high && low <= span.high)
    }
}
