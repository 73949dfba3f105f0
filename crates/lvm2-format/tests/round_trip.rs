//! Whatever group can be built can be written, read and found equal; whatever bytes are read end
//! in an error or a group.

use lvm2_format::mda::{Header, Slot};
use lvm2_format::text::parse;
use lvm2_format::vg::{Flags, LV_FLAGS, LV_STATUS, Origin, PV_STATUS, VG_STATUS, to_disk, to_file};
use lvm2_format::{Area, Id, Label, Lv, Mapping, Pv, Region, Segment, Vg};
use proptest::prelude::*;

const ORIGIN: Origin<'_> = Origin { program: "test", description: "a \"b\" \\", host: "h", system: "s", time: 1 };

fn id() -> impl Strategy<Value = Id> {
    any::<[u8; 32]>().prop_map(Id::from_random)
}

fn name() -> impl Strategy<Value = String> {
    "[a-z0-9_+][a-z0-9_+.-]{0,20}"
}

/// Text as descriptions, host names and tags may have it, quotes and backslashes included.
fn text() -> impl Strategy<Value = String> {
    "[ -~\u{e4}\u{20ac}]{0,20}"
}

prop_compose! {
    fn group()(
        name in name(), id in id(), seqno in any::<u32>(), tags in prop::collection::vec(text(), 0..3),
        extent in 1u64..100_000, clustered in any::<bool>(), system_id in prop::option::of(text()),
        pv_ids in prop::collection::btree_set(id(), 1..4),
        lvs in prop::collection::btree_map(name(), (id(), 1u32..50, any::<bool>(), prop::option::of(text())), 0..12),
        host in text(),
    ) -> Vg {
        let pvs: Vec<Pv> = pv_ids.into_iter().enumerate().map(|(index, id)| Pv {
            key: format!("pv{index}"), id, device: format!("/dev/{host}"), device_id_type: None, device_id: None,
            status: Flags::of(PV_STATUS, &["ALLOCATABLE"]), flags: Flags::default(), tags: tags.clone(),
            dev_size: 1 << 30, pe_start: 2048, pe_count: 1000, bootloader: None,
        }).collect();
        let mut next = 0;
        let mut vg = Vg {
            name, id, seqno, status: Flags::of(VG_STATUS, &["RESIZEABLE", "READ", "WRITE"]), flags: Flags::default(),
            tags, system_id, lock_type: None, lock_args: None, extent_size: extent, max_lv: 0, max_pv: 0,
            allocation_policy: None, profile: None, metadata_copies: 0, pvs, lvs: Vec::new(), historical: None,
            unknown: Vec::new(),
        };
        vg.status.set(VG_STATUS, "CLUSTERED", clustered);
        for (name, (id, count, skip, created)) in lvs {
            let mut flags = Flags::default();
            flags.set(LV_FLAGS, "ACTIVATION_SKIP", skip);
            let segment = |start, count, extent| Segment {
                start, count, reshape_count: None, kind: "striped".into(), tags: Vec::new(),
                mapping: Mapping::Striped { stripe_size: None, areas: vec![Area { on: "pv0".into(), extent }] },
            };
            let first = segment(0, count, next);
            next += count;
            vg.insert_lv(Lv {
                name, id, status: Flags::of(LV_STATUS, &["READ", "WRITE", "VISIBLE"]), flags, tags: Vec::new(),
                creation: created.map(|host| (u64::from(count), host)), lock_args: None, allocation_policy: None,
                profile: None, read_ahead: None, major: None, minor: None, segments: vec![first],
            });
        }
        vg
    }
}

proptest! {
    #[test]
    fn a_group_written_is_the_group_read(vg in group()) {
        vg.check().unwrap();
        prop_assert_eq!(&Vg::parse(&to_disk(&vg, &ORIGIN)).unwrap(), &vg);
        prop_assert_eq!(&Vg::parse(to_file(&vg, &ORIGIN).as_bytes()).unwrap(), &vg);
    }

    #[test]
    fn a_group_with_any_byte_changed_ends_in_a_value(vg in group(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut text = to_disk(&vg, &ORIGIN);
        let at = at.index(text.len());
        text[at] = byte;
        if let Ok(read) = Vg::parse(&text) {
            read.check().unwrap();
        }
    }

    #[test]
    fn any_text_ends_in_a_value(text in r#"([a-z"'{}\[\]=, #0-9.+\\\n-]|[a-z]{2,4} (\{|= ")){0,60}"#) {
        let _ = parse(&text);
        let _ = Vg::parse(text.as_bytes());
    }

    #[test]
    fn a_label_written_is_the_label_read(
        id in id(), sector in 0u64..4, device_size in any::<u64>(),
        areas in prop::collection::vec((1u64.., any::<u64>()), 0..3), used in any::<bool>(),
    ) {
        let metadata = areas.into_iter().map(|(offset, size)| Region { offset, size }).collect();
        let data = vec![Region { offset: 1 << 20, size: 0 }];
        let mut label = Label { sector, id, device_size, data, metadata, extension: None };
        label.set_used(used);
        let bytes = label.encode().unwrap();
        prop_assert_eq!(Label::parse(sector, &bytes).unwrap(), label);
    }

    #[test]
    fn a_new_text_never_touches_the_committed_one(
        sectors in 65u64..4000, offset in 0u64..2_000_000, size in any::<u64>(), new in 1u64..2_000_000,
    ) {
        let mut header = Header::empty(4096, sectors * 512);
        header.slots[0] = Slot { offset, size: size % (sectors * 512), crc: 0, flags: 0 };
        prop_assert_eq!(Header::parse(4096, &header.encode()).unwrap(), header);
        let Ok(place) = header.place(new) else { return Ok(()) };
        let Some(slot) = header.committed() else { return Ok(()) };
        let Ok(old) = header.ranges(slot.offset, slot.size) else { return Ok(()) };
        for a in header.ranges(place, new).unwrap().iter().filter(|range| !range.is_empty()) {
            for b in old.iter().filter(|range| !range.is_empty()) {
                prop_assert!(a.end <= b.start || b.end <= a.start, "{a:?} {b:?}");
            }
        }
    }
}

#[test]
fn sections_without_end_are_refused_at_a_depth() {
    let deep = "a {".repeat(100_000);
    assert!(parse(&deep).unwrap_err().what.contains("deep"));
}

#[test]
fn the_first_of_two_keys_counts_and_the_second_is_named() {
    let text = "v { id = \"HMZW4L-p37T-DBMf-v4EN-tRMp-elQC-aDmGWF\" seqno = 1 seqno = 2 extent_size = 8\n\
                status = [\"READ\"] physical_volumes { } } contents = \"Text Format Volume Group\" version = 1";
    let vg = Vg::parse(text.as_bytes()).unwrap();
    assert_eq!((vg.seqno, vg.unknown), (1, vec!["a second seqno of v".to_owned()]));
}

#[test]
fn bytes_that_are_not_utf_8_are_named_inside_the_group_and_ignored_around_it() {
    let group = b"v { id = \"HMZW4L-p37T-DBMf-v4EN-tRMp-elQC-aDmGWF\" seqno = 1 extent_size = 8 status = [] ".to_vec();
    let around = b" } contents = \"Text Format Volume Group\" version = 1 description = \"\xff\"".to_vec();
    assert_eq!(Vg::parse(&[group.clone(), around.clone()].concat()).unwrap().unknown, [""; 0]);
    let inside = [group, b"tags = [\"\xff\"]".to_vec(), around].concat();
    assert_eq!(Vg::parse(&inside).unwrap().unknown, ["bytes of v that are not UTF-8"]);
}
