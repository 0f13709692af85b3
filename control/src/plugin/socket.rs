//! Where Docker finds the driver: a socket in `/run/docker/plugins`, made here or handed over by systemd.
//!
//! The Engine takes the driver's name from the socket's, so the file is `pontoon.sock`. With socket activation it outlives the daemon, and a
//! call that comes while none runs waits instead of failing.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::error::write_hint;
use crate::sys;

/// Where the Engine looks for drivers.
pub const DEFAULT: &str = "/run/docker/plugins/pontoon.sock";

/// What a socket unit must call the descriptor (`FileDescriptorName=`).
pub const DESCRIPTOR: &str = "docker-plugin";

/// The driver is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another daemon serves it.
    #[error(
        "another daemon is Docker's driver on {} already; stop it, or give this one another --docker-plugin, or `--docker-plugin off`",
        .0.display()
    )]
    Running(PathBuf),
    /// Something else than a socket is there.
    #[error("{} is there and is not a socket; remove it or give another --docker-plugin", .0.display())]
    NotASocket(PathBuf),
    /// A file or directory.
    #[error("cannot {action} {}: {source}{}", path.display(), write_hint(source))]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// A listening socket. One that was made here is removed when this is dropped.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    made: Option<PathBuf>,
}

impl Socket {
    /// The one that systemd handed over, else one that is made at `path`.
    ///
    /// # Errors
    /// Another daemon has it, or it cannot be made.
    pub fn listen(path: &Path) -> Result<Socket, SocketError> {
        match sys::inherited_socket(DESCRIPTOR) {
            Some(listener) => Ok(Socket { listener, made: None }),
            None => Socket::make(path),
        }
    }

    fn make(path: &Path) -> Result<Socket, SocketError> {
        let file = |action| move |source| SocketError::File { action, path: path.to_owned(), source };
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(file("create the directory of"))?;
        }
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(file("look at")(error)),
            Ok(there) if !there.file_type().is_socket() => {
                return Err(SocketError::NotASocket(path.to_owned()));
            }
            Ok(_) if UnixStream::connect(path).is_ok() => return Err(SocketError::Running(path.to_owned())),
            Ok(_) => fs::remove_file(path).map_err(file("remove the stale socket"))?,
        }
        let listener = UnixListener::bind(path).map_err(file("listen on"))?;
        let socket = Socket { listener, made: Some(path.to_owned()) };
        // Whoever may connect may do what root may to networks.
        fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(file("set the mode of"))?;
        Ok(socket)
    }

    /// Another handle on the listener, for an asynchronous server.
    ///
    /// # Errors
    /// The system has no more descriptors.
    pub fn listener(&self) -> io::Result<UnixListener> {
        let listener = self.listener.try_clone()?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(path) = &self.made {
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_socket_is_replaced_and_a_living_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plugins/pontoon.sock");
        let living = Socket::listen(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let error = Socket::listen(&path).unwrap_err().to_string();
        assert!(error.contains("another daemon is Docker's driver on"), "{error}");
        drop(living);
        assert!(!path.exists());
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "a killed daemon leaves its socket");
        drop(Socket::listen(&path).unwrap());
    }

    #[test]
    fn what_is_no_socket_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pontoon.sock");
        fs::write(&path, "precious").unwrap();
        let error = Socket::listen(&path).unwrap_err().to_string();
        assert!(error.contains("is not a socket"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
