//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Measures Tailwater against the limit of the machine.
#[derive(Debug, Parser)]
#[command(name = "tailwater-benches", max_term_width = 100)]
pub struct Arguments {
    /// What to measure.
    pub suite: Suite,

    /// Workloads to run; all of the suite when none is named.
    pub workloads: Vec<String>,

    /// Print one JSON object per line; the facts about the machine go to stderr.
    #[arg(long)]
    pub json: bool,

    /// Fewer and shorter rounds, and less data: about a minute altogether, and less exact.
    #[arg(long)]
    pub quick: bool,

    /// Where the data goes, in a temporary directory that is removed at the end. Should be on a disk, or syncs cost
    /// nothing. Default: beside this program.
    #[arg(long)]
    pub dir: Option<PathBuf>,

    /// Bytes of the documents in the state that `copy-memory` copies. Default 1 GiB, 64 MiB with --quick.
    #[arg(long)]
    pub state_bytes: Option<u64>,

    /// The primary that `copy` follows.
    #[arg(long, hide = true, default_value = "")]
    pub from: String,

    /// Entries that `fill` appends before it says so, and that `follow`, `listen` and `copy` wait for; documents that `insert` and
    /// `feed` insert; watches of `idle`.
    #[arg(long, hide = true, default_value_t = 0)]
    pub entries: u64,

    /// The engine that `fill` and `insert` use, when it is not Tailwater.
    #[arg(long, hide = true)]
    pub engine: Option<String>,
}

/// A group of workloads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Suite {
    /// The oplog by itself.
    Log,
    /// Predicates on documents.
    Match,
    /// A primary and its followers.
    Replication,
    /// Documents: inserting, finding, recovering, opening.
    Store,
    /// Change streams: many watches on one log.
    Streams,
    /// Official drivers and a server, over the network.
    Wire,
    /// For this program's own use: a process that appends until it is killed.
    #[value(hide = true)]
    Fill,
    /// For this program's own use: a process that reads what another appends.
    #[value(hide = true)]
    Follow,
    /// For this program's own use: a process that reads what another writes into a pipe.
    #[value(hide = true)]
    Listen,
    /// For this program's own use: a process that inserts documents and says how fast.
    #[value(hide = true)]
    Insert,
    /// For this program's own use: a process that inserts documents until it is killed.
    #[value(hide = true)]
    Feed,
    /// For this program's own use: a process with many watches that says how much memory they take.
    #[value(hide = true)]
    Idle,
    /// For this program's own use: a process that copies a primary's state, and says how much memory it took.
    #[value(hide = true)]
    Copy,
}
