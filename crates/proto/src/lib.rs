//! What two of our programs, or two hosts, say to each other. One module a conversation; nothing
//! here opens a device or keeps a clock.
#![forbid(unsafe_code)]

#[cfg(feature = "aoe")]
pub mod aoe;
#[cfg(feature = "ctl")]
pub mod ctl;
pub mod mac;
#[cfg(feature = "session")]
pub mod session;
