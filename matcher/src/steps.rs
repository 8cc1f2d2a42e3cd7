//! How much may be computed.
//!
//! An expression of a few lines can ask for more work than there is time: `$reduce` over `$range`, four levels deep, is 10²⁴ rounds on
//! one document. So evaluation counts its steps: one for each node of an expression and for each item that an operator makes or looks
//! at, and one for so many bytes of strings and documents that are read or copied. A step takes some ten nanoseconds.
//!
//! The count belongs to the thread, not to an expression: what bounds the work on one event or under one lock has to hold for all
//! that is evaluated meanwhile, through whatever calls. Whoever has such a bound says so by a [`StepScope`]; scopes nest, and the
//! steps of an inner one count in the outer. Without one each expression has [`EVALUATION_STEPS_MAX`] for each document.
//!
//! Counting is a subtraction from a number of the thread's own. Only when that is used up, every few thousand steps, the limit is
//! looked at, and whether the evaluation is to be interrupted.

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::sync::Arc;

use crate::aggregation::AggregationErrorKind as Kind;

/// How many steps an expression may take on one document where no [`StepScope`] says less.
pub const EVALUATION_STEPS_MAX: u64 = 1 << 30;

/// Steps between two looks at the limit, and at what may interrupt.
const INTERVAL: u64 = 4096;

/// Bytes that are copied or compared in a step.
const STEP_BYTES: usize = 64;

/// Items of a sequence that are passed over for nothing: what is short costs no more than the call that reads it.
const FREE_ITEMS: usize = 64;

/// Ends evaluations in the middle.
pub trait Interrupt: Send + Sync {
    /// Whether an evaluation has to end now. It is asked every few thousand steps.
    ///
    /// # Errors
    ///
    /// Why it has to.
    fn check(&self) -> Result<(), Interruption>;
}

/// Why an evaluation was ended in the middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Interruption {
    /// Somebody has ended it. MongoDB's code 11601.
    #[error("operation was interrupted")]
    Killed,
    /// Its time is over. MongoDB's code 50.
    #[error("operation exceeded time limit")]
    TimeExpired,
    /// Who asked is not there any more. MongoDB's code 279.
    #[error("the client has gone")]
    ClientGone,
}

struct Meter {
    /// Steps until somebody has to look.
    fuse: Cell<u64>,
    /// Those up to the limit that come behind.
    left: Cell<u64>,
    /// The limit, for errors.
    limit: Cell<u64>,
    /// Whether a scope has set the limit, which then is for all that is evaluated in it.
    limited: Cell<bool>,
    /// Whether an expression is being computed: what has no other limit has one for each of them.
    computing: Cell<bool>,
}

thread_local! {
    static METER: Meter = const {
        Meter {
            fuse: Cell::new(0),
            left: Cell::new(EVALUATION_STEPS_MAX),
            limit: Cell::new(EVALUATION_STEPS_MAX),
            limited: Cell::new(false),
            computing: Cell::new(false),
        }
    };
    /// Apart, so that counting does not ask whether it has been dropped.
    static INTERRUPT: RefCell<Option<Arc<dyn Interrupt>>> = const { RefCell::new(None) };
}

/// Computes an expression on a document.
#[inline]
pub(crate) fn computing<T>(compute: impl FnOnce() -> T) -> T {
    METER.with(|meter| {
        if !meter.limited.get() {
            meter.left.set(EVALUATION_STEPS_MAX);
        }
        meter.computing.set(true);
        let computed = compute();
        meter.computing.set(false);
        computed
    })
}

/// Takes steps, before or after the work that they stand for.
#[inline]
pub(crate) fn take(steps: u64) -> Result<(), Kind> {
    METER.with(|meter| match meter.fuse.get().checked_sub(steps) {
        Some(left) => {
            meter.fuse.set(left);
            Ok(())
        }
        None => meter.look(steps),
    })
}

/// As [`take`], where nothing can fail: the next that takes steps does, if there are no more.
#[inline]
pub(crate) fn note(steps: u64) {
    METER.with(|meter| {
        let fuse = meter.fuse.get();
        meter.fuse.set(fuse.saturating_sub(steps));
        if steps > fuse {
            meter.left.set(meter.left.get().saturating_sub(steps - fuse));
        }
    });
}

/// The steps for passing over so many items of a sequence, none where they are few.
#[inline]
pub(crate) fn for_items(items: usize) -> u64 {
    match items > FREE_ITEMS {
        true => items as u64,
        false => 0,
    }
}

/// The steps for so many bytes.
#[inline]
pub(crate) fn for_bytes(bytes: usize) -> u64 {
    (bytes / STEP_BYTES) as u64
}

/// The steps for sorting so many items of so many bytes together.
pub(crate) fn for_sort(items: usize, bytes: usize) -> u64 {
    let rounds = u64::from(items.checked_ilog2().unwrap_or(0)) + 1;
    (items as u64 + for_bytes(bytes)).saturating_mul(rounds)
}

impl Meter {
    fn total(&self) -> u64 {
        self.fuse.get().saturating_add(self.left.get())
    }

    /// Sets how many steps there are, without a look at the first of them.
    fn set_total(&self, total: u64) {
        self.fuse.set(total.min(INTERVAL));
        self.left.set(total - self.fuse.get());
    }

    #[cold]
    fn look(&self, steps: u64) -> Result<(), Kind> {
        let is_bounded = self.limited.get() || self.computing.get();
        let total = match is_bounded {
            true => self.total(),
            false => EVALUATION_STEPS_MAX.max(steps),
        };
        let Some(total) = total.checked_sub(steps) else {
            // What comes after this fails as well, at once.
            self.set_total(0);
            return Err(Kind::Steps {
                limit: self.limit.get(),
            });
        };
        self.set_total(total);
        let interrupt = INTERRUPT.with(|interrupt| interrupt.borrow().clone());
        let checked = interrupt.map_or(Ok(()), |interrupt| interrupt.check());
        checked.map_err(|interruption| {
            // Whatever is evaluated next is interrupted before it has begun.
            self.fuse.set(0);
            Kind::Interrupted(interruption)
        })
    }
}

/// Bounds what is evaluated by this thread, until it is dropped.
///
/// ```
/// use bson::rawdoc;
/// use tailwater_matcher::{Expression, StepScope};
///
/// let long = rawdoc! { "$expr": { "$reduce": {
///     "input": { "$range": [0, "$n"] }, "initialValue": 0, "in": { "$add": ["$$value", 1] },
/// } } };
/// let filter = Expression::parse(&long)?;
/// let document = rawdoc! { "n": 10_000 };
/// assert!(filter.matches(&document)?);
/// let _scope = StepScope::limited(1_000);
/// assert_eq!(filter.matches(&document).unwrap_err().code(), Some(50));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "it bounds what is evaluated until it is dropped"]
pub struct StepScope {
    outer: Outer,
    /// The count is the thread's.
    _of_thread: PhantomData<*const ()>,
}

/// What was in force before.
enum Outer {
    Limit {
        limit: u64,
        limited: bool,
        /// Steps that there were, and how many of them the scope was given.
        total: u64,
        given: u64,
    },
    Interrupt(Option<Arc<dyn Interrupt>>),
    All {
        limit: u64,
        limited: bool,
        total: u64,
        interrupt: Option<Arc<dyn Interrupt>>,
    },
}

impl std::fmt::Debug for Outer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Outer::Limit { .. } => "Limit",
            Outer::Interrupt(_) => "Interrupt",
            Outer::All { .. } => "All",
        })
    }
}

impl StepScope {
    /// All that is evaluated takes so many steps together at most, or as many as are left of an outer scope.
    pub fn limited(steps: u64) -> StepScope {
        METER.with(|meter| {
            let (limit, limited, total) = (meter.limit.get(), meter.limited.get(), meter.total());
            let (given, named) = match limited && total < steps {
                true => (total, limit),
                false => (steps, steps),
            };
            meter.set_total(given);
            meter.limit.set(named);
            meter.limited.set(true);
            StepScope::new(Outer::Limit {
                limit,
                limited,
                total,
                given,
            })
        })
    }

    /// How many of its steps a scope that is [`limited`](StepScope::limited) has taken by now.
    #[must_use]
    pub fn taken(&self) -> u64 {
        match self.outer {
            Outer::Limit { given, .. } => METER.with(|meter| given.saturating_sub(meter.total())),
            _ => 0,
        }
    }

    /// What is evaluated ends when `interrupt` says so, in place of what says so outside.
    pub fn interrupted_by(interrupt: Arc<dyn Interrupt>) -> StepScope {
        StepScope::new(Outer::Interrupt(swap(Some(interrupt))))
    }

    /// What is evaluated is bounded by nothing outside: for work that was decided and cannot fail any more.
    pub fn apart() -> StepScope {
        METER.with(|meter| {
            let outer = Outer::All {
                limit: meter.limit.get(),
                limited: meter.limited.replace(false),
                total: meter.total(),
                interrupt: swap(None),
            };
            meter.limit.set(EVALUATION_STEPS_MAX);
            meter.set_total(EVALUATION_STEPS_MAX);
            StepScope::new(outer)
        })
    }

    fn new(outer: Outer) -> StepScope {
        StepScope {
            outer,
            _of_thread: PhantomData,
        }
    }
}

impl Drop for StepScope {
    fn drop(&mut self) {
        METER.with(|meter| match &mut self.outer {
            Outer::Interrupt(interrupt) => drop(swap(interrupt.take())),
            Outer::Limit {
                limit,
                limited,
                total,
                given,
            } => {
                let taken = given.saturating_sub(meter.total());
                meter.limit.set(*limit);
                meter.limited.set(*limited);
                meter.set_total(total.saturating_sub(taken));
            }
            Outer::All {
                limit,
                limited,
                total,
                interrupt,
            } => {
                meter.limit.set(*limit);
                meter.limited.set(*limited);
                meter.set_total(*total);
                drop(swap(interrupt.take()));
            }
        });
    }
}

/// Puts an interrupt in the place of the one in force. Where the thread is ending there is none.
fn swap(interrupt: Option<Arc<dyn Interrupt>>) -> Option<Arc<dyn Interrupt>> {
    INTERRUPT
        .try_with(|current| current.replace(interrupt))
        .unwrap_or_default()
}
