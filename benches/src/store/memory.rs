//! How much memory this process takes, as Linux tells; elsewhere it is not known.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often somebody looks.
const INTERVAL: Duration = Duration::from_millis(5);

/// Looks at this process's memory until it is stopped.
#[derive(Debug)]
pub(crate) struct Watcher {
    stopping: Arc<AtomicBool>,
    thread: JoinHandle<f64>,
}

impl Watcher {
    pub(crate) fn start() -> Watcher {
        let stopping = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let stopping = Arc::clone(&stopping);
            move || {
                let mut most = own();
                while !stopping.load(Ordering::Relaxed) {
                    std::thread::sleep(INTERVAL);
                    most = most.max(own());
                }
                most
            }
        });
        Watcher { stopping, thread }
    }

    /// The most there was, in mebibytes: of memory of its own, as far as somebody looked at that moment, and of all that was
    /// in memory, the pages of mapped files included. Not a number where the system does not tell.
    pub(crate) fn stop(self) -> (f64, f64) {
        self.stopping.store(true, Ordering::Relaxed);
        let own = self.thread.join().unwrap_or(f64::NAN);
        (own, mebibytes("VmHWM:"))
    }
}

/// Memory of its own that this process has now, in mebibytes.
pub(crate) fn own() -> f64 {
    mebibytes("RssAnon:")
}

/// A line of the process's status, which counts in kibibytes.
fn mebibytes(line: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|found| found.strip_prefix(line));
    let kibibytes = line.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    kibibytes.map_or(f64::NAN, |kibibytes| kibibytes / 1024.0)
}
