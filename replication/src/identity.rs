//! Who a member is: its name, and the number that its terms are told by.

use tailwater_oplog::{MEMBERS_MAX, Member, codec};

use crate::decision::MemberList;
use crate::error::{Error, Result};

/// Members on the list at most; the other numbers are for those that are on none.
pub const LISTED_MAX: usize = MEMBERS_MAX as usize / 2;
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
    /// A listed member's number is its place on the list. One that is not listed has a number from its name, in the upper half:
    /// two may have the same, which the primary notices when both follow it, and refuses by name.
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
        let number = match members.iter().position(|member| member == name) {
            Some(place) => place as u32,
            None => LISTED_MAX as u32 + codec::checksum(name.as_bytes()) % LISTED_MAX as u32,
        };
        let member = u8::try_from(number).ok().and_then(Member::new);
        Ok(Identity {
            name: name.to_owned(),
            member: member.ok_or(Error::InvalidOption {
                option: "members",
                what: "a list of more than 32",
            })?,
            members: members.to_vec(),
        })
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
