//! One file on its way in: whole, flushed and in place, or not there at all.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

pub struct Push {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
}

impl Push {
    pub fn start(mode: u32, path: PathBuf) -> Result<Self> {
        let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
            bail!("{}: not a file name", path.display());
        };
        if path.is_dir() {
            bail!("{}: is a directory", path.display());
        }
        fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".push{:?}", std::thread::current().id()).replace(['(', ')'], "-"));
        let temporary = dir.join(hidden);
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(&temporary);
        let file = file.with_context(|| temporary.display().to_string())?;
        let push = Self { file, temporary, path };
        push.file.set_permissions(Permissions::from_mode(mode & 0o7777))?;
        Ok(push)
    }

    pub fn data(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).with_context(|| self.path.display().to_string())
    }

    pub fn finish(self) -> Result<()> {
        self.file.sync_all().with_context(|| self.path.display().to_string())?;
        fs::rename(&self.temporary, &self.path).with_context(|| self.path.display().to_string())?;
        let dir = self.path.parent().context("no directory")?;
        File::open(dir).and_then(|dir| dir.sync_all()).with_context(|| dir.display().to_string())
    }
}

impl Drop for Push {
    fn drop(&mut self) {
        // Gone already when the file got its name.
        let _ = fs::remove_file(&self.temporary);
    }
}
