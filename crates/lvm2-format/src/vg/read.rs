//! Text to volume group.

use std::borrow::Cow;

use super::{Area, Flags, LV_FLAGS, LV_STATUS, Lv, Mapping, PV_FLAGS, PV_STATUS, Pv, Segment, VG_FLAGS, VG_STATUS, Vg};
use crate::Id;
use crate::text::{Content, Node, Section, TextError, Value, parse as parse_text};

/// Why a text is not a volume group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Text(#[from] TextError),
    #[error("no `contents = \"Text Format Volume Group\"', `version = 1'")]
    NotAGroup,
    #[error("{place}: {key} is missing")]
    Missing { place: String, key: &'static str },
    #[error("{place}: {key} is not {wanted}")]
    Type { place: String, key: String, wanted: &'static str },
    #[error("Unknown status flag '{0}'.")]
    Status(String),
    #[error(transparent)]
    Invalid(#[from] super::Invalid),
}

/// Segment types whose keys are copied as they are: this library knows that nothing else in the
/// text depends on them.
const CARRIED: &[(&str, &[&str])] = &[
    ("mirror", &["mirror_count", "extents_moved", "mirror_log", "region_size", "mirrors"]),
    ("raid0", &["stripe_count", "stripe_size", "raid0_lvs"]),
    ("raid0_meta", &["stripe_count", "stripe_size", "raids", "raid0_lvs"]),
    ("snapshot", &["chunk_size", "origin", "cow_store", "merging_store"]),
    (
        "thin-pool",
        &["metadata", "pool", "transaction_id", "chunk_size", "discards", "zero_new_blocks", "crop_metadata"],
    ),
    ("thin", &["thin_pool", "transaction_id", "device_id", "external_origin", "origin", "merge"]),
    ("error", &[]),
    ("zero", &[]),
];
const RAID: &[&str] = &[
    "device_count",
    "data_copies",
    "stripe_count",
    "region_size",
    "stripe_size",
    "writebehind",
    "min_recovery_rate",
    "max_recovery_rate",
    "data_offset",
    "raids",
];
const RAID_KINDS: &[&str] = &["raid1", "raid4", "raid10", "raid10_near", "raid10_far", "raid10_offset"];

pub(super) fn parse(bytes: &[u8]) -> Result<Vg, ReadError> {
    // Descriptions hold command lines, which need not be UTF-8; they are not carried along.
    let text = String::from_utf8_lossy(bytes);
    let root = parse_text(&text)?;
    let is_group = root.value("contents").and_then(Value::as_text) == Some("Text Format Volume Group")
        && root.value("version").and_then(Value::as_int) == Some(1);
    let (name, section) = root
        .0
        .iter()
        .find_map(|node| match &node.content {
            Content::Section(section) => Some((node.key.as_ref(), section)),
            Content::Value(_) => None,
        })
        .filter(|_| is_group)
        .ok_or(ReadError::NotAGroup)?;
    let mut vg = group(name, section)?;
    if matches!(text, Cow::Owned(_)) && vg.to_text().contains(char::REPLACEMENT_CHARACTER) {
        vg.unknown.push(format!("bytes of {name} that are not UTF-8"));
    }
    vg.check()?;
    Ok(vg)
}

/// A section being read: remembers which keys were asked for, so that the others are known to be
/// unknown.
struct Reader<'s, 't> {
    place: String,
    section: &'s Section<'t>,
    seen: Vec<&'static str>,
}

impl<'s, 't> Reader<'s, 't> {
    fn new(place: String, section: &'s Section<'t>) -> Self {
        Self { place, section, seen: Vec::new() }
    }

    fn wrong(&self, key: &str, wanted: &'static str) -> ReadError {
        ReadError::Type { place: self.place.clone(), key: key.to_owned(), wanted }
    }

    fn value(&mut self, key: &'static str) -> Option<&'s Value<'t>> {
        self.seen.push(key);
        self.section.value(key)
    }

    fn text(&mut self, key: &'static str) -> Result<Option<String>, ReadError> {
        let value = self.value(key);
        value.map(|value| value.as_text().map(str::to_owned).ok_or_else(|| self.wrong(key, "a string"))).transpose()
    }

    fn number<N: TryFrom<i64>>(&mut self, key: &'static str) -> Result<Option<N>, ReadError> {
        let value = self.value(key);
        value
            .map(|value| {
                value
                    .as_int()
                    .and_then(|number| N::try_from(number).ok())
                    .ok_or_else(|| self.wrong(key, "a number in its range"))
            })
            .transpose()
    }

    fn needed<N: TryFrom<i64>>(&mut self, key: &'static str) -> Result<N, ReadError> {
        self.number(key)?.ok_or_else(|| ReadError::Missing { place: self.place.clone(), key })
    }

    fn id(&mut self) -> Result<Id, ReadError> {
        let text = self.text("id")?.ok_or_else(|| ReadError::Missing { place: self.place.clone(), key: "id" })?;
        text.parse().map_err(|_| self.wrong("id", "an identifier"))
    }

    fn words(&mut self, key: &'static str) -> Result<Vec<String>, ReadError> {
        let Some(value) = self.value(key) else { return Ok(Vec::new()) };
        value
            .as_list()
            .iter()
            .map(|word| word.as_text().map(str::to_owned).ok_or_else(|| self.wrong(key, "a list of strings")))
            .collect()
    }

    fn status(&mut self, known: &[&'static str]) -> Result<Flags, ReadError> {
        let mut flags = Flags::default();
        for word in self.words("status")? {
            if !flags.read(known, &word) {
                return Err(ReadError::Status(word));
            }
        }
        Ok(flags)
    }

    fn flags(&mut self, known: &[&'static str], unknown: &mut Vec<String>) -> Result<Flags, ReadError> {
        let mut flags = Flags::default();
        for word in self.words("flags")? {
            if !flags.read(known, &word) {
                unknown.push(format!("flag {word} of {}", self.place));
            }
        }
        Ok(flags)
    }

    fn section(&mut self, key: &'static str) -> Option<&'s Section<'t>> {
        self.seen.push(key);
        self.section.section(key)
    }

    /// Names what nobody asked for, and what is there twice.
    fn finish(self, also: impl Fn(&str) -> bool, unknown: &mut Vec<String>) {
        let mut met: Vec<&str> = Vec::new();
        for node in &self.section.0 {
            let key = node.key.as_ref();
            if !self.seen.contains(&key) && !also(key) {
                unknown.push(format!("{key} of {}", self.place));
            } else if self.seen.contains(&key) {
                if met.contains(&key) {
                    unknown.push(format!("a second {key} of {}", self.place));
                } else {
                    met.push(key);
                }
            }
        }
    }
}

fn group(name: &str, section: &Section<'_>) -> Result<Vg, ReadError> {
    let mut unknown = Vec::new();
    let mut reader = Reader::new(name.to_owned(), section);
    if let Some(format) = reader.text("format")?
        && format != "lvm2"
    {
        unknown.push(format!("format {format} of {name}"));
    }
    let mut vg = Vg {
        name: name.to_owned(),
        id: reader.id()?,
        seqno: reader.needed("seqno")?,
        status: reader.status(VG_STATUS)?,
        flags: reader.flags(VG_FLAGS, &mut unknown)?,
        tags: reader.words("tags")?,
        system_id: reader.text("system_id")?,
        lock_type: reader.text("lock_type")?,
        lock_args: reader.text("lock_args")?,
        extent_size: reader.needed("extent_size")?,
        max_lv: reader.number("max_lv")?.unwrap_or_default(),
        max_pv: reader.number("max_pv")?.unwrap_or_default(),
        allocation_policy: reader.text("allocation_policy")?,
        profile: reader.text("profile")?,
        metadata_copies: reader.number("metadata_copies")?.unwrap_or_default(),
        pvs: Vec::new(),
        lvs: Vec::new(),
        historical: reader.section("historical_logical_volumes").map(|section| section.clone().into_owned()),
        unknown: Vec::new(),
    };
    for node in sections(reader.section("physical_volumes")) {
        vg.pvs.push(pv(node, &mut unknown)?);
    }
    for node in sections(reader.section("logical_volumes")) {
        vg.lvs.push(lv(node, &mut unknown)?);
    }
    reader.finish(|_| false, &mut unknown);
    vg.unknown = unknown;
    Ok(vg)
}

fn sections<'s, 't>(section: Option<&'s Section<'t>>) -> impl Iterator<Item = (&'s str, &'s Section<'t>)> {
    section.into_iter().flat_map(|section| &section.0).filter_map(|node| match &node.content {
        Content::Section(section) => Some((node.key.as_ref(), section)),
        Content::Value(_) => None,
    })
}

fn pv((key, section): (&str, &Section<'_>), unknown: &mut Vec<String>) -> Result<Pv, ReadError> {
    let mut reader = Reader::new(key.to_owned(), section);
    let bootloader = match (reader.number("ba_start")?, reader.number("ba_size")?) {
        (Some(start), Some(size)) => Some((start, size)),
        _ => None,
    };
    let pv = Pv {
        key: key.to_owned(),
        id: reader.id()?,
        device: reader.text("device")?.unwrap_or_default(),
        device_id_type: reader.text("device_id_type")?,
        device_id: reader.text("device_id")?,
        status: reader.status(PV_STATUS)?,
        flags: reader.flags(PV_FLAGS, unknown)?,
        tags: reader.words("tags")?,
        dev_size: reader.number("dev_size")?.unwrap_or_default(),
        pe_start: reader.needed("pe_start")?,
        pe_count: reader.needed("pe_count")?,
        bootloader,
    };
    reader.finish(|_| false, unknown);
    Ok(pv)
}

fn lv((name, section): (&str, &Section<'_>), unknown: &mut Vec<String>) -> Result<Lv, ReadError> {
    let mut reader = Reader::new(name.to_owned(), section);
    let creation = match (reader.number("creation_time")?, reader.text("creation_host")?) {
        (Some(time), host) => Some((time, host.unwrap_or_default())),
        (None, _) => None,
    };
    let count: u32 = reader.needed("segment_count")?;
    let mut lv = Lv {
        name: name.to_owned(),
        id: reader.id()?,
        status: reader.status(LV_STATUS)?,
        flags: reader.flags(LV_FLAGS, unknown)?,
        tags: reader.words("tags")?,
        creation,
        lock_args: reader.text("lock_args")?,
        allocation_policy: reader.text("allocation_policy")?,
        profile: reader.text("profile")?,
        read_ahead: reader.number("read_ahead")?,
        major: reader.number("major")?,
        minor: reader.number("minor")?,
        segments: Vec::new(),
    };
    let found = sections(Some(section)).filter(|(key, _)| key.starts_with("segment"));
    for (key, section) in found {
        lv.segments.push(segment(format!("{name}/{key}"), section, unknown)?);
    }
    lv.segments.sort_by_key(|segment| segment.start);
    if u32::try_from(lv.segments.len()) != Ok(count) {
        return Err(reader.wrong("segment_count", "the number of its segments"));
    }
    reader.finish(|key| key.starts_with("segment"), unknown);
    Ok(lv)
}

fn segment(place: String, section: &Section<'_>, unknown: &mut Vec<String>) -> Result<Segment, ReadError> {
    let mut reader = Reader::new(place, section);
    let start = reader.needed("start_extent")?;
    let count = reader.needed("extent_count")?;
    let reshape_count = reader.number("reshape_count")?;
    let tags = reader.words("tags")?;
    let Some(kind) = reader.text("type")? else {
        return Err(ReadError::Missing { place: reader.place, key: "type" });
    };
    let mapping = if kind == "striped" {
        striped(&mut reader)?
    } else {
        let own = section.0.iter().filter(|node| !reader.seen.contains(&node.key.as_ref()));
        let own: Vec<Node<'static>> = own.cloned().map(Node::into_owned).collect();
        let keys = carried(&kind);
        let known = |key: &str| {
            keys.is_some_and(|keys| keys.contains(&key)) || (kind == "thin-pool" && key.starts_with("message"))
        };
        match keys {
            None => unknown.push(format!("type {kind} of {}", reader.place)),
            Some(_) => {
                for node in own.iter().filter(|node| !known(&node.key)) {
                    unknown.push(format!("{} of {}", node.key, reader.place));
                }
            }
        }
        return Ok(Segment { start, count, reshape_count, kind, tags, mapping: Mapping::Other(Section(own)) });
    };
    reader.finish(|_| false, unknown);
    Ok(Segment { start, count, reshape_count, kind, tags, mapping })
}

fn carried(kind: &str) -> Option<&'static [&'static str]> {
    if RAID_KINDS.contains(&kind) || kind.starts_with("raid5") || kind.starts_with("raid6") {
        return Some(RAID);
    }
    CARRIED.iter().find(|(name, _)| *name == kind).map(|(_, keys)| *keys)
}

fn striped(reader: &mut Reader<'_, '_>) -> Result<Mapping, ReadError> {
    let count: u32 = reader.needed("stripe_count")?;
    let stripe_size = reader.number("stripe_size")?;
    let wrong = reader.wrong("stripes", "a list of names and extents, as many as stripe_count");
    let cells = reader.value("stripes").map(Value::as_list).unwrap_or_default();
    let mut areas = Vec::new();
    for pair in cells.chunks(2) {
        let [on, extent] = pair else { return Err(wrong) };
        let extent = extent.as_int().and_then(|extent| u32::try_from(extent).ok());
        match (on.as_text(), extent) {
            (Some(on), Some(extent)) => areas.push(Area { on: on.to_owned(), extent }),
            _ => return Err(wrong),
        }
    }
    if count == 0 || u32::try_from(areas.len()) != Ok(count) {
        return Err(wrong);
    }
    Ok(Mapping::Striped { stripe_size, areas })
}
