//! Fencing as the programs of the suite know it: agents called with `name=value` lines on stdin,
//! whose exit status says whether a node is off.
#![forbid(unsafe_code)]

pub mod job;

pub use job::{Action, End, Job};
