//! Waiting for durability in a task.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::Core;
use crate::error::Result;
use crate::ids::OpId;
use crate::wakers::Registration;

/// Waits for an entry to be durable; see [`Oplog::durable`](crate::Oplog::durable).
#[derive(Debug)]
pub struct Durable {
    core: Arc<Core>,
    op_id: OpId,
    /// Its drop has the bell forget this task.
    registration: Option<Registration>,
}

impl Durable {
    pub(super) fn new(core: Arc<Core>, op_id: OpId) -> Durable {
        Durable {
            core,
            op_id,
            registration: None,
        }
    }
}

impl Future for Durable {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let this = self.get_mut();
        let core = &this.core;
        if let Some(result) = core.durable_now(this.op_id) {
            return Poll::Ready(result);
        }
        core.tail()
            .released_bell
            .register(context.waker(), &mut this.registration);
        match core.durable_now(this.op_id) {
            Some(result) => Poll::Ready(result),
            None => {
                core.syncer.request(core, this.op_id);
                Poll::Pending
            }
        }
    }
}
