//! Passwords as programs hold them.

use std::fmt;
use std::ops::Deref;

use zeroize::Zeroizing;

/// A password, or what is as good as one: it is not shown when things are printed, and overwritten when it is let go of.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Password(Zeroizing<String>);

impl From<String> for Password {
    fn from(text: String) -> Password {
        Password(Zeroizing::new(text))
    }
}

impl From<&str> for Password {
    fn from(text: &str) -> Password {
        text.to_owned().into()
    }
}

impl Deref for Password {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}
