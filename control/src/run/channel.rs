//! Messages between `pontoon run` and process 1 of its sandbox, one datagram each, in order; who receives learns of the other's end.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, send, sendmsg, socketpair,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::files::Files;

/// The longest message in bytes: twice what is read of a resolv.conf, as JSON may write a byte as two.
const LONGEST: usize = 2 * super::files::LARGEST + 4096;

/// What process 1 says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum FromInit {
    /// Its namespaces are there.
    Ready,
    /// The command runs.
    Started,
    /// It does not, and why.
    Failed {
        /// For people.
        sentence: String,
        /// For shells.
        code: u8,
    },
}

/// What process 1 is told.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum ToInit {
    /// Start the command; standard input comes along.
    Go(Files),
    /// Pass this signal on.
    Signal(i32),
}

/// One end.
#[derive(Debug)]
pub(super) struct Channel(OwnedFd);

impl Channel {
    /// Our end, and the one that becomes standard input of the other process.
    pub(super) fn pair() -> io::Result<(Channel, OwnedFd)> {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Channel(ours), theirs))
    }

    /// The end that this process was given as standard input.
    pub(super) fn inherited() -> io::Result<Channel> {
        io::stdin().as_fd().try_clone_to_owned().map(Channel)
    }

    pub(super) fn send<T: Serialize>(&self, message: &T) -> io::Result<()> {
        send(&self.0, &serde_json::to_vec(message)?, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Sends a descriptor along.
    pub(super) fn send_with<T: Serialize>(&self, message: &T, descriptor: impl AsFd) -> io::Result<()> {
        let text = serde_json::to_vec(message)?;
        let descriptors = [descriptor.as_fd()];
        let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut along = SendAncillaryBuffer::new(&mut room);
        along.push(SendAncillaryMessage::ScmRights(&descriptors));
        sendmsg(&self.0, &[IoSlice::new(&text)], &mut along, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// The next message; none when the other side has ended.
    pub(super) fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<T>> {
        Ok(self.receive_with()?.map(|(message, _)| message))
    }

    /// The next message with the descriptor that came along.
    pub(super) fn receive_with<T: DeserializeOwned>(&self) -> io::Result<Option<(T, Option<OwnedFd>)>> {
        let mut text = vec![0; LONGEST];
        let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut along = RecvAncillaryBuffer::new(&mut room);
        let received = rustix::io::retry_on_intr(|| {
            recvmsg(&self.0, &mut [IoSliceMut::new(&mut text)], &mut along, RecvFlags::CMSG_CLOEXEC)
        })?;
        if received.bytes == 0 {
            return Ok(None);
        }
        let descriptor = along.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        text.truncate(received.bytes);
        Ok(Some((serde_json::from_slice(&text)?, descriptor)))
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}
