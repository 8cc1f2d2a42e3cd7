//! Waiting for durability in a task.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::Core;
use crate::error::Result;
use crate::ids::OpId;

/// Waits for an entry to be durable; see [`Oplog::durable`].
#[derive(Debug)]
pub struct Durable {
    pub(super) core: Arc<Core>,
    pub(super) op_id: OpId,
}

impl Future for Durable {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let core = &self.core;
        if let Some(result) = core.durable_now(self.op_id) {
            return Poll::Ready(result);
        }
        core.tail().released_bell.register(context.waker());
        match core.durable_now(self.op_id) {
            Some(result) => Poll::Ready(result),
            None => {
                core.syncer.request(core, self.op_id);
                Poll::Pending
            }
        }
    }
}
