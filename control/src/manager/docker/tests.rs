//! Docker's calls on a world that is not there.
