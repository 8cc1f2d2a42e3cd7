//! The three watchers: what each asks the engine for, and beside it the same in plain Rust, for the proof.

use bson::doc;
use tailwater::{LogView, Scope, Watch};

use super::plan::{COLLECTION, DATABASE};
use super::written::Written;

/// One of the demo's watchers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Watcher {
    /// A text filter over one field.
    Hot,
    /// A text filter over two.
    Downpour,
    /// A `$match` over the event itself.
    Changes,
}

/// Every watcher, in the order of their declaration.
pub(crate) const WATCHERS: [Watcher; 3] = [Watcher::Hot, Watcher::Downpour, Watcher::Changes];

impl Watcher {
    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Watcher::Hot => "hot",
            Watcher::Downpour => "downpour",
            Watcher::Changes => "changes",
        }
    }

    /// What it asks for, in words for a person.
    pub(crate) fn filter(self) -> &'static str {
        match self {
            Watcher::Hot => "temp_max >= 25",
            Watcher::Downpour => r#"weather is "rain" and precipitation > 10"#,
            Watcher::Changes => "$match: update, replace or delete",
        }
    }

    /// What it asks the engine for.
    pub(crate) fn watch(self, view: LogView) -> Watch {
        let scope = Scope::Collection {
            database: DATABASE.into(),
            collection: COLLECTION.into(),
        };
        let watch = Watch::new(view, scope);
        match self {
            Watcher::Hot | Watcher::Downpour => watch.filter(self.filter()),
            Watcher::Changes => {
                watch.pipeline([doc! { "$match": { "operationType": { "$in": ["update", "replace", "delete"] } } }])
            }
        }
    }

    /// Whether it has to see this write. Plain Rust on decoded fields: none of the engine's matcher.
    pub(crate) fn wants(self, written: &Written) -> bool {
        let number = |field| written.document.as_ref()?.get_f64(field).ok();
        let weather = written.document.as_ref().and_then(|d| d.get_str("weather").ok());
        match self {
            Watcher::Hot => number("temp_max").is_some_and(|degrees| degrees >= 25.0),
            Watcher::Downpour => weather == Some("rain") && number("precipitation").is_some_and(|mm| mm > 10.0),
            Watcher::Changes => written.operation != "insert",
        }
    }

    /// Whether the event of this write carries the document: with a text filter always, otherwise unless it is an update.
    pub(crate) fn is_shown_document(self, written: &Written) -> bool {
        self != Watcher::Changes || written.operation != "update"
    }
}
