//! Runs every example program: each ends with assertions about its promise.

use std::path::Path;
use std::process::Command;

#[test]
fn every_example_holds_its_promise() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut names: Vec<String> = std::fs::read_dir(root.join("examples/examples"))
        .unwrap()
        .filter_map(|entry| Some(entry.unwrap().file_name().to_str()?.strip_suffix(".rs")?.to_owned()))
        .collect();
    names.sort();
    assert!(names.len() >= 6, "{names:?}");
    for name in names {
        let output = Command::new(env!("CARGO"))
            .args(["run", "--quiet", "--package", "tailwater-examples", "--example", &name])
            .current_dir(&root)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{name}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
