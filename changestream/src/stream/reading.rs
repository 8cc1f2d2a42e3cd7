//! The ways to read a stream to its end: as a task, and as an iterator that blocks.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use futures::stream::FusedStream;

use crate::dispatch::Streamed;
use crate::error::Result;
use crate::event::ChangeEvent;
use crate::stream::{ChangeStream, ENTRIES_PER_POLL, State};

impl Stream for ChangeStream {
    type Item = Result<ChangeEvent>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let State::Joined(joined) = &self.state {
                let streamed = joined.channel.poll_streamed(context);
                let nothing = matches!(streamed, Streamed::Nothing);
                match self.told(streamed) {
                    Ok(Some(event)) => return Poll::Ready(Some(Ok(event))),
                    Ok(None) if nothing && self.is_interrupted() => match self.ends_before_newest() {
                        Ok(true) => return Poll::Ready(None),
                        Ok(false) => continue,
                        Err(e) => {
                            self.state = State::Ended;
                            return Poll::Ready(Some(Err(e)));
                        }
                    },
                    Ok(None) if nothing => return Poll::Pending,
                    Ok(None) => {}
                    Err(e) => {
                        self.state = State::Ended;
                        return Poll::Ready(Some(Err(e)));
                    }
                }
            }
            match self.advance(ENTRIES_PER_POLL) {
                Err(e) => {
                    // Whoever reads to the end would read the same error forever.
                    self.state = State::Ended;
                    return Poll::Ready(Some(Err(e)));
                }
                Ok(Some(Some(event))) => return Poll::Ready(Some(Ok(event))),
                Ok(Some(None)) if self.is_ended() || self.is_interrupted() => return Poll::Ready(None),
                Ok(Some(None)) if self.joins() => continue,
                Ok(Some(None)) => {}
                Ok(None) if self.is_interrupted() => return Poll::Ready(None),
                Ok(None) => {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
            match self.cursor.poll_ready(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(e)) => {
                    self.state = State::Ended;
                    return Poll::Ready(Some(Err(e.into())));
                }
            }
        }
    }
}

impl FusedStream for ChangeStream {
    fn is_terminated(&self) -> bool {
        self.is_ended()
    }
}

/// Blocks for each event; see [`ChangeStream::blocking_iter`].
#[derive(Debug)]
pub struct BlockingIter<'a> {
    pub(super) stream: &'a mut ChangeStream,
}

impl Iterator for BlockingIter<'_> {
    type Item = Result<ChangeEvent>;

    fn next(&mut self) -> Option<Result<ChangeEvent>> {
        if self.stream.is_ended() {
            return None;
        }
        let next = self.stream.wait_next(None);
        if next.is_err() {
            self.stream.state = State::Ended;
        }
        next.transpose()
    }
}
