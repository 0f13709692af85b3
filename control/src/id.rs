//! Ids of networks, endpoints and sandboxes: 32 random bytes, written as 64 hexadecimal digits like Docker's, so that whoever
//! knows an id of one can look it up in the other.

use std::fmt;
use std::io;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An id, written as 64 hexadecimal digits in lower case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, example = "91f3c2389d344c7207ac17a375b0f596ed622dbdaded66564f08ab05bb1adab6")]
pub struct Id([u8; 32]);

/// Something else than 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id has 64 hexadecimal digits in lower case")]
pub struct IdError;

impl Id {
    /// Nothing's id.
    pub const NONE: Id = Id([0; 32]);

    /// An id that nothing else has.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn random() -> io::Result<Id> {
        let mut bytes = [0; 32];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        Ok(Id(bytes))
    }

    /// An id that is the same for the same text of at most 32 bytes.
    #[cfg(test)]
    pub(crate) fn of(text: &str) -> Id {
        let mut bytes = [0; 32];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Id(bytes)
    }

    /// Its first twelve digits: what people type, as with Docker.
    pub fn short(&self) -> String {
        self.to_string().chars().take(12).collect()
    }

    /// Its first 16 bytes, as two numbers.
    pub fn first_words(&self) -> [u64; 2] {
        let Id(bytes) = self;
        let (words, _) = bytes.as_chunks::<8>();
        [u64::from_be_bytes(words[0]), u64::from_be_bytes(words[1])]
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Id {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Id, IdError> {
        let digits = text.as_bytes();
        if digits.len() != 64 || !digits.iter().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(IdError);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| IdError)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| IdError)?;
        }
        Ok(Id(bytes))
    }
}

impl TryFrom<String> for Id {
    type Error = IdError;

    fn try_from(text: String) -> Result<Id, IdError> {
        text.parse()
    }
}

impl From<Id> for String {
    fn from(id: Id) -> String {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_64_digits_and_never_twice_the_same() {
        let (one, other) = (Id::random().unwrap(), Id::random().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.to_string().parse(), Ok(one));
        assert!(one.to_string().starts_with(&one.short()) && one.short().len() == 12);
        let good = "91f3c2389d344c7207ac17a375b0f596ed622dbdaded66564f08ab05bb1adab6";
        assert_eq!(good.parse::<Id>().unwrap().to_string(), good);
        let upper = good.to_uppercase();
        let long = format!("{good}0");
        for bad in ["", "91f3", &good[1..], &upper, &long, &good.replace('9', "+"), &good.replace("91", "é")]
        {
            assert_eq!(bad.parse::<Id>(), Err(IdError), "{bad}");
        }
    }
}
