//! Opening a log for writing: lock, recovery, a new term, the buffer, and the log's threads.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::append::Appender;
use super::{Core, Handle, Oplog};
use crate::buffer::Buffer;
use crate::chain::{Chain, Link};
use crate::cut::{self, CUT};
use crate::disk::{Disk, LockError};
use crate::error::{Error, Result};
use crate::format::{self, BUFFER, FileName, LOCK, MANIFEST, Manifest, VERSION, encode_checked};
use crate::ids::{LogId, OpId, Sequence, Term, Timestamp};
use crate::keeper::{FILL_BYTES_MAX, Keeper};
use crate::options::Options;
use crate::part_file::{PART, read_part};
use crate::primitives::{AtomicBool, AtomicU32, Mutex};
use crate::recovery::{self, Evidence};
use crate::retention::Facts;
use crate::role_file::{REPLICA, Role, read_role, write_role};
use crate::segment::prepared_records;
use crate::slot_file::RETENTION;
use crate::slots::Slots;
use crate::stats::Meters;
use crate::sync::Syncer;
use crate::tail::{Found, Tail};
use crate::view::{Shared, read_manifest};

impl Oplog {
    pub(crate) fn on(disk: Box<dyn Disk>, options: &Options) -> Result<Oplog> {
        let segment_bytes = options.check()?;
        if !options.create {
            read_manifest(&*disk)?;
        }
        let lock = disk.lock(LOCK).map_err(|e| match e {
            LockError::Held { holder } => Error::locked(disk.path().to_path_buf(), holder),
            LockError::Io(e) => Error::io("lock", disk.path().join(LOCK))(e),
        })?;
        let mut manifest = match read_manifest(&*disk) {
            Err(Error::NotALog { path }) if options.create => initialise(&*disk, path)?,
            other => other?,
        };
        if manifest.term == 0 {
            // An open that failed may have left it without a name that survives power loss: nothing may be made beside it before.
            disk.sync_directory().map_err(Error::io("sync", disk.path()))?;
        }
        let log_id = LogId::from_bytes(manifest.log_id);
        let (first_sequence, first) = (Sequence(manifest.first_sequence), OpId::new(manifest.first_op_id));
        cut::finish(&*disk, &manifest)?;
        let slots = Slots::read(&*disk, log_id)?;
        let role = read_role(&*disk, log_id)?;
        let part = read_part(&*disk, log_id)?;
        // The frames of a part are another's, whatever `REPLICA` says: a copy has none.
        let foreign_frames = role.following || part.is_some();
        remove(&*disk, |file| matches!(file, FileName::Spare))?;
        let mut chain = Chain::read(&*disk, &manifest)?;
        let new = chain.newest().is_none();
        if new {
            create_segment(&*disk, log_id, first_sequence, first, segment_bytes)?;
            chain = Chain::read(&*disk, &manifest)?;
        }

        name_strangers(&*disk)?;

        let tail = Tail::open(&*disk, true).map_err(Error::io("open", disk.path().join(format::TAIL)))?;
        let is_live = tail.is_live(log_id);
        let released = if is_live { tail.released() } else { OpId::ZERO };
        let evidence = match is_live {
            true => Evidence {
                new,
                durable: tail.durable(),
                accepted: if tail.is_poisoned() {
                    OpId::ZERO
                } else {
                    tail.accepted()
                },
                following: foreign_frames,
            },
            false => Evidence {
                new,
                following: foreign_frames,
                ..Evidence::default()
            },
        };
        let recovered = recovery::recover(&*disk, log_id, &chain, evidence)?;
        slots.settle(first, recovered.end.next);

        // Only now has it been seen that manifest and segments belong together.
        remove(
            &*disk,
            |file| matches!(file, FileName::Segment(sequence, _) if *sequence < first_sequence),
        )?;
        // A manifest that was restored from an old copy may know less than the entries.
        let was_following = role.following;
        let role = Role {
            // A part is nothing to write to.
            following: was_following || options.follow || part.is_some(),
            ..role
        };
        manifest.term = opening_term(&*disk, &role, Term::new(manifest.term).max(recovered.end.term))?.get();
        // It syncs the directory: what recovery has found is in files that have their names.
        write_manifest(&*disk, &manifest)?;
        if role.following != was_following {
            write_role(&*disk, log_id, role)?;
        }
        let last = recovered.end.next.previous();
        let found = Found {
            oldest: first,
            durable: recovered.durable,
            last,
            // Until the primary says more: what its frames say, and what has been shown before. What this log has written itself
            // is durable where it was written.
            confirmed: (options.follow && was_following).then(|| recovered.confirmed.max(released)),
            counts: role.counts(),
        };
        tail.take_over(log_id, &found);

        let (segment, claim) = recovered.newest;
        let (buffer, ring) = Buffer::create(
            &*disk,
            log_id,
            Arc::clone(&segment),
            claim,
            recovered.end.end,
            segment_bytes,
        )?;
        // The chain refers to segments weakly; those that are still written are held here and by the keeper.
        let open = recovered.full.iter().chain([&segment]);
        let mut live_chain = recovered
            .chain
            .truncated(recovered.chain.links().len() - recovered.full.len() - 1);
        for segment in open {
            live_chain = live_chain.with(Link::mapped(segment));
        }
        let shared = Arc::new(Shared::for_writer(disk, log_id, live_chain, tail, buffer));
        // Full segments are sealed when they are durable.
        let (left, unsynced, unsealed) = match recovered.durable == last {
            true => (OpId::ZERO, Vec::new(), recovered.full),
            false => (last, recovered.full, Vec::new()),
        };
        let core = Arc::new(Core {
            syncer: Syncer::new(left, recovered.unproven, unsynced, Arc::clone(&segment)),
            keeper: Keeper::new(unsealed),
            meters: Meters::default(),
            options: options.clone(),
            segment_bytes,
            term: AtomicU32::new(match role.following {
                true => recovered.end.term.get(),
                false => manifest.term,
            }),
            following: AtomicBool::new(role.following),
            role: Mutex::new(role),
            part,
            appender: Mutex::new(Appender {
                ring,
                base: 0,
                offset: recovered.end.end,
                next: recovered.end.next,
                timestamp: recovered.end.timestamp,
                segment,
                look: 0,
                free_until: 0,
                scratch: Vec::new(),
            }),
            known_term: AtomicU32::new(manifest.term),
            manifest: Mutex::new(manifest),
            forgotten: Mutex::default(),
            removing: Mutex::default(),
            slots,
            facts: Facts::default(),
            retention: Mutex::new(options.retention),
            shared,
        });
        // Only what did not fit the log; before anything is appended that a slot set back is to hold.
        core.slots.save(&core)?;
        tracing::info!(
            path = %core.disk().path().display(), log = %log_id, term = core.term.load(Ordering::Relaxed),
            %last, durable = %recovered.durable, "log opened for writing"
        );
        let handle = Arc::new(Handle::new(core, Box::new(lock)));
        // If one cannot be started, the handle's drop ends the others before it gives the directory free.
        handle.start("tailwater-sync", Syncer::run)?;
        handle.start("tailwater-keep", Keeper::run)?;
        handle.start("tailwater-trim", Keeper::run_removals)?;
        handle.start("tailwater-drain", Core::run_drain)?;
        Ok(Oplog { handle })
    }
}

/// The manifest's term for a log whose newest one is `newest`: one that nobody has written in, unless the log follows.
fn opening_term(disk: &dyn Disk, role: &Role, newest: Term) -> Result<Term> {
    let next = match role {
        Role { following: true, .. } => Some(newest),
        Role {
            member: Some(member), ..
        } => member.term_after(newest, false),
        Role { member: None, .. } => newest.get().checked_add(1).map(Term::new),
    };
    next.filter(|term| term.get() < u32::MAX)
        .ok_or_else(|| Error::DamagedMetadata {
            path: disk.path().join(MANIFEST),
            what: "its term is the largest there is",
        })
}

/// Makes `directory`, which has no manifest, a new log; unless it holds something else.
fn initialise(disk: &dyn Disk, path: PathBuf) -> Result<Manifest> {
    let names = disk.names().map_err(Error::io("list", disk.path()))?;
    let ours = |name: &String| [LOCK, "MANIFEST.tmp", "lost+found"].contains(&name.as_str());
    if !names.iter().all(ours) {
        return Err(Error::NotALog { path });
    }
    let manifest = Manifest {
        version: VERSION,
        log_id: LogId::random().to_bytes(),
        created: Timestamp::now().as_nanos(),
        term: 0,
        first_sequence: Sequence::FIRST.0,
        first_op_id: OpId::FIRST.get(),
    };
    write_manifest(disk, &manifest)?;
    Ok(manifest)
}

pub(super) fn write_manifest(disk: &dyn Disk, manifest: &Manifest) -> Result<()> {
    disk.replace(MANIFEST, &encode_checked(manifest, 0))
        .map_err(Error::io("write", disk.path().join(MANIFEST)))
}

/// Removes left-overs: spares, or segments that an interrupted trim has already taken out of the manifest.
fn remove(disk: &dyn Disk, left_over: impl Fn(&FileName) -> bool) -> Result<()> {
    for name in disk.names().map_err(Error::io("list", disk.path()))? {
        if left_over(&format::parse_name(&name)) {
            match disk.remove(&name) {
                // Somebody else has done it.
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", disk.path().join(&name))(error));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Says, once, what is in the directory that is no part of a log: it stays, and nobody looks at it.
fn name_strangers(disk: &dyn Disk) -> Result<()> {
    const OURS: [&str; 8] = [LOCK, MANIFEST, format::TAIL, BUFFER, RETENTION, REPLICA, PART, CUT];
    let is_stranger = |name: &String| {
        let name = name.strip_suffix(".tmp").unwrap_or(name);
        format::parse_name(name) == FileName::Other
            && !OURS.contains(&name)
            && !["torn-", "repair-"].iter().any(|kept| name.starts_with(kept))
            && name != "lost+found"
    };
    let names = disk.names().map_err(Error::io("list", disk.path()))?;
    let mut strangers: Vec<_> = names.into_iter().filter(is_stranger).collect();
    if !strangers.is_empty() {
        strangers.sort_unstable();
        let (files, first) = (strangers.len(), &strangers[0]);
        tracing::warn!(path = %disk.path().display(), files, first, "files that are no part of the log are left alone");
    }
    Ok(())
}

/// Prepares a file for segment `sequence` under its spare name, of which so many bytes are `filled` with zeros, and the others
/// only allocated.
pub(crate) fn prepare_spare(
    disk: &dyn Disk,
    log_id: LogId,
    sequence: Sequence,
    length: u64,
    filled: u64,
) -> Result<String> {
    let name = format::spare_name(sequence);
    let seed = uuid::Uuid::new_v4().as_fields().0;
    let records = prepared_records(log_id, sequence, seed, length, Timestamp::now());
    disk.prepare(&name, length, filled, &records).map_err(Error::preparing(
        disk.path(),
        &disk.path().join(&name),
        length,
    ))?;
    Ok(name)
}

fn create_segment(disk: &dyn Disk, log_id: LogId, sequence: Sequence, first: OpId, length: u64) -> Result<()> {
    let spare = prepare_spare(disk, log_id, sequence, length, length.min(FILL_BYTES_MAX))?;
    let name = format::segment_name(sequence, first);
    disk.rename(&spare, &name)
        .map_err(Error::io("rename", disk.path().join(&name)))?;
    disk.sync_directory().map_err(Error::io("sync", disk.path()))
}
