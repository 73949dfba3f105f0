//! pvs, vgs, lvs.

use super::Command;
use crate::active::{Devices, Mapper};
use crate::groups::{Group, World};
use crate::opts::{Opt, bad_value, opt};
use crate::report::{Form, PvRow, Row, Scope, View, columns, print, sort, sort_keys};
use crate::say::error;
use crate::session::Session;
use crate::size::Shown;
use crate::stop::{Context, FAILED, OK, Result, Stop};
use crate::target::Named;

const OPTIONS: &[Opt] = &[
    opt("all", Some('a'), None, "hidden things too"),
    opt("options", Some('o'), Some("[+]FIELDS"), "columns, separated by commas; + adds to the default ones"),
    opt("sort", Some('O'), Some("FIELDS"), "sort by these columns, - before one for the other direction"),
    opt("noheadings", None, None, "no first line"),
    opt("separator", None, Some("TEXT"), "between columns, which are then not padded"),
    opt("aligned", None, None, "pad columns although a separator is given"),
    opt("nosuffix", None, None, "sizes without their unit"),
    opt("units", None, Some("UNIT"), "r, h, b, s, k, m, g, t, p or e; capital letters for units of 1000"),
    opt("reportformat", None, Some("basic|json"), "how to print"),
    opt("segments", None, None, "one row a segment (lvs)"),
    opt("foreign", None, None, "groups of other hosts too"),
    opt("shared", None, None, "groups under lvmlockd too"),
    opt("readonly", None, None, "accepted; reports never write"),
    opt("ignorelockingfailure", None, None, "accepted; reports hardly lock"),
    opt("unquoted", None, None, "accepted; nothing is quoted"),
];

pub const PVS: Command = Command {
    name: "pvs",
    about: "list physical volumes",
    usage: "[-o FIELDS] [DEVICE...]",
    examples: &[
        ("pvs", "every physical volume, its group, its size and what is free"),
        ("pvs -o +pv_uuid,pv_used --units m", "more columns, sizes in MiB"),
        ("pvs --noheadings --separator : -o pv_name,vg_name", "for a script"),
    ],
    options: OPTIONS,
    run: pvs,
};

pub const VGS: Command = Command {
    name: "vgs",
    about: "list volume groups",
    usage: "[-o FIELDS] [VG...]",
    examples: &[
        ("vgs", "every group; a c at the end of Attr marks a clustered one"),
        ("vgs --reportformat json -o vg_name,vg_seqno,vg_free --units b pool", "for a program"),
    ],
    options: OPTIONS,
    run: vgs,
};

pub const LVS: Command = Command {
    name: "lvs",
    about: "list logical volumes",
    usage: "[-a] [-o FIELDS] [VG|VG/LV...]",
    examples: &[
        ("lvs pool", "the volumes of one group; an a in the fifth place of Attr marks an active one"),
        ("lvs -o +devices", "where each volume lies"),
        ("lvs --noheadings -o lv_path,lv_active pool/web-00", "one volume, for a script"),
    ],
    options: OPTIONS,
    run: lvs,
};

const PV_COLUMNS: &[&str] = &["pv_name", "vg_name", "pv_fmt", "pv_attr", "pv_size", "pv_free"];
const VG_COLUMNS: &[&str] = &["vg_name", "pv_count", "lv_count", "snap_count", "vg_attr", "vg_size", "vg_free"];
const LV_COLUMNS: &[&str] = &[
    "lv_name",
    "vg_name",
    "lv_attr",
    "lv_size",
    "pool_lv",
    "origin",
    "data_percent",
    "metadata_percent",
    "move_pv",
    "mirror_log",
    "copy_percent",
    "convert_lv",
];
const SEGMENT_COLUMNS: &[&str] = &["lv_name", "vg_name", "lv_attr", "stripes", "segtype", "seg_size"];

/// A report being made.
struct Report<'a> {
    session: &'a Session,
    kind: &'static str,
    world: &'a World,
    devices: &'a Devices,
    dev_dir: &'a str,
    shown: Shown,
    form: Form,
    switched_off: bool,
}

impl<'a> Report<'a> {
    fn row(&self) -> Row<'a> {
        Row {
            world: self.world,
            shown: self.shown,
            devices: self.devices,
            mapper: self.session.mapper(),
            switched_off: self.switched_off,
            dev_dir: self.dev_dir,
            view: None,
            pv: None,
            lv: None,
            segment: None,
        }
    }

    fn finish(
        &self,
        mut rows: Vec<Row<'a>>,
        columns: &[&'static crate::report::Field],
        allowed: &[Scope],
        keys: &str,
    ) -> Result<()> {
        let keys = sort_keys(self.kind, self.session.options.value("sort").unwrap_or(keys), allowed)?;
        sort(&mut rows, &keys);
        print(&rows, columns, &self.form)
    }
}

fn make<T>(session: &Session, kind: &'static str, report: impl FnOnce(&Report<'_>) -> Result<T>) -> Result<T> {
    let options = &session.options;
    let shown = Shown::parse(
        options.value("units").or(session.conf.text("global", "units")).unwrap_or("r"),
        !options.has("nosuffix"),
    )
    .map_err(|stop| stop.then(format_args!("Run `{} --help' for more information.", session.command)))?;
    let form = match options.value("reportformat").or(session.conf.text("report", "output_format")) {
        None | Some("basic") => Form::Basic {
            headings: !options.has("noheadings"),
            separator: options.value("separator").map(str::to_owned),
            aligned: options.has("aligned"),
        },
        Some("json") => Form::Json(kind),
        Some(other) => return Err(bad_value("reportformat", other)),
    };
    let switched_off = !session.activation_allowed()?;
    if switched_off {
        session.say.warning("Activation disabled. No device-mapper interaction will be attempted.");
    }
    let world = session.look()?;
    let mapper: Option<&dyn Mapper> = session.mapper();
    let devices = Devices::list(mapper).at("device-mapper")?;
    let dev_dir = session.conf.dev_dir().to_string_lossy().into_owned();
    report(&Report { session, kind, world: &world, devices: &devices, dev_dir: &dev_dir, shown, form, switched_off })
}

/// Whether a group is shown; one that was asked for by name and may not be is an error.
fn admitted(report: &Report<'_>, group: &Group, named: bool, failed: &mut bool) -> bool {
    let (session, vg) = (report.session, &group.vg);
    let foreign = !session.conf.owns(vg.system_id.as_deref());
    let Err(stop) = session.check_access(vg) else { return true };
    if session.options.has(if foreign { "foreign" } else { "shared" }) {
        return true;
    }
    // Without a system id of its own a host may have lost it, which is worth a word.
    if named || (foreign && session.conf.system_id().is_none()) {
        error(&stop.message);
    }
    *failed |= named;
    false
}

/// The groups of a report: those named, or all. Says what is wrong with them.
fn groups<'a>(report: &Report<'a>, named: &[String], failed: &mut bool) -> Vec<&'a Group> {
    let world = report.world;
    let concerned = |group: &Group| named.is_empty() || named.contains(&group.vg.name);
    report.session.warn(world, concerned);
    if named.is_empty() {
        return world.groups.iter().filter(|group| admitted(report, group, false, failed)).collect();
    }
    let mut chosen: Vec<&Group> = Vec::new();
    for name in named {
        match world.group(name) {
            Ok(group) if chosen.iter().any(|other| std::ptr::eq(*other, group)) => {}
            Ok(group) if admitted(report, group, true, failed) => chosen.push(group),
            Ok(_) => {}
            Err(stop) => {
                error(&stop.message);
                *failed = true;
            }
        }
    }
    chosen
}

fn code(failed: bool) -> u8 {
    if failed { FAILED } else { OK }
}

fn vgs(session: &Session) -> Result<u8> {
    const ALLOWED: &[Scope] = &[Scope::Vg];
    let chosen: Vec<&str> = session.options.values("options").collect();
    let columns = columns("vg", VG_COLUMNS, &chosen, ALLOWED)?;
    make(session, "vg", |report| {
        let mut failed = false;
        let named: Vec<String> = session
            .options
            .args
            .iter()
            .map(|text| Named::parse(&session.conf, text).map(|named| named.vg))
            .collect::<Result<_>>()?;
        let views: Vec<View<'_>> = groups(report, &named, &mut failed).into_iter().map(View::new).collect();
        let rows = views.iter().map(|view| Row { view: Some(view), ..report.row() }).collect();
        report.finish(rows, &columns, ALLOWED, "vg_name")?;
        Ok(code(failed))
    })
}

fn lvs(session: &Session) -> Result<u8> {
    const ALLOWED: &[Scope] = &[Scope::Lv, Scope::Segment, Scope::Vg];
    let options = &session.options;
    let chosen: Vec<&str> = options.values("options").collect();
    let defaults = if options.has("segments") { SEGMENT_COLUMNS } else { LV_COLUMNS };
    let columns = columns("lv", defaults, &chosen, ALLOWED)?;
    let by_segment = columns.iter().any(|column| column.scope == Scope::Segment);
    let all = options.has("all");
    make(session, "lv", |report| {
        let mut failed = false;
        let named: Vec<Named> =
            options.args.iter().map(|text| Named::parse(&session.conf, text)).collect::<Result<_>>()?;
        let mut vgs: Vec<String> = named.iter().map(|named| named.vg.clone()).collect();
        vgs.dedup();
        let views: Vec<View<'_>> = groups(report, &vgs, &mut failed).into_iter().map(View::new).collect();
        let mut rows = Vec::new();
        for view in &views {
            let vg = &view.group.vg;
            let here: Vec<&Named> = named.iter().filter(|named| named.vg == vg.name).collect();
            if vg.is_exported() {
                if !here.is_empty() {
                    error(format_args!("Volume group {} is exported", vg.name));
                    failed = true;
                }
                continue;
            }
            let whole = here.is_empty() || here.iter().any(|named| named.lv.is_none());
            let names: Vec<&str> = here.iter().filter_map(|named| named.lv.as_deref()).collect();
            for name in names.iter().filter(|name| vg.lv(name).is_none()) {
                error(format_args!("Failed to find logical volume \"{}/{name}\"", vg.name));
                failed = true;
            }
            for lv in &vg.lvs {
                let is_tie = view.roles.role(lv) == lvm2_format::roles::Role::Tie;
                let wanted = names.contains(&lv.name.as_str()) || (whole && (all || view.roles.is_visible(lv)));
                if is_tie || !wanted {
                    continue;
                }
                let row = Row { view: Some(view), lv: Some(lv), ..report.row() };
                if by_segment {
                    rows.extend(lv.segments.iter().map(|segment| Row { segment: Some(segment), ..row }));
                } else {
                    rows.push(row);
                }
            }
        }
        let keys = if by_segment { "vg_name,lv_name,seg_start" } else { "vg_name,lv_name" };
        report.finish(rows, &columns, ALLOWED, keys)?;
        Ok(code(failed))
    })
}

fn pvs(session: &Session) -> Result<u8> {
    const ALLOWED: &[Scope] = &[Scope::Pv, Scope::Vg];
    let options = &session.options;
    let chosen: Vec<&str> = options.values("options").collect();
    let columns = columns("pv", PV_COLUMNS, &chosen, ALLOWED)?;
    make(session, "pv", |report| {
        let world = report.world;
        let mut failed = false;
        let views: Vec<View<'_>> = groups(report, &[], &mut failed).into_iter().map(View::new).collect();
        let mut named: Vec<&str> = Vec::new();
        for path in &options.args {
            match crate::dev::find(&world.devices, path) {
                Ok(device) => named.push(device.path.to_str().unwrap_or_default()),
                Err(_) => {
                    error(Stop::failed(format_args!("Cannot use {path}: device not found")).message);
                    failed = true;
                }
            }
        }
        let mut rows = Vec::new();
        for view in &views {
            for (index, device) in view.group.devices.iter().enumerate() {
                let found = device.map(|device| &world.pvs[device]);
                let pv = PvRow { found, index: Some(index), duplicate: false };
                rows.push(Row { view: Some(view), pv: Some(pv), ..report.row() });
            }
        }
        for (at, found) in world.pvs.iter().enumerate() {
            let outdated = world.groups.iter().any(|group| group.outdated.contains(&at));
            if world.group_of(at).is_none() && !outdated {
                let pv = PvRow { found: Some(found), index: None, duplicate: false };
                rows.push(Row { pv: Some(pv), ..report.row() });
            }
        }
        if options.has("all") {
            for found in &world.duplicates {
                let pv = PvRow { found: Some(found), index: None, duplicate: true };
                rows.push(Row { pv: Some(pv), ..report.row() });
            }
        }
        if !options.args.is_empty() {
            let path = |row: &Row<'_>| row.pv.and_then(|pv| pv.found).map(|found| found.device.name());
            for name in &named {
                if !rows.iter().any(|row| path(row).as_deref() == Some(name)) {
                    error(format_args!("Failed to find physical volume \"{name}\"."));
                    failed = true;
                }
            }
            rows.retain(|row| path(row).is_some_and(|path| named.contains(&path.as_str())));
        }
        report.finish(rows, &columns, ALLOWED, "pv_name")?;
        Ok(code(failed))
    })
}
