//! A socket in the store's directory, by which `tailwater promote` finds the server that has the store.
//!
//! Who may use it is who may open it: the server's own user, as for the store's files. It has one use: a line asks for the promotion,
//! and a line answers.

use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tailwater_server::Member;

use crate::failure::{Exit, Failure, Outcome};

/// What the socket is called.
const NAME: &str = "control.sock";
/// What is asked.
const PROMOTE: &str = "promote";
/// Longest line that is read.
const LINE_BYTES_MAX: u64 = 4096;
/// How long whoever has connected may take to ask, and to take the answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it pauses when nobody can be let in.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The socket, which is removed with it.
pub(crate) struct Control(PathBuf);

impl Drop for Control {
    fn drop(&mut self) {
        // The next server removes it otherwise.
        let _ = fs::remove_file(&self.0);
    }
}

impl Control {
    /// Answers those who connect, one after the other, until the process ends.
    pub(super) fn listen(dir: &Path, member: &Arc<Member>) -> Outcome<Control> {
        let failed = |error| Failure::io("listen to tailwater promote", &error);
        let path = dir.join(NAME);
        if within(dir, |path| UnixStream::connect(path)).is_ok() {
            let message = format!("{} is served by another process", dir.display());
            return Err(Failure::new(Exit::Environment, message));
        }
        // What a server has left that was killed.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let listener = within(dir, |path| UnixListener::bind(path)).map_err(failed)?;
        let member = Arc::clone(member);
        let answering = thread::Builder::new().name("tailwater-control".into()).spawn(move || {
            for stream in listener.incoming() {
                match stream.map(|stream| answer(&stream, &member)) {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::warn!(%error, "somebody who wanted a promotion went away"),
                    Err(error) => {
                        // Too many open files, which is not for long.
                        tracing::warn!(%error, "whoever wants a promotion cannot be heard");
                        thread::sleep(ACCEPT_PAUSE);
                    }
                }
            }
        });
        answering.map_err(failed)?;
        Ok(Control(path))
    }
}

/// Runs something on the socket's path, by way of the directory's own descriptor: the name of a socket must be short, and a path may
/// be long.
fn within<T>(dir: &Path, run: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let opened = fs::File::open(dir)?;
    run(Path::new(&format!("/proc/self/fd/{}/{NAME}", opened.as_raw_fd())))
}

fn answer(stream: &UnixStream, member: &Member) -> io::Result<()> {
    stream.set_read_timeout(Some(ASK_TIMEOUT))?;
    stream.set_write_timeout(Some(ASK_TIMEOUT))?;
    let mut asked = String::new();
    BufReader::new(stream.take(LINE_BYTES_MAX)).read_line(&mut asked)?;
    let line = match asked.trim_end() {
        PROMOTE => match member.promote() {
            Ok(term) => {
                let last = member.store().map(|store| store.log().watermarks().durable.get());
                format!("{{\"term\":{term},\"last\":{}}}", last.unwrap_or_default())
            }
            Err(error) => format!("cannot promote: {error}"),
        },
        _ => "cannot do anything but promote".to_owned(),
    };
    writeln!(&*stream, "{line}")
}

/// Asks the server that has the store in `dir` to promote it; what it says, or nothing when there is none.
pub(crate) fn promote(dir: &Path) -> Outcome<Option<String>> {
    let mut stream = match within(dir, |path| UnixStream::connect(path)) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => return Ok(None),
        Err(error) => return Err(Failure::io("ask the server", &error)),
    };
    let mut said = String::new();
    writeln!(stream, "{PROMOTE}")
        .and_then(|()| BufReader::new(stream.take(LINE_BYTES_MAX)).read_line(&mut said))
        .map_err(|error| Failure::io("ask the server", &error))?;
    match said.trim_end() {
        said if said.starts_with('{') => Ok(Some(said.to_owned())),
        "" => Err(Failure::new(Exit::Failure, "the server has ended instead of answering")),
        refusal => Err(Failure::new(Exit::Failure, refusal)),
    }
}
