//! A question that others are asked: whom, when, and when it is over. No I/O and no clock in here; [`forward`](super::forward) does what
//! it says.
//!
//! The upstreams are asked in order. Who has not answered after [`TRY`] may still do so: the next one is asked beside him, and the first
//! answer of either counts. Three tries in all, and an end after [`PATIENCE`], before the usual five seconds of whoever asks us
//! (resolv.conf(5), `timeout`).
//!
//! Who was silent goes behind the others for a while ([`Health`]), so that a dead resolver costs one question [`TRY`] every
//! [`SUSPICION`] and not each of them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;

use super::message;

/// How long until the next one is asked.
pub const TRY: Duration = Duration::from_millis(1_500);

/// How often somebody is asked in all: at most this many upstreams are made use of, as the C library does (MAXNS).
pub const TRIES: usize = 3;

/// How long a question may be under way.
pub const PATIENCE: Duration = Duration::from_millis(4_500);

/// How long whoever was silent goes behind the others.
pub const SUSPICION: Duration = Duration::from_secs(30);

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Ask this one.
    Ask(SocketAddr),
    /// Wait for what those say who were asked, until then.
    Wait(Instant),
    /// It is over with this answer.
    Answer(Vec<u8>),
    /// It is over: nobody has answered.
    GiveUp,
}

/// One question under way.
#[derive(Debug)]
pub struct Exchange {
    upstreams: Vec<SocketAddr>,
    asked: usize,
    /// Of those, who may still answer.
    open: usize,
    next_try: Instant,
    end: Instant,
    answer: Option<Vec<u8>>,
    /// An answer that is better than none: somebody has said that he cannot answer.
    poor: Option<Vec<u8>>,
}

impl Exchange {
    /// Asks these, in order.
    pub fn new(now: Instant, mut upstreams: Vec<SocketAddr>) -> Exchange {
        upstreams.truncate(TRIES);
        Exchange {
            upstreams,
            asked: 0,
            open: 0,
            next_try: now,
            end: now + PATIENCE,
            answer: None,
            poor: None,
        }
    }

    /// What to do now.
    pub fn next(&mut self, now: Instant) -> Next {
        if let Some(answer) = self.answer.take() {
            return Next::Answer(answer);
        }
        let may_ask = self.asked < TRIES && !self.upstreams.is_empty();
        if now >= self.end || !may_ask && self.open == 0 {
            return self.poor.take().map_or(Next::GiveUp, Next::Answer);
        }
        if may_ask && now >= self.next_try {
            let upstream = self.upstreams[self.asked % self.upstreams.len()];
            self.asked += 1;
            self.open += 1;
            self.next_try = now + TRY;
            return Next::Ask(upstream);
        }
        Next::Wait(if may_ask { self.next_try.min(self.end) } else { self.end })
    }

    /// One of those who were asked has answered the question; none: he cannot be reached.
    pub fn heard(&mut self, now: Instant, answer: Option<Vec<u8>>) {
        self.open = self.open.saturating_sub(1);
        match answer {
            Some(answer) if is_final(&answer) => self.answer = Some(answer),
            other => {
                self.poor = other.or(self.poor.take());
                self.next_try = now;
            }
        }
    }
}

/// Whether another would hardly know better. Who fails, refuses or knows no queries is passed over, as by the C library.
fn is_final(answer: &[u8]) -> bool {
    !matches!(
        message::response_code(answer),
        None | Some(ResponseCode::ServFail | ResponseCode::Refused | ResponseCode::NotImp)
    )
}

/// Upstreams that are remembered at most; whoever is not remembered is thought to live.
const REMEMBERED: usize = 256;

/// Who was silent.
#[derive(Debug, Default)]
pub struct Health(HashMap<SocketAddr, Instant>);

impl Health {
    /// `upstream` has answered, or has not.
    pub fn note(&mut self, now: Instant, upstream: SocketAddr, answered: bool) {
        if answered {
            self.0.remove(&upstream);
            return;
        }
        if self.0.len() >= REMEMBERED {
            self.0.retain(|_, since| now.saturating_duration_since(*since) < SUSPICION);
        }
        if self.0.len() < REMEMBERED {
            self.0.insert(upstream, now);
        }
    }

    /// Whether `upstream` was silent lately.
    pub fn is_suspect(&self, now: Instant, upstream: SocketAddr) -> bool {
        self.0.get(&upstream).is_some_and(|since| now.saturating_duration_since(*since) < SUSPICION)
    }

    /// Puts those who were silent behind the others; either keep their order.
    pub fn order(&self, now: Instant, upstreams: &mut [SocketAddr]) {
        upstreams.sort_by_key(|upstream| self.is_suspect(now, *upstream));
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use hickory_proto::op::{Message, OpCode};

    use super::*;

    fn upstream(number: u8) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::new(192, 0, 2, number), 53))
    }

    fn answer(code: ResponseCode) -> Vec<u8> {
        Message::error_msg(7, OpCode::Query, code).to_vec().unwrap()
    }

    fn start(upstreams: &[u8]) -> (Exchange, Instant) {
        let now = Instant::now();
        (Exchange::new(now, upstreams.iter().copied().map(upstream).collect()), now)
    }

    #[test]
    fn a_prompt_answer_ends_it() {
        let (mut it, now) = start(&[1, 2]);
        assert_eq!(it.next(now), Next::Ask(upstream(1)));
        assert_eq!(it.next(now), Next::Wait(now + TRY));
        it.heard(now, Some(answer(ResponseCode::NXDomain)));
        assert_eq!(it.next(now), Next::Answer(answer(ResponseCode::NXDomain)));
    }

    #[test]
    fn who_is_slow_may_still_answer_while_the_next_is_asked() {
        let (mut it, now) = start(&[1, 2]);
        assert_eq!(it.next(now), Next::Ask(upstream(1)));
        let now = now + TRY;
        assert_eq!(it.next(now), Next::Ask(upstream(2)));
        it.heard(now, None);
        // The second one cannot be reached; the first is asked once more and answers the first time.
        assert_eq!(it.next(now), Next::Ask(upstream(1)));
        it.heard(now, Some(answer(ResponseCode::NoError)));
        assert_eq!(it.next(now), Next::Answer(answer(ResponseCode::NoError)));
    }

    #[test]
    fn the_dead_are_waited_for_as_long_as_agreed_and_no_longer() {
        let (mut it, began) = start(&[1]);
        let mut now = began;
        let mut asked = 0;
        loop {
            match it.next(now) {
                Next::Ask(_) => asked += 1,
                Next::Wait(until) => now = until,
                over => {
                    assert_eq!(over, Next::GiveUp);
                    break;
                }
            }
        }
        assert_eq!((asked, now - began), (TRIES, PATIENCE));
    }

    #[test]
    fn who_cannot_be_reached_costs_no_time() {
        let (mut it, now) = start(&[1, 2, 3, 4]);
        for number in 1..=3 {
            assert_eq!(it.next(now), Next::Ask(upstream(number)));
            it.heard(now, None);
        }
        assert_eq!(it.next(now), Next::GiveUp);
        let (mut nobody, now) = start(&[]);
        assert_eq!(nobody.next(now), Next::GiveUp);
    }

    #[test]
    fn a_failure_is_the_answer_only_if_nobody_has_a_better_one() {
        let (mut it, now) = start(&[1, 2]);
        for number in [1, 2, 1] {
            assert_eq!(it.next(now), Next::Ask(upstream(number)));
            it.heard(now, Some(answer(ResponseCode::Refused)));
        }
        assert_eq!(it.next(now), Next::Answer(answer(ResponseCode::Refused)));
        let (mut it, now) = start(&[1, 2]);
        assert_eq!(it.next(now), Next::Ask(upstream(1)));
        it.heard(now, Some(answer(ResponseCode::ServFail)));
        assert_eq!(it.next(now), Next::Ask(upstream(2)));
        it.heard(now, Some(answer(ResponseCode::NoError)));
        assert_eq!(it.next(now), Next::Answer(answer(ResponseCode::NoError)));
    }

    #[test]
    fn who_was_silent_goes_behind_the_others_for_a_while() {
        let now = Instant::now();
        let mut health = Health::default();
        let order = |health: &Health, now| {
            let mut upstreams = [1, 2, 3].map(upstream);
            health.order(now, &mut upstreams);
            upstreams
        };
        health.note(now, upstream(1), false);
        assert_eq!(order(&health, now), [2, 3, 1].map(upstream));
        assert_eq!(order(&health, now + SUSPICION), [1, 2, 3].map(upstream));
        health.note(now, upstream(2), false);
        assert_eq!(order(&health, now), [3, 1, 2].map(upstream));
        health.note(now, upstream(1), true);
        assert_eq!(order(&health, now), [1, 3, 2].map(upstream));
        for port in 0..=u16::MAX {
            health.note(now, SocketAddr::from((Ipv4Addr::LOCALHOST, port)), false);
        }
        assert!(health.0.len() <= REMEMBERED);
    }
}
