//! Real Xen hosts in QEMU on one machine: what the `lab` command, the agent in each host and the
//! guests' `records` program are made of.
#![forbid(unsafe_code)]

pub mod agent;
pub mod args;
pub mod blocks;
pub mod client;
pub mod command;
pub mod console;
pub mod disk;
pub mod fence;
pub mod frame;
pub mod host;
pub mod image;
pub mod message;
pub mod monitor;
pub mod net;
pub mod power;
pub mod process;
pub mod records;
pub mod state;
