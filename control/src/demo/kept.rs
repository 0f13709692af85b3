//! Ways into a demo that stays up, from outside of its private namespaces.

use serde::Serialize;

use super::lab::Lab;
use super::outside;
use crate::cli::args::DEFAULT_SOCKET;
use crate::private::Way;

/// Where a demo that stays up is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Kept {
    /// The process to end it by.
    pub pid: u32,
    /// By whom the ways in can be used: root, or the same user.
    pub way: Way,
    /// The daemon's socket, as others see it.
    pub socket: String,
    /// The sandboxes.
    pub sandboxes: Vec<Sandbox>,
    /// The world outside.
    pub outside: Sandbox,
}

/// A namespace, and how to enter it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Sandbox {
    /// Its name; of sandboxes the endpoint's as well.
    pub name: String,
    /// Its namespace's file, as others see it.
    pub netns: String,
    /// The command that enters it, to be followed by the command to run in there.
    pub enter: Vec<String>,
}

impl Kept {
    pub(super) fn of(lab: &Lab, way: Way) -> Kept {
        Kept::with(std::process::id(), lab.stations.iter().map(|station| station.name), way)
    }

    fn with<'a>(pid: u32, names: impl Iterator<Item = &'a str>, way: Way) -> Kept {
        // Our mounts are private: through /proc/PID/root others see them as we do.
        let root = format!("/proc/{pid}/root");
        let sandbox = |name: &str| {
            let netns = format!("{root}/run/netns/{name}");
            let mut enter = vec!["nsenter".to_owned()];
            if way == Way::User {
                enter.extend([format!("--user=/proc/{pid}/ns/user"), "--preserve-credentials".to_owned()]);
            }
            enter.push(format!("--net={netns}"));
            Sandbox { name: name.to_owned(), netns, enter }
        };
        let (socket, outside) = (format!("{root}{DEFAULT_SOCKET}"), sandbox(outside::NAME));
        Kept { pid, way, socket, sandboxes: names.map(sandbox).collect(), outside }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sandboxes_are_entered_through_the_process() {
        let root = Kept::with(7, ["red"].into_iter(), Way::Root);
        assert_eq!(root.socket, "/proc/7/root/run/pontoon/pontoon.sock");
        assert_eq!(root.sandboxes[0].enter, ["nsenter", "--net=/proc/7/root/run/netns/red"]);
        let user = Kept::with(7, ["red"].into_iter(), Way::User);
        assert_eq!(user.sandboxes[0].enter[1], "--user=/proc/7/ns/user");
    }
}
