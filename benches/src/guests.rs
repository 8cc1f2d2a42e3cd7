//! Other engines that take part in a run.

use std::path::Path;

use crate::harness::{Plan, Result};
use crate::report::Series;

/// Engines besides Tailwater, measured in those workloads that they have an equivalent for.
pub trait Guests {
    /// What is to be known about them, in lines for the head of the output.
    fn head(&self) -> Vec<String>;

    /// Their figures for a workload, in its unit; taken right after the limit's and Tailwater's.
    ///
    /// # Errors
    ///
    /// Whatever an engine or the file system fails with. It ends the run.
    fn measure(&self, plan: &Plan, workload: &str) -> Result<Vec<Series>>;

    /// For the child that is to be killed: has an engine append at least so many entries into `dir`, calls `ready`, and
    /// appends on.
    ///
    /// # Errors
    ///
    /// As [`Guests::measure`], and when nobody has killed the process in time.
    fn fill(&self, engine: &str, dir: &Path, entries: u64, ready: &dyn Fn()) -> Result<()>;
}

/// No engines but Tailwater.
#[derive(Debug)]
pub struct Nobody;

impl Guests for Nobody {
    fn head(&self) -> Vec<String> {
        Vec::new()
    }

    fn measure(&self, _: &Plan, _: &str) -> Result<Vec<Series>> {
        Ok(Vec::new())
    }

    fn fill(&self, engine: &str, _: &Path, _: u64, _: &dyn Fn()) -> Result<()> {
        Err(format!("this program does not know the engine \"{engine}\"").into())
    }
}
