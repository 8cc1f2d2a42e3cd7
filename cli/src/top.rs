//! `tailwater top`: how a served store is, in a terminal, by the numbers that its dashboard shows.

mod encryption;
mod fetch;
mod screen;

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use rustix::termios::tcgetwinsize;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::failure::{Failure, Outcome};
use crate::output;
use encryption::EncryptionArguments;
use fetch::Server;

/// Lines and columns where the terminal does not say.
const SIZE: (usize, usize) = (40, 120);

/// Another screen, without a cursor; and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// From the upper left on; what follows a line, and all lines, is erased.
const HOME: &str = "\x1b[H";
const ERASE_REST: &str = "\x1b[K\r\n";
const ERASE_BELOW: &str = "\x1b[J";

/// Shows how a served store is: the log with what it keeps, write rate, who watches and how far behind, durable consumers,
/// followers, retention slots, segments.
///
/// The store is served by `tailwater serve --http`. Ctrl-C ends it. When its output is no terminal, or with --once, it prints once.
///
/// A server whose clients log in wants --user, with the password in the variable TAILWATER_PASSWORD.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    tailwater top\n  \
    tailwater top --server https://db.example:27080 --tls-ca ca.pem\n  \
    TAILWATER_PASSWORD=… tailwater top --server 127.0.0.1:8080 --user operator")]
pub(crate) struct Arguments {
    /// Where the store serves HTTP; over HTTPS with `https://` in front.
    #[arg(long, value_name = "[https://]HOST:PORT", default_value = "127.0.0.1:27080")]
    server: String,
    /// The user to log in as.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Seconds between two looks.
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: u64,
    /// Print once, and end.
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    encryption: EncryptionArguments,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let server = Server::new(&arguments.server, arguments.user.as_deref(), &arguments.encryption)?;
    if arguments.once || !io::stdout().is_terminal() {
        let lines = screen::draw(&server.stats()?, &arguments.server, (usize::MAX, SIZE.1));
        return output::print(&(lines.join("\n") + "\n"));
    }
    let mut signals =
        Signals::new([SIGTERM, SIGINT]).map_err(|error| Failure::io("listen to the system's signals", &error))?;
    // The first look is taken before the screen changes, so that an error stays to be read.
    let mut stats = server.stats();
    if stats.is_err() {
        return stats.map(drop);
    }
    output::print(ENTER)?;
    let shown = loop {
        let lines = match &stats {
            Ok(stats) => screen::draw(stats, &arguments.server, size()),
            Err(failure) => vec![format!("{}: {}", arguments.server, failure.message)],
        };
        let frame = lines
            .iter()
            .fold(HOME.to_owned(), |frame, line| frame + line + ERASE_REST);
        let mut out = io::stdout().lock();
        let shown = write!(out, "{frame}{ERASE_BELOW}").and_then(|()| out.flush());
        drop(out);
        std::thread::sleep(Duration::from_secs(arguments.interval));
        if shown.is_err() || signals.pending().next().is_some() {
            break shown;
        }
        stats = server.stats();
    };
    output::print(LEAVE)?;
    output::written(shown)
}

/// Lines and columns of the terminal.
fn size() -> (usize, usize) {
    let size = tcgetwinsize(io::stdout())
        .ok()
        .filter(|size| size.ws_row > 0 && size.ws_col > 0);
    size.map_or(SIZE, |size| (usize::from(size.ws_row) - 1, usize::from(size.ws_col)))
}
