//! The layering of `docs/architecture.md`, checked against what cargo knows and what the sources say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cargo_metadata::MetadataCommand;

/// For each package, the workspace packages it may depend on, in any way.
const ARROWS: [(&str, &[&str]); 14] = [
    ("tailwater-oplog", &[]),
    ("tailwater-matcher", &[]),
    ("tailwater-storage", &["tailwater-matcher", "tailwater-oplog"]),
    ("tailwater-changestream", &["tailwater-matcher", "tailwater-oplog"]),
    ("tailwater-replication", &["tailwater-oplog", "tailwater-storage"]),
    (
        "tailwater",
        &[
            "tailwater-changestream",
            "tailwater-matcher",
            "tailwater-oplog",
            "tailwater-replication",
            "tailwater-storage",
        ],
    ),
    ("tailwater-auth", &["tailwater"]),
    ("tailwater-wire", &[]),
    ("tailwater-server", &["tailwater", "tailwater-auth", "tailwater-wire"]),
    ("tailwater-http", &["tailwater", "tailwater-auth"]),
    (
        "tailwater-cli",
        &["tailwater", "tailwater-auth", "tailwater-http", "tailwater-server"],
    ),
    ("tailwater-examples", &["tailwater", "tailwater-oplog"]),
    ("tailwater-tests", &["tailwater", "tailwater-oplog"]),
    (
        "tailwater-benches",
        &[
            "tailwater",
            "tailwater-matcher",
            "tailwater-oplog",
            "tailwater-tests",
            "tailwater-wire",
        ],
    ),
];

fn workspace() -> cargo_metadata::Metadata {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    MetadataCommand::new().manifest_path(manifest).no_deps().exec().unwrap()
}

#[test]
fn packages_depend_only_along_the_arrows() {
    let allowed: BTreeMap<_, _> = ARROWS.into_iter().collect();
    let metadata = workspace();
    let names: BTreeSet<&str> = metadata.packages.iter().map(|package| package.name.as_str()).collect();
    assert_eq!(
        names,
        allowed.keys().copied().collect(),
        "a package without arrows, or arrows without a package"
    );
    for package in &metadata.packages {
        for dependency in package
            .dependencies
            .iter()
            .map(|d| d.name.as_str())
            .filter(|d| names.contains(d))
        {
            assert!(
                allowed[package.name.as_str()].contains(&dependency),
                "{} -> {dependency}",
                package.name
            );
        }
    }
}

#[test]
fn folders_are_named_after_their_packages_and_none_is_a_drawer() {
    for package in &workspace().packages {
        let folder = package.manifest_path.parent().unwrap().file_name().unwrap();
        let short = package.name.strip_prefix("tailwater-").unwrap_or(&package.name);
        assert_eq!(folder, short);
        assert!(!["common", "utils", "core", "types"].contains(&short), "{short}");
    }
}

#[test]
fn unsafe_code_stands_in_one_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap();
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = workspace()
        .packages
        .iter()
        .map(|package| package.manifest_path.parent().unwrap().as_std_path().to_path_buf())
        .collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                // What cargo makes, wherever it was told to: a package outside the workspace has its own.
                if path.file_name().is_some_and(|name| name != "target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") && has_unsafe(&path) {
                found.push(path.canonicalize().unwrap().strip_prefix(&root).unwrap().to_path_buf());
            }
        }
    }
    assert_eq!(found, [Path::new("oplog/src/region.rs")]);
}

fn has_unsafe(path: &Path) -> bool {
    let source = std::fs::read_to_string(path).unwrap();
    // In pieces, so that this file is not one of those it looks for.
    let word = ["un", "safe"].concat();
    let forms = ["{", "fn", "impl", "extern", "trait"].map(|form| format!("{word} {form}"));
    let allowed = format!("allow({word}_code");
    source
        .lines()
        .map(str::trim_start)
        .filter(|line| !line.starts_with("//"))
        .any(|line| line.contains(&allowed) || forms.iter().any(|form| line.contains(form)))
}
