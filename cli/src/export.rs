//! `tailwater export`: a collection's documents as Extended JSON.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use bson::RawDocumentBuf;
use tailwater::matcher::{Expression, parse_filter};
use tailwater::{Error, Store, StoreOptions};
use tempfile::NamedTempFile;

use crate::failure::{Exit, Failure, Outcome};
use crate::output::{self, Json};

/// Writes a collection's documents as Extended JSON, in the order of their `_id`s (of a capped collection, as they came).
///
/// They are those of one moment. `tailwater import` reads them back: with --canonical the same documents of every type, without
/// it numbers may come back as another type. A file is there only when it is complete. The store must not be open in another
/// process; make a backup of it and export from that, then.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    tailwater export --dir ./store --db shop --collection orders --canonical --out orders.jsonl\n  \
    tailwater export --dir ./store --db shop --collection orders --filter 'total > 100'\n  \
    tailwater export --dir ./store --db shop --collection orders --filter '{\"total\": {\"$gt\": 100}}' --format json")]
pub(crate) struct Arguments {
    /// Directory of the store.
    #[arg(long)]
    dir: PathBuf,
    /// Database of the collection.
    #[arg(long)]
    db: String,
    /// The collection.
    #[arg(long)]
    collection: String,
    /// Only documents that satisfy this filter: text, such as 'age > 18', or a $match document as JSON.
    #[arg(long)]
    filter: Option<String>,
    /// One document a line, or one JSON array.
    #[arg(long, default_value = "jsonl", value_parser = ["jsonl", "json"])]
    format: String,
    /// Write numbers and dates so that every BSON type can be told.
    #[arg(long)]
    canonical: bool,
    /// Write into this file, replacing it, instead of to standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let filter = arguments.filter.as_deref().map(parse).transpose()?;
    let mut options = StoreOptions::default();
    options.oplog.create = false;
    let store = Store::open_with(&arguments.dir, &options)?;
    let collection = store.collection(&arguments.db, &arguments.collection)?;
    if !store.collection_names(&arguments.db).contains(&arguments.collection) {
        let namespace = format!("{}.{}", arguments.db, arguments.collection);
        return Err(Error::NoSuchCollection { namespace }.into());
    }
    let documents = collection.find_matching(filter.unwrap_or_else(Expression::always))?;
    let documents = documents.map(|document| document.map_err(Failure::from));
    match &arguments.out {
        None => {
            write(
                BufWriter::new(io::stdout().lock()),
                documents,
                arguments,
                output::written,
            )?;
        }
        Some(path) => {
            let exported = to_file(path, documents, arguments)?;
            output::print(&format!("exported {exported} documents to {}\n", path.display()))?;
        }
    }
    drop(collection);
    Ok(store.close()?)
}

/// A filter in either language: JSON begins with a brace, which no text filter does.
pub(crate) fn parse(filter: &str) -> Outcome<Expression> {
    let refused = |message: String| Failure::new(Exit::Usage, format!("--filter: {message}"));
    if !filter.trim_start().starts_with('{') {
        return parse_filter(filter).map_err(|e| refused(e.to_string()));
    }
    let mut parsed = crate::import::DocumentReader::new(filter.as_bytes());
    let first = parsed.next().ok_or_else(|| refused("it holds no document".into()))?;
    let document = first.map_err(|e| refused(e.to_string()))?.document;
    if parsed.next().is_some() {
        return Err(refused("there is something behind the document".into()));
    }
    Expression::parse(&document).map_err(|e| refused(e.to_string()))
}

/// Into a file beside `path`, which takes its place when it is complete and durable.
fn to_file(
    path: &Path,
    documents: impl Iterator<Item = Outcome<RawDocumentBuf>>,
    arguments: &Arguments,
) -> Outcome<u64> {
    let failed = |e: &io::Error| {
        let full = matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        let exit = if full { Exit::Environment } else { Exit::Failure };
        Failure::new(exit, format!("cannot write {}: {e}", path.display()))
    };
    let done = |result: io::Result<()>| result.map_err(|e| failed(&e));
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let mut file = NamedTempFile::new_in(parent.unwrap_or(Path::new("."))).map_err(|e| failed(&e))?;
    let exported = write(BufWriter::new(file.as_file_mut()), documents, arguments, done)?;
    done(file.as_file().sync_all())?;
    file.persist(path).map_err(|e| failed(&e.error))?;
    Ok(exported)
}

/// Writes all documents as they come; returns how many. `done` says what becomes of an error of the output.
fn write(
    mut out: impl Write,
    documents: impl Iterator<Item = Outcome<RawDocumentBuf>>,
    arguments: &Arguments,
    done: impl Fn(io::Result<()>) -> Outcome,
) -> Outcome<u64> {
    let json = if arguments.canonical {
        Json::Canonical
    } else {
        Json::Relaxed
    };
    let array = arguments.format == "json";
    let mut count = 0;
    if array {
        done(out.write_all(b"[\n"))?;
    }
    for document in documents {
        let text = output::json(&document?, json)?;
        if array && count > 0 {
            done(out.write_all(b",\n"))?;
        }
        done(out.write_all(&text))?;
        if !array {
            done(out.write_all(b"\n"))?;
        }
        count += 1;
    }
    if array {
        done(out.write_all(if count > 0 { b"\n]\n" } else { b"]\n" }))?;
    }
    done(out.flush())?;
    Ok(count)
}
