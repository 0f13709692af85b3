//! Request and response: one byte there and one byte back over one TCP connection, again and again.
//!
//! The two sides are kept on different processors. A scheduler that happens to put both on one spares a kernel bridge the wake-up of
//! the other, most of the figure, and does so in one lab and not in the next.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use socket2::SockRef;

use super::{PATIENCE, Time, any_port, socket_in};
use crate::bench::error::{BenchError, cannot, joined};
use crate::bench::lab::Station;

/// Round-trip times in microseconds, sorted.
pub(crate) fn measure(client: &Station, server: &Station, time: Time) -> Result<Vec<f64>, BenchError> {
    let listener = socket_in(server, "listen on", || TcpListener::bind(any_port(server)))?;
    SockRef::from(&listener).set_read_timeout(Some(PATIENCE)).map_err(cannot("set a timeout"))?;
    let target = listener.local_addr().map_err(cannot("listen"))?;
    let what = format!("connect to {target} from");
    let client = socket_in(client, &what, || TcpStream::connect_timeout(&target, PATIENCE))?;
    let (server, _) = listener.accept().map_err(cannot("accept a connection"))?;
    for end in [&client, &server] {
        end.set_nodelay(true).map_err(cannot("set TCP_NODELAY"))?;
        end.set_read_timeout(Some(PATIENCE)).map_err(cannot("set a timeout"))?;
    }
    thread::scope(|scope| {
        scope.spawn(move || answer(server));
        let asker = scope.spawn(move || ask(client, time));
        let mut times = joined(asker.join()).map_err(cannot("get an answer"))?;
        times.sort_unstable_by(f64::total_cmp);
        Ok(times)
    })
}

fn answer(mut stream: TcpStream) {
    stay_on_processor(1);
    let mut byte = [0];
    // Until the asker has gone.
    while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
}

fn ask(mut stream: TcpStream, time: Time) -> io::Result<Vec<f64>> {
    stay_on_processor(0);
    let mut ask = || -> io::Result<Duration> {
        let start = Instant::now();
        stream.write_all(&[0x5a])?;
        stream.read_exact(&mut [0])?;
        Ok(start.elapsed())
    };
    let start = Instant::now();
    while start.elapsed() < time.warm_up {
        ask()?;
    }
    let start = Instant::now();
    let mut times = Vec::new();
    // The shortest window has one.
    while times.is_empty() || start.elapsed() < time.window {
        times.push(ask()?.as_secs_f64() * 1e6);
    }
    Ok(times)
}

/// Keeps the calling thread on the processor of that number among those that it may use. Where there is none it goes where it likes.
fn stay_on_processor(number: usize) {
    let Ok(all) = sched_getaffinity(None) else { return };
    let Some(processor) = (0..CpuSet::MAX_CPU).filter(|cpu| all.is_set(*cpu)).nth(number) else { return };
    let mut one = CpuSet::new();
    one.set(processor);
    // As good as it gets.
    let _ = sched_setaffinity(None, &one);
}
