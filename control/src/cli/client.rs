//! A small client: one request at a time over the daemon's unix socket.

use std::io;
use std::path::{Path, PathBuf};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

use super::args::DEFAULT_SOCKET;
use crate::api::types::ErrorBody;

/// Why a request came to nothing; each prints as one sentence.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens on the socket.
    #[error("no daemon is running on {}; start one with `{}`", .0.display(), start_command(.0))]
    NotRunning(PathBuf),
    /// The socket's permissions keep this user out.
    #[error(
        "permission denied on the daemon's socket {}; run this as root or as a member of the socket's group",
        .0.display()
    )]
    Denied(PathBuf),
    /// The path cannot be a socket's.
    #[error("the socket path {} is too long: a unix socket's path has at most 107 bytes", .0.display())]
    PathTooLong(PathBuf),
    /// Connecting failed in another way.
    #[error("cannot connect to the daemon's socket {}: {source}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The connection broke, or what answered does not speak HTTP.
    #[error("the daemon on {} gave no proper answer: {source}", path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// What hyper said.
        source: hyper::Error,
    },
    /// The connection broke in the middle of an answer that would have gone on.
    #[error("the daemon on {} has ended", .0.display())]
    Ended(PathBuf),
    /// The answer is not what this version of the API promises.
    #[error("the daemon on {} answered with something unexpected ({what}); is it another version of pontoon?", path.display())]
    Unexpected {
        /// The socket.
        path: PathBuf,
        /// What was wrong with it.
        what: String,
    },
    /// The daemon refused, in its own words.
    #[error("{sentence}")]
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// The daemon's sentence.
        sentence: String,
    },
    /// The client's own machinery could not start.
    #[error("cannot start the client: {0}")]
    Runtime(#[source] io::Error),
}

fn start_command(socket: &Path) -> String {
    if socket == Path::new(DEFAULT_SOCKET) {
        "pontoon daemon".to_owned()
    } else {
        format!("pontoon --socket {} daemon", socket.display())
    }
}

/// A client of the daemon on one socket. It connects anew for every request.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    runtime: Runtime,
}

impl Client {
    /// A client for the daemon on `socket`; nothing is sent yet.
    ///
    /// # Errors
    /// When the process is out of descriptors.
    pub fn new(socket: &Path) -> Result<Client, ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ClientError::Runtime)?;
        Ok(Client { socket: socket.to_owned(), runtime })
    }

    /// `GET path`.
    ///
    /// # Errors
    /// See [`ClientError`]; so for the methods below.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.parse(&self.request(Method::GET, path, None)?)
    }

    /// Sends `body` as JSON and reads the answer.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn send<B: Serialize, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &B,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|e| self.unexpected(e.to_string()))?;
        self.parse(&self.request(method, path, Some(body))?)
    }

    /// Sends `body` as JSON; the answer has nothing to say.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn send_only<B: Serialize>(&self, method: Method, path: &str, body: &B) -> Result<(), ClientError> {
        let body = serde_json::to_vec(body).map_err(|e| self.unexpected(e.to_string()))?;
        self.request(method, path, Some(body)).map(|_| ())
    }

    /// `DELETE path`, and what the daemon says of it.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.parse(&self.request(Method::DELETE, path, None)?)
    }

    /// Sends a request without a body whose answer does not matter.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn call(&self, method: Method, path: &str) -> Result<(), ClientError> {
        self.request(method, path, None).map(|_| ())
    }

    /// `GET path`, handing each line of the answer to `line` as it comes, until the daemon ends it or `line` fails.
    ///
    /// # Errors
    /// See [`ClientError`]; the outer result is the connection's, the inner one `line`'s.
    pub fn lines<E>(
        &self,
        path: &str,
        mut line: impl FnMut(&str) -> Result<(), E>,
    ) -> Result<Result<(), E>, ClientError> {
        self.runtime.block_on(async {
            let mut body = self.exchange(Method::GET, path, None).await?.into_body();
            let mut pending = Vec::new();
            while let Some(frame) = body.frame().await {
                let Ok(data) = frame.map_err(|_| ClientError::Ended(self.socket.clone()))?.into_data() else {
                    continue;
                };
                pending.extend_from_slice(&data);
                while let Some(end) = pending.iter().position(|&b| b == b'\n') {
                    let text = String::from_utf8_lossy(&pending[..end]).into_owned();
                    pending.drain(..=end);
                    if let Err(error) = line(&text) {
                        return Ok(Err(error));
                    }
                }
            }
            Ok(Ok(()))
        })
    }

    fn request(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<Bytes, ClientError> {
        self.runtime.block_on(async {
            let answer = self.exchange(method, path, body).await?;
            Ok(answer.into_body().collect().await.map_err(|e| self.broken(e))?.to_bytes())
        })
    }

    /// Connects, sends, and reads the head of the answer; an answer that is not a success becomes an error.
    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Response<Incoming>, ClientError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|e| self.refused_connection(e))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| self.broken(e))?;
        // The connection is driven until the answer has been read; its end carries no news.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "pontoon")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
            .map_err(|e| self.unexpected(e.to_string()))?;
        let answer = sender.send_request(request).await.map_err(|e| self.broken(e))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let body = answer.into_body().collect().await.map_err(|e| self.broken(e))?.to_bytes();
        match serde_json::from_slice::<ErrorBody>(&body) {
            Ok(body) => Err(ClientError::Refused { status, sentence: body.error }),
            Err(_) => Err(self.unexpected(format!("status {status} without a reason"))),
        }
    }

    fn parse<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, ClientError> {
        serde_json::from_slice(body).map_err(|e| self.unexpected(e.to_string()))
    }

    fn refused_connection(&self, source: io::Error) -> ClientError {
        let path = self.socket.clone();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory => {
                ClientError::NotRunning(path)
            }
            io::ErrorKind::PermissionDenied => ClientError::Denied(path),
            // What the standard library says of a path that does not fit into `sockaddr_un`.
            io::ErrorKind::InvalidInput => ClientError::PathTooLong(path),
            _ => ClientError::Connect { path, source },
        }
    }

    fn broken(&self, source: hyper::Error) -> ClientError {
        ClientError::Broken { path: self.socket.clone(), source }
    }

    fn unexpected(&self, what: String) -> ClientError {
        ClientError::Unexpected { path: self.socket.clone(), what }
    }
}

/// A path below the API's root, each part of it percent-encoded (RFC 3986, section 2.3: all but the unreserved).
pub fn path(parts: &[&str]) -> String {
    parts.iter().fold(String::new(), |path, part| path + "/" + &encode(part))
}

/// One part of a path, or one value of a query, percent-encoded.
pub fn encode(part: &str) -> String {
    let mut out = String::with_capacity(part.len());
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::api::types::Stats;

    /// Answers one request with `answer` and returns what the client asked.
    fn serve_once(listener: UnixListener, answer: &'static str) -> std::thread::JoinHandle<String> {
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            while !request.windows(4).any(|w| w == b"\r\n\r\n") {
                let n = stream.read(&mut buffer).unwrap();
                request.extend_from_slice(&buffer[..n]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(request).unwrap()
        })
    }

    fn get_stats(socket: &Path) -> Result<Stats, ClientError> {
        Client::new(socket).unwrap().get("/stats")
    }

    #[test]
    fn a_daemon_that_is_not_running_is_said_so_with_the_way_to_start_it() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("p.sock");
        let expected = format!(
            "no daemon is running on {0}; start one with `pontoon --socket {0} daemon`",
            socket.display()
        );
        assert_eq!(get_stats(&socket).unwrap_err().to_string(), expected);
        // A stale socket: the file is there, but nobody listens.
        drop(UnixListener::bind(&socket).unwrap());
        assert_eq!(get_stats(&socket).unwrap_err().to_string(), expected);
        let default = ClientError::NotRunning(DEFAULT_SOCKET.into()).to_string();
        assert_eq!(
            default,
            format!("no daemon is running on {DEFAULT_SOCKET}; start one with `pontoon daemon`")
        );
    }

    #[test]
    fn permission_denied_and_long_paths_are_named() {
        let client = Client::new(Path::new("/p.sock")).unwrap();
        let denied = client.refused_connection(io::ErrorKind::PermissionDenied.into()).to_string();
        assert!(
            denied.starts_with("permission denied on the daemon's socket /p.sock; run this as root"),
            "{denied}"
        );
        let long = PathBuf::from(format!("/tmp/{}", "x".repeat(120)));
        let error = get_stats(&long).unwrap_err().to_string();
        assert!(error.contains("at most 107 bytes"), "{error}");
    }

    #[test]
    fn a_real_denial_when_not_root() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("p.sock");
        let _listener = UnixListener::bind(&socket).unwrap();
        std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o000)).unwrap();
        if !rustix::process::geteuid().is_root() {
            assert!(matches!(get_stats(&socket), Err(ClientError::Denied(_))));
        }
    }

    #[test]
    fn the_daemons_own_sentence_is_passed_on() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("p.sock");
        let server = serve_once(
            UnixListener::bind(&socket).unwrap(),
            "HTTP/1.1 409 Conflict\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n\
             {\"error\":\"network blue exists already\"}",
        );
        let error = get_stats(&socket).unwrap_err();
        assert_eq!(error.to_string(), "network blue exists already");
        assert!(matches!(error, ClientError::Refused { status: StatusCode::CONFLICT, .. }));
        assert!(server.join().unwrap().starts_with("GET /stats HTTP/1.1\r\n"));
    }

    #[test]
    fn strangers_on_the_socket_are_recognised() {
        let dir = tempfile::tempdir().unwrap();
        for (name, answer, expected) in [
            ("a", "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello", "something unexpected"),
            ("b", "HTTP/1.1 500 Oops\r\nconnection: close\r\n\r\nhello", "status 500"),
            ("c", "220 mail.example ESMTP\r\n", "no proper answer"),
        ] {
            let socket = dir.path().join(name);
            let server = serve_once(UnixListener::bind(&socket).unwrap(), answer);
            let error = get_stats(&socket).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains(&*socket.to_string_lossy()), "{error}");
            server.join().unwrap();
        }
    }

    #[test]
    fn lines_come_one_by_one_and_stop_when_told() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("p.sock");
        let server = serve_once(
            UnixListener::bind(&socket).unwrap(),
            "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\none\ntwo\nthree\n",
        );
        let mut seen = Vec::new();
        let end = Client::new(&socket).unwrap().lines("/events", |line| {
            seen.push(line.to_owned());
            if line == "two" { Err("enough") } else { Ok(()) }
        });
        assert_eq!((seen, end.unwrap()), (vec!["one".to_owned(), "two".to_owned()], Err("enough")));
        server.join().unwrap();
    }

    #[test]
    fn a_daemon_that_ends_in_between_is_said_so() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("p.sock");
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\none\n";
        let server = serve_once(UnixListener::bind(&socket).unwrap(), answer);
        let end = Client::new(&socket).unwrap().lines("/events", |_| Ok::<(), ()>(()));
        assert_eq!(end.unwrap_err().to_string(), format!("the daemon on {} has ended", socket.display()));
        server.join().unwrap();
    }

    #[test]
    fn names_cannot_break_out_of_the_path() {
        assert_eq!(path(&["networks", "a/../b c"]), "/networks/a%2F..%2Fb%20c");
        assert_eq!(path(&["ports", "blue", "web-1.x_y~"]), "/ports/blue/web-1.x_y~");
    }
}
