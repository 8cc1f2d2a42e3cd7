//! The program in `tests/clients/rust`, which is MongoDB's own driver for Rust: compiled below cargo's target directory from its
//! own lock file, as packages of other languages are installed.

use std::path::{Path, PathBuf};

use crate::binary::cargo;

/// A profile of cargo's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Profile {
    /// Soon compiled.
    Dev,
    /// Made to be measured.
    Release,
}

/// The program, compiled if it was not yet; cargo knows. `below` is the directory for what tests make.
///
/// # Panics
///
/// When it does not compile; it says what is needed.
#[must_use]
pub fn rust_driver(below: &Path, profile: Profile) -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/rust");
    let target = below.join("clients-rust");
    let mut build = cargo();
    build.args(["build", "--quiet", "--locked", "--manifest-path"]);
    build.arg(package.join("Cargo.toml")).arg("--target-dir").arg(&target);
    let folder = match profile {
        Profile::Dev => "debug",
        Profile::Release => {
            build.arg("--release");
            "release"
        }
    };
    assert!(
        build.status().is_ok_and(|status| status.success()),
        "the driver for Rust does not compile; this needs once a connection to crates.io"
    );
    target.join(folder).join("tailwater-client")
}
