//! What a target that serves still needs, and that it gives up the rest.

use std::path::{Path, PathBuf};

use nines_cli::log;
use nines_sys::sandbox::{Needs, confine, seal};

/// What is needed besides what is open.
#[derive(Debug, Clone)]
pub struct Sandbox(Needs);

impl Default for Sandbox {
    /// For exports and interfaces that are all open: what devices are like is asked again when
    /// they grow.
    fn default() -> Self {
        let read = ["/sys", "/proc/self", "/proc/swaps"].map(PathBuf::from).to_vec();
        Self(Needs { read, ..Needs::default() })
    }
}

impl Sandbox {
    /// `--config`: the table is read again, and what it names by then is opened, as far as it is a
    /// device or lies beside one of these exports.
    #[must_use]
    pub fn with_table<'p>(mut self, table: &Path, exports: impl IntoIterator<Item = &'p Path>) -> Self {
        self.0.more = true;
        self.0.read.push(folder_of(table));
        self.0.read.extend(["/proc", "/dev"].map(PathBuf::from));
        self.0.write.push("/dev".into());
        for export in exports {
            let folder = folder_of(export);
            if !self.0.write.contains(&folder) {
                self.0.write.push(folder);
            }
        }
        self
    }

    /// `--state`: what targets remember is saved there.
    #[must_use]
    pub fn with_state(mut self, folder: &Path) -> Self {
        self.0.keep.push(folder.to_owned());
        self
    }

    /// `--control`: the socket is removed at the end.
    #[must_use]
    pub fn with_control(mut self, socket: &Path) -> Self {
        self.0.clear.push(folder_of(socket));
        self
    }

    /// Gives up capabilities and the file system, before threads are started.
    pub fn confine(&self) {
        for missing in confine(&self.0) {
            log(format_args!("sandbox: {missing}"));
        }
    }

    /// Gives up system calls, when everything is open.
    pub fn seal(&self) {
        if let Err(missing) = seal(&self.0) {
            log(format_args!("sandbox: {missing}"));
        }
    }
}

/// Where a file is: it may be another one by that name when it is opened again.
fn folder_of(path: &Path) -> PathBuf {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    // What is opened is what links lead to.
    let real = path.canonicalize().ok().and_then(|path| path.parent().map(Path::to_owned));
    real.unwrap_or_else(|| folder.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_that_of_the_file_a_link_leads_to() {
        let folder = tempfile::tempdir().unwrap();
        let (here, there) = (folder.path().canonicalize().unwrap(), folder.path().join("there"));
        std::fs::create_dir(&there).unwrap();
        std::fs::write(there.join("disk"), "").unwrap();
        std::os::unix::fs::symlink(there.join("disk"), here.join("link")).unwrap();
        assert_eq!(folder_of(&here.join("link")), here.join("there"));
        assert_eq!(folder_of(&here.join("missing")), here);
        assert_eq!(folder_of(Path::new("missing")), Path::new("."));
    }

    #[test]
    fn only_a_table_needs_more_than_what_is_open() {
        let Sandbox(needs) = Sandbox::default().with_state(Path::new("/s")).with_control(Path::new("/c/x.sock"));
        assert!(!needs.more && needs.write.is_empty());
        assert_eq!((needs.keep, needs.clear), (vec!["/s".into()], vec!["/c".into()]));
        let exports = ["/nonexistent/a", "/nonexistent/b", "/dev/null"].map(Path::new);
        let Sandbox(needs) = Sandbox::default().with_table(Path::new("/nonexistent/table"), exports);
        assert!(needs.more);
        assert_eq!(needs.write, ["/dev", "/nonexistent"].map(PathBuf::from));
    }
}
