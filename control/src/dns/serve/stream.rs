//! TCP (RFC 7766): questions one after another, answers in the order in which they are ready.
//!
//! A connection ends when nothing has come for [`IDLE`] or the asker does not take what was said to him, and takes with it what is still
//! under way for it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{LONGEST_QUERY, PAUSE, Reaction, Shared, TURN, asker, holder};
use crate::dns::count::Count;
use crate::dns::forward::{forward, write_framed};
use crate::dns::message::Transport;
use crate::dns::place::Place;
use crate::dns::share::Permit;
use crate::dns::zone::Asker;

/// How long a connection lives without a question, and how long an answer may take to be taken.
const IDLE: Duration = Duration::from_secs(10);

/// Answers of a connection that wait to be written; with more of them no further question is read.
const WAITING: usize = 16;

/// Accepts connections for ever.
pub(super) async fn serve(shared: &Arc<Shared>, place: &Place, listener: &TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok((stream, SocketAddr::V4(from))) => {
                let asker = asker(place, *from.ip());
                match shared.connections.take(holder(&shared.zone(), &asker)) {
                    Some(permit) => {
                        connections.spawn(connection(Arc::clone(shared), asker, stream, permit));
                    }
                    None => shared.counters.count(Count::TooManyConnections),
                }
            }
            Ok((_, SocketAddr::V6(_))) => {}
            // This one has gone already, or there are no more open files to be had.
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(shared: Arc<Shared>, asker: Asker, stream: TcpStream, _permit: Permit) {
    // Only makes it slower.
    let _ = stream.set_nodelay(true);
    let (read, write) = stream.into_split();
    let (say, said) = mpsc::channel(WAITING);
    // Whichever ends first ends both: who does not take answers has no more questions, and after the last question only what is under way
    // counts.
    tokio::select! {
        () = write_all(write, said) => {}
        () = read_all(&shared, &asker, read, say) => {}
    }
}

/// Reads questions until the asker has no more; then waits for what is under way.
async fn read_all(
    shared: &Arc<Shared>,
    asker: &Asker,
    mut stream: OwnedReadHalf,
    say: mpsc::Sender<Vec<u8>>,
) {
    let mut under_way = JoinSet::new();
    for number in 1usize.. {
        let Ok(Ok(message)) = timeout(IDLE, read_framed(&mut stream)).await else { break };
        match shared.receive(asker, Transport::Tcp, &message) {
            Reaction::Nothing => {}
            Reaction::Say(answer) => {
                if say.send(answer).await.is_err() {
                    return;
                }
            }
            Reaction::Ask(asked, permit) => {
                let (shared, asker, say) = (Arc::clone(shared), asker.clone(), say.clone());
                under_way.spawn(async move {
                    let answer = forward(&shared, &asker, Transport::Tcp, &asked).await;
                    drop(permit);
                    // A connection that has ended wants no answer.
                    let _ = say.send(answer).await;
                });
            }
        }
        while under_way.try_join_next().is_some() {}
        if number % TURN == 0 {
            tokio::task::yield_now().await;
        }
    }
    while under_way.join_next().await.is_some() {}
    drop(say);
    // The writer ends the connection when it has written everything.
    std::future::pending().await
}

async fn read_framed(stream: &mut OwnedReadHalf) -> io::Result<Vec<u8>> {
    let length = usize::from(stream.read_u16().await?);
    if length > LONGEST_QUERY {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// Writes answers until there will be no more, or one is not taken.
async fn write_all(mut stream: OwnedWriteHalf, mut said: mpsc::Receiver<Vec<u8>>) {
    while let Some(answer) = said.recv().await {
        match timeout(IDLE, write_framed(&mut stream, &answer)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
    // Whatever it says, it is over.
    let _ = stream.shutdown().await;
}
