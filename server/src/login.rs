//! A connection's login: who its client is, and the conversation by which it is becoming somebody (MongoDB's driver specification
//! *Authentication*).

use bson::raw::cstr;
use bson::spec::BinarySubtype;
use bson::{Binary, RawBsonRef, RawDocument, RawDocumentBuf, rawdoc};
use tailwater_auth::{Authority, Conversation, Identity, LoginError, Mechanism};

use crate::context::Peer;
use crate::error::{CommandError, CommandResult, code};
use crate::request::missing;
use crate::value::{Value, fields};

/// The number of a connection's conversation, of which it has one at a time.
const CONVERSATION: i32 = 1;

/// A connection's login.
pub(crate) struct Login {
    pub(crate) identity: Identity,
    stage: Stage,
}

/// How far the conversation is.
enum Stage {
    /// There is none.
    Idle,
    /// The client is to prove that it knows the password.
    Proof {
        conversation: Conversation,
        /// Whether the client takes the server's proof as the end.
        skips_empty: bool,
    },
    /// The client has proved it and is to say that it has seen the server's proof.
    Empty { identity: Identity },
}

impl Login {
    pub(crate) fn new(peer: &Peer) -> Login {
        Login {
            identity: Identity::nobody(peer.address.ip()),
            stage: Stage::Idle,
        }
    }

    pub(crate) fn log_out(&mut self, peer: &Peer) {
        *self = Login::new(peer);
    }

    /// Begins a conversation by the fields of `saslStart`.
    pub(crate) fn start(
        &mut self,
        authority: &Authority,
        peer: &Peer,
        database: &str,
        command: &RawDocument,
    ) -> CommandResult {
        self.stage = Stage::Idle;
        let (mut mechanism, mut payload, mut skips_empty) = (None, None, false);
        for field in fields("saslStart", command) {
            let field = field?;
            match field.name {
                "mechanism" => mechanism = Some(field.string()?),
                "payload" => payload = Some(bytes(field)?),
                "options" => skips_empty = field.document()?.get_bool("skipEmptyExchange").unwrap_or(false),
                _ => {}
            }
        }
        let mechanism = mechanism.ok_or_else(|| missing("saslStart", "mechanism"))?;
        let payload = payload.ok_or_else(|| missing("saslStart", "payload"))?;
        let mechanism = Mechanism::from_name(mechanism).ok_or_else(|| {
            let message = format!(
                "Received authentication for mechanism {mechanism} which is not enabled: use SCRAM-SHA-256 or SCRAM-SHA-1"
            );
            CommandError::new(code::MECHANISM_UNAVAILABLE, message)
        })?;
        let begun = authority.begin_login(mechanism, database, payload, peer.address.ip());
        let (conversation, answer) = begun.map_err(failed)?;
        self.stage = Stage::Proof {
            conversation,
            skips_empty,
        };
        Ok(reply(answer.as_bytes(), false))
    }

    /// Goes on with the conversation by the fields of `saslContinue`.
    pub(crate) fn go_on(&mut self, authority: &Authority, command: &RawDocument) -> CommandResult {
        // Whatever comes, what was begun goes on in this way or not at all.
        let stage = std::mem::replace(&mut self.stage, Stage::Idle);
        let (mut id, mut payload) = (None, None);
        for field in fields("saslContinue", command) {
            let field = field?;
            match field.name {
                "conversationId" => id = Some(field.integer()?),
                "payload" => payload = Some(bytes(field)?),
                _ => {}
            }
        }
        let id = id.ok_or_else(|| missing("saslContinue", "conversationId"))?;
        let payload = payload.ok_or_else(|| missing("saslContinue", "payload"))?;
        match stage {
            _ if id != i64::from(CONVERSATION) => Err(CommandError::new(
                code::PROTOCOL_ERROR,
                "sasl: Mismatched conversation id",
            )),
            Stage::Idle => Err(CommandError::new(code::PROTOCOL_ERROR, "No SASL session state found")),
            Stage::Proof {
                conversation,
                skips_empty,
            } => {
                let (identity, answer) = authority.finish_login(&conversation, payload).map_err(failed)?;
                match skips_empty {
                    true => self.identity = identity,
                    false => self.stage = Stage::Empty { identity },
                }
                Ok(reply(answer.as_bytes(), skips_empty))
            }
            Stage::Empty { identity } if payload.is_empty() => {
                self.identity = identity;
                Ok(reply(&[], true))
            }
            Stage::Empty { .. } => Err(failed(LoginError)),
        }
    }
}

/// What a client says in a conversation.
fn bytes(field: Value<'_>) -> CommandResult<&[u8]> {
    match field.value {
        RawBsonRef::Binary(binary) => Ok(binary.bytes),
        _ => Err(CommandError::new(
            code::TYPE_MISMATCH,
            format!("BSON field '{}.{}' must be binary", field.command, field.name),
        )),
    }
}

fn reply(payload: &[u8], done: bool) -> RawDocumentBuf {
    let payload = Binary {
        subtype: BinarySubtype::Generic,
        bytes: payload.to_vec(),
    };
    let mut reply = rawdoc! { "conversationId": CONVERSATION, "done": done };
    reply.append(cstr!("payload"), payload);
    reply
}

fn failed(error: LoginError) -> CommandError {
    CommandError::new(code::AUTHENTICATION_FAILED, error.to_string())
}
