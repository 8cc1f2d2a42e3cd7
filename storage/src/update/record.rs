//! What a walk over a document writes down for the diff.

use bson::raw::RawDocumentBuf;
use bson::spec::ElementType;

use super::UpdateError;
use super::diff::UpdateDiff;
use super::writer::Writer;

/// What changed, each field or element as a whole at the shortest path that says it all; and where the walk is.
pub(super) struct Record {
    /// Where the walk is, as a prefix of dotted paths.
    path: String,
    updated: Writer,
    removed: Vec<String>,
    /// How many places on the way, from the root, are recorded as a whole or not at all.
    muted: usize,
}

/// A state of a [`Record`] to go back to.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    updated: usize,
    removed: usize,
}

impl Record {
    /// A record of changes, or one that only knows where the walk is.
    pub(super) fn new(is_recording: bool) -> Record {
        let mut updated = Writer::default();
        updated.begin();
        Record {
            path: String::new(),
            updated,
            removed: Vec::new(),
            muted: usize::from(!is_recording),
        }
    }

    /// Goes down to `name`; the caller goes up again by handing what this returns to `leave`.
    pub(super) fn enter(&mut self, name: &str) -> usize {
        let outer = self.path.len();
        if outer > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        outer
    }

    pub(super) fn leave(&mut self, outer: usize) {
        self.path.truncate(outer);
    }

    /// Where the walk is.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The path of `name`, which lies where the walk is.
    pub(super) fn joined(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    /// Leaves out what follows, until as many `unmute` have followed.
    pub(super) fn mute(&mut self) {
        self.muted += 1;
    }

    pub(super) fn unmute(&mut self) {
        self.muted -= 1;
    }

    pub(super) fn updated(&mut self, name: &str, kind: ElementType, value: &[u8]) {
        if self.muted == 0 {
            let path = self.joined(name);
            self.updated.put(&path, kind, value);
        }
    }

    pub(super) fn removed(&mut self, name: &str) {
        if self.muted == 0 {
            let path = self.joined(name);
            self.removed.push(path);
        }
    }

    pub(super) fn mark(&self) -> Mark {
        Mark {
            updated: self.updated.len(),
            removed: self.removed.len(),
        }
    }

    /// Forgets what was recorded since.
    pub(super) fn go_back(&mut self, mark: Mark) {
        self.updated.truncate(mark.updated);
        self.removed.truncate(mark.removed);
    }

    pub(super) fn finish(mut self) -> Result<UpdateDiff, UpdateError> {
        self.updated.end(0);
        let updated_fields: RawDocumentBuf = self.updated.finish()?;
        Ok(UpdateDiff {
            updated_fields,
            removed_fields: self.removed,
            truncated_arrays: Vec::new(),
        })
    }
}
