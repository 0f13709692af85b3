//! What networks, endpoints, interfaces and namespaces may be called.

/// A name that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a name for a network or an endpoint.
    #[error(
        "\"{name}\" cannot be the name of {what}: use letters, digits, '_', '.' and '-', starting with a letter or digit, at most 63 bytes"
    )]
    Name {
        /// A network, an endpoint.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A word that stands for something else.
    #[error("no network can be called \"{0}\": `pontoon run --network {0}` means something else")]
    NoNetwork(String),
    /// Longer than the kernel's IFNAMSIZ - 1.
    #[error("the interface name \"{0}\" is too long: it has {len} bytes, Linux allows 15", len = .0.len())]
    InterfaceTooLong(String),
    /// A name that the kernel refuses, or that netlink would take for a pattern.
    #[error(
        "\"{0}\" cannot be the name of an interface: use visible ASCII characters without '/', ':' and '%', and neither \".\" nor \"..\""
    )]
    Interface(String),
    /// Not a file name.
    #[error("\"{0}\" cannot be the name of a network namespace: it must be a file name below /run/netns")]
    Namespace(String),
    /// A path that means something else to the daemon than to whoever wrote it.
    #[error("\"{0}\" is a relative path; give the path of a network namespace from the root on")]
    RelativePath(String),
    /// The endpoint has no name and its namespace's name cannot be one.
    #[error("the endpoint needs a name: \"{0}\", the name of its namespace, cannot be one; use --name")]
    NoDefault(String),
}

/// Checks the name of a network or an endpoint (`what`).
///
/// # Errors
/// [`NameError::Name`].
pub fn check(what: &'static str, name: &str) -> Result<(), NameError> {
    let inner = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'.' | b'-');
    let good = name.len() <= 63
        && name.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
        && name.bytes().all(inner);
    if good { Ok(()) } else { Err(NameError::Name { what, name: name.to_owned() }) }
}

/// Names that mean something else where the name of a network is expected (`pontoon run --network none`), as with Docker.
const NO_NETWORKS: [&str; 2] = ["none", "host"];

/// Checks the name of a network.
///
/// # Errors
/// [`NameError::Name`], [`NameError::NoNetwork`].
pub fn check_network(name: &str) -> Result<(), NameError> {
    check("a network", name)?;
    if NO_NETWORKS.contains(&name) { Err(NameError::NoNetwork(name.to_owned())) } else { Ok(()) }
}

/// Checks an interface's name (kernel: `dev_valid_name`).
///
/// # Errors
/// [`NameError::InterfaceTooLong`], [`NameError::Interface`].
pub fn check_interface(name: &str) -> Result<(), NameError> {
    let refused = |c: u8| !c.is_ascii_graphic() || matches!(c, b'/' | b':' | b'%');
    if name.is_empty() || name == "." || name == ".." || name.bytes().any(refused) {
        return Err(NameError::Interface(name.to_owned()));
    }
    if name.len() > 15 { Err(NameError::InterfaceTooLong(name.to_owned())) } else { Ok(()) }
}

/// Checks a namespace's name, or its path when it has a slash.
///
/// # Errors
/// [`NameError::Namespace`], [`NameError::RelativePath`].
pub fn check_namespace(name: &str) -> Result<(), NameError> {
    if name.contains('/') {
        return if name.starts_with('/') { Ok(()) } else { Err(NameError::RelativePath(name.to_owned())) };
    }
    if name.is_empty() || name == "." || name == ".." || name.contains('\0') || name.len() > 255 {
        return Err(NameError::Namespace(name.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["a", "web-1", "0net", "A.b_c", &"x".repeat(63)] {
            assert_eq!(check("a network", good), Ok(()), "{good}");
        }
        for bad in ["", "-a", ".a", "_a", "a/b", "a b", "ä", &"x".repeat(64)] {
            assert!(check("a network", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn networks_have_names_that_mean_nothing_else() {
        for good in ["bridge", "nonesuch", "host-1"] {
            assert_eq!(check_network(good), Ok(()), "{good}");
        }
        for bad in ["none", "host", "-a"] {
            assert!(check_network(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn interface_names() {
        for good in ["eth0", "x", "0123456789abcde", "br-1.20"] {
            assert_eq!(check_interface(good), Ok(()), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "a\tb", "a:1", "eth%d", "ä"] {
            assert_eq!(check_interface(bad), Err(NameError::Interface(bad.into())), "{bad}");
        }
        let long = check_interface("0123456789abcdef").unwrap_err().to_string();
        assert!(long.contains("16 bytes") && long.contains("15"), "{long}");
    }

    #[test]
    fn namespace_names() {
        assert_eq!(check_namespace("web"), Ok(()));
        assert_eq!(check_namespace("/proc/1/ns/net"), Ok(()));
        for bad in ["", ".", "..", "a/b", "./a"] {
            assert!(check_namespace(bad).is_err(), "{bad}");
        }
    }
}
