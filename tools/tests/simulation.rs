//! Simulated worlds: in none of them may anything go wrong, whatever is hostile or breaks. A few of them every day, 2,000 with
//! `PONTOON_FULL=1`. What is broken on purpose must be found.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use pontoon_tools::sim::{self, Attack, Options, Outcome, Sabotage, Trouble};

/// Every kind of trouble and of attack has its turn among so many.
const EVERYDAY: u64 = 40;

fn run_all(first: u64, last: u64, sabotage: Option<Sabotage>) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    sim::run_all(first..=last, Options { sabotage, ..Options::default() }, None, |outcome| {
        outcomes.push(outcome)
    });
    outcomes.sort_by_key(|outcome| outcome.seed);
    outcomes
}

/// What was found, with the commands that find it again.
fn findings(outcomes: &[Outcome]) -> String {
    outcomes.iter().filter(|outcome| !outcome.findings.is_empty()).fold(String::new(), |mut text, outcome| {
        let _ =
            writeln!(text, "seed {}: {}\n  {}", outcome.seed, outcome.findings.join("; "), outcome.replay());
        text
    })
}

#[test]
fn nothing_goes_wrong_in_any_world() {
    let full = std::env::var("PONTOON_FULL").is_ok_and(|value| value == "1");
    let outcomes = run_all(1, if full { 2000 } else { EVERYDAY }, None);
    let found = findings(&outcomes);
    assert!(found.is_empty(), "{found}");
    let attacks: BTreeSet<Attack> = outcomes
        .iter()
        .flat_map(|it| &it.attacks)
        .filter(|(_, sent)| *sent > 0)
        .map(|(attack, _)| *attack)
        .collect();
    assert_eq!(attacks, BTreeSet::from(Attack::ALL), "not every attack took place");
    let troubles: BTreeSet<Trouble> = outcomes.iter().flat_map(|it| it.troubles.iter().copied()).collect();
    assert_eq!(troubles, BTreeSet::from(Trouble::ALL), "not every trouble took place");
    // They had an effect.
    let dropped = |reason| outcomes.iter().filter_map(|it| it.drops.get(reason)).sum::<u64>();
    for reason in [
        "guard-arp",
        "guard-ipv4",
        "guard-nd",
        "gateway-address-claimed",
        "wait-full",
        "port-down",
        "fragments-full",
        "broadcast-storm",
    ] {
        assert!(dropped(reason) > 0, "nothing was dropped as {reason}");
    }
    let [whole, cut] = [|it: &Outcome| it.super_frames.0, |it: &Outcome| it.super_frames.1];
    assert!(outcomes.iter().map(whole).sum::<u64>() > 20, "super-frames pass whole");
    assert!(outcomes.iter().map(cut).sum::<u64>() > 100, "super-frames are cut");
    let handed_over: u64 = outcomes.iter().map(|it| it.handed_over).sum();
    assert!(handed_over > 1000, "second workers hand over only {handed_over} frames");
    assert!(outcomes.iter().any(|it| it.evicted > 100), "no flood of sessions filled an endpoint's share");
    assert!(outcomes.iter().any(|it| it.overruns > 1000), "no storm was more than a switch could serve");
    assert!(outcomes.iter().any(|it| it.transfers.1 > 0), "no connection had to be begun anew");
}

#[test]
fn the_same_seed_is_the_same_world() {
    let (once, again) = (run_all(1, 4, None), run_all(1, 4, None));
    assert_eq!(once, again);
    let hashes: BTreeSet<u64> = once.iter().map(|outcome| outcome.hash).collect();
    assert_eq!(hashes.len(), 4, "different seeds are different worlds");
}

/// What must be found in one of the first `worlds` when something is broken on purpose.
fn must_find(sabotage: Sabotage, worlds: u64, what: &[&str]) {
    let found = findings(&run_all(1, worlds, Some(sabotage)));
    for what in what {
        assert!(found.contains(what), "{sabotage:?} is not found as {what:?}: {found}");
    }
}

#[test]
fn ports_that_are_not_guarded_are_found() {
    must_find(
        Sabotage::NoGuard,
        EVERYDAY,
        &["by DNS, and not", "it says that it is 10.", "it says that fd00:"],
    );
}

#[test]
fn a_port_that_has_more_than_its_share_is_found() {
    must_find(Sabotage::NoShare, 20, &["addresses in the FDB"]);
}

#[test]
fn lost_answers_are_found() {
    must_find(Sabotage::LostAnswers, 1, &["still has to fetch"]);
}
