//! `OP_QUERY` and `OP_REPLY`, which are left of an older protocol: drivers send their first `isMaster` that way, as they do not
//! know yet what the server speaks (driver specification: *MongoDB Handshake*).

use bson::RawDocument;

use crate::error::{Error, Result};
use crate::header::{Header, Opcode, begin, finish};
use crate::input::Input;

/// Bytes of a reply before its document.
const REPLY_BYTES: usize = 20;
/// The server awaits data where it is asked to; MongoDB sets it in every reply.
const AWAIT_CAPABLE: u32 = 8;

/// A command in the old form: a query of `<database>.$cmd` for one document.
#[derive(Clone, PartialEq, Debug)]
pub struct Query<'a> {
    /// The database.
    pub database: &'a str,
    /// The command.
    pub command: &'a RawDocument,
}

impl<'a> Query<'a> {
    /// Reads a query from what stands behind its header.
    ///
    /// # Errors
    ///
    /// [`Error::OtherOpcode`], [`Error::Overrun`]; [`Error::Malformed`] also for a query of documents, which this protocol does not
    /// have any more.
    pub fn parse(header: &Header, bytes: &'a [u8]) -> Result<Query<'a>> {
        header.expect(Opcode::Query)?;
        let mut input = Input::new(bytes);
        input.u32("the flags")?;
        let namespace = input.string("the namespace")?;
        input.i32("the number to skip")?;
        input.i32("the number to return")?;
        let command = input.document("the command")?;
        if !input.is_empty() {
            // A projection, of which a command has no use.
            input.document("the projection")?;
        }
        if !input.is_empty() {
            return Err(Error::Malformed {
                what: "bytes behind the query",
            });
        }
        let database = namespace.strip_suffix(".$cmd").ok_or(Error::Malformed {
            what: "a query that is no command",
        })?;
        // `{$query: {…}}` is the same command with options around it.
        let command = match command
            .get_document("$query")
            .or_else(|_| command.get_document("query"))
        {
            Ok(inner)
                if command
                    .iter()
                    .next()
                    .is_some_and(|first| first.is_ok_and(|(name, _)| name.as_str().ends_with("query"))) =>
            {
                inner
            }
            _ => command,
        };
        Ok(Query { database, command })
    }

    /// The query's bytes, its header included.
    ///
    /// # Errors
    ///
    /// [`Error::Length`] when it is too long.
    pub fn to_bytes(&self, request_id: i32) -> Result<Vec<u8>> {
        let command = self.command.as_bytes();
        let mut message = begin(request_id, 0, Opcode::Query, 32 + self.database.len() + command.len());
        message.extend_from_slice(&[0; 4]);
        message.extend_from_slice(self.database.as_bytes());
        message.extend_from_slice(b".$cmd\0");
        message.extend_from_slice(&0_i32.to_le_bytes());
        message.extend_from_slice(&(-1_i32).to_le_bytes());
        message.extend_from_slice(command);
        finish(message)
    }
}

/// The bytes of an `OP_REPLY` with one document, its header included.
///
/// # Errors
///
/// [`Error::Length`] when it is too long.
pub fn reply_bytes(document: &RawDocument, request_id: i32, response_to: i32) -> Result<Vec<u8>> {
    let document = document.as_bytes();
    let mut message = begin(request_id, response_to, Opcode::Reply, REPLY_BYTES + document.len());
    message.extend_from_slice(&AWAIT_CAPABLE.to_le_bytes());
    // No cursor, from the first document on, one document.
    message.extend_from_slice(&0_i64.to_le_bytes());
    message.extend_from_slice(&0_i32.to_le_bytes());
    message.extend_from_slice(&1_i32.to_le_bytes());
    message.extend_from_slice(document);
    finish(message)
}

#[cfg(test)]
mod tests {
    use bson::rawdoc;

    use super::*;
    use crate::header::HEADER_BYTES;

    fn parse(bytes: &[u8]) -> Result<Query<'_>> {
        let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>().unwrap();
        Query::parse(&Header::parse(header)?, rest)
    }

    #[test]
    fn the_first_command_of_a_driver_is_read() {
        let command = rawdoc! { "ismaster": 1, "helloOk": true };
        let query = Query {
            database: "admin",
            command: &command,
        };
        assert_eq!(parse(&query.to_bytes(3).unwrap()), Ok(query));
    }

    #[test]
    fn options_around_the_command_are_taken_off() {
        let wrapped = rawdoc! { "$query": { "ismaster": 1 }, "$readPreference": { "mode": "secondary" } };
        let query = Query {
            database: "admin",
            command: &wrapped,
        };
        let bytes = query.to_bytes(3).unwrap();
        assert_eq!(parse(&bytes).unwrap().command, &*rawdoc! { "ismaster": 1 });
    }

    #[test]
    fn a_query_of_documents_and_what_is_cut_are_refused() {
        let command = rawdoc! { "find": "x" };
        let query = Query {
            database: "admin",
            command: &command,
        };
        let bytes = query.to_bytes(3).unwrap();
        for length in HEADER_BYTES..bytes.len() {
            assert!(parse(&bytes[..length]).is_err(), "{length}");
        }
        let mut other = bytes.clone();
        other[HEADER_BYTES + 9..HEADER_BYTES + 14].copy_from_slice(b".coll");
        let what = "a query that is no command";
        assert_eq!(parse(&other[..]), Err(Error::Malformed { what }));
    }

    #[test]
    fn a_reply_is_laid_out_as_the_manual_has_it() {
        let bytes = reply_bytes(&rawdoc! {}, 1, 3).unwrap();
        let mut expected = vec![41, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0];
        expected.extend([8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
        expected.extend([5, 0, 0, 0, 0]);
        assert_eq!(bytes, expected);
    }
}
