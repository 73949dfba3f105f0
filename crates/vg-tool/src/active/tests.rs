use super::*;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Device-mapper as a table in memory that writes down what it is asked.
#[derive(Default)]
struct Fake {
    log: RefCell<Vec<String>>,
    devices: RefCell<BTreeMap<String, Info>>,
    refuse_load: bool,
}

impl Fake {
    fn note(&self, step: &str) {
        self.log.borrow_mut().push(step.to_owned());
    }

    fn steps(&self) -> Vec<String> {
        self.log.borrow().clone()
    }
}

impl Mapper for Fake {
    fn list(&self) -> io::Result<Vec<Listed>> {
        Ok(Vec::new())
    }

    fn status(&self, uuid: &str) -> io::Result<Option<Info>> {
        Ok(self.devices.borrow().get(uuid).cloned())
    }

    fn create(&self, name: &str, uuid: &str) -> io::Result<()> {
        self.note(&format!("create {name}"));
        let info = Info {
            major: 253,
            minor: 7,
            name: name.into(),
            uuid: uuid.into(),
            open_count: 0,
            suspended: false,
            read_only: false,
            live_table: false,
            inactive_table: false,
            target_count: 0,
        };
        self.devices.borrow_mut().insert(uuid.into(), info);
        Ok(())
    }

    fn load(&self, _uuid: &str, targets: &[Target], read_only: bool) -> io::Result<()> {
        if self.refuse_load {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        for target in targets {
            self.note(&format!("load {} {} {} {}", target.start, target.length, target.kind, target.params));
        }
        if read_only {
            self.note("read-only");
        }
        Ok(())
    }

    fn resume(&self, uuid: &str) -> io::Result<Info> {
        self.note("resume");
        let mut devices = self.devices.borrow_mut();
        let info = devices.get_mut(uuid).ok_or(io::ErrorKind::NotFound)?;
        info.live_table = true;
        Ok(info.clone())
    }

    fn remove(&self, uuid: &str) -> io::Result<()> {
        self.note("remove");
        self.devices.borrow_mut().remove(uuid);
        Ok(())
    }
}

fn group() -> (World, Group) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/lvm/01-single.vgcfgbackup");
    let vg = Rc::new(Vg::parse(&std::fs::read(path).unwrap()).unwrap());
    let head = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/lvm/01-single.head")).unwrap();
    let device = crate::dev::Device {
        path: "/dev/loop0".into(),
        major: 7,
        minor: 0,
        size: 131_072,
        sysfs: "/sys/block/loop0".into(),
    };
    let pv = crate::scan::Found {
        device,
        size: 64 << 20,
        label: lvm2_format::Label::find(&head).unwrap(),
        areas: Vec::new(),
    };
    let world =
        World { devices: Vec::new(), pvs: vec![pv], groups: Vec::new(), duplicates: Vec::new(), warnings: Vec::new() };
    let group = Group {
        vg,
        devices: vec![Some(0)],
        outdated: Vec::new(),
        warnings: Vec::new(),
        unsafe_to_change: None,
        unsettled: false,
    };
    (world, group)
}

fn with(fake: &Fake, act: impl FnOnce(&mut Activation<'_>, &Vg) -> Result<()>) -> Result<()> {
    let (world, group) = group();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("dm-7"), "").unwrap();
    let nodes = Nodes::new(dir.path().to_path_buf());
    let vg = Rc::clone(&group.vg);
    let mut activation = Activation { mapper: fake, nodes: &nodes, world: &world, group: &group, cluster: None };
    act(&mut activation, &vg)
}

#[test]
fn activation_creates_loads_and_resumes_in_this_order() {
    let fake = Fake::default();
    with(&fake, |activation, vg| activation.on(vg.lv("a").unwrap(), LvMode::Exclusive)).unwrap();
    assert_eq!(
        fake.steps(),
        ["create fx1-a", "load 0 16384 linear 7:0 2048", "load 16384 8192 linear 7:0 26624", "resume"]
    );
}

#[test]
fn a_volume_that_is_active_is_left_as_it_is() {
    let fake = Fake::default();
    with(&fake, |activation, vg| {
        activation.on(vg.lv("b-dash").unwrap(), LvMode::Exclusive)?;
        let steps = fake.steps().len();
        activation.on(vg.lv("b-dash").unwrap(), LvMode::Exclusive)?;
        assert_eq!(fake.steps().len(), steps);
        assert_eq!(fake.steps()[0], "create fx1-b--dash");
        Ok(())
    })
    .unwrap();
}

#[test]
fn a_read_only_volume_is_loaded_read_only() {
    let fake = Fake::default();
    with(&fake, |activation, vg| activation.on(vg.lv("u_under.dot+plus").unwrap(), LvMode::Exclusive)).unwrap();
    assert!(fake.steps().contains(&"read-only".to_owned()));
}

#[test]
fn a_device_whose_table_is_refused_does_not_stay() {
    let fake = Fake { refuse_load: true, ..Fake::default() };
    let stop = with(&fake, |activation, vg| activation.on(vg.lv("a").unwrap(), LvMode::Exclusive)).unwrap_err();
    assert!(stop.message.starts_with("fx1/a: the kernel refuses its table"), "{}", stop.message);
    assert_eq!(fake.steps(), ["create fx1-a", "remove"]);
}

#[test]
fn an_open_volume_is_not_deactivated() {
    let fake = Fake::default();
    let stop = with(&fake, |activation, vg| {
        let lv = vg.lv("a").unwrap();
        activation.on(lv, LvMode::Exclusive)?;
        fake.devices.borrow_mut().values_mut().for_each(|info| info.open_count = 1);
        activation.off(lv)
    });
    assert_eq!(stop.unwrap_err().message, "Logical volume fx1/a in use.");
    assert!(!fake.steps().contains(&"remove".to_owned()));
}

#[test]
fn deactivating_what_is_not_active_is_done_already() {
    let fake = Fake::default();
    with(&fake, |activation, vg| activation.off(vg.lv("a").unwrap())).unwrap();
    assert_eq!(fake.steps(), [""; 0]);
}

#[test]
fn volumes_of_other_types_are_left_to_lvm2() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/lvm/15-two-pv-all.text");
    let vg = Vg::parse(&std::fs::read(path).unwrap()).unwrap();
    let refused = |name: &str| mappable(&vg, vg.lv(name).unwrap()).unwrap_err().message;
    assert!(refused("r1").contains("type raid1"));
    assert!(refused("org").contains("type snapshot origin"));
    assert!(refused("snap").contains("type snapshot,"));
    assert!(refused("pool_tdata").contains("part of another"));
    assert!(mappable(&vg, vg.lv("str").unwrap()).is_ok());
}

#[test]
fn in_a_clustered_group_what_has_no_write_cache_sends_its_flushes_to_the_sink() {
    let sysfs = tempfile::tempdir().unwrap();
    std::fs::create_dir(sysfs.path().join("queue")).unwrap();
    let (mut world, mut group) = group();
    world.pvs[0].device.sysfs = sysfs.path().into();
    let sink = || Ok((7, 5));
    let line = |world: &World, group: &Group| {
        let lv = &group.vg.lvs[0];
        let target = targets(world, group, lv, sink).unwrap().remove(0);
        (target.kind, target.params)
    };
    let (kind, place) = line(&world, &group);
    assert_eq!(kind, "linear");

    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/lvm/01-single.vgcfgbackup");
    let text = std::fs::read_to_string(path).unwrap().replacen("\"RESIZEABLE\",", "\"RESIZEABLE\", \"CLUSTERED\",", 1);
    group.vg = Rc::new(Vg::parse(text.as_bytes()).unwrap());
    for (cache, wanted) in [
        ("write back\n", ("linear".to_owned(), place.clone())),
        ("write through\n", ("delay".to_owned(), format!("{place} 0 {place} 0 7:5 0 0"))),
    ] {
        std::fs::write(sysfs.path().join("queue/write_cache"), cache).unwrap();
        assert_eq!(line(&world, &group), wanted);
    }
}
