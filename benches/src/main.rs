//! Measures the log: see the library's documentation and `docs/performance.md`.

use std::process::ExitCode;

use tailwater_benches::guests::Nobody;

fn main() -> ExitCode {
    tailwater_benches::main(&Nobody)
}
