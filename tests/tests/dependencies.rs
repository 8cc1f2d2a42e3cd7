//! What Tailwater is built from: `docs/dependencies.md` against what cargo knows (every crate that a package names has a row, which says
//! who uses it and in which release), and what can be known without a network of what `cargo deny check` looks at: where crates come
//! from, and their licences. Advisories are left to that.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

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
            let is_target = |path: cargo_metadata::camino::Utf8PathBuf| {
                let mut targets = package.targets.iter();
                targets.any(|target| target.src_path == path)
            };
            let Some(name) = file.strip_suffix(".rs") else {
                let main = tests.join(&file).join("main.rs");
                assert!(
                    !main.exists() || is_target(main),
                    "{}: tests/{file} is run",
                    package.name
                );
                continue;
            };
            let is_program = is_target(tests.join(&file));
            let is_shared = shared.lines().any(|line| line == format!("mod {name};"));
            assert!(is_program != is_shared, "{}: tests/{file} is run once", package.name);
        }
    }
}

#[test]
fn every_crate_comes_from_the_registry_with_a_checksum() {
    let (mut strangers, mut sources) = (Vec::new(), BTreeSet::new());
    for lock in [
        "Cargo.lock",
        "fuzz/Cargo.lock",
        "benches/peers/Cargo.lock",
        "tests/clients/rust/Cargo.lock",
    ] {
        let text = std::fs::read_to_string(root().join(lock)).unwrap();
        let packages: Vec<&str> = text.split("[[package]]").skip(1).collect();
        assert!(packages.len() > 5, "{lock}");
        for package in packages {
            let field = |name: &str| {
                let before = format!("{name} = \"");
                let line = package.lines().find_map(|line| line.strip_prefix(&before));
                line.map(|value| value.trim_end_matches('"'))
            };
            let name = field("name").unwrap();
            let is_known = match field("source") {
                Some(source) => {
                    sources.insert(source.to_owned());
                    source.starts_with("registry+") && field("checksum").is_some_and(|sum| sum.len() == 64)
                }
                // A package of this repository.
                None => name.starts_with("tailwater"),
            };
            if !is_known {
                strangers.push(format!("{lock}: {name} from {:?}", field("source")));
            }
        }
    }
    assert!(strangers.is_empty(), "{}", strangers.join("\n"));
    assert_eq!(sources.len(), 1, "one registry: {sources:?}");
}

/// The licences that `deny.toml` allows.
fn allowed() -> BTreeSet<String> {
    let deny = std::fs::read_to_string(root().join("deny.toml")).unwrap();
    let licenses = deny.split("\n[licenses]\n").nth(1).unwrap();
    let list = licenses.split("allow = [").nth(1).unwrap().split("\n]").next().unwrap();
    let lines = list.lines().map(str::trim).filter(|line| line.starts_with('"'));
    lines.map(|line| line.trim_matches([',', '"']).to_owned()).collect()
}

/// Whether a licence's expression (SPDX: names with `OR` or `/`, `AND`, `WITH` and parentheses) can be met by what is allowed.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    let met = any(&mut rest, allowed);
    assert!(rest.is_empty(), "what follows in {expression}: {rest:?}");
    met
}

fn any(rest: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    let mut met = all(rest, allowed);
    while let ["OR", behind @ ..] = *rest {
        *rest = behind;
        met |= all(rest, allowed);
    }
    met
}

fn all(rest: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    let mut met = one(rest, allowed);
    while let ["AND", behind @ ..] = *rest {
        *rest = behind;
        met &= one(rest, allowed);
    }
    met
}

fn one(rest: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
    match *rest {
        ["(", behind @ ..] => {
            *rest = behind;
            let met = any(rest, allowed);
            assert_eq!(rest.first(), Some(&")"));
            *rest = &rest[1..];
            met
        }
        [license, "WITH", exception, behind @ ..] => {
            *rest = behind;
            allowed.contains(&format!("{license} WITH {exception}"))
        }
        [license, behind @ ..] => {
            *rest = behind;
            allowed.contains(*license)
        }
        [] => panic!("an expression ends too soon"),
    }
}

#[test]
fn licences_are_read_as_their_expressions_mean() {
    let allowed = BTreeSet::from(["A".to_owned(), "B".to_owned()]);
    for (expression, met) in [
        ("A", true),
        ("C", false),
        ("A/C", true),
        ("C OR B", true),
        ("A AND C", false),
        ("A AND B", true),
        ("(C OR A) AND B", true),
        ("C OR (A AND C)", false),
        ("A WITH E", false),
        ("A WITH E OR B", true),
    ] {
        assert_eq!(is_allowed(expression, &allowed), met, "{expression}");
    }
}

/// Crates of this machine's system, which are the ones that are there without a network.
#[test]
fn every_crate_has_a_licence_that_is_allowed() {
    let version = Command::new("rustc").arg("-vV").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options(
            ["--locked", "--offline", "--filter-platform", host]
                .map(str::to_owned)
                .to_vec(),
        )
        .exec()
        .unwrap();
    let own: BTreeSet<_> = metadata.workspace_members.iter().collect();
    let allowed = allowed();
    assert!(allowed.contains("MIT"), "{allowed:?}");
    let crates = metadata.packages.iter().filter(|package| !own.contains(&package.id));
    let refused: Vec<String> = crates
        .filter(|package| {
            !package
                .license
                .as_deref()
                .is_some_and(|license| is_allowed(license, &allowed))
        })
        .map(|package| format!("{} {}: {:?}", package.name, package.version, package.license))
        .collect();
    assert!(refused.is_empty(), "not in deny.toml:\n{}", refused.join("\n"));
}
