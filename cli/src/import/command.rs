//! The command itself: from the reader into the store, batch by batch.

use std::fs::File;
use std::io::{IsTerminal, Read};
use std::path::PathBuf;
use std::time::Instant;

use bson::RawDocumentBuf;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tailwater::{Collection, Durability, Store};

use super::{DocumentReader, ImportError, Parsed};
use crate::failure::{Exit, Failure, Outcome};
use crate::output;

/// Documents that are inserted together.
const BATCH_DOCUMENTS: usize = 1000;
/// Bytes of documents after which a batch is inserted, whatever their number.
const BATCH_BYTES: usize = 4 << 20;

/// Imports documents from JSON into a collection.
///
/// The input is Extended JSON, canonical or relaxed: one document after the other (JSON lines), or one JSON array. It is
/// read as a stream, so it may be larger than memory. Documents without an `_id` get one.
///
/// When the command succeeds, every document survives power loss. When it fails, the message names the line, and says with
/// which --skip to go on; what came before is imported and stays.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    tailwater import --dir ./store --db shop --collection orders orders.jsonl\n  \
    curl -s https://example.org/rows.json | tailwater import --dir ./store --db lab --collection rows -")]
pub(crate) struct Arguments {
    /// Directory of the store; made if it does not exist.
    #[arg(long)]
    dir: PathBuf,
    /// Database to import into.
    #[arg(long)]
    db: String,
    /// Collection to import into; made if it does not exist.
    #[arg(long)]
    collection: String,
    /// Documents at the beginning of the input that are passed over: what an earlier import has done.
    #[arg(long, default_value_t = 0, value_name = "N")]
    skip: u64,
    /// File to read, or - for standard input.
    file: PathBuf,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let started = Instant::now();
    let (source, length): (Box<dyn Read>, Option<u64>) = if arguments.file.as_os_str() == "-" {
        (Box::new(std::io::stdin().lock()), None)
    } else {
        let failed = |e| Failure::new(Exit::Input, format!("cannot read {}: {e}", arguments.file.display()));
        let file = File::open(&arguments.file).map_err(failed)?;
        let length = file.metadata().ok().filter(std::fs::Metadata::is_file).map(|m| m.len());
        (Box::new(file), length)
    };
    let store = Store::open(&arguments.dir)?;
    let collection = store
        .collection(&arguments.db, &arguments.collection)?
        .with_durability(Durability::Memory);
    let bar = progress_bar(length);

    let mut import = Import {
        collection,
        bar,
        batch: Vec::new(),
        batch_bytes: 0,
        inserted: 0,
    };
    let read = import.read_all(source, arguments.skip);
    import.bar.finish_and_clear();
    // What was inserted is made durable in every case; only then may it be reported.
    let closed = store.sync().and_then(|()| {
        drop(import.collection);
        store.close()
    });
    let done = arguments.skip + import.inserted;
    if let Err(failure) = read {
        closed?;
        let message = format!(
            "{}\n{} documents are imported and durable; to go on, mend the input and add --skip {done}",
            failure.message, import.inserted
        );
        return Err(Failure { message, ..failure });
    }
    closed?;
    let seconds = started.elapsed().as_secs_f64();
    output::print(&format!(
        "imported {} documents into {}.{} in {seconds:.2} s\n",
        import.inserted, arguments.db, arguments.collection
    ))
}

struct Import {
    collection: Collection,
    bar: ProgressBar,
    batch: Vec<RawDocumentBuf>,
    batch_bytes: usize,
    inserted: u64,
}

impl Import {
    fn read_all(&mut self, source: Box<dyn Read>, skip: u64) -> Outcome {
        let mut reader = DocumentReader::new(source);
        // The line on which the batch's first document starts, for its errors.
        let mut lines = Vec::new();
        while let Some(parsed) = reader.next() {
            let Parsed {
                document,
                line,
                bytes_read,
            } = match parsed {
                Ok(parsed) => parsed,
                Err(error) => {
                    self.insert(&mut lines)?;
                    let exit = match error.error {
                        ImportError::Io(_) => Exit::Failure,
                        _ => Exit::Input,
                    };
                    return Err(Failure::new(exit, error.to_string()));
                }
            };
            if reader.documents() <= skip {
                continue;
            }
            self.batch_bytes += document.as_bytes().len();
            self.batch.push(document);
            lines.push(line);
            if self.batch.len() >= BATCH_DOCUMENTS || self.batch_bytes >= BATCH_BYTES {
                self.insert(&mut lines)?;
                self.bar.set_position(bytes_read);
                self.bar.set_message(format!("{} documents", self.inserted));
            }
        }
        if reader.documents() < skip {
            let message = format!("--skip {skip}: the input has only {} documents", reader.documents());
            return Err(Failure::new(Exit::Usage, message));
        }
        self.insert(&mut lines)
    }

    /// Inserts the batch and empties it.
    fn insert(&mut self, lines: &mut Vec<u64>) -> Outcome {
        let batch = std::mem::take(&mut self.batch);
        let lines = std::mem::take(lines);
        self.batch_bytes = 0;
        if batch.is_empty() {
            return Ok(());
        }
        match self.collection.insert_many(batch.iter().map(AsRef::as_ref)) {
            Ok(_) => {
                self.inserted += batch.len() as u64;
                Ok(())
            }
            Err(tailwater::Error::InsertMany { index, source }) => {
                self.inserted += index as u64;
                let Failure { exit, message } = Failure::from(*source);
                let line = lines.get(index).copied().unwrap_or_default();
                Err(Failure::new(exit, format!("line {line}: {message}")))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// A bar over the file's bytes, or a counter for a pipe; nothing where nobody looks.
fn progress_bar(length: Option<u64>) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match length {
        Some(length) => (
            ProgressBar::new(length),
            "{bar:40.cyan/blue} {bytes}/{total_bytes} {binary_bytes_per_sec}, {msg}, {eta} left",
        ),
        None => (ProgressBar::no_length(), "{spinner} {bytes} read, {msg}, {elapsed}"),
    };
    bar.set_draw_target(ProgressDrawTarget::stderr());
    bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
}
