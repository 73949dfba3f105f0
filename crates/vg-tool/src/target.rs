//! How volumes are named on a command line: `vg`, `vg/lv`, and their paths below /dev.

use lvm2_format::name::split_dm_name;

use crate::conf::Conf;
use crate::stop::{Result, Stop};

/// A group, or a volume of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub vg: String,
    pub lv: Option<String>,
}

impl Named {
    /// Reads a name.
    ///
    /// # Errors
    /// Too many slashes.
    pub fn parse(conf: &Conf, text: &str) -> Result<Self> {
        let dev = conf.dev_dir();
        let below = text.strip_prefix(&*dev.to_string_lossy()).map(|rest| rest.trim_start_matches('/'));
        if let Some((vg, lv)) = below.and_then(|rest| rest.strip_prefix("mapper/")).and_then(split_dm_name) {
            return Ok(Self { vg, lv: Some(lv) });
        }
        let name = below.unwrap_or(text).trim_matches('/');
        let mut parts = name.split('/').filter(|part| !part.is_empty());
        match (parts.next(), parts.next(), parts.next()) {
            (Some(vg), lv, None) => Ok(Self { vg: vg.to_owned(), lv: lv.map(str::to_owned) }),
            _ => Err(Stop::usage(format_args!("\"{text}\": Invalid path for Logical Volume."))),
        }
    }
}

/// The group a command works on when none is named.
#[must_use]
pub fn default_group() -> Option<String> {
    std::env::var("LVM_VG_NAME").ok().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_may_be_named_by_its_path() {
        let conf = Conf::default();
        for text in ["v-g/l-v", "/dev/v-g/l-v", "/dev/mapper/v--g-l--v"] {
            assert_eq!(
                Named::parse(&conf, text).unwrap(),
                Named { vg: "v-g".into(), lv: Some("l-v".into()) },
                "{text}"
            );
        }
        assert_eq!(Named::parse(&conf, "/dev/vg").unwrap(), Named { vg: "vg".into(), lv: None });
        assert!(Named::parse(&conf, "a/b/c").is_err() && Named::parse(&conf, "/").is_err());
    }
}
