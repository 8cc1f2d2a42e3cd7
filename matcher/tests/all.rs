//! Tests of the matcher that can share a process: one program, which is sooner linked than one for each file. A file that is not
//! listed here is a program of its own, named in `Cargo.toml`.

mod common;

mod accumulator;
mod collation;
mod differential;
mod errors;
mod expression;
mod filter;
mod manual;
mod mismatch;
mod operators;
mod order;
mod regex;
mod schema;
mod steps;
mod transform;
mod untrusted;
