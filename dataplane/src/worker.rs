//! Worker threads: the only place where I/O meets decision.
//!
//! A worker owns the receiving side of some ports and may send by any port. One turn reads a bounded batch from a
//! port, a few frames at a time ([`AHEAD`]), into buffers that are written out again at once: a frame's bytes stay in the cache between
//! the two system calls, and nothing is queued here that could grow.

mod affinity;
mod command;
mod doorbell;
mod egress;
mod handover;
mod mailbox;
mod placement;
mod spin;
mod wake;

use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, TrySendError};
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;

use crate::edge::Edge;
use crate::edge::punt::{Answer, Request};
use crate::engine::Event;
use crate::frame::Frame;
use crate::network::PortId;
use crate::out::Out;
use crate::port::Received;
use crate::port::buffer::Buffer;
use crate::step::Core;
use crate::time::Timestamp;
use crate::verdict::{DropReason, Verdict};
pub(crate) use command::{Command, Inspect};
use egress::Egress;
pub(crate) use egress::PortIo;
pub(crate) use handover::{HandOver, hand_overs};
pub(crate) use mailbox::{Gone, Mailbox, Post, mailbox, settle};
pub(crate) use placement::Placement;
use placement::Stay;
use spin::Spin;
pub(crate) use wake::Wake;

/// Frames read from one port before the next one has its turn. More did not pay (batches above 8 are within noise),
/// and 32 super-frames are 2 MiB: the longest that a port waits for its neighbour.
const BATCH: usize = 32;

/// Frames that are read from a port before the first of them is decided about. Reads that follow one another and then writes that do are
/// a tenth faster for small frames than one after the other, and super-frames take less time of the processor; more than these gain nothing
/// (docs/performance.md), and leave the cache.
const AHEAD: usize = 4;

/// Turns over the busy ports before the idle ones are asked again. Asking costs a system call; a port that wakes up waits
/// for this many turns at most.
const TURNS_BETWEEN_POLLS: u32 = 16;

/// A lane leaves the queue of busy ones after this many turns in which others had frames and it had none: each such turn
/// costs a system call for nothing, and a few ports that talk must not pay for hundreds that once did.
const SILENT_TURNS: u32 = 64;

/// How often a port that went down is looked at, whether it is still there.
const LOOK_AFTER_DOWN: Duration = Duration::from_millis(250);

/// Marks the worker's own wake-up descriptor among the ports' numbers.
const WAKE: u64 = u64::MAX;

/// What a worker needs from outside.
#[derive(Debug)]
pub(crate) struct WorkerSetup {
    pub(crate) number: usize,
    pub(crate) mailbox: Mailbox<Command>,
    pub(crate) events: Sender<Event>,
    pub(crate) requests: Sender<Request>,
    pub(crate) handover: HandOver,
    pub(crate) placement: Placement,
    pub(crate) epoch: Instant,
    pub(crate) spin: Duration,
    pub(crate) niceness: i32,
}

/// A port that this worker reads from.
#[derive(Debug)]
struct Lane {
    io: Arc<PortIo>,
    /// In the queue of busy lanes.
    busy: bool,
    /// Turns since its last frame in which others had some.
    silent: u32,
    stay: Stay,
}

/// What was read from a port before anything of it was decided about.
struct Ahead {
    /// So many of the buffers are filled.
    frames: usize,
    /// So many frames were there, those that were dropped or passed over included.
    read: usize,
    /// There is nothing more for now, or there will not be.
    end: Option<io::Result<()>>,
}

/// One worker.
#[derive(Debug)]
pub(crate) struct Worker {
    core: Core,
    out: Out,
    /// The frame that is decided about.
    buffer: Buffer,
    /// Those that come next.
    ahead: [Buffer; AHEAD],
    egress: Egress,
    lanes: Vec<Option<Lane>>,
    busy: VecDeque<PortId>,
    /// Frames came in the last turn.
    traffic: bool,
    /// Other workers handed frames over lately: they are looked after as a busy lane is.
    handed_over: bool,
    /// Frames that this one handed over in a port's turn.
    given: usize,
    /// Frames that had to wait may go on, more of them than one turn allows.
    more_ready: bool,
    /// Ports whose interface went down, and when to look at them next.
    down: Vec<PortId>,
    next_look: Timestamp,
    epoll: OwnedFd,
    spin: Spin,
    next_tick: Option<Timestamp>,
    setup: WorkerSetup,
}

impl Worker {
    pub(crate) fn new(setup: WorkerSetup) -> io::Result<Worker> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, setup.mailbox.wake().as_fd(), EventData::new_u64(WAKE), EventFlags::IN)?;
        Ok(Worker {
            core: Core::new(setup.number),
            out: Out::new(),
            buffer: Buffer::new(),
            ahead: std::array::from_fn(|_| Buffer::new()),
            egress: Egress::new(setup.events.clone()),
            lanes: Vec::new(),
            busy: VecDeque::new(),
            traffic: false,
            handed_over: false,
            given: 0,
            more_ready: false,
            down: Vec::new(),
            next_look: Timestamp::ZERO,
            epoll,
            spin: Spin::new(setup.spin),
            next_tick: Some(Timestamp::ZERO),
            setup,
        })
    }

    /// Runs until told to stop.
    pub(crate) fn run(mut self) {
        // On Linux this is the calling thread's own. Without the privilege the worker is a thread like any other.
        let _ = rustix::process::nice(self.setup.niceness);
        let mut turns_until_poll = 0;
        loop {
            if self.is_idle() {
                if self.wait_for_work() {
                    return;
                }
                turns_until_poll = TURNS_BETWEEN_POLLS;
            } else if turns_until_poll == 0 {
                if self.poll(Some(Duration::ZERO)) {
                    return;
                }
                turns_until_poll = TURNS_BETWEEN_POLLS;
            }
            turns_until_poll -= 1;
            let now = self.now();
            self.visit_busy_lanes(now);
            if self.more_ready {
                self.let_waiting_go_on(now);
            }
            self.tick_if_due(now);
        }
    }

    fn is_idle(&self) -> bool {
        self.busy.is_empty() && !self.handed_over && !self.more_ready
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.setup.epoch.elapsed().as_millis() as u64)
    }

    /// Every busy lane has its turn. One that stays silent leaves the queue after [`SILENT_TURNS`]; when all are silent,
    /// they leave it when spinning does not pay any longer.
    fn visit_busy_lanes(&mut self, now: Timestamp) {
        let mut frames = self.take_handed_over(now);
        for _ in 0..self.busy.len() {
            let Some(id) = self.busy.pop_front() else { break };
            let Some(lane) = self.lanes.get(id.index()).and_then(Option::as_ref) else { continue };
            let io = Arc::clone(&lane.io);
            match self.read_batch(now, &io) {
                Ok(read) => {
                    frames += read;
                    if read > 0 && !self.down.is_empty() {
                        self.down.retain(|&down| down != id);
                    }
                    self.judge_place(now, id, read);
                    if self.stays_busy(id, read) {
                        self.busy.push_back(id);
                    }
                }
                Err(error) => self.lose(&io, &error),
            }
        }
        self.traffic = frames > 0;
        if self.traffic {
            self.spin.saw_traffic();
            self.setup.placement.found(frames);
        } else if self.spin.is_over() {
            self.handed_over = false;
            for id in self.busy.drain(..) {
                if let Some(lane) = self.lanes.get_mut(id.index()).and_then(Option::as_mut) {
                    lane.busy = false;
                }
            }
        } else {
            // On a machine with few CPUs the one we wait for may need ours.
            self.setup.placement.give_way();
        }
    }

    /// Says so when another worker had better read the port.
    fn judge_place(&mut self, now: Timestamp, port: PortId, read: usize) {
        let given = std::mem::take(&mut self.given);
        let Some(lane) = self.lanes.get_mut(port.index()).and_then(Option::as_mut) else { return };
        if let Some(reader) = self.setup.placement.judge(now, &mut lane.stay, read, given) {
            let _ = self.setup.events.send(Event::ReadElsewhere { port, reader });
        }
    }

    fn stays_busy(&mut self, id: PortId, read: usize) -> bool {
        let Some(lane) = self.lanes.get_mut(id.index()).and_then(Option::as_mut) else { return false };
        lane.silent = if read > 0 { 0 } else { lane.silent + u32::from(self.traffic) };
        lane.busy = lane.silent < SILENT_TURNS;
        lane.busy
    }

    /// The life of a frame: read, decided about, sent. Returns how many were read.
    fn read_batch(&mut self, now: Timestamp, ingress: &PortIo) -> io::Result<usize> {
        let mut read = 0;
        loop {
            let ahead = self.read_ahead(now, ingress);
            for place in 0..ahead.frames {
                std::mem::swap(&mut self.buffer, &mut self.ahead[place]);
                self.decide(now, ingress.id);
            }
            read += ahead.read;
            match ahead.end {
                None if read < BATCH => {}
                None => return Ok(read),
                Some(end) => return end.map(|()| read),
            }
        }
    }

    /// Reads up to [`AHEAD`] frames.
    fn read_ahead(&mut self, now: Timestamp, ingress: &PortIo) -> Ahead {
        let mut ahead = Ahead { frames: 0, read: 0, end: None };
        while ahead.read < AHEAD {
            match ingress.device.recv(&mut self.ahead[ahead.frames]) {
                Ok(Received::Frame) => ahead.frames += 1,
                Ok(Received::Dropped(reason)) => {
                    if let Some(port) = self.core.snapshot().port(ingress.id) {
                        // The kernel kept the bytes, or they make no sense: the buffer still holds an earlier frame.
                        self.core.count_drop(port, reason, 0);
                    }
                }
                Ok(Received::Skipped) => {}
                Ok(Received::Empty) => {
                    ahead.end = Some(Ok(()));
                    break;
                }
                Ok(Received::Down) => {
                    if !self.down.contains(&ingress.id) {
                        self.down.push(ingress.id);
                    }
                    self.next_look = now + LOOK_AFTER_DOWN;
                    ahead.end = Some(Ok(()));
                    break;
                }
                Err(error) => {
                    ahead.end = Some(Err(error));
                    break;
                }
            }
            ahead.read += 1;
        }
        ahead
    }

    #[inline]
    fn decide(&mut self, now: Timestamp, ingress: PortId) {
        match self.core.step(now, ingress, &self.buffer.frame(), &mut self.out) {
            Verdict::HandOver => self.hand_over(ingress),
            Verdict::Drop(DropReason::Loop) => self.report_loop(),
            _ => self.carry_out(now),
        }
    }

    #[cold]
    fn report_loop(&mut self) {
        if let Some(seen) = self.core.take_loop() {
            let _ = self.setup.events.send(Event::LoopSeen(seen));
        }
    }

    /// Sends what the core decided about the frame in the buffer, and lets go on what waited for that very frame.
    #[inline]
    fn carry_out(&mut self, now: Timestamp) {
        self.send(now);
        self.let_waiting_go_on(now);
    }

    #[inline]
    fn send(&mut self, now: Timestamp) {
        self.egress.send(&self.core, &self.out, &mut self.buffer);
        self.ask(now);
    }

    /// Asks control what the edge wants to know. A question for which there is no room is forgotten: the edge asks again. A port that
    /// could not be given back is kept still.
    #[inline]
    fn ask(&mut self, now: Timestamp) {
        for request in self.out.requests() {
            if let Err(TrySendError::Full(Request::ReleasePort { protocol, port })) =
                self.setup.requests.try_send(*request)
            {
                self.core.answer(now, &Answer::PortKept { protocol, port });
            }
        }
    }

    /// Frames that had to wait and may go on, at most a batch of them.
    #[inline]
    fn let_waiting_go_on(&mut self, now: Timestamp) {
        self.more_ready = false;
        let mut gone_on = 0;
        while let Some(held) = self.core.next_ready() {
            self.buffer.load(&Frame { bytes: &held.bytes, offload: held.offload });
            self.core.resume(now, held.ingress, &self.buffer.frame(), &mut self.out);
            self.send(now);
            gone_on += 1;
            if gone_on == BATCH {
                self.more_ready = true;
                return;
            }
        }
    }

    /// The frame in the buffer is for the edge, which another worker owns.
    fn hand_over(&mut self, ingress: PortId) {
        self.given += 1;
        let HandOver::Give(giver) = &mut self.setup.handover else { return };
        if !giver.give(ingress, &mut self.buffer)
            && let Some(port) = self.core.snapshot().port(ingress)
        {
            self.core.count_drop(port, DropReason::EdgeBusy, self.buffer.frame().bytes.len());
        }
    }

    /// A batch from each of the other workers. Returns how many frames there were.
    fn take_handed_over(&mut self, now: Timestamp) -> usize {
        let queues = match &self.setup.handover {
            HandOver::Take(taker) => taker.queues(),
            HandOver::Give(_) => 0,
        };
        let taken = (0..queues).map(|queue| self.take_from(queue, now)).sum();
        self.handed_over |= taken > 0;
        taken
    }

    fn take_from(&mut self, queue: usize, now: Timestamp) -> usize {
        for taken in 0..BATCH {
            let HandOver::Take(taker) = &self.setup.handover else { return taken };
            let Some(handed) = taker.take(queue) else { return taken };
            // The buffer that a giver filled and the one at hand change places.
            let empty = std::mem::replace(&mut self.buffer, handed.buffer);
            taker.give_back(queue, empty);
            self.core.resume(now, handed.ingress, &self.buffer.frame(), &mut self.out);
            self.carry_out(now);
        }
        BATCH
    }

    fn tick_if_due(&mut self, now: Timestamp) {
        if !self.down.is_empty() && now >= self.next_look {
            self.next_look = now + LOOK_AFTER_DOWN;
            self.look_after_down();
        }
        if self.next_tick().is_some_and(|due| now >= due) {
            self.next_tick = self.core.tick(now, &mut self.out);
            self.egress.send_made(&self.core, &self.out);
            self.ask(now);
            self.let_waiting_go_on(now);
        }
    }

    /// When the core wants its tick: as it said last, or earlier because of frames that came since.
    fn next_tick(&self) -> Option<Timestamp> {
        let since = self.core.edge().and_then(Edge::due);
        [self.next_tick, since].into_iter().flatten().min()
    }

    fn look_after_down(&mut self) {
        for id in std::mem::take(&mut self.down) {
            let Some(lane) = self.lanes.get(id.index()).and_then(Option::as_ref) else { continue };
            let io = Arc::clone(&lane.io);
            if io.device.is_gone() {
                self.lose(&io, &Errno::NODEV.into());
            } else {
                self.down.push(id);
            }
        }
    }

    /// Sleeps until a port or control has something, or time does. Returns whether to stop.
    fn wait_for_work(&mut self) -> bool {
        let next_look = (!self.down.is_empty()).then_some(self.next_look);
        let due = [self.next_tick(), next_look].into_iter().flatten().min();
        let timeout = due.map(|due| due.since(self.now()));
        let stop = if self.fall_asleep() { self.poll(timeout) } else { self.poll(Some(Duration::ZERO)) };
        if let HandOver::Take(taker) = &self.setup.handover {
            taker.wake_up();
        }
        self.spin.woke_up();
        stop
    }

    /// Whether the worker may sleep: if not, frames were handed over just now.
    fn fall_asleep(&mut self) -> bool {
        match &self.setup.handover {
            HandOver::Take(taker) => {
                self.handed_over = !taker.fall_asleep();
                !self.handed_over
            }
            HandOver::Give(_) => true,
        }
    }

    /// Asks which ports have something and moves them to the busy queue. Returns whether to stop.
    fn poll(&mut self, timeout: Option<Duration>) -> bool {
        let timeout =
            timeout.map(|t| Timespec { tv_sec: t.as_secs() as i64, tv_nsec: i64::from(t.subsec_nanos()) });
        let mut space = [MaybeUninit::<epoll::Event>::uninit(); 64];
        let ready = match epoll::wait(&self.epoll, &mut space, timeout.as_ref()) {
            Ok((ready, _)) => ready,
            Err(Errno::INTR) => return false,
            // Cannot happen with a descriptor of our own; going on would spin.
            Err(errno) => {
                let (worker, cause) = (self.setup.number, errno.to_string());
                let _ = self.setup.events.send(Event::WorkerStopped { worker, cause });
                return true;
            }
        };
        let mut stop = false;
        for event in ready {
            let word = event.data.u64();
            if word == WAKE {
                self.setup.mailbox.wake().heed();
                // It may be that a frame was handed over, too.
                self.handed_over |=
                    matches!(&self.setup.handover, HandOver::Take(taker) if taker.has_frames());
                stop |= self.obey();
                continue;
            }
            let id = PortId(word as u16);
            let Some(lane) = self.lanes.get_mut(id.index()).and_then(Option::as_mut) else { continue };
            if !lane.busy {
                (lane.busy, lane.silent) = (true, 0);
                self.busy.push_back(id);
            }
        }
        stop
    }

    fn lose(&mut self, io: &PortIo, error: &io::Error) {
        self.disown(io.id);
        self.egress.report_lost(io, error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::MacAddr;
    use crate::counters::{CounterSum, PortCounters, TrafficSum};
    use crate::network::Port;
    use crate::offload::Offload;
    use crate::port::memory::{self, OwnedFrame};
    use crate::port::{Device, Offloads};
    use crate::testing::{GATEWAY, address, ethernet, ipv4, mac, open_port, snapshot};

    /// A worker that nobody runs, and the ends of others that were made with it.
    fn worker(number: usize) -> (Worker, Vec<HandOver>) {
        let (events, _events) = crossbeam_channel::unbounded();
        let (requests, _requests) = crossbeam_channel::bounded(1);
        let wakes = [0, 1].map(|_| Arc::new(Wake::new().unwrap()));
        let mut ends = hand_overs(&wakes);
        let setup = WorkerSetup {
            number,
            mailbox: mailbox(Arc::clone(&wakes[number])).1,
            events,
            requests,
            handover: ends.remove(number),
            placement: Placement::new(number, 2, 2),
            epoch: Instant::now(),
            spin: Duration::from_secs(3600),
            niceness: 0,
        };
        (Worker::new(setup).unwrap(), ends)
    }

    #[test]
    fn what_does_not_fit_the_queue_to_the_edge_is_dropped_by_name() {
        let (mut worker, ends) = worker(1);
        let port =
            Port { counters: Arc::from([PortCounters::default(), PortCounters::default()]), ..open_port(0) };
        worker.core.adopt(Timestamp::ZERO, Arc::new(snapshot(vec![port])));
        let packet = ipv4(address(2), [192, 0, 2, 1].into(), 17, &[0; 8]);
        let frame = ethernet(GATEWAY.mac, mac(2), 0x0800, &packet);
        for _ in 0..handover::DEPTH + 3 {
            worker.buffer.load(&Frame::plain(&frame));
            worker.decide(Timestamp::ZERO, PortId(0));
        }
        let counted = CounterSum::of(&worker.core.snapshot().port(PortId(0)).unwrap().counters);
        assert_eq!(counted.rx.frames, handover::DEPTH as u64 + 3);
        let dropped = TrafficSum { frames: 3, bytes: 3 * frame.len() as u64 };
        assert_eq!(counted.drops, [(DropReason::EdgeBusy, dropped)]);
        drop(ends);
    }

    #[test]
    fn silent_ports_do_not_slow_others_down() {
        let (mut worker, _ends) = worker(0);
        worker.core.adopt(Timestamp::ZERO, Arc::new(snapshot(vec![open_port(0), open_port(1)])));
        let peers = [0, 1].map(|number| {
            let (port, peer) = memory::pair(8, Offloads::NONE).unwrap();
            worker.own(Arc::new(PortIo::new(PortId(number), Device::Memory(port))), Stay::default());
            peer
        });
        let say = |port: usize| {
            let frame = ethernet(MacAddr::BROADCAST, mac(port as u8 + 2), 0x9000, &[0; 46]);
            peers[port].send(OwnedFrame { bytes: frame, offload: Offload::NONE }).unwrap();
        };
        let busy = |worker: &Worker| worker.busy.iter().map(|id| id.0).collect::<Vec<_>>();
        say(0);
        say(1);
        worker.poll(Some(Duration::ZERO));
        // While nobody talks, who talked last is looked at for as long as spinning pays.
        (0..2 * SILENT_TURNS).for_each(|_| worker.visit_busy_lanes(Timestamp::ZERO));
        assert_eq!(busy(&worker).len(), 2);
        for _ in 0..2 * SILENT_TURNS {
            say(0);
            worker.visit_busy_lanes(Timestamp::ZERO);
        }
        assert_eq!(busy(&worker), [0]);
        say(1);
        worker.poll(Some(Duration::ZERO));
        assert_eq!(busy(&worker), [0, 1], "it is noticed when it talks again");
        worker.visit_busy_lanes(Timestamp::ZERO);
        assert_eq!(
            worker.core.snapshot().port(PortId(1)).map(|port| CounterSum::of(&port.counters).rx.frames),
            Some(2)
        );
    }

    #[test]
    fn a_port_that_floods_takes_no_more_than_its_turns() {
        let (mut worker, _ends) = worker(0);
        worker.core.adopt(Timestamp::ZERO, Arc::new(snapshot((0..3).map(open_port).collect())));
        let peers = [0, 1, 2].map(|number| {
            let (port, peer) = memory::pair(8 * BATCH, Offloads::NONE).unwrap();
            worker.own(Arc::new(PortIo::new(PortId(number), Device::Memory(port))), Stay::default());
            peer
        });
        let say = |port: usize| {
            let frame = ethernet(GATEWAY.mac, mac(port as u8 + 2), 0x9000, &[0; 46]);
            peers[port].send(OwnedFrame { bytes: frame, offload: Offload::NONE }).unwrap();
        };
        let received = |worker: &Worker, port: u16| {
            let snapshot = worker.core.snapshot();
            snapshot.port(PortId(port)).map_or(0, |port| CounterSum::of(&port.counters).rx.frames)
        };
        (0..6 * BATCH).for_each(|_| say(0));
        say(2);
        worker.poll(Some(Duration::ZERO));
        worker.visit_busy_lanes(Timestamp::ZERO);
        assert_eq!(
            [0, 2].map(|port| received(&worker, port)),
            [BATCH as u64, 1],
            "the others wait for a batch"
        );
        // Who begins to talk meanwhile is heard soon, and from then on in every turn.
        say(1);
        worker.poll(Some(Duration::ZERO));
        for turn in 2..5u64 {
            say(1);
            worker.visit_busy_lanes(Timestamp::ZERO);
            assert_eq!(received(&worker, 0), turn * BATCH as u64);
            assert_eq!(received(&worker, 1), turn, "all that it had said");
        }
    }

    #[test]
    fn a_port_that_control_could_not_be_told_of_is_held_still() {
        let (mut worker, _others) = worker(0);
        let (requests, control) = crossbeam_channel::bounded(1);
        worker.setup.requests = requests;
        let held = |worker: &Worker| worker.core.edge().unwrap().stats().ports_held.1;
        for port in [5060, 5061] {
            let kept = Answer::PortKept { protocol: crate::edge::tuple::Protocol::Udp, port };
            worker.core.answer(Timestamp::ZERO, &kept);
        }
        worker.tick_if_due(Timestamp::from_secs(1000));
        assert_eq!((control.try_iter().count(), held(&worker)), (1, 1), "one question fits the queue");
        worker.tick_if_due(Timestamp::from_secs(2000));
        assert_eq!((control.try_iter().count(), held(&worker)), (1, 0));
    }
}
