//! Who leads at the tail: its thread, or the receiver of the only watcher.
//!
//! A thread between the writer and a receiver costs a second wake-up, and the second one is dear: the processor that the
//! receiver is put on has gone to sleep. So while there is one watcher, and its receiver blocks, the receiver itself waits for
//! the log, dispatches what comes, and finds it in its channel. The thread *lends* the helm for that, when it has nothing to
//! do, and also between two runs when the receiver has nothing left: then that is the faster of the two, and one thread that
//! dispatches and receives takes half the time of two that pass each event from one processor to the other.
//!
//! With more watchers than one the thread leads, because one receiver's pace must not be the others'. A receiver that has led
//! goes away with its event. What comes next for another watcher would wait for its return, unless the thread were woken for
//! it, and then nothing would be saved: for each event that reaches two watchers two must be woken in any case.
//!
//! # Who keeps things going
//!
//! A receiver that has got its event does other things and comes back, most likely. Meanwhile the helm is *left alone*. If it
//! does not come back within [`ALONE_MAX`], the thread takes the helm back, and the channel fills as ever. The thread looks
//! for that only while there is something to see: when a receiver has led for as long without an event, the thread dozes,
//! until the receiver that leaves the helm wakes it. A watcher that joins or leaves ends the loan: at once when the helm is
//! left alone, with the next entry when a receiver waits for that, which is when it matters.
//!
//! # Locks
//!
//! The [`Helm`] changes under the inbox's lock. Who has got the helm takes the [`Runner`]'s lock and keeps it while leading; so two
//! never dispatch at a time, and the order of entries is that of the log whoever leads.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crate::dispatch::channel::Channel;
use crate::dispatch::runner::Runner;
use crate::dispatch::stats::Leader;
use crate::dispatch::tail::{Inbox, Shared};
use crate::primitives::MutexGuard;

/// How long the helm may be left alone.
const ALONE_MAX: Duration = Duration::from_millis(10);

/// Entries of a run of the thread at most.
const RUN: u64 = 1024;

/// Entries of a run of a receiver: the first event is handed out behind it.
const RECEIVER_RUN: u64 = 64;

/// Who leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Helm {
    /// The thread.
    #[default]
    Thread,
    /// A receiver, which leads just now or has left the helm alone.
    Lent { leading: bool },
}

impl Helm {
    pub(crate) fn leader(self) -> Leader {
        match self {
            Helm::Thread => Leader::Thread,
            Helm::Lent { leading: true } => Leader::Receiver,
            Helm::Lent { leading: false } => Leader::Nobody,
        }
    }
}

impl Inbox {
    /// Lets a receiver take the helm.
    pub(crate) fn lend(&mut self) {
        self.helm = Helm::Lent { leading: false };
        self.turns += 1;
    }
}

/// The thread of a tail.
pub(crate) fn keep(shared: &Arc<Shared>) {
    while shared.stand_by() {
        lead(shared);
    }
    // Whatever is still there holds this, and must not be held by it.
    let left = std::mem::replace(&mut *shared.runner(), Runner::new(shared.lock().limit.next()));
    let mut inbox = shared.lock();
    let told = (std::mem::take(&mut inbox.commands), inbox.asking.take());
    drop(inbox);
    drop((left, told));
}

/// Leads until the helm is lent or the thread is to end.
fn lead(shared: &Arc<Shared>) {
    let mut runner = shared.runner();
    loop {
        let mut inbox = shared.lock();
        while runner.is_empty() && !inbox.has_join() && !inbox.stop && inbox.helm == Helm::Thread {
            inbox.commands.clear();
            inbox.idle = true;
            inbox = shared.changed.wait(inbox).unwrap_or_else(PoisonError::into_inner);
        }
        if inbox.stop || inbox.helm != Helm::Thread {
            return;
        }
        if inbox.commands.is_empty()
            && let Some(asking) = runner.lend(&mut inbox)
        {
            drop(inbox);
            return asking.offer_helm();
        }
        if runner.run(shared, inbox, RUN) && !runner.is_empty() {
            runner.sleep(shared, None, true);
        }
    }
}

/// Leads for the receiver of a channel that is empty, until there is something in it, it is over, or the deadline passes.
/// With `waits` false only if the helm is left alone, and without waiting. Whether there is reason to look into the channel again.
pub(crate) fn lead_for(shared: &Arc<Shared>, channel: &Arc<Channel>, deadline: Option<Instant>, waits: bool) -> bool {
    if shared.members() > 1 || !shared.take_helm(channel, waits) {
        return false;
    }
    let mut turn = Turn {
        shared,
        channel,
        runner: Some(shared.runner()),
    };
    let mut led = false;
    while let Some(runner) = turn.runner.as_mut().filter(|runner| runner.is_alone(channel)) {
        let inbox = shared.lock();
        if inbox.stop {
            break;
        }
        led = true;
        let at_end = runner.run(shared, inbox, RECEIVER_RUN);
        if channel.has_news() || !runner.is_alone(channel) {
            break;
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            break;
        }
        if at_end {
            runner.sleep(shared, deadline, false);
        }
    }
    led
}

/// A receiver's time at the helm; dropping it leaves the helm alone, or gives it back.
struct Turn<'a> {
    shared: &'a Shared,
    channel: &'a Arc<Channel>,
    runner: Option<MutexGuard<'a, Runner>>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // Another thread that waits for the same channel has not got what this one takes out.
        let lends =
            self.runner.take().is_some_and(|runner| runner.is_alone(self.channel)) && !self.channel.is_awaited();
        let mut inbox = self.shared.lock();
        let wakes = if lends && !inbox.stop {
            inbox.lend();
            std::mem::take(&mut inbox.dozes)
        } else {
            inbox.helm = Helm::Thread;
            true
        };
        drop(inbox);
        if wakes {
            self.shared.changed.notify_all();
        }
    }
}

impl Shared {
    /// Takes the helm for the receiver of a channel: from the thread while that sleeps, or where it is left alone.
    fn take_helm(&self, channel: &Arc<Channel>, waits: bool) -> bool {
        let mut inbox = self.lock();
        if inbox.stop || !inbox.commands.is_empty() {
            return false;
        }
        let asleep = match inbox.helm {
            Helm::Lent { leading } if leading => return false,
            Helm::Lent { .. } => None,
            Helm::Thread if !waits => return false,
            Helm::Thread => match inbox.asleep.take() {
                None => {
                    inbox.asking = Some(Arc::clone(channel));
                    return false;
                }
                asleep => asleep,
            },
        };
        inbox.helm = Helm::Lent { leading: true };
        inbox.turns += 1;
        drop(inbox);
        if let Some(asleep) = asleep {
            self.view.interrupt(&asleep);
        }
        true
    }

    /// Waits until the helm is the thread's; whether it is to lead, or to end.
    fn stand_by(&self) -> bool {
        let mut inbox = self.lock();
        let mut seen = inbox.turns;
        loop {
            let leading = match inbox.helm {
                _ if inbox.stop => return false,
                Helm::Thread => return true,
                Helm::Lent { leading } => leading,
            };
            if !leading && !inbox.commands.is_empty() {
                inbox.helm = Helm::Thread;
                return true;
            }
            if leading && inbox.turns == seen {
                inbox.dozes = true;
                inbox = self.changed.wait(inbox).unwrap_or_else(PoisonError::into_inner);
                inbox.dozes = false;
                continue;
            }
            let before = inbox.turns;
            let waited = self.changed.wait_timeout(inbox, ALONE_MAX);
            let (now, waited) = waited.unwrap_or_else(PoisonError::into_inner);
            inbox = now;
            if waited.timed_out() {
                if !leading && inbox.turns == before && inbox.helm != Helm::Thread {
                    inbox.helm = Helm::Thread;
                    return true;
                }
                seen = before;
            }
        }
    }
}
