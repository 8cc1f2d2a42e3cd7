//! One program for each promise of the README; see `examples/`. Each ends with assertions, and the tests run them all.
