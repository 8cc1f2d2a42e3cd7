//! Users and roles as documents of the internal database, written through the log like every other document.
//!
//! | collection | `_id` | fields |
//! |---|---|---|
//! | `users` | `database.name` | `user`, `db`, `userId`, `credentials`, `roles`, `customData` |
//! | `roles` | `database.name` | `role`, `db`, `privileges`, `roles` |
//! | `secrets` | what for | `bytes` |

use bson::raw::cstr;
use bson::spec::BinarySubtype;
use bson::{Binary, RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf, Uuid, rawdoc};

use crate::action::{Action, Actions};
use crate::credentials::Credential;
use crate::name::{Name, RoleName};
use crate::privilege::{Privilege, Privileges};
use crate::resource::Pattern;
use crate::role::Role;
use crate::user::{User, UserId};

/// The collection of users.
pub(crate) const USERS: &str = "users";
/// The collection of roles.
pub(crate) const ROLES: &str = "roles";
/// The collection of secrets.
pub(crate) const SECRETS: &str = "secrets";

pub(crate) fn user_to_document(user: &User) -> RawDocumentBuf {
    let credentials: RawArrayBuf = user.credentials.iter().map(Credential::to_document).collect();
    let mut document = rawdoc! {
        "_id": user.name.key(),
        "user": user.name.name.as_str(),
        "db": user.name.database.as_str(),
        "userId": Binary::from_uuid(user.id.uuid()),
        "credentials": credentials,
        "roles": role_names(&user.roles),
    };
    if let Some(data) = &user.custom_data {
        document.append(cstr!("customData"), data.clone());
    }
    document
}

/// The user as [`user_to_document`] wrote it; nothing for what it did not write.
pub(crate) fn user_from_document(document: &RawDocument) -> Option<User> {
    let id = document.get_binary("userId").ok()?;
    let id = <[u8; 16]>::try_from(id.bytes).ok()?;
    let credentials = documents(document, "credentials")?.map(|document| Credential::from_document(document?));
    Some(User {
        name: Name::new(document.get_str("db").ok()?, document.get_str("user").ok()?),
        id: UserId(Uuid::from_bytes(id)),
        roles: role_names_of(document)?,
        custom_data: document.get_document("customData").ok().map(RawDocument::to_owned),
        credentials: credentials.collect::<Option<_>>()?,
    })
}

pub(crate) fn role_to_document(role: &Role) -> RawDocumentBuf {
    rawdoc! {
        "_id": role.name.key(),
        "role": role.name.name.as_str(),
        "db": role.name.database.as_str(),
        "privileges": privileges_to_array(&role.privileges),
        "roles": role_names(&role.roles),
    }
}

/// The role as [`role_to_document`] wrote it; nothing for what it did not write. Actions that this release does not know are
/// left out: it cannot allow what it does not have.
pub(crate) fn role_from_document(document: &RawDocument) -> Option<Role> {
    let privileges = documents(document, "privileges")?.map(|privilege| {
        let privilege = privilege?;
        let names = privilege.get_array("actions").ok()?.into_iter();
        let known: Vec<Action> = names
            .filter_map(|name| Action::from_name(name.ok()?.as_str()?))
            .collect();
        Some(Privilege {
            resource: pattern_from_document(privilege.get_document("resource").ok()?)?,
            actions: Actions::of(&known),
        })
    });
    Some(Role {
        name: Name::new(document.get_str("db").ok()?, document.get_str("role").ok()?),
        privileges: privileges.collect::<Option<Privileges>>()?,
        roles: role_names_of(document)?,
    })
}

pub(crate) fn secret_to_document(what: &str, bytes: &[u8]) -> RawDocumentBuf {
    let bytes = Binary {
        subtype: BinarySubtype::Generic,
        bytes: bytes.to_vec(),
    };
    rawdoc! { "_id": what, "bytes": bytes }
}

/// `[{role, db}, …]`.
#[must_use]
pub fn role_names(roles: &[RoleName]) -> RawArrayBuf {
    let names = roles.iter();
    names
        .map(|name| rawdoc! { "role": name.name.as_str(), "db": name.database.as_str() })
        .collect()
}

/// `[{resource, actions}, …]`, as MongoDB's commands take and show privileges.
#[must_use]
pub fn privileges_to_array(privileges: &Privileges) -> RawArrayBuf {
    let all = privileges.iter();
    all.map(|privilege| {
        let actions = privilege.actions.iter().map(Action::name);
        rawdoc! {
            "resource": pattern_to_document(&privilege.resource),
            "actions": RawArrayBuf::from_iter(actions),
        }
    })
    .collect()
}

fn pattern_to_document(pattern: &Pattern) -> RawDocumentBuf {
    match pattern {
        Pattern::Anything => rawdoc! { "anyResource": true },
        Pattern::Cluster => rawdoc! { "cluster": true },
        Pattern::Namespace { database, collection } => {
            rawdoc! { "db": database.as_str(), "collection": collection.as_str() }
        }
    }
}

/// A resource document (MongoDB manual: *Resource Document*); nothing for what is none, or names a field twice.
#[must_use]
pub fn pattern_from_document(document: &RawDocument) -> Option<Pattern> {
    let (mut database, mut collection, mut whole) = (None, None, None);
    for field in document {
        let is_first = match field.ok()? {
            (name, RawBsonRef::String(value)) if name == "db" => database.replace(value).is_none(),
            (name, RawBsonRef::String(value)) if name == "collection" => collection.replace(value).is_none(),
            (name, RawBsonRef::Boolean(true)) if name == "cluster" => whole.replace(Pattern::Cluster).is_none(),
            (name, RawBsonRef::Boolean(true)) if name == "anyResource" => whole.replace(Pattern::Anything).is_none(),
            _ => false,
        };
        // Who asks whether a client may change this must not have seen another.
        if !is_first {
            return None;
        }
    }
    match (database, collection, whole) {
        (None, None, whole) => whole,
        (Some(database), Some(collection), None) => Some(Pattern::Namespace {
            database: database.to_owned(),
            collection: collection.to_owned(),
        }),
        _ => None,
    }
}

fn role_names_of(document: &RawDocument) -> Option<Vec<RoleName>> {
    let names = documents(document, "roles")?.map(|name| {
        let name = name?;
        Some(Name::new(name.get_str("db").ok()?, name.get_str("role").ok()?))
    });
    names.collect()
}

/// The members of an array, each of which must be a document.
fn documents<'a>(
    document: &'a RawDocument,
    name: &str,
) -> Option<impl Iterator<Item = Option<&'a RawDocument>> + use<'a>> {
    let members = document.get_array(name).ok()?.into_iter();
    Some(members.map(|member| member.ok()?.as_document()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::Mechanism;

    #[test]
    fn users_and_roles_are_read_as_they_were_written() {
        let user = User {
            name: Name::new("shop", "ada.l"),
            id: UserId(Uuid::new()),
            roles: vec![Name::new("shop", "read"), Name::new("admin", "root")],
            custom_data: Some(rawdoc! { "team": 7 }),
            credentials: Mechanism::ALL.map(|m| Credential::decoy(m, b"secret", "ada")).to_vec(),
        };
        assert_eq!(user_from_document(&user_to_document(&user)), Some(user));
        let privilege = |resource| Privilege {
            resource,
            actions: Actions::of(&[Action::Find, Action::ChangeStream]),
        };
        let patterns = [Pattern::Anything, Pattern::Cluster, Pattern::database("shop")];
        let role = Role {
            name: Name::new("admin", "watcher"),
            privileges: patterns.into_iter().map(privilege).collect(),
            roles: vec![Name::new("shop", "read")],
        };
        assert_eq!(role_from_document(&role_to_document(&role)), Some(role));
    }

    #[test]
    fn what_is_no_record_is_none() {
        for document in [
            rawdoc! {},
            rawdoc! { "user": "ada", "db": "shop", "userId": 1, "credentials": [], "roles": [] },
            rawdoc! { "role": "a", "db": "shop", "privileges": [{ "resource": {}, "actions": [] }], "roles": [] },
            rawdoc! { "role": "a", "db": "shop", "privileges": [1], "roles": [] },
        ] {
            assert_eq!(user_from_document(&document), None);
            assert_eq!(role_from_document(&document), None);
        }
        let two = rawdoc! { "db": "shop", "collection": "", "cluster": true };
        assert_eq!(pattern_from_document(&two), None);
        assert_eq!(pattern_from_document(&rawdoc! { "db": "shop" }), None);
    }
}
