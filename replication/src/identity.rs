//! Who a member is: its name, and the number that its terms are told by.

use tailwater_oplog::{Member, Term};
use tailwater_storage::Store;

use crate::decision::{LISTED_MAX, MemberList, number_of};
use crate::error::{Error, Result};
use crate::follower::abandon_copy;

/// Longest name in bytes.
const NAME_BYTES_MAX: usize = 100;

/// A member among others.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) name: String,
    pub(crate) member: Member,
    pub(crate) members: MemberList,
}

impl Identity {
    /// The member `name` of `members`, or one that is not listed; see [`number_of`].
    pub(crate) fn new(name: &str, members: &[String]) -> Result<Identity> {
        let invalid = |option, what| Err(Error::InvalidOption { option, what });
        if members.len() > LISTED_MAX {
            return invalid("members", "a list of more than 32");
        }
        for (at, member) in members.iter().enumerate() {
            check_name(member)?;
            if members[..at].contains(member) {
                return invalid("members", "a list with one name twice");
            }
        }
        check_name(name)?;
        let member = Member::new(number_of(name, members).0);
        Ok(Identity {
            name: name.to_owned(),
            member: member.ok_or(Error::InvalidOption {
                option: "members",
                what: "a list of more than 32",
            })?,
            members: members.to_vec(),
        })
    }

    /// Makes the store take writes as this member; returns the term. A copy that was to replace it is given up.
    pub(crate) fn promote(&self, store: &Store) -> Result<Term> {
        let term = store.promote(self.member)?;
        if let Some(dir) = store.log().path().parent()
            && let Err(error) = abandon_copy(dir)
        {
            // It takes space, and nothing else: it would not replace what has been promoted.
            tracing::warn!(%error, "a copy that is not needed any more");
        }
        if self.members.is_empty() {
            // The operator's word is enough: nothing older will be taken from anybody.
            store.promise(term)?;
        }
        Ok(term)
    }
}

fn check_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    match !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.chars().all(plain) {
        true => Ok(()),
        false => Err(Error::InvalidOption {
            option: "the name of a member",
            what: "not 1 to 100 letters, digits, and - _ . :",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_places_on_the_list_or_lie_behind_it() {
        let members = ["a", "b"].map(String::from);
        for (name, number) in [("a", 0), ("b", 1)] {
            assert_eq!(Identity::new(name, &members).unwrap().member.get(), number);
        }
        assert!(Identity::new("c", &members).unwrap().member.get() >= 32);
        for (name, members) in [
            ("", vec![]),
            ("a b", vec![]),
            ("a", vec!["a".to_owned(), "a".to_owned()]),
        ] {
            assert!(Identity::new(name, &members).is_err());
        }
    }
}
