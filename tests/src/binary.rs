//! The command, built as the tests are.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The path of `tailwater`, which is built at the first call.
///
/// # Panics
///
/// When it does not build.
#[must_use]
pub fn tailwater() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let tests = std::env::current_exe().unwrap();
        let profile = tests.ancestors().nth(2).unwrap();
        // With the whole workspace's features, and, as a test is asked for, with those that tests alone ask for: so what the tests
        // have built is used, and nothing compiled again.
        let mut build = cargo();
        build.args([
            "build",
            "--quiet",
            "--workspace",
            "--bin",
            "tailwater",
            "--test",
            "readme",
        ]);
        build.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."));
        if profile.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success(), "the command does not build");
        profile.join("tailwater")
    })
}

/// Cargo, as if nobody had run this program by it. What it tells a test of the test's own package would have some dependencies
/// compiled again, as `ring`, which looks at that, and with it whatever needs them.
#[must_use]
pub fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    cargo
}
