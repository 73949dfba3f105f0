//! The engine that uses the disks, and the frames it works on.

use anyhow::Context;
use nines_cli::log;
use nines_proto::aoe::ata;
use nines_sys::disk::{Engine, Kind};
use nines_sys::frames::Frames;

use crate::args::table::MOST as EXPORTS;

/// Room for so many frames of that length.
pub(super) fn frames(count: usize, length: usize) -> anyhow::Result<Frames> {
    // A sector more than an interface carries: a longer frame is noticed by its length.
    Frames::new(count, ata::DATA, length + 512).context("memory for frames")
}

/// An engine for so many frames and any number of exports.
pub(super) fn engine(kind: Option<Kind>, count: usize, length: usize) -> anyhow::Result<Engine> {
    let kinds = [Kind::Ring, Kind::Threads];
    let kinds = kind.as_ref().map_or(&kinds[..], std::slice::from_ref);
    let mut refused = None;
    for kind in kinds {
        match Engine::new(*kind, frames(count, length)?, count + EXPORTS) {
            Ok(engine) => {
                if let Some(refused) = refused {
                    log(format_args!("{refused}; using {kind}"));
                }
                return Ok(engine);
            }
            Err(error) => refused = Some(format!("{kind}: {}", crate::reason(&error))),
        }
    }
    Err(anyhow::Error::msg(refused.unwrap_or_default()))
}
