//! What a domain file means: the domain it describes, as a configuration for xl.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::disk::{Disk, Volume};
use crate::file::{Assignment, At, Item, SyntaxError, Value};
use crate::keys::known_to_xl;

/// Keys written first and in this order, computed rather than copied.
const LEADING: [&str; 10] =
    ["name", "type", "tsc_mode", "kernel", "ramdisk", "cmdline", "memory", "vcpus", "vif", "disk"];
/// Longest domain name: with the prefix of its lock and xl's suffixes it stays below every limit.
const MAX_NAME: usize = 100;

/// A domain ready for xl.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain {
    pub name: String,
    pub disks: Vec<Disk>,
    /// What xl is told, in this order.
    pub settings: Vec<(String, Value)>,
    /// What the file says that nobody will act on.
    pub warnings: Vec<SyntaxError>,
}

impl Domain {
    /// Resolves a file's assignments. `exists` tells whether a file is there.
    ///
    /// # Errors
    /// The first assignment that cannot be meant.
    pub fn resolve(file: &[Assignment], exists: impl Fn(&Path) -> bool) -> Result<Self, SyntaxError> {
        let find = |key: &str| file.iter().find(|assignment| assignment.key == key);
        let start = At { line: 1, column: 1 };
        let name = find("name").ok_or_else(|| SyntaxError::new(start, "a domain needs a `name'"))?;
        let name_text = text(name)?;
        check_name(name_text).map_err(|cause| SyntaxError::new(name.value_at, cause))?;

        let mut settings = vec![("name".to_owned(), Value::Text(name_text.to_owned()))];
        let mut set = |key: &str, value: Value| settings.push((key.to_owned(), value));
        let kind = find("type").map(text).transpose()?;
        if kind.is_none() && find("builder").is_none() {
            set("type", Value::Text("pvh".into()));
        } else if let Some(kind) = kind {
            set("type", Value::Text(kind.into()));
        }
        let pvh = kind == Some("pvh") || (kind.is_none() && find("builder").is_none());
        let hvm = kind == Some("hvm") || find("builder").is_some_and(|b| b.value == Value::Text("hvm".into()));
        match find("tsc_mode") {
            Some(mode) => set("tsc_mode", mode.value.clone()),
            None if pvh => set("tsc_mode", Value::Text("native".into())),
            None => {}
        }
        if let Some(kernel) = find("kernel") {
            let path = Path::new(text(kernel)?);
            if !exists(path) {
                return Err(SyntaxError::new(kernel.value_at, format!("{}: no such kernel", path.display())));
            }
            set("kernel", kernel.value.clone());
            let given = find("ramdisk").map(|r| text(r).map(PathBuf::from)).transpose()?;
            if let Some(ramdisk) = given.or_else(|| paired_ramdisk(path).filter(|path| exists(path))) {
                let at = find("ramdisk").map_or(kernel.value_at, |r| r.value_at);
                let Some(ramdisk) = ramdisk.to_str().filter(|_| exists(&ramdisk)) else {
                    return Err(SyntaxError::new(at, format!("{}: no such ramdisk", ramdisk.display())));
                };
                set("ramdisk", Value::Text(ramdisk.into()));
            }
        } else if !hvm && find("bootloader").is_none() {
            return Err(SyntaxError::new(start, "a domain needs a `kernel'"));
        }
        let mut warnings = Vec::new();
        if let Some(line) = command_line(&find, hvm, &mut warnings)? {
            set("cmdline", Value::Text(line));
        }
        for key in ["memory", "vcpus"] {
            if let Some(assignment) = find(key) {
                set(key, Value::Number(positive(assignment)?));
            }
        }
        if let Some(vif) = find("vif") {
            texts(vif)?;
            set("vif", vif.value.clone());
        }
        let disks = find("disk").map(disks).transpose()?.unwrap_or_default();
        if !disks.is_empty() {
            let item = |disk: &Disk| Item { value: Value::Text(disk.specification.clone()), at: start };
            set("disk", Value::List(disks.iter().map(item).collect()));
        }
        for assignment in file.iter().filter(|a| !LEADING.contains(&a.key.as_str())) {
            match assignment.key.as_str() {
                // Folded into cmdline; xend counted interfaces by nics, xl counts the vifs.
                "root" | "ip" | "extra" | "nics" => {}
                // xend's "any processor" is xl's silence.
                "cpu" if matches!(assignment.value, Value::Number(number) if number < 0) => {}
                "cpu" if find("cpus").is_none() => {
                    settings.push(("cpus".into(), Value::Text(assignment.value.to_string().replace('"', ""))));
                }
                key if known_to_xl(key) => settings.push((key.to_owned(), assignment.value.clone())),
                key => {
                    let cause = format!("`{key}' means nothing to xl; ignored");
                    warnings.push(SyntaxError::new(assignment.at, cause));
                }
            }
        }
        Ok(Self { name: name_text.to_owned(), disks, settings, warnings })
    }

    /// The configuration as xl reads it.
    #[must_use]
    pub fn to_xl(&self) -> String {
        let mut out = String::from("# Written by xen-domctl; the domain runs from this, do not edit.\n");
        for (key, value) in &self.settings {
            // Writing to a String does not fail.
            let _ = writeln!(out, "{key} = {value}");
        }
        out
    }

    /// The disks that may be volumes, each once.
    #[must_use]
    pub fn candidates(&self) -> Vec<Volume> {
        let mut volumes: Vec<_> = self.disks.iter().filter_map(Disk::volume).collect();
        volumes.sort();
        volumes.dedup();
        volumes
    }
}

/// Refuses names that are paths, options, or what xl calls a domain in the middle of a migration.
///
/// # Errors
/// What is wrong with it.
pub fn check_name(name: &str) -> Result<(), String> {
    let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'.' | b'+' | b'-');
    if name.is_empty() || !name.bytes().all(plain) || name.starts_with(['-', '.']) {
        return Err(format!("`{name}' is not a domain name: letters, digits and _ . + -, not first a dash or dot"));
    }
    if name.len() > MAX_NAME {
        return Err(format!("a domain name of more than {MAX_NAME} characters"));
    }
    if name.ends_with("--incoming") || name.ends_with("--migratedaway") {
        return Err(format!("`{name}' is what xl calls a domain during a migration"));
    }
    if name.bytes().all(|c| c.is_ascii_digit()) || name == "Domain-0" {
        return Err(format!("`{name}' would be taken for a domain's number or for the host itself"));
    }
    Ok(())
}

/// The kernel's arguments as xend and xl put them together: root, ip, extra.
fn command_line<'a>(
    find: &impl Fn(&str) -> Option<&'a Assignment>,
    hvm: bool,
    warnings: &mut Vec<SyntaxError>,
) -> Result<Option<String>, SyntaxError> {
    let mut line = String::new();
    if let Some(given) = find("cmdline") {
        line.push_str(text(given)?);
        for key in ["root", "ip", "extra"] {
            if let Some(unused) = find(key) {
                warnings.push(SyntaxError::new(unused.at, format!("`{key}' is ignored in favour of `cmdline'")));
            }
        }
    } else {
        for (key, prefix) in [("root", "root="), ("ip", "ip="), ("extra", "")] {
            if let Some(assignment) = find(key) {
                let separator = if line.is_empty() { "" } else { " " };
                line.extend([separator, prefix, text(assignment)?]);
            }
        }
    }
    if hvm && line.is_empty() {
        return Ok(None);
    }
    if !hvm && find("kernel").is_some() && !line.split_ascii_whitespace().any(|word| word.starts_with("console=")) {
        line.push_str(if line.is_empty() { "console=hvc0" } else { " console=hvc0" });
    }
    Ok(Some(line).filter(|line| !line.is_empty()))
}

/// Debian's `/boot/initrd.img-SUFFIX` for `/boot/vmlinuz-SUFFIX`.
fn paired_ramdisk(kernel: &Path) -> Option<PathBuf> {
    let suffix = kernel.file_name()?.to_str()?.strip_prefix("vmlinuz-")?;
    Some(kernel.with_file_name(format!("initrd.img-{suffix}")))
}

fn text(assignment: &Assignment) -> Result<&str, SyntaxError> {
    match &assignment.value {
        Value::Text(text) => Ok(text),
        _ => Err(SyntaxError::new(assignment.value_at, format!("`{}' is a string", assignment.key))),
    }
}

fn positive(assignment: &Assignment) -> Result<i64, SyntaxError> {
    let number = match &assignment.value {
        Value::Number(number) => Some(*number),
        Value::Text(text) => text.trim().parse().ok(),
        Value::List(_) => None,
    };
    number.filter(|number| *number > 0).ok_or_else(|| {
        SyntaxError::new(assignment.value_at, format!("`{}' is a number greater than 0", assignment.key))
    })
}

fn texts(assignment: &Assignment) -> Result<Vec<(&str, At)>, SyntaxError> {
    let fail = |at| SyntaxError::new(at, format!("`{}' is a list of strings", assignment.key));
    let Value::List(items) = &assignment.value else { return Err(fail(assignment.value_at)) };
    items
        .iter()
        .map(|item| match &item.value {
            Value::Text(text) => Ok((text.as_str(), item.at)),
            _ => Err(fail(item.at)),
        })
        .collect()
}

fn disks(assignment: &Assignment) -> Result<Vec<Disk>, SyntaxError> {
    let parse = |(text, at)| Disk::parse(text).map_err(|cause| SyntaxError::new(at, cause));
    texts(assignment)?.into_iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::parse;

    const PAPER: &str = include_str!("../tests/blenke-web-00.cfg");

    fn resolve(text: &str) -> Result<Domain, SyntaxError> {
        Domain::resolve(&parse(text.as_bytes()).unwrap(), |path| path != Path::new("/missing"))
    }

    #[test]
    fn the_white_papers_domain_becomes_an_xl_configuration() {
        let domain =
            Domain::resolve(&parse(PAPER.as_bytes()).unwrap(), |path| path == Path::new("/boot/vmlinuz-2.6-xenU"))
                .unwrap();
        assert_eq!(
            domain.to_xl(),
            r#"# Written by xen-domctl; the domain runs from this, do not edit.
name = "blenke-web-00"
type = "pvh"
tsc_mode = "native"
kernel = "/boot/vmlinuz-2.6-xenU"
cmdline = "root=/dev/md0 ro ip=10.0.0.10 console=hvc0"
memory = 64
vcpus = 1
vif = [ "mac=aa:00:0a:00:00:0a, bridge=xenbr0", ]
disk = [ "phy:/dev/vg/blenke-web-00_mirror0,sda1,w", "phy:/dev/vg/blenke-web-00_mirror1,sda2,w", ]
"#
        );
        assert_eq!(domain.warnings, []);
        let volumes: Vec<_> = domain.candidates().iter().map(ToString::to_string).collect();
        assert_eq!(volumes, ["vg/blenke-web-00_mirror0", "vg/blenke-web-00_mirror1"]);
    }

    #[test]
    fn what_was_resolved_resolves_to_itself() {
        let once = resolve(PAPER).unwrap();
        let twice = resolve(&once.to_xl()).unwrap();
        assert_eq!((&twice.to_xl(), &twice.disks, &twice.warnings), (&once.to_xl(), &once.disks, &once.warnings));
    }

    #[test]
    fn the_ramdisk_beside_the_kernel_is_found_where_there_is_one() {
        let domain = resolve("name='g'\nkernel='/boot/vmlinuz-6.1'").unwrap();
        assert!(domain.to_xl().contains("ramdisk = \"/boot/initrd.img-6.1\"\n"));
        let alone = parse(b"name='g'\nkernel='/boot/vmlinuz-6.1'").unwrap();
        let domain = Domain::resolve(&alone, |path| path == Path::new("/boot/vmlinuz-6.1")).unwrap();
        assert!(!domain.to_xl().contains("ramdisk"));
        let error = resolve("name='g'\nkernel='/k'\nramdisk='/missing'").unwrap_err();
        assert_eq!(error.to_string(), "3:9: /missing: no such ramdisk");
    }

    #[test]
    fn the_files_own_type_wins() {
        for (line, wanted) in [("type='pv'", "type = \"pv\"\n"), ("builder='generic'", "builder = \"generic\"\n")] {
            let xl = resolve(&format!("name='g'\nkernel='/k'\n{line}")).unwrap().to_xl();
            assert!(xl.contains(wanted) && !xl.contains("pvh") && !xl.contains("tsc_mode"), "{xl}");
        }
        let xl = resolve("name='g'\nkernel='/k'\ntsc_mode='default'").unwrap().to_xl();
        assert!(xl.contains("tsc_mode = \"default\""));
    }

    #[test]
    fn cmdline_wins_over_its_parts_with_a_warning() {
        let domain = resolve("name='g'\nkernel='/k'\ncmdline='quiet console=tty0'\nroot='/dev/x'").unwrap();
        assert!(domain.to_xl().contains("cmdline = \"quiet console=tty0\""));
        assert_eq!(domain.warnings[0].to_string(), "4:1: `root' is ignored in favour of `cmdline'");
    }

    #[test]
    fn keys_xl_knows_pass_and_others_warn() {
        let domain = resolve("name='g'\nkernel='/k'\nmaxmem=128\nhostname='x'\ncpu=2").unwrap();
        assert!(domain.to_xl().contains("maxmem = 128\n") && domain.to_xl().contains("cpus = \"2\"\n"));
        assert_eq!(domain.warnings.len(), 1);
        assert_eq!(domain.warnings[0].to_string(), "4:1: `hostname' means nothing to xl; ignored");
    }

    #[test]
    fn what_cannot_be_meant_is_refused_where_it_stands() {
        for (text, wanted) in [
            ("kernel='/k'", "1:1: a domain needs a `name'"),
            ("name='g'", "1:1: a domain needs a `kernel'"),
            ("name=3", "1:6: `name' is a string"),
            ("name='g'\nkernel='/missing'", "2:8: /missing: no such kernel"),
            ("name='g'\nkernel='/k'\nmemory='much'", "3:8: `memory' is a number greater than 0"),
            ("name='g'\nkernel='/k'\nvcpus=0", "3:7: `vcpus' is a number greater than 0"),
            ("name='g'\nkernel='/k'\nvif='mac=x'", "3:5: `vif' is a list of strings"),
            ("name='g'\nkernel='/k'\ndisk=['phy:,a,w']", "3:7: `phy:,a,w' names no device"),
        ] {
            assert_eq!(resolve(text).unwrap_err().to_string(), wanted);
        }
        for name in ["", "a/b", "../x", "-f", ".x", "a b", "a\nb", "7", "Domain-0", "g--incoming", &"x".repeat(101)] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
    }
}
