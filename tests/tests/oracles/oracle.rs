//! The other implementations, and how they are asked: a small script that reads cases and writes answers, line by line.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tailwater_tests::packages::{Language, Packages};

use crate::case::{Answer, Case, Refusal};

/// An independent implementation of MongoDB's semantics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Oracle {
    /// A matcher and aggregator for objects in JavaScript.
    Mingo,
    /// A database in Python that stands in for MongoDB in tests.
    Mongomock,
    /// Numbers of MongoDB's four types, on the arithmetic of IEEE 754-2008 in Python's `decimal`.
    Decimal,
}

/// Where the scripts and the lock files are.
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/oracles");

impl Oracle {
    /// Those that answer whatever question.
    pub(crate) const ALL: [Oracle; 2] = [Oracle::Mingo, Oracle::Mongomock];

    fn packages(self) -> Packages<'static> {
        let (name, language, files): (_, _, &[&str]) = match self {
            Oracle::Mingo => (
                "mingo",
                Language::Node,
                &["package.json", "package-lock.json", "mingo_oracle.mjs"],
            ),
            Oracle::Mongomock => (
                "mongomock",
                Language::Python,
                &["requirements.txt", "mongomock_oracle.py"],
            ),
            // Needs nothing but Python.
            Oracle::Decimal => ("decimal", Language::Python, &["decimal_oracle.py"]),
        };
        Packages {
            name,
            language,
            sources: Path::new(SOURCES),
            files,
            below: Path::new(env!("CARGO_TARGET_TMPDIR")),
        }
    }

    /// What the cases come to over there, in their order.
    pub(crate) fn ask(self, cases: &[Case]) -> Vec<Answer> {
        let packages = self.packages();
        let script = packages.files.last().expect("the script is the last of the files");
        let questions = tempfile::tempfile().unwrap();
        let mut writer = std::io::BufWriter::new(&questions);
        for case in cases {
            writeln!(writer, "{}", case.to_json()).unwrap();
        }
        writer.flush().unwrap();
        drop(writer);
        std::io::Seek::rewind(&mut &questions).unwrap();
        let mut child = packages
            .script(script)
            .stdin(questions)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{self:?} does not start: {error}; {}", packages.needs()));
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let answers: Vec<Answer> = lines.map(|line| answer(&line.unwrap())).collect();
        assert!(child.wait().unwrap().success(), "{self:?} ended with an error");
        assert_eq!(answers.len(), cases.len(), "{self:?} answers each case");
        answers
    }
}

fn answer(line: &str) -> Answer {
    let mut answer: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    match answer["documents"].take() {
        Value::Array(documents) => Ok(documents),
        _ => Err(Refusal {
            code: None,
            message: answer["error"].as_str().unwrap_or_default().to_owned(),
        }),
    }
}
