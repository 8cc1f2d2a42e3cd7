//! The documents that match a query: filtered, sorted where the plan did not, skipped and limited.

use std::sync::Arc;

use tailwater_matcher::Expression;

use super::source::{Examined, Source};
use super::{Looks, Query, QueryControl};
use crate::error::Result;
use crate::sort::{Sorted, Sorter};
use crate::workspace::Found;

/// See the module documentation. After an error there is nothing more.
#[derive(Debug)]
pub(crate) struct Candidates {
    source: Source,
    filter: Arc<Expression>,
    /// Whether the filter may take long on one document.
    computes: bool,
    order: Order,
    looks: Looks,
    skip: u64,
    /// How many more there may be.
    left: u64,
}

/// What becomes of the order in which the source finds documents.
#[derive(Debug)]
enum Order {
    /// It is good.
    Kept,
    /// All that match are to be sorted before the first can come.
    Unsorted(Option<Sorter>),
    Sorted(Sorted),
}

impl Candidates {
    /// Those of a plan that gives the order asked for, or not.
    pub(super) fn of(query: Query, source: Source, sorted: bool) -> Candidates {
        let wanted = query.limit.map(|limit| query.skip.saturating_add(limit));
        let order = match query.sort {
            Some(pattern) if !sorted => {
                Order::Unsorted(Some(Sorter::new(pattern, wanted).with_memory(query.control.share())))
            }
            _ => Order::Kept,
        };
        Candidates {
            source,
            computes: query.filter.computes(),
            filter: query.filter,
            order,
            looks: Looks::new(query.control),
            skip: query.skip,
            left: query.limit.unwrap_or(u64::MAX),
        }
    }

    /// What ends it in the middle.
    pub(crate) fn control(&self) -> &QueryControl {
        self.looks.control()
    }

    /// What has been looked at so far.
    pub(crate) fn examined(&self) -> Examined {
        self.source.examined
    }

    /// How many there are, counted to the end.
    ///
    /// # Errors
    ///
    /// Those of the items.
    pub(crate) fn count_all(self) -> Result<u64> {
        let mut count = 0;
        for found in self {
            found?;
            count += 1;
        }
        Ok(count)
    }

    fn next_match(&mut self) -> Result<Option<Found>> {
        while let Some(found) = self.source.next()? {
            self.looks.next()?;
            if self.filter.matches(found.document()?)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn next_in_order(&mut self) -> Result<Option<Found>> {
        if let Order::Unsorted(sorter) = &mut self.order {
            let Some(mut sorter) = sorter.take() else {
                return Ok(None);
            };
            while let Some(found) = self.next_match()? {
                sorter.push(found)?;
            }
            self.order = Order::Sorted(sorter.finish());
        }
        match &mut self.order {
            Order::Sorted(sorted) => Ok(sorted.next()),
            _ => self.next_match(),
        }
    }

    fn step(&mut self) -> Result<Option<Found>> {
        while self.skip > 0 && self.left > 0 {
            if self.next_in_order()?.is_none() {
                self.left = 0;
            }
            self.skip -= 1;
        }
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        self.next_in_order()
    }
}

impl Iterator for Candidates {
    type Item = Result<Found>;

    fn next(&mut self) -> Option<Self::Item> {
        let scope = self.computes.then(|| self.looks.control().scope()).flatten();
        let step = self.step();
        drop(scope);
        let step = step.map_err(|error| self.looks.control().told(error));
        if step.is_err() {
            // Going on would pass for an answer that leaves a document out.
            self.left = 0;
        }
        step.transpose()
    }
}
