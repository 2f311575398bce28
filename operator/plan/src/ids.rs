//! IDs of members and clusters, and the token. Owns their types and text formats. Does not generate them: disks
//! generate member IDs, and the shell generates cluster IDs and tokens.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::names;

/// ID of a member: 64 random bits that its disk generated, not zero. An ID is never used for a second member. As text,
/// 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u64);

/// ID of a cluster: 128 random bits. An ID is never used for a second cluster. As text, 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub u128);

/// The token by which the operator authenticates to members: 256 random bits, as 64 hexadecimal digits. It is never
/// printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// The error for a text that is not an ID or token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {wanted}")]
pub struct NotAnId {
    text: String,
    wanted: &'static str,
}

impl FromStr for MemberId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let wanted = "a member ID of up to 16 hexadecimal digits";
        match u64::from_str_radix(text, 16) {
            Ok(id) if id != 0 && !text.starts_with('+') => Ok(Self(id)),
            _ => Err(NotAnId { text: text.to_owned(), wanted }),
        }
    }
}

impl FromStr for ClusterId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let wanted = "a cluster ID of 32 hexadecimal digits";
        match u128::from_str_radix(text, 16) {
            Ok(id) if text.len() == 32 && !text.starts_with('+') => Ok(Self(id)),
            _ => Err(NotAnId { text: text.to_owned(), wanted }),
        }
    }
}

impl ClusterId {
    /// The first digits of the ID, which the name of the Secret with the identity contains.
    #[must_use]
    pub fn digits(self) -> String {
        let mut text = self.to_string();
        text.truncate(names::IDENTITY_DIGITS);
        text
    }
}

impl Token {
    /// The token made of these random bytes.
    #[must_use]
    pub fn of(bytes: [u8; 32]) -> Self {
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        debug_assert!(digits.parse::<Self>().is_ok(), "a token is read as it was written");
        Self(digits)
    }

    /// The text of the token, which is sent with each call. The text is secret: never log or store it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl FromStr for Token {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let hexadecimal = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if text.len() == 64 && hexadecimal {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotAnId { text: "(hidden)".to_owned(), wanted: "a token of 64 hexadecimal digits" })
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for MemberId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MemberId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Serialize for ClusterId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ClusterId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_were_written() {
        let member = MemberId(0xa1);
        assert_eq!(member.to_string(), "00000000000000a1");
        assert_eq!(member.to_string().parse(), Ok(member));
        assert_eq!("a1".parse(), Ok(member), "members may leave leading zeros out");
        let cluster = ClusterId(0xb2);
        assert_eq!(cluster.to_string().parse(), Ok(cluster));
    }

    #[test]
    fn a_text_that_is_no_id_is_refused() {
        for text in ["", "0", "xyz", "+1", "11112222333344445"] {
            assert!(text.parse::<MemberId>().is_err(), "{text:?}");
        }
        assert!("ab".parse::<ClusterId>().is_err(), "too short");
    }

    #[test]
    fn a_token_is_never_printed() {
        let token = Token::of([7; 32]);
        assert_eq!(format!("{token:?}"), "Token(hidden)");
        assert_eq!(token.reveal().len(), 64);
        assert!(!format!("{:?}", "secret".parse::<Token>()).contains("secret"));
    }
}
