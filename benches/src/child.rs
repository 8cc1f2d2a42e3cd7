//! Processes of this program that take part in a measurement.

use std::io::{BufRead, BufReader, Read};
use std::process::{self, ChildStdin, ChildStdout, Command, Stdio};

use crate::harness::Result;

/// What a child says when the measurement may begin.
const READY: &str = "ready";

/// A child process that has said it is ready; killed, when it still runs, on drop.
#[derive(Debug)]
pub(crate) struct Child {
    process: process::Child,
    output: BufReader<ChildStdout>,
}

impl Child {
    /// Starts the process and waits until it is ready.
    pub(crate) fn start(command: &mut Command) -> Result<Child> {
        let mut process = command.stdout(Stdio::piped()).spawn()?;
        let output = BufReader::new(process.stdout.take().ok_or("a child without output")?);
        let mut child = Child { process, output };
        let mut line = String::new();
        child.output.read_line(&mut line)?;
        if line.trim_end() != READY {
            return Err("a child process has failed before it was ready".into());
        }
        Ok(child)
    }

    /// In the child: that it is ready.
    #[expect(clippy::print_stdout, reason = "the parent waits for it")]
    pub(crate) fn say_ready() {
        println!("{READY}");
    }

    /// The other end of the child's standard input, if it was asked for.
    pub(crate) fn input(&mut self) -> Option<ChildStdin> {
        self.process.stdin.take()
    }

    /// What the child says from now until it ends.
    pub(crate) fn rest(mut self) -> Result<String> {
        let mut rest = String::new();
        self.output.read_to_string(&mut rest)?;
        if !self.process.wait()?.success() {
            return Err("a child process has failed".into());
        }
        Ok(rest)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail when the process has been waited for, which is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
