//! Commands that look at and steer the cluster through cluster-join's control socket.
#![forbid(unsafe_code)]

pub mod conf;
pub mod leave;
pub mod stat;
