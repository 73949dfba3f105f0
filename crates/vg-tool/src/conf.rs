//! lvm.conf: the same file, the same keys, of which these matter here. A key may be overridden on
//! the command line with `--config`. What is not there has LVM2's default.

use std::path::{Path, PathBuf};

use lvm2_format::text::{Section, Value, parse};

use crate::stop::{Context, Result, Stop};

/// Where lvm.conf, the backups and the archive are unless told otherwise.
const SYSTEM_DIR: &str = "/etc/lvm";
/// A configuration larger than this is not one.
const MAX_CONF: u64 = 4 << 20;

/// The settings in force, the command line's before the file's.
#[derive(Debug, Default)]
pub struct Conf {
    layers: Vec<Section<'static>>,
    system_dir: PathBuf,
}

impl Conf {
    /// Reads `$LVM_SYSTEM_DIR/lvm.conf`; that it is absent means defaults.
    ///
    /// # Errors
    /// It cannot be read, or makes no sense; LVM2's code for that is 3 on the command line.
    pub fn load(overrides: &[&str]) -> Result<Self> {
        let system_dir = std::env::var_os("LVM_SYSTEM_DIR")
            .filter(|dir| !dir.is_empty())
            .map_or_else(|| SYSTEM_DIR.into(), PathBuf::from);
        let mut layers = Vec::new();
        for text in overrides.iter().rev() {
            let section = parse(text).map_err(|error| {
                Stop::usage(format_args!(
                    "Failed to set overridden configuration entries: --config: {error}\nError during parsing of command line."
                ))
            })?;
            layers.push(section.into_owned());
        }
        let file = system_dir.join("lvm.conf");
        match std::fs::metadata(&file) {
            Ok(metadata) if metadata.len() > MAX_CONF => {
                return Err(Stop::failed(format_args!("{}: larger than {MAX_CONF} bytes", file.display())));
            }
            Ok(_) => {
                let bytes = std::fs::read(&file).at(file.display())?;
                let text = String::from_utf8_lossy(&bytes);
                layers.push(parse(&text).at(file.display())?.into_owned());
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).at(file.display()),
        }
        Ok(Self { layers, system_dir })
    }

    /// Settings without any file, for tests.
    #[cfg(test)]
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        Self { layers: vec![parse(text).unwrap().into_owned()], system_dir: PathBuf::new() }
    }

    fn value(&self, section: &str, key: &str) -> Option<&Value<'static>> {
        let path = format!("{section}/{key}");
        self.layers.iter().find_map(|layer| {
            layer.value(&path).or_else(|| layer.section(section).and_then(|section| section.value(key)))
        })
    }

    #[must_use]
    pub fn text(&self, section: &str, key: &str) -> Option<&str> {
        self.value(section, key).and_then(Value::as_text).filter(|text| !text.is_empty())
    }

    #[must_use]
    pub fn flag(&self, section: &str, key: &str, default: bool) -> bool {
        self.number(section, key).map_or(default, |number| number != 0)
    }

    #[must_use]
    pub fn number(&self, section: &str, key: &str) -> Option<i64> {
        self.value(section, key).and_then(Value::as_int)
    }

    /// A list of strings; a single string is a list of one.
    #[must_use]
    pub fn list(&self, section: &str, key: &str) -> Option<Vec<&str>> {
        self.value(section, key).map(|value| value.as_list().iter().filter_map(Value::as_text).collect())
    }

    #[must_use]
    pub fn path(&self, section: &str, key: &str, default: &str) -> PathBuf {
        self.text(section, key).map_or_else(|| PathBuf::from(default), PathBuf::from)
    }

    #[must_use]
    pub fn dev_dir(&self) -> PathBuf {
        self.path("devices", "dir", "/dev")
    }

    #[must_use]
    pub fn locking_dir(&self) -> PathBuf {
        self.path("global", "locking_dir", "/run/lock/lvm")
    }

    #[must_use]
    pub fn backup_dir(&self) -> PathBuf {
        self.path("backup", "backup_dir", &self.system_dir.join("backup").to_string_lossy())
    }

    #[must_use]
    pub fn archive_dir(&self) -> PathBuf {
        self.path("backup", "archive_dir", &self.system_dir.join("archive").to_string_lossy())
    }

    /// This host's system id, as `global/system_id_source` says to make it.
    #[must_use]
    pub fn system_id(&self) -> Option<String> {
        let line = |path: &Path| {
            let text = std::fs::read_to_string(path).ok()?;
            let line = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'))?;
            Some(line.to_owned())
        };
        match self.text("global", "system_id_source")? {
            "uname" => nix::unistd::gethostname().ok().map(|name| name.to_string_lossy().into_owned()),
            "machineid" => line(Path::new("/etc/machine-id")),
            "lvmlocal" => self.text("local", "system_id").map(str::to_owned),
            "file" => line(Path::new(self.text("global", "system_id_file")?)),
            _ => None,
        }
    }

    /// Whether a volume group with this system id is this host's.
    #[must_use]
    pub fn owns(&self, system_id: Option<&str>) -> bool {
        let Some(id) = system_id.filter(|id| !id.is_empty()) else { return true };
        self.system_id().as_deref() == Some(id)
            || self.list("local", "extra_system_ids").is_some_and(|extra| extra.contains(&id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_of_2005_still_reads() {
        let conf = Conf::from_text(
            r#"devices {
                dir = "/dev"
                scan = [ "/dev" ]
                filter = [ "a|/dev/etherd/.*|", "r|.*|" ]
                types = [ "aoe", 1024 ]
                sysfs_scan = 1
            }
            global { locking_type = 2 locking_library = "liblvm2clusterlock.so" library_dir = "/usr/lib" }"#,
        );
        assert_eq!(conf.list("devices", "filter").unwrap(), ["a|/dev/etherd/.*|", "r|.*|"]);
        assert_eq!(conf.number("global", "locking_type"), Some(2));
    }

    #[test]
    fn paths_and_sections_are_the_same_settings() {
        let conf = Conf::from_text("backup/archive=0 backup { backup = 0 }");
        assert!(!conf.flag("backup", "archive", true));
        assert!(!conf.flag("backup", "backup", true));
        assert!(conf.flag("devices", "sysfs_scan", true));
    }

    #[test]
    fn a_group_without_system_id_is_everybodys() {
        let conf = Conf::from_text(
            r#"global/system_id_source = "lvmlocal" local { system_id = "me" extra_system_ids = ["old"] }"#,
        );
        assert!(conf.owns(None) && conf.owns(Some("")) && conf.owns(Some("me")) && conf.owns(Some("old")));
        assert!(!conf.owns(Some("other")));
    }
}
