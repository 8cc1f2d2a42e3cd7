//! What shares scope and shown images, and so sees the same events with the same fields: its groups, and what they ask of
//! which path.

use std::collections::HashMap;
use std::sync::Arc;

use tailwater_matcher::{Path, PathSet, Shape};

use crate::dispatch::intervals::Intervals;
use crate::dispatch::postings::{Check, Posting};
use crate::options::Images;
use crate::scope::Scope;

/// Up to so many groups of one space are not indexed.
const FEW: usize = 8;

/// So many paths a space may know before those that are not used are forgotten.
const PATHS_UNSWEPT: usize = 64;

/// Samples that each path with ranges keeps.
pub(crate) const SAMPLES: usize = 64;

/// The root field that most paths begin with.
const DOCUMENT: &str = "fullDocument";

/// What a path of a space is asked for.
#[derive(Debug)]
pub(crate) struct PathUse {
    pub(crate) path: Path,
    /// Entries of the index and checks at this path; with none, the path is not looked at.
    pub(crate) uses: u32,
    /// Classes of the values in the equality table.
    pub(crate) classes: u64,
    pub(crate) equalities: u32,
    /// Classes of the values in checks.
    pub(crate) checked: u64,
    pub(crate) exists: Vec<u32>,
    pub(crate) ranges: Vec<RangeUse>,
}

#[derive(Debug)]
pub(crate) struct RangeUse {
    pub(crate) class: u8,
    pub(crate) intervals: Intervals,
    pub(crate) samples: Vec<u64>,
    /// Where the next sample goes.
    next_sample: usize,
}

/// Paths that are looked at, by how.
#[derive(Debug, Default)]
pub(crate) struct Walks {
    /// Below the document, in one walk.
    pub(crate) document: PathSet,
    /// Each by itself.
    pub(crate) others: Vec<u32>,
    /// Of the documents that were looked at for the first.
    shape: Shape,
    /// They are to be made anew.
    stale: bool,
}

/// Groups with the same scope and images.
#[derive(Debug)]
pub(crate) struct Space {
    pub(crate) scope: Arc<Scope>,
    pub(crate) images: Images,
    /// Every group.
    pub(crate) groups: Vec<u32>,
    /// Those that no value leads to.
    pub(crate) scanned: Vec<Posting>,
    pub(crate) paths: Vec<PathUse>,
    by_path: HashMap<Path, u32>,
    /// Places in `paths` that are free.
    free_paths: Vec<u32>,
    /// Paths are swept when there are so many.
    sweep_at: usize,
    pub(crate) indexed: bool,
    pub(crate) walks: Walks,
}

impl Space {
    pub(crate) fn new(scope: Arc<Scope>, images: Images) -> Space {
        Space {
            scope,
            images,
            groups: Vec::new(),
            scanned: Vec::new(),
            paths: Vec::new(),
            by_path: HashMap::new(),
            free_paths: Vec::new(),
            sweep_at: PATHS_UNSWEPT,
            indexed: false,
            walks: Walks::default(),
        }
    }

    /// Whether the space has grown beyond what is simply looked at, and its groups are to be indexed from now on.
    pub(crate) fn outgrows(&mut self) -> bool {
        let outgrows = !self.indexed && self.groups.len() > FEW;
        if outgrows {
            self.indexed = true;
            for posting in std::mem::take(&mut self.scanned) {
                self.release(posting.check());
            }
        }
        outgrows
    }

    /// The number of a path.
    pub(crate) fn path(&mut self, path: &Path) -> u32 {
        if let Some(&known) = self.by_path.get(path) {
            return known;
        }
        let path_use = PathUse {
            path: path.clone(),
            uses: 0,
            classes: 0,
            equalities: 0,
            checked: 0,
            exists: Vec::new(),
            ranges: Vec::new(),
        };
        let number = match self.free_paths.pop() {
            Some(free) => {
                self.paths[free as usize] = path_use;
                free
            }
            None => {
                self.paths.push(path_use);
                self.paths.len() as u32 - 1
            }
        };
        self.by_path.insert(path.clone(), number);
        number
    }

    /// Forgets paths that nothing in the index is about, when there have come to be many.
    pub(crate) fn sweep_paths(&mut self) {
        if self.by_path.len() < self.sweep_at {
            return;
        }
        let (paths, free) = (&self.paths, &mut self.free_paths);
        self.by_path.retain(|_, number| {
            let used = paths[*number as usize].uses > 0;
            if !used {
                free.push(*number);
            }
            used
        });
        self.sweep_at = PATHS_UNSWEPT.max(2 * self.by_path.len());
    }

    /// One more use of a path.
    pub(crate) fn hold(&mut self, path: u32) -> &mut PathUse {
        let path_use = &mut self.paths[path as usize];
        path_use.uses += 1;
        self.walks.stale |= path_use.uses == 1;
        path_use
    }

    /// One use of a path less.
    pub(crate) fn let_go(&mut self, path: u32) -> &mut PathUse {
        let path_use = &mut self.paths[path as usize];
        path_use.uses -= 1;
        if path_use.uses == 0 {
            path_use.checked = 0;
            self.walks.stale = true;
        }
        path_use
    }

    /// Makes ready for a check.
    pub(crate) fn prepare(&mut self, check: Option<Check>) {
        if let Some(check) = check {
            self.hold(check.path.into()).checked |= class_bit(check.class);
        }
    }

    /// A check is gone.
    pub(crate) fn release(&mut self, check: Option<Check>) {
        if let Some(check) = check {
            self.let_go(check.path.into());
        }
    }

    /// Whether filters ask for anything but what is in the document.
    #[inline]
    pub(crate) fn asks_beyond_document(&mut self) -> bool {
        if std::mem::take(&mut self.walks.stale) {
            self.plan_walks();
        }
        !self.walks.others.is_empty()
    }

    /// Whether it can be seen in passing that nobody wants a document: groups are few, and each has a check that does not
    /// hold. For a space that does not ask beyond the document.
    #[inline]
    pub(crate) fn passes_over(&mut self, document: &[u8]) -> bool {
        let Space {
            indexed,
            scanned,
            walks,
            ..
        } = self;
        if *indexed || scanned.iter().any(|posting| posting.check().is_none()) {
            return false;
        }
        let accepted = walks
            .document
            .any_place(document, &mut walks.shape, |path, class, place| {
                scanned.iter().any(|posting| posting.accepts(path, class, place))
            });
        accepted == Some(false)
    }

    /// Sorts the paths that are looked at by how.
    fn plan_walks(&mut self) {
        self.walks.document = PathSet::default();
        self.walks.shape = Shape::default();
        self.walks.others.clear();
        for (number, path_use) in (0..).zip(&self.paths).filter(|(_, path_use)| path_use.uses > 0) {
            let in_document = path_use.path.components().next() == Some(DOCUMENT);
            if !(in_document && self.walks.document.insert_below_root(number, &path_use.path)) {
                self.walks.others.push(number);
            }
        }
    }
}

impl PathUse {
    pub(crate) fn range(&mut self, class: u8) -> &mut RangeUse {
        let at = self.ranges.iter().position(|range| range.class == class);
        let at = at.unwrap_or_else(|| {
            self.ranges.push(RangeUse {
                class,
                intervals: Intervals::default(),
                samples: Vec::new(),
                next_sample: 0,
            });
            self.ranges.len() - 1
        });
        &mut self.ranges[at]
    }
}

impl RangeUse {
    pub(crate) fn sample(&mut self, place: u64) {
        if self.samples.len() < SAMPLES {
            self.samples.push(place);
        } else {
            self.samples[self.next_sample] = place;
            self.next_sample = (self.next_sample + 1) % SAMPLES;
        }
    }
}

/// Classes are numbered in steps of eight.
pub(crate) fn class_bit(class: u8) -> u64 {
    1 << (class >> 3)
}
