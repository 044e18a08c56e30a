//! The faults that the tests of the classifier must notice, one a line of thought.
//!
//! `find` is copied from the source, long enough to stand there once. A fault must compile; it is
//! to be a mistake one could make, not nonsense. How they are tried is in `mutants.rs`.

use super::Fault;

pub(super) const FAULTS: &[Fault] = &[];
