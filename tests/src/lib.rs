//! What tests that cross crates have in common; see the files in `tests/`.

pub mod binary;
pub mod certificates;
pub mod driver;
pub mod packages;
pub mod ports;
pub mod served;
