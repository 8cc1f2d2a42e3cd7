//! The inside of the protocol as the fuzz targets in `fuzz/` need it. No part of the interface.

use crate::wire::{Message, PREFACE_BYTES, versions, write_any};

/// Most bytes of frames that are taken at once.
const FRAMES_BYTES_MAX: usize = 1 << 20;

/// Reads messages from the front of `bytes` until one is refused; returns how many there were.
///
/// # Panics
///
/// When one is not written again as it was read, or is longer than what it was read from.
#[must_use]
pub fn messages(bytes: &[u8]) -> usize {
    let (mut rest, mut count) = (bytes, 0);
    loop {
        let before = rest;
        let Ok(message) = Message::read(&mut rest, FRAMES_BYTES_MAX) else {
            return count;
        };
        let read = &before[..before.len() - rest.len()];
        let mut written = Vec::new();
        message.write(&mut written).expect("what was read can be written");
        assert_eq!(written, read, "{message:?}");
        count += 1;
    }
}

/// A message of a kind with that body, and a head that is right; nothing when there is no such kind, or the body is too long.
#[must_use]
pub fn message(kind: u8, body: &[u8]) -> Option<Vec<u8>> {
    write_any(kind, body).ok()
}

/// Reads a preface.
#[must_use]
pub fn preface(bytes: &[u8; PREFACE_BYTES]) -> Option<(u16, u16)> {
    versions(bytes)
}
