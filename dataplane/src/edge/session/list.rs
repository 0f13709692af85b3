//! Doubly linked lists through an array of links: each member stands in one list at a time, and leaves it from anywhere.

/// No member.
pub(crate) const NONE: u32 = u32::MAX;

/// A member's neighbours.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link {
    before: u32,
    after: u32,
}

impl Link {
    /// Of a member that stands in no list.
    pub(crate) const ALONE: Link = Link { before: NONE, after: NONE };
}

/// A list. Its members are numbers of links in an array that is given with each call, always the same.
#[derive(Debug, Clone, Copy)]
pub(crate) struct List {
    first: u32,
    last: u32,
    len: u32,
}

impl List {
    /// A list without members.
    pub(crate) const EMPTY: List = List { first: NONE, last: NONE, len: 0 };

    /// How many members there are.
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// The first member.
    #[inline]
    pub(crate) fn first(&self) -> Option<u32> {
        (self.first != NONE).then_some(self.first)
    }

    /// The last member.
    #[inline]
    pub(crate) fn last(&self) -> Option<u32> {
        (self.last != NONE).then_some(self.last)
    }

    /// The members, from the first on.
    pub(crate) fn iter<'a>(&self, links: &'a [Link]) -> impl Iterator<Item = u32> + use<'a> {
        let after =
            |&member: &u32| links.get(member as usize).map(|link| link.after).filter(|&it| it != NONE);
        core::iter::successors(self.first(), after)
    }

    /// `member`, which stands in no list, becomes the last.
    #[inline]
    pub(crate) fn push_last(&mut self, links: &mut [Link], member: u32) {
        links[member as usize] = Link { before: self.last, after: NONE };
        match self.last() {
            Some(last) => links[last as usize].after = member,
            None => self.first = member,
        }
        self.last = member;
        self.len += 1;
    }

    /// `member`, which stands in no list, becomes the first.
    pub(crate) fn push_first(&mut self, links: &mut [Link], member: u32) {
        links[member as usize] = Link { before: NONE, after: self.first };
        match self.first() {
            Some(first) => links[first as usize].before = member,
            None => self.last = member,
        }
        self.first = member;
        self.len += 1;
    }

    /// `member`, which stands in this list, leaves it.
    #[inline]
    pub(crate) fn remove(&mut self, links: &mut [Link], member: u32) {
        let Link { before, after } = links[member as usize];
        match before {
            NONE => self.first = after,
            before => links[before as usize].after = after,
        }
        match after {
            NONE => self.last = before,
            after => links[after as usize].before = before,
        }
        links[member as usize] = Link::ALONE;
        self.len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn members(list: &List, links: &[Link]) -> (Vec<u32>, Vec<u32>) {
        let mut backward = Vec::new();
        let mut at = list.last();
        while let Some(member) = at {
            backward.push(member);
            at = Some(links[member as usize].before).filter(|&it| it != NONE);
        }
        (list.iter(links).collect(), backward)
    }

    proptest! {
        #[test]
        fn behaves_as_a_deque(operations in prop::collection::vec((0..3u8, 0..8u32), 0..200)) {
            let (mut list, mut links) = (List::EMPTY, vec![Link::ALONE; 8]);
            let mut model: Vec<u32> = Vec::new();
            for (operation, member) in operations {
                let place = model.iter().position(|&it| it == member);
                match (operation, place) {
                    (0, None) => { list.push_last(&mut links, member); model.push(member); }
                    (1, None) => { list.push_first(&mut links, member); model.insert(0, member); }
                    (2, Some(at)) => { list.remove(&mut links, member); model.remove(at); }
                    _ => {}
                }
                let (forward, mut backward) = members(&list, &links);
                backward.reverse();
                prop_assert_eq!(&forward, &model);
                prop_assert_eq!(&backward, &model);
                prop_assert_eq!(list.len() as usize, model.len());
            }
        }
    }
}
