//! The state directory.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use nix::fcntl::{Flock, FlockArg};

use crate::engine::Reset;

use super::{Identity, Loaded, Write, decode_snapshot, header, recover};

/// When and why this host was about to be reset.
const RESET: &str = "reset";
/// Longest file that is read back: twice what the bounds of the state allow for.
const MAX_FILE: u64 = 1 << 30;

/// An open state directory, claimed by this process.
#[derive(Debug)]
pub struct Files {
    directory: PathBuf,
    log: File,
    number: u64,
    snapshot: Option<u64>,
    /// Held for as long as the process lives.
    _claim: Flock<File>,
}

impl Files {
    /// Opens `directory`, makes it if it is not there, and reads what it holds. `wanted` is what
    /// this process is by cluster.conf; the identity returned has what the directory remembers
    /// beyond that, and an incarnation higher than every former one.
    ///
    /// # Errors
    /// The directory is another cluster's or node's, in use, damaged, or does not work.
    pub fn open(directory: &Path, wanted: &Identity) -> anyhow::Result<(Self, Identity, Loaded)> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .with_context(|| format!("{}", directory.display()))?;
        let claim = claim(directory)?;
        let mut identity = match read(&directory.join("identity"))? {
            Some(bytes) => {
                let path = directory.join("identity");
                let identity = Identity::decode(&bytes).with_context(|| {
                    let (path, directory) = (path.display(), directory.display());
                    format!("{path}: damaged: empty {directory} and the other nodes set this one up anew")
                })?;
                if let Some(conflict) = identity.conflict(wanted) {
                    bail!("{}: {conflict}", directory.display());
                }
                identity
            }
            None => wanted.clone(),
        };
        let (snapshots, logs) = list(directory)?;
        let snapshot = snapshots.last().copied();
        let loaded_snapshot = match snapshot {
            Some(index) => {
                let path = directory.join(snapshot_name(index));
                let bytes = read(&path)?.unwrap_or_default();
                Some(decode_snapshot(&bytes).with_context(|| format!("{}", path.display()))?)
            }
            None => None,
        };
        ensure!(
            snapshot.is_none() || !logs.is_empty(),
            "{}: a snapshot without its log: the directory is incomplete",
            directory.display()
        );
        let number = logs.last().copied().unwrap_or(1);
        let path = directory.join(log_name(number));
        if logs.is_empty() {
            replace(directory, &log_name(number), &header())?;
        }
        let bytes = read(&path)?.unwrap_or_default();
        let log = recover(&bytes).with_context(|| format!("{}", path.display()))?;
        ensure!(
            directory.join("identity").exists() || (snapshot.is_none() && log.number == 0),
            "{}: a log without its identity file: the directory is incomplete",
            directory.display()
        );
        let file = OpenOptions::new().append(true).open(&path).with_context(|| format!("{}", path.display()))?;
        if log.length < bytes.len() {
            nines_cli::log(format_args!(
                "{}: byte {}: cut off {} bytes of a write that a crash interrupted",
                path.display(),
                log.length,
                bytes.len() - log.length
            ));
            file.set_len(log.length as u64).with_context(|| format!("{}", path.display()))?;
        }
        // What a killed process wrote may be in memory only, and is acknowledged from now on.
        file.sync_all().with_context(|| format!("{}", path.display()))?;
        let files = Self { directory: directory.into(), log: file, number, snapshot, _claim: claim };
        files.remove_others();
        identity.incarnation += 1;
        files.save_identity(&identity)?;
        Ok((files, identity, Loaded { snapshot: loaded_snapshot, log }))
    }

    /// Writes the identity file anew.
    ///
    /// # Errors
    /// The directory does not take it.
    pub fn save_identity(&self, identity: &Identity) -> anyhow::Result<()> {
        replace(&self.directory, "identity", &identity.encode()?)
    }

    /// Remembers the reset that this host is about to get, or forgets it.
    ///
    /// # Errors
    /// The directory does not take it.
    pub fn save_reset(&self, reset: Option<&Reset>) -> anyhow::Result<()> {
        let Some(Reset { by, why }) = reset else {
            let path = self.directory.join(RESET);
            return match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(error).with_context(|| path.display().to_string())
                }
                _ => Ok(()),
            };
        };
        replace(&self.directory, RESET, format!("{} {why}\n", nines_proto::ctl::utc(*by)).as_bytes())
    }

    /// What a former run of the daemon left about its end, once.
    ///
    /// # Errors
    /// The directory does not work.
    pub fn former_reset(&self) -> anyhow::Result<Option<String>> {
        let path = self.directory.join(RESET);
        let Some(bytes) = read(&path)? else { return Ok(None) };
        fs::rename(&path, path.with_extension("old")).with_context(|| path.display().to_string())?;
        Ok(Some(String::from_utf8_lossy(&bytes).trim_end().to_owned()))
    }

    /// Makes a write durable.
    ///
    /// # Errors
    /// The disk does not take it. Nothing may be assumed of the log then but that a new process
    /// can read it.
    pub fn write(&mut self, write: &Write) -> anyhow::Result<()> {
        match write {
            Write::Append(bytes) => self
                .log
                .write_all(bytes)
                .and_then(|()| self.log.sync_data())
                .with_context(|| format!("{}", self.directory.join(log_name(self.number)).display())),
            Write::Replace { index, snapshot, log } => {
                replace(&self.directory, &snapshot_name(*index), snapshot)?;
                self.next_log(log, Some(*index))
            }
            Write::StartOver { log } => self.next_log(log, None),
        }
    }

    fn next_log(&mut self, log: &[u8], snapshot: Option<u64>) -> anyhow::Result<()> {
        let name = log_name(self.number + 1);
        replace(&self.directory, &name, log)?;
        let path = self.directory.join(&name);
        self.log = OpenOptions::new().append(true).open(&path).with_context(|| format!("{}", path.display()))?;
        self.number += 1;
        self.snapshot = snapshot;
        self.remove_others();
        Ok(())
    }

    /// Removes what newer files replace. What cannot be removed now is at the next start.
    fn remove_others(&self) {
        let Ok((snapshots, logs)) = list(&self.directory) else { return };
        let snapshots = snapshots.into_iter().filter(|index| Some(*index) != self.snapshot).map(snapshot_name);
        let logs = logs.into_iter().filter(|number| *number != self.number).map(log_name);
        for name in snapshots.chain(logs) {
            let _ = fs::remove_file(self.directory.join(name));
        }
    }
}

fn claim(directory: &Path) -> anyhow::Result<Flock<File>> {
    let path = directory.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("{}", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|(_, errno)| std::io::Error::from(errno))
        .with_context(|| format!("{}: another cluster-join uses it", directory.display()))
}

fn snapshot_name(index: u64) -> String {
    format!("snapshot-{index:016x}")
}

fn log_name(number: u64) -> String {
    format!("log-{number:016x}")
}

/// Indexes of the snapshots and numbers of the logs that are there, lowest first.
fn list(directory: &Path) -> anyhow::Result<(Vec<u64>, Vec<u64>)> {
    let (mut snapshots, mut logs) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(directory).with_context(|| format!("{}", directory.display()))? {
        let name = entry.with_context(|| format!("{}", directory.display()))?.file_name();
        let name = name.to_string_lossy();
        let number = |prefix| name.strip_prefix(prefix).and_then(|hex| u64::from_str_radix(hex, 16).ok());
        snapshots.extend(number("snapshot-"));
        logs.extend(number("log-"));
    }
    snapshots.sort_unstable();
    logs.sort_unstable();
    Ok((snapshots, logs))
}

fn read(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("{}", path.display())),
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).with_context(|| format!("{}", path.display()))?;
    ensure!(bytes.len() as u64 <= MAX_FILE, "{}: more than {MAX_FILE} bytes", path.display());
    Ok(Some(bytes))
}

/// Puts a whole file in place of whatever has its name: temporary file, fsync, rename, fsync of
/// the directory.
fn replace(directory: &Path, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
    let path = directory.join(name);
    let temporary = directory.join(format!(".{name}.new"));
    let done = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&temporary, &path))
        .and_then(|()| File::open(directory)?.sync_all());
    done.with_context(|| format!("{}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_with_a_damaged_identity_does_not_start_and_keeps_everything() {
        let directory = tempfile::tempdir().unwrap();
        let conf = r#"<cluster name="c" config_version="1"><clusternodes>
            <clusternode name="n1" nodeid="1"/></clusternodes></cluster>"#;
        let conf = cluster_conf::Conf::parse("cluster.conf", conf).unwrap();
        let wanted = Identity::new(&conf, 1, "s".into());
        for incarnation in 1..=2 {
            let (_, identity, _) = Files::open(directory.path(), &wanted).unwrap();
            assert_eq!(identity.incarnation, incarnation);
        }
        let path = directory.path().join("identity");
        let text = fs::read_to_string(&path).unwrap();
        let changed = text.replace("\"incarnation\": 2", "\"incarnation\": 1");
        assert_ne!(changed, text);
        fs::write(&path, &changed).unwrap();
        let error = format!("{:#}", Files::open(directory.path(), &wanted).unwrap_err());
        let said = format!(
            "{0}/identity: damaged: empty {0} and the other nodes set this one up anew: \
             its last line is not the checksum of the others",
            directory.path().display()
        );
        assert_eq!(error, said);
        assert_eq!(fs::read_to_string(&path).unwrap(), changed);
    }
}
