//! An AoE initiator of our own. [`initiator`] speaks to a target one message at a time; on it
//! stand [`conform`], which checks a target against the protocol, and [`load`], which measures and
//! verifies one under traffic. [`null`] is a target without a disk: what the wire alone costs.
//! [`middlebox`] is a cable that loses, doubles and swaps frames.
#![forbid(unsafe_code)]

pub mod conform;
pub mod initiator;
pub mod load;
pub mod middlebox;
pub mod null;
