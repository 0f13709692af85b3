//! Whom names of the outside are asked for.

use std::net::IpAddr;

use crate::dns::exchange::TRIES;
use crate::error::Error;

/// A list of resolvers, in order.
///
/// # Errors
/// There are too many, or nobody can be at one of the addresses.
pub fn upstreams(given: &[IpAddr]) -> Result<Vec<IpAddr>, Error> {
    if given.len() > TRIES {
        let more = given.len();
        return Err(Error::Declaration(format!(
            "{more} resolvers are more than are ever asked; give {TRIES} at most (--dns)"
        )));
    }
    let nobody = |it: &&IpAddr| match it.to_canonical() {
        IpAddr::V4(address) => address.is_unspecified() || address.is_multicast() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unspecified() || address.is_multicast(),
    };
    match given.iter().find(nobody) {
        Some(address) => Err(Error::Declaration(format!(
            "no resolver can be asked at {address}; give the address of one (--dns)"
        ))),
        None => Ok(given.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_three_and_each_somebodys_own() {
        let check = |list: &[&str]| {
            let list: Vec<IpAddr> = list.iter().map(|it| it.parse().unwrap()).collect();
            upstreams(&list).map_err(|error| error.to_string())
        };
        assert_eq!(check(&["192.0.2.1", "2001:db8::1", "127.0.0.1"]).unwrap().len(), 3);
        assert_eq!(check(&[]), Ok(vec![]));
        assert!(check(&["192.0.2.1"; 4]).unwrap_err().contains("give 3 at most"));
        for bad in ["0.0.0.0", "224.0.0.251", "255.255.255.255", "::", "ff02::fb", "::ffff:0.0.0.0"] {
            assert!(check(&[bad]).unwrap_err().contains(bad), "{bad}");
        }
    }
}
