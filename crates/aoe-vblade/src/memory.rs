//! `--state DIR`: what hosts have set over the wire and who is denied, kept beyond the process in
//! one small file an export, and one for all exports of a table together.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use nines_proto::aoe::Address;
use nines_proto::mac::Mac;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::everywhere::Everywhere;
use crate::target::{Kept, Target, Unfit};

/// The file of those who are denied every export.
const EVERYWHERE: &str = "every.json";
/// What to do about a file that is none of ours.
const AFRESH: &str = "remove it to start afresh";

/// A folder of such files.
#[derive(Debug, Clone)]
pub struct Memory {
    folder: PathBuf,
}

/// What is remembered of one target, in a file or from one export to the next with its address.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page {
    /// The mask list the export was given when it started. Another one given later is an
    /// administrator's change of mind and replaces what was kept.
    given: Vec<String>,
    kept: Kept,
}

impl Page {
    /// What a target that was given this mask list has now.
    #[must_use]
    pub fn of(target: &Target, given: &[Mac]) -> Self {
        Self { given: texts(given), kept: target.kept() }
    }

    /// Gives it to a target that is given this mask list.
    ///
    /// # Errors
    /// It is no target's memory; nothing has changed then.
    pub fn recall(&self, target: &mut Target, given: &[Mac]) -> Result<(), Unfit> {
        if self.given == texts(given) {
            return target.restore(&self.kept);
        }
        target.restore(&Kept { mask: texts(given), ..self.kept.clone() })
    }

    /// A host is denied no more.
    pub fn admit(&mut self, mac: Mac) {
        self.kept.denied.retain(|denied| *denied != mac.to_string());
    }
}

impl Memory {
    /// A folder that is there.
    ///
    /// # Errors
    /// It is not, or is none.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let what = || folder.display().to_string();
        if !fs::metadata(folder).with_context(what)?.is_dir() {
            return Err(io::Error::from(ErrorKind::NotADirectory)).with_context(what);
        }
        Ok(Self { folder: folder.to_owned() })
    }

    fn file(&self, address: Address) -> PathBuf {
        self.folder.join(format!("{address}.json"))
    }

    /// Gives a target back what it had when it was last saved. `given` is the mask list it starts
    /// with now.
    ///
    /// # Errors
    /// The file is not readable as one: it is not overwritten unread.
    pub fn recall(&self, target: &mut Target, given: &[Mac]) -> anyhow::Result<()> {
        let file = self.file(target.address());
        let Some(page) = read::<Page>(&file)? else { return Ok(()) };
        page.recall(target, given).with_context(|| file.display().to_string()).context(AFRESH)?;
        target.saved();
        Ok(())
    }

    /// Who is denied every export.
    ///
    /// # Errors
    /// The file is not readable as such a list: it is not overwritten unread.
    pub fn everywhere(&self) -> anyhow::Result<Everywhere> {
        let file = self.folder.join(EVERYWHERE);
        let list = read::<Everywhere>(&file)?.unwrap_or_default();
        list.checked().with_context(|| file.display().to_string()).context(AFRESH)
    }

    /// Saves durably who is denied every export.
    ///
    /// # Errors
    /// The disk's; what was saved before is still there.
    pub fn keep_everywhere(&self, list: &Everywhere) -> anyhow::Result<()> {
        self.save(&self.folder.join(EVERYWHERE), list)
    }

    /// Saves a target's memory durably.
    ///
    /// # Errors
    /// The disk's; what was saved before is still there.
    pub fn keep(&self, target: &mut Target, given: &[Mac]) -> anyhow::Result<()> {
        let file = self.file(target.address());
        self.save(&file, &Page::of(target, given))?;
        target.saved();
        Ok(())
    }

    fn save(&self, file: &Path, what: &impl Serialize) -> anyhow::Result<()> {
        let mut text = serde_json::to_vec_pretty(what)?;
        text.push(b'\n');
        self.replace(file, &text).with_context(|| file.display().to_string())
    }

    fn replace(&self, file: &Path, text: &[u8]) -> io::Result<()> {
        let new = file.with_extension("json.new");
        let mut out = File::create(&new)?;
        out.write_all(text)?;
        out.sync_all()?;
        fs::rename(&new, file)?;
        File::open(&self.folder)?.sync_all()
    }
}

/// What a file of ours says, if there is one.
fn read<T: DeserializeOwned>(file: &Path) -> anyhow::Result<Option<T>> {
    let what = || file.display().to_string();
    match fs::read(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        other => serde_json::from_slice(&other.with_context(what)?).with_context(what).context(AFRESH).map(Some),
    }
}

fn texts(list: &[Mac]) -> Vec<String> {
    list.iter().map(Mac::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ata::Disk;
    use crate::target::Settings;
    use nines_proto::aoe::{Shelf, Slot};

    fn target(mask: &[Mac]) -> Target {
        let disk = Disk { sectors: 8, read_only: false, trim: false, identify: Box::new([0; 512]) };
        let address = Address { shelf: Shelf(7), slot: Slot(3) };
        let mac = Mac([2, 0, 0, 0, 0, 1]);
        let mask = mask.to_vec();
        Target::new(Settings { address, mac, mtu: 1500, buffers: 64, disk, mask, wire_edits: true }).unwrap()
    }

    #[test]
    fn what_was_kept_comes_back_unless_the_command_line_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::open(folder.path()).unwrap();
        let (a, b, c) = (Mac([2, 0, 0, 0, 0, 10]), Mac([2, 0, 0, 0, 0, 11]), Mac([2, 0, 0, 0, 0, 12]));
        let mut first = target(&[a]);
        memory.recall(&mut first, &[a]).unwrap();
        first.deny(b);
        assert!(first.changed());
        memory.keep(&mut first, &[a]).unwrap();
        assert!(!first.changed());

        let mut second = target(&[a]);
        memory.recall(&mut second, &[a]).unwrap();
        assert_eq!((second.kept(), second.changed()), (first.kept(), false));
        let mut third = target(&[c]);
        memory.recall(&mut third, &[c]).unwrap();
        assert_eq!((third.kept().mask, third.denied()), (vec![c.to_string()], &[b][..]));
    }

    #[test]
    fn who_is_denied_everywhere_is_kept_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::open(folder.path()).unwrap();
        let mut list = memory.everywhere().unwrap();
        assert_eq!(list, Everywhere::default());
        list.all(Mac([2, 0, 0, 0, 0, 10]), true);
        memory.keep_everywhere(&list).unwrap();
        assert_eq!(memory.everywhere().unwrap(), list);
    }

    #[test]
    fn a_file_that_is_none_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::open(folder.path()).unwrap();
        let file = folder.path().join("e7.3.json");
        let whole = "{\"given\":[],\"kept\":{\"config\":\"00\",\"denied\":[\"02:00:00:00:00:01\"]}}";
        for length in 0..whole.len() {
            fs::write(&file, &whole[..length]).unwrap();
            let error = format!("{:#}", memory.recall(&mut target(&[]), &[]).unwrap_err());
            assert!(error.starts_with("remove it to start afresh"), "{error}");
        }
        for bad in ["{\"given\":[],\"kept\":{\"config\":\"0\"}}", "{\"given\":[],\"kept\":{\"denied\":[\"x\"]}}"] {
            fs::write(&file, bad).unwrap();
            assert!(memory.recall(&mut target(&[]), &[]).is_err());
            assert_eq!(fs::read_to_string(&file).unwrap(), bad);
        }
        fs::write(folder.path().join("every.json"), "{\"denied\":{\"xen3\":[]}}").unwrap();
        assert!(format!("{:#}", memory.everywhere().unwrap_err()).starts_with("remove it to start afresh"));
        assert!(Memory::open(&file).is_err() && Memory::open(Path::new("/nonexistent")).is_err());
    }
}
