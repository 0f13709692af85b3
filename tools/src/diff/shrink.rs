//! Making a script that shows something as short as it gets.

use std::ops::Range;

/// The shortest part of `events` that was found to show what `shows` asks about, in their order. Of the whole that is known to be
/// true. At most `trials` parts are tried: what shows something shows it at times only after much went before.
///
/// Delta debugging (Zeller and Hildebrandt, "Simplifying and isolating failure-inducing input", 2002): ever smaller pieces are left
/// out, and whatever can be missed is.
///
/// # Errors
/// The first error of `shows`.
pub fn shrink<T: Clone, E>(
    events: &[T],
    trials: usize,
    mut shows: impl FnMut(&[T]) -> Result<bool, E>,
) -> Result<Vec<T>, E> {
    let mut left = trials;
    let mut kept = events.to_vec();
    let mut piece = kept.len().div_ceil(2);
    while piece > 0 {
        let mut start = 0;
        let mut missed = false;
        while start < kept.len() && left > 0 {
            left -= 1;
            let part = without(&kept, start..(start + piece).min(kept.len()));
            if shows(&part)? {
                kept = part;
                missed = true;
            } else {
                start += piece;
            }
        }
        // Once more with the single events, for one may have needed another that is gone now.
        piece = if piece > 1 { piece / 2 } else { usize::from(missed && left > 0) };
    }
    Ok(kept)
}

fn without<T: Clone>(events: &[T], range: Range<usize>) -> Vec<T> {
    [&events[..range.start], &events[range.end..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_needed_is_left_out() {
        let events: Vec<u32> = (0..1000).collect();
        let needs = |part: &[u32]| Ok::<_, ()>([17, 18, 900].iter().all(|it| part.contains(it)));
        assert_eq!(shrink(&events, 10_000, needs), Ok(vec![17, 18, 900]));
    }

    #[test]
    fn what_needs_one_another_is_found() {
        // Event 5 is needed only as long as event 3 is there.
        let shows =
            |part: &[u32]| Ok::<_, ()>(part.contains(&8) && (!part.contains(&3) || part.contains(&5)));
        assert_eq!(shrink(&[3, 5, 8], 100, shows), Ok(vec![8]));
    }

    #[test]
    fn trials_are_bounded_and_errors_end_them() {
        let events: Vec<u32> = (0..1000).collect();
        let mut tried = 0;
        let kept = shrink(&events, 50, |part| {
            tried += 1;
            Ok::<_, ()>(part.len() == 1000)
        });
        assert_eq!((kept.map(|kept| kept.len()), tried), (Ok(1000), 50));
        assert_eq!(shrink(&events, 50, |_| Err("the lab burns")), Err("the lab burns"));
    }
}
