//! What the hosts boot: built once by the scripts in image/, kept in a cache, in layers that are
//! each named after everything they were made from.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use blake2::{Blake2s256, Digest};
use nines_cli::log;
use nix::fcntl::{Flock, FlockArg};

use crate::state::{Lab, hex};

const RECIPE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/image");

/// The files a host boots from.
pub const FILES: [&str; 3] = ["xen", "vmlinux", "initrd"];

/// Puts the files into the lab's boot directory, building what is not in the cache.
///
/// # Errors
/// Naming the layer that failed, after its own words.
pub fn provide(lab: &Lab) -> Result<()> {
    let cache = cache_dir()?;
    fs::create_dir_all(&cache).with_context(|| cache.display().to_string())?;
    let lock = File::create(cache.join("lock")).with_context(|| cache.display().to_string())?;
    let _lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, errno)| errno).context("cache")?;

    let recipe = Path::new(RECIPE);
    let agent = program("lab-agent")?;
    let records = program("records")?;

    let key = Key::default().file(&recipe.join("build-debian"))?.file(&recipe.join("packages"))?;
    let debian = layer(&cache, "debian", &key, |out| {
        script("build-debian").arg(out).status().context("build-debian").and_then(succeeded)
    })?;
    let mut key = key.file(&recipe.join("build-host"))?;
    for dir in ["host", "host/etc", "guest"] {
        key = key.files(&recipe.join(dir))?;
    }
    let host = layer(&cache, "host", &key, |out| {
        fs::create_dir(out)?;
        script("build-host").arg(&debian).arg(out).status().context("build-host").and_then(succeeded)
    })?;
    let key = key.file(&recipe.join("add-programs"))?.file(&agent)?.file(&records)?;
    let initrd = layer(&cache, "initrd", &key, |out| {
        let programs = [&host.join("host.cpio"), &agent, &records];
        script("add-programs").args(programs).arg(out).status().context("add-programs").and_then(succeeded)
    })?;

    let boot = lab.boot_dir();
    fs::create_dir_all(&boot).with_context(|| boot.display().to_string())?;
    for (name, from) in FILES.into_iter().zip([host.join("xen"), host.join("vmlinux"), initrd]) {
        let to = boot.join(name);
        // A link keeps the file when the cache drops it; another file system needs a copy.
        fs::hard_link(&from, &to)
            .or_else(|_| fs::copy(&from, &to).map(drop))
            .with_context(|| to.display().to_string())?;
    }
    Ok(())
}

fn cache_dir() -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let dir = set("FIVENINES_CACHE").or_else(|| Some(set("HOME")?.join(".cache/fivenines")));
    Ok(dir.context("neither FIVENINES_CACHE nor HOME is set")?.join("lab"))
}

/// A program built along with this one, statically linked.
fn program(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe().context("this program")?.with_file_name(name);
    if !path.exists() {
        bail!("{}: not there; tests/lab/lab builds it", path.display());
    }
    Ok(path)
}

fn script(name: &str) -> Command {
    let mut command = Command::new(Path::new(RECIPE).join(name));
    // stdout is data of ours; what a build prints is for people.
    command.stdin(Stdio::null()).stdout(std::io::stderr());
    command.env("LC_ALL", "C").env("PATH", path_with_sbin());
    command
}

fn path_with_sbin() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

fn succeeded(status: std::process::ExitStatus) -> Result<()> {
    if status.success() { Ok(()) } else { bail!("{status}") }
}

/// The layer of that name and key; built, and the older ones of that name dropped, when missing.
fn layer(cache: &Path, name: &str, key: &Key, build: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let done = cache.join(format!("{name}-{}", key.name()));
    if done.exists() {
        return Ok(done);
    }
    let partial = cache.join(format!("{name}-partial"));
    if partial.exists() {
        remove(&partial)?;
    }
    drop_old(cache, name)?;
    log(format_args!("building the {name} layer"));
    build(&partial).with_context(|| format!("{name} layer"))?;
    fs::rename(&partial, &done).with_context(|| done.display().to_string())?;
    Ok(done)
}

/// Leaves only the newest layer of that name: two checkouts that differ then do not take turns in
/// building the same ones again, and the cache does not grow for ever.
fn drop_old(cache: &Path, name: &str) -> Result<()> {
    let mut layers = Vec::new();
    for entry in fs::read_dir(cache).with_context(|| cache.display().to_string())? {
        let path = entry?.path();
        if path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(&format!("{name}-"))) {
            let changed = fs::symlink_metadata(&path).and_then(|metadata| metadata.modified());
            layers.push((changed.with_context(|| path.display().to_string())?, path));
        }
    }
    layers.sort();
    layers.pop();
    layers.iter().try_for_each(|(_, path)| remove(path))
}

fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.with_context(|| path.display().to_string())
}

/// The hash of everything a layer is made from.
#[derive(Clone, Default)]
struct Key(Blake2s256);

impl Key {
    fn file(mut self, path: &Path) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| path.display().to_string())?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.0.update(format!("{name}\0{}\0", bytes.len()));
        self.0.update(bytes);
        Ok(self)
    }

    fn files(mut self, dir: &Path) -> Result<Self> {
        let entries = fs::read_dir(dir).with_context(|| dir.display().to_string())?;
        let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        paths.sort();
        for path in paths.iter().filter(|path| path.is_file()) {
            self = self.file(path)?;
        }
        Ok(self)
    }

    fn name(&self) -> String {
        hex(&self.0.clone().finalize(), 8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_built_once_and_again_when_its_recipe_changes() {
        let cache = tempfile::tempdir().unwrap();
        let recipe = cache.path().join("recipe");
        let built = |text: &str| {
            fs::write(&recipe, text).unwrap();
            let key = Key::default().file(&recipe).unwrap();
            let mut ran = false;
            let path = layer(cache.path(), "test", &key, |out| {
                ran = true;
                Ok(fs::write(out, text)?)
            });
            (fs::read_to_string(path.unwrap()).unwrap(), ran)
        };
        assert_eq!(built("one"), ("one".into(), true));
        assert_eq!(built("one"), ("one".into(), false));
        assert_eq!(built("two"), ("two".into(), true));
        assert_eq!(built("one"), ("one".into(), false));
        assert_eq!(built("three"), ("three".into(), true));
        // The recipe and the two newest layers are left.
        assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_layer_that_failed_is_not_kept() {
        let cache = tempfile::tempdir().unwrap();
        let key = Key::default();
        let failed = layer(cache.path(), "test", &key, |out| {
            fs::write(out, "half")?;
            bail!("no space")
        });
        assert_eq!(format!("{:#}", failed.unwrap_err()), "test layer: no space");
        let path = layer(cache.path(), "test", &key, |out| Ok(fs::write(out, "whole")?)).unwrap();
        assert_eq!(fs::read_to_string(path).unwrap(), "whole");
    }
}
