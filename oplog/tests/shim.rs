//! A real process on a real file system, of which one system call fails or takes long: a library that is loaded before the C
//! library answers the *n*-th call of its kind with an error, and does not make it; or makes it a second later.
//!
//! The test compiles that library and starts itself again under it. What the system would do after a failed call is the
//! simulated disk's business; here it is shown that what the log does is the same when the error comes from the C library.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tailwater_oplog::{Durability, Error, ErrorKind, OpId, Oplog, OplogView, Options, ReadConcern, verify};

mod common;

use common::temporary;

const FAILING: &str = "a_system_call_that_fails_once_loses_nothing_acknowledged";
const SLOW: &str = "a_sync_of_a_second_is_warned_about";
const DIRECTORY: &str = "TAILWATER_SHIM_DIRECTORY";
const MARK: &str = "shim:";
const KIND: u8 = 200;
const ENTRIES: u64 = 25;
/// More calls of one kind than the process makes.
const CALLS_MAX: u32 = 1_000;

/// Fails call number `FAIL_AT` of the function `FAIL`, counted from 1, with the error `FAIL_WITH`; an error of 0 has it wait for a
/// second, and work. A write that fails has written half. It says so on standard error, as this may be a thread of the log's own.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static atomic_long calls;

static int fails(const char *name) {
    const char *wanted = getenv("FAIL");
    if (!wanted || strcmp(wanted, name) != 0) return 0;
    if (atomic_fetch_add(&calls, 1) + 1 != atol(getenv("FAIL_AT"))) return 0;
    static const char said[] = "FAILED\n";
    (void)!write(2, said, sizeof said - 1);
    errno = atoi(getenv("FAIL_WITH"));
    if (errno != 0) return 1;
    sleep(1);
    return 0;
}

int fdatasync(int fd) {
    if (fails("fdatasync")) return -1;
    return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd);
}

int fsync(int fd) {
    if (fails("fsync")) return -1;
    return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(fd);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at) {
    ssize_t (*next)(int, const void *, size_t, off64_t) =
        (ssize_t (*)(int, const void *, size_t, off64_t))dlsym(RTLD_NEXT, "pwrite64");
    if (fails("pwrite64")) {
        int error = errno;
        next(fd, bytes, length / 2, at);
        errno = error;
        return -1;
    }
    return next(fd, bytes, length, at);
}

int rename(const char *from, const char *to) {
    if (fails("rename")) return -1;
    return ((int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename"))(from, to);
}

int unlink(const char *path) {
    if (fails("unlink")) return -1;
    return ((int (*)(const char *))dlsym(RTLD_NEXT, "unlink"))(path);
}
"#;

/// What fails, with which errors: EIO and ENOSPC.
const FAULTS: [(&str, &[u32]); 5] = [
    ("fdatasync", &[5]),
    ("fsync", &[5]),
    ("pwrite64", &[5, 28]),
    ("rename", &[5]),
    ("unlink", &[5]),
];

fn open(dir: &Path) -> Result<Oplog, Error> {
    let options = Options {
        segment_bytes: 1 << 20,
        ..Options::default()
    };
    options.open(dir)
}

fn payload(op_id: OpId) -> Vec<u8> {
    vec![op_id.get() as u8; 100_000]
}

/// Compiles the library, where there is a compiler: whoever has linked this test has one.
fn compile(dir: &Path) -> PathBuf {
    let (source, library) = (dir.join("shim.c"), dir.join("shim.so"));
    std::fs::write(&source, SHIM).unwrap();
    let compiler = std::env::var_os("CC").unwrap_or_else(|| OsString::from("cc"));
    let compiled = Command::new(compiler)
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .arg(&source)
        .arg("-ldl")
        .output()
        .unwrap();
    assert!(
        compiled.status.success(),
        "{}",
        String::from_utf8_lossy(&compiled.stderr)
    );
    library
}

#[expect(clippy::print_stdout, reason = "the pipe to the parent")]
fn say(line: &str) {
    println!("{MARK}{line}");
}

/// What the process with the library does: durable appends over several segments, a trim, a close.
fn write(dir: &Path) {
    let log = match open(dir) {
        Ok(log) => log,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Environment, "{error:?}");
            return say("refused 0");
        }
    };
    let mut poisoned = false;
    for n in 0..ENTRIES {
        let appended = log.append(
            KIND,
            &payload(log.view().newest(ReadConcern::Local).next()),
            Durability::Disk,
        );
        match appended {
            // Once poisoned it stays so, though the next call would work.
            Ok(outcome) => {
                assert!(!poisoned, "{outcome:?}");
                say(&format!("acknowledged {}", outcome.last));
            }
            Err(error) => {
                let durable = log.view().newest(ReadConcern::Durable);
                poisoned |= error.kind() == ErrorKind::Poisoned;
                assert!(poisoned || error.kind() == ErrorKind::Environment, "{error:?}");
                read(&log.view(), durable);
            }
        }
        if n == ENTRIES / 2
            && let Err(error) = log.trim(OpId::new(ENTRIES / 4))
        {
            assert!(
                matches!(error.kind(), ErrorKind::Environment | ErrorKind::Poisoned),
                "{error:?}"
            );
        }
    }
    if let Err(error) = log.close() {
        assert!(
            matches!(error.kind(), ErrorKind::Environment | ErrorKind::Poisoned),
            "{error:?}"
        );
    }
}

/// Reads everything up to `last`.
fn read(view: &OplogView, last: OpId) {
    let mut cursor = view.cursor_from_oldest(ReadConcern::Durable);
    while cursor.position() <= last {
        let expected = cursor.position();
        let entry = cursor.try_next().unwrap().unwrap();
        assert!(entry.payload() == payload(expected), "{expected}");
    }
}

/// This program under the library, running one test.
fn child(test: &str, library: &Path, dir: &Path, fault: &str, call: u32, error: u32) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, dir)
        .env("LD_PRELOAD", library)
        .env("FAIL", fault)
        .env("FAIL_AT", call.to_string())
        .env("FAIL_WITH", error.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The last entry that the process says was durable, and whether the call has failed.
fn run(library: &Path, dir: &Path, fault: &str, call: u32, error: u32) -> (OpId, bool) {
    let mut child = child(FAILING, library, dir, fault, call, error);
    let mut last = OpId::ZERO;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        if let Some((_, said)) = line.unwrap().split_once(MARK)
            && let Some(op_id) = said.strip_prefix("acknowledged ")
        {
            last = OpId::new(op_id.parse().unwrap());
        }
    }
    let ended = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{fault}, call {call}, error {error}: {said}");
    (last, said.contains("FAILED"))
}

#[test]
fn a_system_call_that_fails_once_loses_nothing_acknowledged() {
    if let Some(dir) = std::env::var_os(DIRECTORY) {
        return write(Path::new(&dir));
    }
    let tools = temporary();
    let library = compile(tools.path());
    for (fault, errors) in FAULTS {
        for &error in errors {
            let mut failed = 0;
            for call in 1..CALLS_MAX {
                let dir = temporary();
                let (acknowledged, fails) = run(&library, dir.path(), fault, call, error);
                let what = format!("{fault}, call {call}, error {error}");
                let log = open(dir.path()).unwrap_or_else(|e| panic!("{what}: {e:?}"));
                assert!(log.watermarks().appended >= acknowledged, "{what}");
                read(&log.view(), acknowledged);
                log.close().unwrap();
                assert!(verify(dir.path()).unwrap().is_sound(), "{what}");
                failed += u32::from(fails);
                if !fails {
                    assert_eq!(acknowledged, OpId::new(ENTRIES), "{what}");
                    break;
                }
            }
            assert!(failed > 0, "{fault} is never called: nothing was checked");
        }
    }
}

/// Which sync an append waits for is the log's affair, so each has its turn until one is warned about.
#[test]
fn a_sync_of_a_second_is_warned_about() {
    if let Some(dir) = std::env::var_os(DIRECTORY) {
        // What the log's own threads tell counts, too.
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(std::io::stderr);
        subscriber.with_max_level(tracing::Level::WARN).init();
        let log = open(Path::new(&dir)).unwrap();
        log.append(KIND, b"entry", Durability::Disk).unwrap();
        return log.close().unwrap();
    }
    let tools = temporary();
    let library = compile(tools.path());
    for call in 1..CALLS_MAX {
        let dir = temporary();
        let ended = child(SLOW, &library, dir.path(), "fdatasync", call, 0)
            .wait_with_output()
            .unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success(), "call {call}: {said}");
        assert!(said.contains("FAILED"), "none of {} syncs was warned about", call - 1);
        let path = dir.path().display().to_string();
        if said
            .lines()
            .any(|line| line.contains("WARN") && line.contains("slow sync") && line.contains(&path))
        {
            return;
        }
    }
}
