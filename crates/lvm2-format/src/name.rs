//! Names of volume groups and logical volumes, and what device-mapper calls them.

/// Longest name in bytes.
pub const MAX_NAME: usize = 127;
/// Beginnings LVM2 keeps for itself.
const RESERVED_STARTS: [&str; 2] = ["snapshot", "pvmove"];
/// Parts LVM2 names hidden volumes with.
const RESERVED_PARTS: [&str; 17] = [
    "_cdata", "_cmeta", "_corig", "_cpool", "_cvol", "_wcorig", "_mimage", "_mlog", "_rimage", "_rmeta", "_tdata",
    "_tmeta", "_vdata", "_imeta", "_iorig", "_pmspare", "_vorigin",
];

/// What a name may not be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    #[error("a name is empty")]
    Empty,
    #[error("a name longer than {MAX_NAME} characters")]
    TooLong,
    #[error("`{0}' begins with a hyphen")]
    Hyphen(String),
    #[error("`{0}' is not a name for a volume")]
    Dots(String),
    #[error("`{0}' has characters other than letters, digits, `+', `_', `.' and `-'")]
    Characters(String),
    #[error("Names starting \"{0}\" are reserved. Please choose a different LV name.")]
    ReservedStart(&'static str),
    #[error("Names including \"{0}\" are reserved. Please choose a different LV name.")]
    ReservedPart(&'static str),
}

/// Whether text is a name for a volume group or a logical volume.
///
/// # Errors
/// What is wrong with it.
pub fn check(name: &str) -> Result<(), BadName> {
    if name.is_empty() {
        return Err(BadName::Empty);
    }
    if name.len() > MAX_NAME {
        return Err(BadName::TooLong);
    }
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+_.-".contains(&byte)) {
        return Err(BadName::Characters(name.chars().take(40).collect()));
    }
    if name.starts_with('-') {
        return Err(BadName::Hyphen(name.to_owned()));
    }
    if name == "." || name == ".." {
        return Err(BadName::Dots(name.to_owned()));
    }
    Ok(())
}

/// Whether an admin may give a logical volume this name.
///
/// # Errors
/// What is wrong with it, in LVM2's words where the name is reserved.
pub fn check_new_lv(name: &str) -> Result<(), BadName> {
    check(name)?;
    if let Some(start) = RESERVED_STARTS.into_iter().find(|start| name.starts_with(start)) {
        return Err(BadName::ReservedStart(start));
    }
    match RESERVED_PARTS.into_iter().find(|part| name.contains(part)) {
        Some(part) => Err(BadName::ReservedPart(part)),
        None => Ok(()),
    }
}

/// The device-mapper name of a logical volume: hyphens doubled, one between.
#[must_use]
pub fn dm_name(vg: &str, lv: &str) -> String {
    format!("{}-{}", vg.replace('-', "--"), lv.replace('-', "--"))
}

/// The group and the volume of a device-mapper name without a layer.
#[must_use]
pub fn split_dm_name(name: &str) -> Option<(String, String)> {
    // The separator is the one hyphen in a run of odd length.
    let bytes = name.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'-' {
            at += 1;
        } else if bytes.get(at + 1) == Some(&b'-') {
            at += 2;
        } else {
            let (vg, lv) = (&name[..at], &name[at + 1..]);
            return (!vg.is_empty() && !lv.is_empty()).then(|| (vg.replace("--", "-"), lv.replace("--", "-")));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_mapper_names_split_where_they_were_joined() {
        for (vg, lv) in [("fx2", "ta-g-ged"), ("a-b", "c"), ("v-", "x"), ("v", "a.b_c+d")] {
            assert_eq!(split_dm_name(&dm_name(vg, lv)), Some((vg.to_owned(), lv.to_owned())));
        }
        assert_eq!(dm_name("fx2", "ta-g-ged"), "fx2-ta--g--ged");
        assert_eq!(split_dm_name("plain"), None);
    }

    #[test]
    fn reserved_names_are_refused_with_lvms_words() {
        assert_eq!(
            check_new_lv("x_rimage_0").unwrap_err().to_string(),
            "Names including \"_rimage\" are reserved. Please choose a different LV name."
        );
        assert!(check_new_lv("snapshot1").is_err());
        assert!(check_new_lv("web-00.disk+1").is_ok());
        for name in ["", "-a", ".", "..", "a/b", "a b", "\u{e9}"] {
            assert!(check(name).is_err(), "{name}");
        }
    }
}
