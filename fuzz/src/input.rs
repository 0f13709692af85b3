//! Reading an input: with [`Unstructured`], and what it lacks.
//!
//! Of an input that has ended the rest is zeros.

use core::ops::RangeInclusive;

use arbitrary::unstructured::Int;
use arbitrary::{Arbitrary, Result, Unstructured};
use pontoon_dataplane::offload::{Offload, VNET_HEADER_LEN};

/// What an input says, one thing after another until it ends, and so many at most.
pub(crate) fn each<'a, T: Arbitrary<'a>>(
    input: &mut Unstructured<'a>,
    most: usize,
) -> impl Iterator<Item = T> {
    (0..most).map_while(|_| if input.is_empty() { None } else { input.arbitrary().ok() })
}

/// Reads one of these: a byte says which.
pub(crate) fn one_of<T: Copy>(choices: &[T]) -> impl Fn(&mut Unstructured<'_>) -> Result<T> {
    |input| input.choose(choices).copied()
}

/// Reads one of these, or none: a byte says whether, and if so another which.
pub(crate) fn maybe<T: Copy>(choices: &[T]) -> impl Fn(&mut Unstructured<'_>) -> Result<Option<T>> {
    |input| if input.arbitrary()? { input.choose(choices).copied().map(Some) } else { Ok(None) }
}

/// Reads a number of these: of as few bytes as hold the range.
pub(crate) fn within<T: Int>(range: RangeInclusive<T>) -> impl Fn(&mut Unstructured<'_>) -> Result<T> {
    move |input| input.int_in_range(range.clone())
}

/// At most `len` bytes: fewer when the input ends.
pub(crate) fn at_most<'a>(input: &mut Unstructured<'a>, len: u16) -> Result<&'a [u8]> {
    input.bytes(input.len().min(len.into()))
}

/// A virtio-net header; one that no port would let in counts as empty.
pub(crate) fn offload(input: &mut Unstructured<'_>) -> Result<Offload> {
    let header: [u8; VNET_HEADER_LEN] = input.arbitrary()?;
    Ok(Offload::parse(&header).unwrap_or(Offload::NONE))
}
