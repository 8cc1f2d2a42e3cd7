//! Filling a new engine with what another one holds: how the state gets into a backup.

use std::sync::PoisonError;

use super::{Engine, EngineError, EngineSnapshot};

/// One commit takes documents of about so many bytes.
const CHUNK_BYTES: usize = 4 << 20;

impl Engine {
    /// Takes over everything that a snapshot of another engine shows, and makes it durable; `progress` is told the bytes of
    /// each part, and says whether to go on. Returns whether everything is here.
    ///
    /// This engine must be new. The catalogue comes last, with the OpID that the snapshot covers, in one commit: an
    /// interruption leaves an engine that has applied nothing, which is not to be used.
    pub(crate) fn fill(
        &self,
        from: &EngineSnapshot,
        progress: &mut dyn FnMut(u64) -> bool,
    ) -> Result<bool, EngineError> {
        {
            let _committing = self.committing.lock().unwrap_or_else(PoisonError::into_inner);
            let mut documents = from.stored_documents();
            loop {
                let changes = self.begin();
                let (mut write, mut bytes) = (self.database.batch(), 0);
                while bytes < CHUNK_BYTES
                    && let Some(entry) = documents.next()
                {
                    let (key, value) = entry?;
                    bytes += key.len() + value.len();
                    changes.key(&key);
                    write.insert(&self.spaces.documents, key, value);
                }
                if bytes == 0 {
                    break;
                }
                self.write(write, &changes)?;
                if !progress(bytes as u64) {
                    return Ok(false);
                }
            }
            let mut write = self.database.batch();
            for entry in from.stored_catalogue() {
                let (key, value) = entry?;
                write.insert(&self.spaces.catalogue, key, value);
            }
            self.write(write, &self.begin())?;
        }
        self.persist().map(|_| true)
    }
}
