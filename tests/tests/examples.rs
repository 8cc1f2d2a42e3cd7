//! Runs every example program: each ends with assertions about its promise.

use std::path::Path;
use std::process::Command;

use tailwater_tests::binary::cargo;

#[test]
fn every_example_holds_its_promise() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut names: Vec<String> = std::fs::read_dir(root.join("examples/examples"))
        .unwrap()
        .filter_map(|entry| Some(entry.unwrap().file_name().to_str()?.strip_suffix(".rs")?.to_owned()))
        .collect();
    names.sort();
    assert!(names.len() >= 6, "{names:?}");
    // Of the whole workspace, so that the dependencies have the features, and are the builds, that the tests have.
    let binaries = std::env::current_exe().unwrap();
    let profile = binaries.ancestors().nth(2).unwrap();
    let mut build = cargo();
    build
        .args(["build", "--quiet", "--workspace", "--examples"])
        .current_dir(&root);
    if profile.ends_with("release") {
        build.arg("--release");
    }
    run("the build of the examples", &mut build);
    for name in names {
        run(&name, &mut Command::new(profile.join("examples").join(&name)));
    }
}

fn run(what: &str, command: &mut Command) {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {stderr}");
}
