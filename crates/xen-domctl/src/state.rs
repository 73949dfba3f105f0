//! What this host remembers of the domains it runs: `/run/xen-domctl/NAME.cfg`.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use nines_cli::No;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::domain::{Domain, check_name};
use crate::file::{self, MAX_FILE};

const RUN: &str = "/run/xen-domctl";

/// The directory; `$XEN_DOMCTL_RUN` moves it.
#[derive(Debug, Clone)]
pub struct RunDir(PathBuf);

/// Held while one process works on a domain of this host.
#[derive(Debug)]
pub struct Guard {
    _lock: Flock<File>,
}

impl RunDir {
    /// Makes the directory where it is missing.
    pub fn open() -> anyhow::Result<Self> {
        Self::at(std::env::var_os("XEN_DOMCTL_RUN").map_or_else(|| RUN.into(), PathBuf::from))
    }

    pub fn at(path: PathBuf) -> anyhow::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(&path).with_context(|| path.display().to_string())?;
        Ok(Self(path))
    }

    #[must_use]
    pub fn config(&self, domain: &str) -> PathBuf {
        self.0.join(format!("{domain}.cfg"))
    }

    /// Every domain this host has a note of.
    pub fn domains(&self) -> anyhow::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.0).with_context(|| self.0.display().to_string())? {
            let name = entry?.file_name();
            let name = name.to_str().and_then(|name| name.strip_suffix(".cfg"));
            names.extend(name.filter(|name| check_name(name).is_ok()).map(str::to_owned));
        }
        names.sort();
        Ok(names)
    }

    /// Where `xl migrate`'s transport finds us.
    #[must_use]
    pub fn transport(&self, domain: &str) -> PathBuf {
        self.0.join(format!("{domain}.migrate"))
    }

    /// Keeps other `xen-domctl`s from working on `domain` on this host at the same time.
    pub fn guard(&self, domain: &str) -> anyhow::Result<Guard> {
        let path = self.0.join(format!("{domain}.lock"));
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.with_context(|| path.display().to_string())?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Guard { _lock: lock }),
            Err((_, Errno::EWOULDBLOCK)) => {
                Err(No(format!("{domain}: another xen-domctl on this host is at work on it")).into())
            }
            Err((_, errno)) => Err(anyhow!(errno).context(path.display().to_string())),
        }
    }

    /// Writes a domain's configuration: whole or not at all, for root's eyes (it may hold a VNC
    /// password).
    pub fn write(&self, domain: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.config(domain);
        let new = self.0.join(format!("{domain}.cfg.new"));
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(&self.0)?.sync_all()
        };
        write().with_context(|| path.display().to_string())?;
        Ok(path)
    }

    /// The domain as it was started here; `None` when this host has no note of it.
    pub fn read(&self, domain: &str) -> anyhow::Result<Option<Domain>> {
        let path = self.config(domain);
        match read_bounded(&path) {
            Ok(bytes) => parse(&bytes, &path, |_| true).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    pub fn forget(&self, domain: &str) -> anyhow::Result<()> {
        let path = self.config(domain);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| path.display().to_string())
            }
            _ => Ok(()),
        }
    }
}

/// Reads a file, refusing one too long to be a domain's.
pub fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A domain file's bytes to its domain; errors read `FILE:LINE:COL: cause`.
pub fn parse(bytes: &[u8], path: &Path, exists: impl Fn(&Path) -> bool) -> anyhow::Result<Domain> {
    let parsed = file::parse(bytes).and_then(|file| Domain::resolve(&file, exists));
    parsed.map_err(|error| anyhow!("{}:{error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_configuration_is_kept_for_root_alone_and_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let run = RunDir::at(directory.path().join("run")).unwrap();
        let path = run.write("g", "name = \"g\"\nkernel = \"/k\"\n").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(run.read("g").unwrap().unwrap().name, "g");
        assert_eq!(run.domains().unwrap(), ["g"]);
        run.forget("g").unwrap();
        run.forget("g").unwrap();
        assert!(run.read("g").unwrap().is_none());
    }

    #[test]
    fn a_second_worker_on_a_domain_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let run = RunDir::at(directory.path().into()).unwrap();
        let first = run.guard("g").unwrap();
        let error = run.guard("g").unwrap_err();
        assert!(error.downcast_ref::<No>().is_some(), "{error}");
        run.guard("other").unwrap();
        drop(first);
        run.guard("g").unwrap();
    }
}
