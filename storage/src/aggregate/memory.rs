//! How much a stage holds, against what it may hold.

use bson::RawDocumentBuf;

use super::context::Context;
use super::stage::{Place, Stream};
use crate::error::Result;
use crate::query::MemoryShare;

/// What a stage has taken of its memory.
#[derive(Debug)]
pub(super) struct Memory {
    share: MemoryShare,
    bytes_max: usize,
}

impl Memory {
    pub(super) fn new(context: &Context) -> Memory {
        Memory {
            share: context.options.control.share(),
            bytes_max: context.options.memory_bytes_max,
        }
    }

    /// Takes so many bytes more.
    ///
    /// # Errors
    ///
    /// [`MemoryExceeded`](super::AggregateErrorKind::MemoryExceeded);
    /// [`MemoryBudgetExceeded`](crate::Error::MemoryBudgetExceeded).
    pub(super) fn take(&mut self, bytes: usize, place: &Place) -> Result<()> {
        self.share.take(bytes)?;
        if self.share.bytes() > self.bytes_max {
            return Err(place.memory(self.bytes_max));
        }
        Ok(())
    }

    /// Gives so many back.
    pub(super) fn release(&mut self, bytes: usize) {
        self.share.release(bytes);
    }

    /// The documents, for which the memory is kept until they are gone.
    pub(super) fn held_for(self, documents: impl Iterator<Item = Result<RawDocumentBuf>> + Send + 'static) -> Stream {
        Box::new(documents.inspect(move |_| {
            let _held = &self;
        }))
    }
}
