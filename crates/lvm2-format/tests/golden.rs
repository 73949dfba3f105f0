//! Bytes that LVM2 wrote, read and written again. `tests/golden/lvm/README` says how they were
//! made.

use std::path::PathBuf;

use lvm2_format::mda::{Header, Slot};
use lvm2_format::roles::{Role, Roles};
use lvm2_format::vg::{Origin, to_disk, to_file};
use lvm2_format::{Label, LabelError, MdaError, Vg};

fn golden(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/lvm").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

const ORIGIN: Origin<'_> = Origin {
    program: "LVM2 version 2.03.16(2) (2022-05-18)",
    description: "Write from lvchange --driverloaded n -qq -ky fx1/noauto.",
    host: "vm",
    system: "Linux vm 6.18.44-fc-v657 #1 SMP PREEMPT_DYNAMIC @0 x86_64",
    time: 1_795_362_609,
};

fn single() -> (Vec<u8>, Label, Header) {
    let image = golden("01-single.head");
    let label = Label::find(&image).unwrap();
    let header = Header::parse(4096, &image[4096..]).unwrap();
    (image, label, header)
}

fn text_of<'a>(image: &'a [u8], header: &Header, slot: &Slot) -> &'a [u8] {
    let [range, wrapped] = header.ranges(slot.offset, slot.size).unwrap();
    assert!(wrapped.is_empty());
    &image[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()]
}

#[test]
fn a_label_reads_as_pvck_shows_it_and_writes_back_to_the_same_bytes() {
    let (image, label, _) = single();
    assert_eq!((label.sector, label.device_size, label.data_start()), (1, 64 << 20, 1 << 20));
    assert_eq!(label.id.to_string(), "fZWnQj-3giP-9JNe-xyTJ-iXgK-3sfI-eG5yoN");
    assert_eq!((label.metadata[0].offset, label.metadata[0].size), (4096, 1_044_480));
    assert!(label.is_used());
    assert_eq!(label.encode().unwrap(), image[512..1024]);
}

#[test]
fn every_golden_label_and_header_writes_back_to_the_same_bytes() {
    for name in ["03-four-pv-mixed-mda", "08-clustered", "13-precommit-left", "15-two-pv-all"] {
        let image = golden(&format!("{name}.head"));
        let label = Label::find(&image).unwrap();
        let at = usize::try_from(label.sector).unwrap() * 512;
        assert_eq!(label.encode().unwrap(), image[at..at + 512], "{name}");
        let header = Header::parse(4096, &image[4096..]).unwrap();
        assert_eq!(header.encode(), image[4096..4608], "{name}");
    }
}

#[test]
fn the_committed_text_writes_back_to_the_same_bytes() {
    let (image, _, header) = single();
    let text = text_of(&image, &header, header.committed().unwrap());
    let body = header.committed().unwrap().check(text).unwrap();
    let vg = Vg::parse(body).unwrap();
    assert_eq!((vg.name.as_str(), vg.seqno, vg.lvs.len()), ("fx1", 7, 4));
    assert!(vg.unknown.is_empty());
    assert_eq!(String::from_utf8(to_disk(&vg, &ORIGIN)).unwrap(), String::from_utf8(text.to_vec()).unwrap());
}

/// The group alone: without the lines that name the writer.
fn group_of(text: &str, name: &str) -> String {
    let start = text.find(&format!("{name} {{")).unwrap();
    let end = text[start..].find("\n}\n").unwrap();
    text[start..start + end].to_owned()
}

#[test]
fn every_golden_group_writes_back_to_the_same_text() {
    for name in ["03-four-pv-mixed-mda", "08-clustered", "08-dlm", "13-precommit-left", "15-two-pv-all"] {
        let text = golden(&format!("{name}.text"));
        let vg = Vg::parse(&text).unwrap();
        assert!(vg.unknown.is_empty(), "{name}: {:?}", vg.unknown);
        let text = String::from_utf8(text).unwrap();
        let ours = String::from_utf8(to_disk(&vg, &ORIGIN)).unwrap();
        assert_eq!(group_of(&ours, &vg.name), group_of(&text, &vg.name), "{name}");
    }
}

#[test]
fn backup_files_write_back_with_lvms_indentation_and_comments() {
    for name in ["01-single", "15-two-pv-all", "pvmove", "merging", "missing-flag"] {
        let text = golden(&format!("{name}.vgcfgbackup"));
        let vg = Vg::parse(&text).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert_eq!(group_of(&to_file(&vg, &ORIGIN), &vg.name), group_of(&text, &vg.name), "{name}");
    }
}

#[test]
fn keys_and_flags_of_the_future_are_named_and_do_not_stop_reading() {
    let vg = Vg::parse(&golden("12-unknown-compat-flag-and-key.text")).unwrap();
    assert_eq!(vg.unknown, ["flag NEWCOMPAT of a", "newkey of fx12"]);
}

#[test]
fn a_status_of_the_future_makes_the_group_unreadable() {
    let text = String::from_utf8(golden("08-clustered.text")).unwrap().replace("CLUSTERED", "NEWSTATUS");
    assert_eq!(Vg::parse(text.as_bytes()).unwrap_err().to_string(), "Unknown status flag 'NEWSTATUS'.");
}

#[test]
fn roles_follow_from_who_refers_to_whom() {
    let vg = Vg::parse(&golden("15-two-pv-all.text")).unwrap();
    let roles = Roles::of(&vg);
    let role = |name: &str| roles.role(vg.lv(name).unwrap());
    assert_eq!(role("mir_mimage_0"), Role::Image);
    assert_eq!(role("mir_mlog"), Role::MirrorLog);
    assert_eq!(role("r1_rmeta_1"), Role::RaidMeta);
    assert_eq!(role("org"), Role::Origin);
    assert_eq!(role("snap"), Role::Snapshot);
    assert_eq!(role("pool_tdata"), Role::PoolData);
    assert_eq!(role("lvol0_pmspare"), Role::Spare);
    assert_eq!(role("lin"), Role::Plain);
    assert_eq!(roles.origin(vg.lv("sna-p2").unwrap()), Some("org"));
    let visible = vg.lvs.iter().filter(|lv| roles.is_visible(lv)).count();
    assert_eq!(visible, 14, "vgs counts so many");
}

#[test]
fn a_label_cut_anywhere_or_with_any_byte_changed_is_no_label() {
    let (image, label, _) = single();
    let sector = &image[512..1024];
    for length in 0..512 {
        assert_eq!(Label::parse(1, &sector[..length]), Err(LabelError::Absent), "{length}");
    }
    for at in 0..512 {
        let mut changed = sector.to_vec();
        changed[at] ^= 1;
        assert_ne!(Label::parse(1, &changed), Ok(label.clone()), "byte {at}");
    }
}

#[test]
fn a_header_cut_anywhere_or_with_any_byte_changed_is_no_header() {
    let (image, _, header) = single();
    let sector = &image[4096..4608];
    for length in 0..512 {
        assert_eq!(Header::parse(4096, &sector[..length]), Err(MdaError::Short), "{length}");
    }
    for at in 0..512 {
        let mut changed = sector.to_vec();
        changed[at] ^= 1;
        assert_ne!(Header::parse(4096, &changed), Ok(header), "byte {at}");
    }
}

#[test]
fn a_text_cut_anywhere_is_an_error() {
    for (name, step) in [("08-clustered", 1), ("15-two-pv-all", 13)] {
        let text = golden(&format!("{name}.text"));
        // Behind this line only comments and lines nobody needs follow.
        let needed = String::from_utf8(text.clone()).unwrap().find("version = 1").unwrap();
        for length in (0..needed).step_by(step) {
            assert!(Vg::parse(&text[..length]).is_err(), "{length} bytes of {name}");
        }
    }
}
