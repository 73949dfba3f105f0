//! This host and this command, as metadata records them.

use std::time::{SystemTime, UNIX_EPOCH};

use lvm2_format::Id;
use lvm2_format::vg::Origin;

use crate::stop::{Context, Result};

/// Who writes.
#[derive(Debug, Clone)]
pub struct Host {
    pub name: String,
    system: String,
    program: String,
    /// The command line, for descriptions.
    pub command: String,
}

impl Host {
    #[must_use]
    pub fn new(command: String) -> Self {
        let uname = nix::sys::utsname::uname().ok();
        let part = |part: fn(&nix::sys::utsname::UtsName) -> &std::ffi::OsStr| {
            uname.as_ref().map(|uname| part(uname).to_string_lossy().into_owned()).unwrap_or_default()
        };
        let name = part(nix::sys::utsname::UtsName::nodename);
        let system = format!(
            "{} {name} {} {} {}",
            part(nix::sys::utsname::UtsName::sysname),
            part(nix::sys::utsname::UtsName::release),
            part(nix::sys::utsname::UtsName::version),
            part(nix::sys::utsname::UtsName::machine)
        );
        Self { name, system, program: format!("vg-tool {}", env!("CARGO_PKG_VERSION")), command }
    }

    #[must_use]
    pub fn now() -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }

    #[must_use]
    pub fn origin<'a>(&'a self, description: &'a str) -> Origin<'a> {
        Origin { program: &self.program, description, host: &self.name, system: &self.system, time: Self::now() }
    }

    /// A new identifier.
    ///
    /// # Errors
    /// The kernel has no randomness to give.
    pub fn new_id() -> Result<Id> {
        let mut random = [0; 32];
        getrandom::fill(&mut random).at("getrandom")?;
        Ok(Id::from_random(random))
    }
}
