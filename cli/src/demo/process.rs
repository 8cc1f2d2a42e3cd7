//! A process of the demo, as the director holds it.
//!
//! Invariant: whatever becomes of the director, the process ends. Dropping the handle kills and reaps it; when the director
//! dies without dropping anything, its end of the process's stdin closes, and the process ends by itself.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::Sender;

use super::wire::Message;
use crate::failure::{Failure, Outcome};

/// Something heard from a process.
#[derive(Debug)]
pub(crate) struct Report<R> {
    /// Who it is from.
    pub(crate) from: R,
    pub(crate) what: Heard,
}

/// What was heard.
#[derive(Debug)]
pub(crate) enum Heard {
    Message(Message),
    /// A line that is no message.
    Gibberish(String),
    /// Its output has ended, and so has it or is about to; everything it said before has been heard. With what it wrote to
    /// its standard error.
    Closed(String),
}

/// A running process, or one that waits to be reaped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    orders: Option<ChildStdin>,
}

impl Process {
    /// Starts this executable with other arguments, and a thread that reports what it says.
    pub(crate) fn start<R: Copy + Send + 'static>(
        arguments: &[OsString],
        from: R,
        reports: Sender<Report<R>>,
    ) -> Outcome<Process> {
        let executable = std::env::current_exe().map_err(|e| Failure::io("find this executable", &e))?;
        let mut command = Command::new(executable);
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|e| Failure::io("start a process", &e))?;
        let (out, errors) = (child.stdout.take(), child.stderr.take());
        let process = Process {
            orders: child.stdin.take(),
            child,
        };
        let listener = move || {
            // The errors on a thread of their own, so that neither pipe is ever full while the other is read.
            let errors = std::thread::spawn(move || {
                let mut text = Vec::new();
                let _ = errors.map(|mut errors| errors.read_to_end(&mut text));
                String::from_utf8_lossy(&text).trim().to_owned()
            });
            if let Some(out) = out {
                listen(BufReader::new(out), |what| {
                    let _ = reports.send(Report { from, what });
                });
            }
            let what = Heard::Closed(errors.join().unwrap_or_default());
            let _ = reports.send(Report { from, what });
        };
        let thread = std::thread::Builder::new().name("demo-listener".into()).spawn(listener);
        thread.map_err(|e| Failure::io("start a thread", &e))?;
        Ok(process)
    }

    /// Its number in the system.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a line; a process that is gone does not hear it.
    pub(crate) fn order(&mut self, line: &str) {
        if let Some(orders) = &mut self.orders {
            let _ = orders.write_all(line.as_bytes());
        }
    }

    /// Kills it with SIGKILL, which it can neither refuse nor notice, and reaps it.
    pub(crate) fn kill(&mut self) -> Outcome<ExitStatus> {
        let killed = self.child.kill().and_then(|()| self.child.wait());
        killed.map_err(|e| Failure::io("kill a process", &e))
    }

    /// Reaps it after it has ended.
    pub(crate) fn wait(&mut self) -> Outcome<ExitStatus> {
        self.child.wait().map_err(|e| Failure::io("wait for a process", &e))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only where it has been reaped before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Passes on every whole line; the beginning of one, left by a kill, counts as not said.
fn listen(mut out: impl BufRead, mut pass_on: impl FnMut(Heard)) {
    let mut line = String::new();
    loop {
        line.clear();
        match out.read_line(&mut line) {
            Ok(0) => return,
            Ok(_) => {
                let Some(text) = line.strip_suffix('\n') else { return };
                pass_on(match Message::parse(text) {
                    Some(message) => Heard::Message(message),
                    None => Heard::Gibberish(text.to_owned()),
                });
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_a_line_is_not_an_acknowledgement() {
        let mut heard = Vec::new();
        listen(&b"ack 1 2\nwhat\nack 2 30"[..], |what| heard.push(format!("{what:?}")));
        assert_eq!(heard.len(), 2, "{heard:?}");
        assert!(heard[0].contains("Ack") && heard[1].contains("Gibberish"));
    }
}
