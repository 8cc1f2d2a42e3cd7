//! `$sample`: so many documents at random, each at most once (MongoDB manual: *$sample*).
//!
//! One pass with a reservoir, so it costs a scan of what comes in and the memory of what goes out.

use bson::{RawBsonRef, RawDocumentBuf};

use super::context::Context;
use super::error::AggregateErrorKind as Kind;
use super::memory::Memory;
use super::parse::{fields, whole};
use super::stage::{Place, Stream, deferred};

pub(super) fn parse(value: RawBsonRef<'_>) -> Result<u64, Kind> {
    let mut size = None;
    for (name, value) in fields(value, 28745)? {
        if name != "size" {
            return Err(Kind::specification(format!("there is no option {name:?}"), 28748));
        }
        size = Some(whole(value).ok_or_else(|| Kind::specification("size must be a whole number", 28746))?);
    }
    let size = size.ok_or_else(|| Kind::specification("size is needed", 28749))?;
    match u64::try_from(size) {
        Ok(size) if size > 0 => Ok(size),
        _ => Err(Kind::specification("size must be positive", 28747)),
    }
}

pub(super) fn open(input: Stream, size: u64, place: Place, context: &Context) -> Stream {
    let mut memory = Memory::new(context);
    deferred(move || {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let mut reservoir: Vec<RawDocumentBuf> = Vec::new();
        for (seen, document) in input.enumerate() {
            let document = document?;
            let bytes = document.as_bytes().len() + size_of::<RawDocumentBuf>();
            if reservoir.len() < size {
                memory.take(bytes, &place)?;
                reservoir.push(document);
                continue;
            }
            let at = fastrand::usize(..=seen);
            if let Some(slot) = reservoir.get_mut(at) {
                memory.release(slot.as_bytes().len() + size_of::<RawDocumentBuf>());
                memory.take(bytes, &place)?;
                *slot = document;
            }
        }
        fastrand::shuffle(&mut reservoir);
        Ok(memory.held_for(reservoir.into_iter().map(Ok)))
    })
}
