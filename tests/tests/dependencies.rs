//! `docs/dependencies.md` against what cargo knows: every crate that a package names has a row, which says who uses it and in which
//! release.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, MetadataCommand};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The cells of each row whose first cell is a crate's name in code. What only stands in `benches/peers` is outside the workspace.
fn rows() -> BTreeMap<String, Vec<String>> {
    let page = std::fs::read_to_string(root().join("docs/dependencies.md")).unwrap();
    let mut rows = BTreeMap::new();
    let ours = page.split("\n## In `benches/peers`").next().unwrap();
    for line in ours.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<String> = line
            .trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().to_string())
            .collect();
        let name = cells[0].trim_matches('`').to_string();
        assert!(!rows.contains_key(&name), "{name} has two rows");
        rows.insert(name, cells);
    }
    rows
}

/// For each crate the packages that name it, `(dev)` behind those whose tests alone do.
fn users() -> BTreeMap<String, String> {
    let manifest = root().join("Cargo.toml");
    let metadata = MetadataCommand::new().manifest_path(manifest).no_deps().exec().unwrap();
    let own: BTreeSet<&str> = metadata.packages.iter().map(|package| package.name.as_str()).collect();
    // From a crate to its users, each with whether more than its tests use it.
    let mut users: BTreeMap<String, BTreeMap<&str, bool>> = BTreeMap::new();
    for package in &metadata.packages {
        let short = package.name.strip_prefix("tailwater-").unwrap_or(&package.name);
        for dependency in package.dependencies.iter().filter(|d| !own.contains(d.name.as_str())) {
            let plain = dependency.kind != DependencyKind::Development;
            *users
                .entry(dependency.name.clone())
                .or_default()
                .entry(short)
                .or_default() |= plain;
        }
    }
    let cell = |users: BTreeMap<&str, bool>| {
        let named = users.into_iter().map(|(user, plain)| match plain {
            true => user.to_string(),
            false => format!("{user} (dev)"),
        });
        named.collect::<Vec<_>>().join(", ")
    };
    users.into_iter().map(|(name, users)| (name, cell(users))).collect()
}

/// The releases of each crate that the lock file names.
fn releases() -> BTreeMap<String, BTreeSet<String>> {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let mut releases: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut name = String::new();
    for line in lock.lines() {
        if let Some(value) = line.strip_prefix("name = ") {
            name = value.trim_matches('"').to_string();
        } else if let Some(value) = line.strip_prefix("version = ") {
            let release = value.trim_matches('"').split('+').next().unwrap().to_string();
            releases.entry(name.clone()).or_default().insert(release);
        }
    }
    releases
}

#[test]
fn every_dependency_has_its_row() {
    let rows = rows();
    let users = users();
    let releases = releases();
    let named: BTreeSet<&String> = rows.keys().collect();
    assert_eq!(
        users.keys().collect::<BTreeSet<_>>(),
        named,
        "crates used, crates with a row"
    );
    let mut wrong = Vec::new();
    for (name, cells) in &rows {
        let release = cells[1].trim_matches(['*', '=']);
        if !releases[name].contains(release) {
            wrong.push(format!(
                "{name}: release {release}, the lock file has {:?}",
                releases[name]
            ));
        }
        if cells[4] != users[name] {
            wrong.push(format!("{name}: used by {}, should be {}", cells[4], users[name]));
        }
    }
    assert!(wrong.is_empty(), "docs/dependencies.md:\n{}", wrong.join("\n"));
}

/// A package says itself which files of its tests are programs, so that most share one; a file that is in none would not be run.
#[test]
fn every_file_of_tests_is_in_a_program_of_tests() {
    let manifest = root().join("Cargo.toml");
    let metadata = MetadataCommand::new().manifest_path(manifest).no_deps().exec().unwrap();
    for package in &metadata.packages {
        let tests = package.manifest_path.parent().unwrap().join("tests");
        let Ok(files) = std::fs::read_dir(&tests) else {
            continue;
        };
        let shared = std::fs::read_to_string(tests.join("all.rs")).unwrap_or_default();
        for file in files.map(|file| file.unwrap().file_name().into_string().unwrap()) {
            let Some(name) = file.strip_suffix(".rs") else {
                continue;
            };
            let is_program = package
                .targets
                .iter()
                .any(|target| target.src_path == tests.join(&file));
            let is_shared = shared.lines().any(|line| line == format!("mod {name};"));
            assert!(is_program != is_shared, "{}: tests/{file} is run once", package.name);
        }
    }
}
