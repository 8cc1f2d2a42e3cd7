//! Tampering with a watcher's file before the proof, for the project's own tests: a proof that cannot fail proves nothing.

use std::path::Path;

use crate::failure::{Exit, Failure, Outcome};

/// What to do to the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Sabotage {
    /// Takes one event out.
    Drop,
    /// Puts one event in twice.
    Duplicate,
    /// Swaps two events.
    Reorder,
    /// Changes what one event said.
    Alter,
}

impl Sabotage {
    /// Tampers with the middle of the list; it needs two elements.
    pub(crate) fn tamper(self, lines: &mut Vec<String>) -> bool {
        let middle = lines.len() / 2;
        if middle == 0 {
            return false;
        }
        match self {
            Sabotage::Drop => drop(lines.remove(middle)),
            Sabotage::Duplicate => lines.insert(middle, lines[middle].clone()),
            Sabotage::Reorder => lines.swap(middle - 1, middle),
            // The last character is a digit of the event's digest.
            Sabotage::Alter => {
                let other = if lines[middle].ends_with('0') { "1" } else { "0" };
                let length = lines[middle].len();
                lines[middle].replace_range(length - 1.., other);
            }
        }
        true
    }

    /// Tampers with a file.
    pub(crate) fn tamper_with(self, path: &Path) -> Outcome {
        let failed = |e| Failure::io(&format!("tamper with {}", path.display()), &e);
        let text = std::fs::read_to_string(path).map_err(failed)?;
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        if !self.tamper(&mut lines) {
            return Err(Failure::new(Exit::Failure, "there is nothing to tamper with"));
        }
        std::fs::write(path, lines.join("\n") + "\n").map_err(failed)
    }
}
