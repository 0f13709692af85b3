//! What models of sources that are taken in a second time have in common.

pub(crate) mod addr {
    //! What they find as `crate::addr`, and so on.
    pub(crate) use pontoon_dataplane::addr::MacAddr;
}
pub(crate) mod id {
    //! Few ports, for small tables.
    pub(crate) use pontoon_dataplane::id::PortId;
    pub(crate) const MAX_PORTS: usize = 4;
}
#[allow(dead_code)]
#[path = "../../src/random.rs"]
pub(crate) mod random;
pub(crate) mod sys {
    //! No system calls.
    pub(crate) fn prefer_huge_pages<T>(_: &mut [T]) {}
}
pub(crate) mod time {
    //! Time is an argument.
    pub(crate) use pontoon_dataplane::time::Timestamp;
}

pub(crate) fn full() -> bool {
    std::env::var_os("PONTOON_FULL").is_some_and(|value| value == "1")
}

/// Every interleaving of a model. Without any bound for how often a thread may be preempted it takes hours.
pub(crate) fn explore(test: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(if full() { 3 } else { 2 });
    builder.check(test);
}
