//! cluster.conf on the disk, and where its nodes are. Writing and asking for names take as long
//! as they take, so a thread does both.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use cluster_conf::Conf;

use crate::net::wake::{self, Waker};
use crate::net::{Addresses, Wakeup};

/// Between two attempts to find a node's address.
const AGAIN: Duration = Duration::from_secs(5);

/// What the thread has done.
#[derive(Debug)]
pub enum Done {
    /// The file is on the disk, or why not.
    Stored { version: u32, result: Result<String, String> },
    /// Where the nodes are whose names have an address.
    Found { conf: Box<Conf>, addresses: Vec<(u64, Addresses)> },
}

/// The thread's other end.
#[derive(Debug)]
pub struct ConfFile {
    jobs: Sender<(u32, String)>,
    pub done: Receiver<Done>,
    pub wakeup: Wakeup,
}

impl ConfFile {
    /// # Errors
    /// There is no thread or socket for it.
    pub fn start(path: &Path) -> io::Result<Self> {
        let (jobs, inbox) = channel();
        let (outbox, done) = channel();
        let (waker, wakeup) = wake::pair()?;
        let keeper = Keeper { path: path.into(), inbox, outbox, waker };
        thread::Builder::new().name("conf".into()).spawn(move || keeper.run())?;
        Ok(Self { jobs, done, wakeup })
    }

    /// Makes `text` the file; [`Done`] tells what came of it.
    pub fn store(&self, version: u32, text: String) {
        // The thread ends with this end of the queue and not before.
        let _ = self.jobs.send((version, text));
    }
}

struct Keeper {
    path: PathBuf,
    inbox: Receiver<(u32, String)>,
    outbox: Sender<Done>,
    waker: Waker,
}

impl Keeper {
    fn run(self) {
        let mut open: Option<Box<Conf>> = None;
        loop {
            let wait = if open.is_some() { AGAIN } else { Duration::from_secs(3600) };
            let job = match self.inbox.recv_timeout(wait) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if let Some((version, text)) = job {
                open = Conf::parse("cluster.conf", &text).ok().map(Box::new);
                let unknown = open.as_deref().map(|conf| self.find(conf)).unwrap_or_default();
                let result = replace(&self.path, text.as_bytes());
                let result =
                    result.map_err(|error| format!("{}: {error}", self.path.display())).map(|()| unknown.clone());
                self.tell(Done::Stored { version, result });
                open = open.filter(|_| !unknown.is_empty());
            } else if open.as_deref().is_some_and(|conf| self.find(conf).is_empty()) {
                open = None;
            }
        }
    }

    fn tell(&self, done: Done) {
        // Nobody listens any more when the process ends.
        let _ = self.outbox.send(done);
        self.waker.wake();
    }

    /// Looks every name up; what is not found, for people.
    fn find(&self, conf: &Conf) -> String {
        let (mut addresses, mut unknown) = (Vec::new(), Vec::new());
        for node in &conf.nodes {
            let one = Conf { nodes: vec![node.clone()], ..conf.clone() };
            let found = one.resolve().and_then(|first| Ok((first, one.resolve_second()?)));
            match found {
                Ok((first, second)) => {
                    let both = first.into_iter().zip(second);
                    addresses.extend(both.map(|(first, second)| (node.id, [Some(first), second])));
                }
                Err(error) => unknown.push(format!("{error:#}")),
            }
        }
        self.tell(Done::Found { conf: Box::new(conf.clone()), addresses });
        unknown.join("; ")
    }
}

/// Puts `bytes` in place of the file, and what it held beside it as `.old`; a file that holds
/// them already is left as it is.
///
/// # Errors
/// The disk does not take it; the file is then as it was.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let old = match fs::read(path) {
        Ok(old) if old == bytes => return Ok(()),
        Ok(old) => Some(old),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Fence devices' passwords are in it: nobody may read the new file who could not read the old.
    let mode = fs::metadata(path).map_or(0o600, |metadata| metadata.mode() & 0o777);
    if let Some(old) = old {
        write(&path.with_extension("conf.old"), &old, mode)?;
    }
    write(path, bytes, mode)?;
    File::open(directory)?.sync_all()
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&temporary)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster_conf::ClusterNode;

    #[test]
    fn the_file_is_replaced_whole_and_the_former_one_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cluster.conf");
        replace(&path, b"one").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        replace(&path, b"two").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read(directory.path().join("cluster.conf.old")).unwrap(), b"one");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "no temporary file is left");
        assert!(replace(&directory.path().join("no/such/cluster.conf"), b"x").is_err());
    }

    #[test]
    fn a_node_without_an_address_is_named_and_the_others_are_found() {
        let directory = tempfile::tempdir().unwrap();
        let file = ConfFile::start(&directory.path().join("cluster.conf")).unwrap();
        let nodes = vec![ClusterNode::plain(1, "127.0.0.1"), ClusterNode::plain(2, "nobody.invalid")];
        file.store(1, Conf::plain("c", nodes).text);
        let Done::Found { addresses, .. } = file.done.recv().unwrap() else { panic!("not found first") };
        assert_eq!(addresses, [(1, [Some("127.0.0.1:5405".parse().unwrap()), None])]);
        let Done::Stored { version, result } = file.done.recv().unwrap() else { panic!("not stored") };
        assert_eq!(version, 1);
        assert!(result.unwrap().contains("nobody.invalid"));
    }
}
