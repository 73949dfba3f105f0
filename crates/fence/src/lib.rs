//! Fencing as the programs of the suite know it: agents called with `name=value` lines on stdin,
//! whose exit status says whether a node is off.
//!
//! [`run`] does what a [`Job`] asks and believes nothing but exit status 0. [`plan`] decides in
//! which order the devices of a method are called, [`agent`] calls one of them with a deadline,
//! [`metadata`] reads what an agent says about itself.
#![forbid(unsafe_code)]

pub mod agent;
mod child;
pub mod job;
pub mod metadata;
pub mod plan;
pub mod run;

pub use agent::Agents;
pub use job::{Action, End, Job};
pub use metadata::Metadata;
pub use run::{Rest, begin, run};
