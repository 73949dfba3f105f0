//! Backup and archive: the metadata as text files, so that an admin can go back by hand
//! (`vgcfgrestore`). The archive gets the old state before a change, the backup the new one after.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use lvm2_format::Vg;
use lvm2_format::vg::to_file;

use crate::conf::Conf;
use crate::host::Host;
use crate::say::Say;
use crate::stop::{Context, Result};

/// Keeps the state before a change.
///
/// # Errors
/// It cannot be written: the change must not happen then.
pub fn archive(conf: &Conf, host: &Host, vg: &Vg) -> Result<()> {
    if !conf.flag("backup", "archive", true) {
        return Ok(());
    }
    let dir = conf.archive_dir();
    make(&dir)?;
    let mut kept = files(&dir, &vg.name);
    let index = kept.last().map_or(0, |(index, _)| index + 1);
    let unique = u32::from_le_bytes(Host::new_id()?.as_bytes()[..4].try_into().unwrap_or_default()) & 0x7fff_ffff;
    let description = format!("Created *before* executing '{}'", host.command);
    let text = to_file(vg, &host.origin(&description));
    write(&dir, &format!("{}_{index:05}-{unique}.vg", vg.name), &text)?;
    expire(conf, &mut kept);
    Ok(())
}

/// Keeps the state after a change. Failing is worth a warning: the change has happened.
pub fn backup(conf: &Conf, host: &Host, vg: &Vg, say: Say) {
    if !conf.flag("backup", "backup", true) {
        return;
    }
    let dir = conf.backup_dir();
    let description = format!("Created *after* executing '{}'", host.command);
    let done = make(&dir).and_then(|()| write(&dir, &vg.name, &to_file(vg, &host.origin(&description))));
    if let Err(stop) = done {
        say.warning(format_args!("This metadata update is NOT backed up: {}", stop.message));
    }
}

/// Forgets the backup of a group that is gone.
pub fn forget(conf: &Conf, vg: &Vg) {
    if conf.flag("backup", "backup", true) {
        let _ = fs::remove_file(conf.backup_dir().join(&vg.name));
    }
}

fn make(dir: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    if dir.exists() {
        return Ok(());
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).at(dir.display())
}

fn write(dir: &Path, name: &str, text: &str) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let scratch = dir.join(format!(".{name}.{}", std::process::id()));
    let path = dir.join(name);
    let written = (|| {
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&scratch)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&scratch, &path)?;
        File::open(dir)?.sync_all()
    })();
    if written.is_err() {
        let _ = fs::remove_file(&scratch);
    }
    written.at(path.display())
}

/// The group's archive files, oldest first, with their numbers.
fn files(dir: &Path, vg: &str) -> Vec<(u64, PathBuf)> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut found: Vec<(u64, PathBuf)> = entries
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            let rest = name.strip_prefix(vg)?.strip_prefix('_')?.strip_suffix(".vg")?;
            let (index, unique) = rest.split_once('-')?;
            unique.bytes().all(|byte| byte.is_ascii_digit()).then_some(())?;
            Some((index.parse().ok()?, dir.join(&name)))
        })
        .collect();
    found.sort();
    found
}

/// Removes what is beyond `backup/retain_min` files and older than `backup/retain_days`.
fn expire(conf: &Conf, kept: &mut Vec<(u64, PathBuf)>) {
    let min = conf.number("backup", "retain_min").and_then(|min| usize::try_from(min).ok()).unwrap_or(10);
    let days = conf.number("backup", "retain_days").and_then(|days| u64::try_from(days).ok()).unwrap_or(30);
    let age = Duration::from_secs(days.saturating_mul(86_400));
    let Some(limit) = SystemTime::now().checked_sub(age) else { return };
    // The file just written is not in the list.
    let beyond = (kept.len() + 1).saturating_sub(min.max(1));
    for (_, path) in kept.drain(..beyond.min(kept.len())) {
        let modified = fs::metadata(&path).and_then(|metadata| metadata.modified());
        if modified.is_ok_and(|modified| modified < limit) {
            let _ = fs::remove_file(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archive_files_are_those_of_the_group_alone() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["v_00000-1.vg", "v_00002-7.vg", "v_00001-9.vg", "v_w_00009-1.vg", "v_x.vg", ".v_00003-1.vg"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let found: Vec<u64> = files(dir.path(), "v").into_iter().map(|(index, _)| index).collect();
        assert_eq!(found, [0, 1, 2]);
    }

    #[test]
    fn only_old_files_beyond_the_minimum_expire() {
        let dir = tempfile::tempdir().unwrap();
        for index in 0..5 {
            fs::write(dir.path().join(format!("v_{index:05}-1.vg")), "").unwrap();
        }
        let young = Conf::from_text("backup { retain_min = 2 retain_days = 1 }");
        expire(&young, &mut files(dir.path(), "v"));
        assert_eq!(files(dir.path(), "v").len(), 5);
        let old = Conf::from_text("backup { retain_min = 2 retain_days = 0 }");
        expire(&old, &mut files(dir.path(), "v"));
        let left: Vec<u64> = files(dir.path(), "v").into_iter().map(|(index, _)| index).collect();
        assert_eq!(left, [4], "with the one just written that makes two");
    }
}
