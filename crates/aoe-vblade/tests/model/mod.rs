//! A target under any sequence of frames and of what its administrator does, beside a second one
//! made from the protocol's text: every answer, and every byte of the disk, has to be the same.
//! Driven by a property test, by the fuzzer, and by what the fuzzer has found.

use aoe_vblade::ata::{Disk, Failure};
use aoe_vblade::target::{ANSWER, Pending, Settings, Step, Target};
use nines_proto::aoe::{Address, Shelf, Slot};
use nines_proto::mac::Mac;

mod reference;

use reference::Reference;

/// As large as the disk gets.
pub const SECTORS: usize = 40;
const TARGET: [u8; 6] = [2, 0, 0, 0, 0, 1];
const FIRMWARE: [u8; 2] = [0, 1];

/// What a target is told when it starts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Setup {
    pub read_only: bool,
    pub trims: bool,
    pub wire_edits: bool,
}

/// What happens to a target.
#[derive(Debug, Clone, Copy)]
pub enum Event<'f> {
    /// It receives these bytes.
    Frame(&'f [u8]),
    /// A host is to hear nothing more.
    Deny([u8; 6]),
    /// Or is to hear again.
    Admit([u8; 6]),
    /// The administrator puts a host on the mask list.
    Mask([u8; 6]),
    /// Or takes it off.
    Unmask([u8; 6]),
    /// The interface has another MTU.
    Link(usize),
    /// The disk has another size: at most [`SECTORS`], and one at least.
    Resize(usize),
    /// Every request to the medium fails from here on, or does no more.
    Broken(bool),
    /// SMART is to say so.
    Failing(bool),
    /// It ends, and another one takes up what it kept.
    Restart,
}

/// Lets the events happen one by one, carries out the target's orders, and checks every answer.
///
/// # Panics
/// The target did what it must not.
pub fn run<'f>(setup: Setup, events: impl IntoIterator<Item = Event<'f>>) {
    let mut model = Reference::new(setup);
    let (target, disk) = (target(&model), model.disk.clone());
    let mut real = Real { target, disk, sectors: SECTORS, broken: false, buffer: vec![0; ANSWER] };
    for event in events {
        match event {
            Event::Frame(frame) => {
                let wanted = model.answer(frame);
                let got = real.take(frame).map(<[u8]>::to_vec);
                assert_eq!(got, wanted, "the answer to {frame:02x?}");
                let echo = got.and_then(|answer| real.take(&answer));
                assert_eq!(echo, None, "an answer to an answer");
            }
            other => happen(other, &mut model, &mut real),
        }
        assert!(real.disk == model.disk, "the disk differs after {event:02x?}");
    }
}

/// A target beside its disk.
struct Real {
    target: Target,
    disk: Vec<u8>,
    sectors: usize,
    broken: bool,
    buffer: Vec<u8>,
}

impl Real {
    /// Gives a frame to the target and does what it orders.
    fn take(&mut self, frame: &[u8]) -> Option<&[u8]> {
        // What an earlier answer left shows where one has holes, which are in front if anywhere.
        self.buffer[..2048].fill(0xee);
        let size = self.sectors * 512;
        let place = |first: u64, sectors: u64| {
            let [from, to] = [first, first + sectors].map(|sector| usize::try_from(sector).expect("small") * 512);
            assert!(from < to && to <= size, "{sectors} sectors at {first}");
            from..to
        };
        let length = match self.target.take(frame, &mut self.buffer) {
            Step::Ignore(_) => return None,
            Step::Answer(length) => length,
            Step::Read(extent, pending) => {
                let at = place(extent.first, extent.sectors.into());
                if !self.broken {
                    pending.data(&mut self.buffer).copy_from_slice(&self.disk[at]);
                }
                self.finish(pending, Failure::UNREADABLE)
            }
            Step::Write(extent, data, pending) => {
                let at = place(extent.first, extent.sectors.into());
                if !self.broken {
                    self.disk[at].copy_from_slice(data);
                }
                self.finish(pending, Failure::FAULT)
            }
            Step::Trim(ranges, pending) => {
                for range in ranges.iter() {
                    let at = place(range.first, range.sectors.into());
                    if !self.broken {
                        self.disk[at].fill(0);
                    }
                }
                self.finish(pending, Failure::FAULT)
            }
            Step::Flush(pending) => self.finish(pending, Failure::FAULT),
        };
        Some(&self.buffer[..length])
    }

    fn finish(&mut self, pending: Pending, failure: Failure) -> usize {
        pending.finish(if self.broken { Err(failure) } else { Ok(()) }, &mut self.buffer)
    }
}

/// What is no frame happens to both.
fn happen(event: Event<'_>, model: &mut Reference, real: &mut Real) {
    match event {
        Event::Frame(_) => {}
        Event::Deny(mac) => {
            real.target.deny(Mac(mac));
            model.denied.push(mac);
        }
        Event::Admit(mac) => {
            real.target.admit(Mac(mac));
            model.denied.retain(|denied| *denied != mac);
        }
        Event::Mask(mac) => {
            let done = real.target.change_mask(&[Mac(mac)], &[]);
            assert_eq!(done.is_ok(), model.masked(mac), "room on the mask list");
        }
        Event::Unmask(mac) => {
            real.target.change_mask(&[], &[Mac(mac)]).expect("room for one less");
            model.mask.retain(|masked| *masked != mac);
        }
        Event::Link(mtu) => {
            real.target.set_link(Mac(TARGET), mtu);
            model.mtu = mtu;
        }
        Event::Resize(sectors) => {
            (model.sectors, real.sectors) = (sectors, sectors);
            real.target.set_disk(disk(model));
        }
        Event::Broken(broken) => (model.broken, real.broken) = (broken, broken),
        Event::Failing(failing) => {
            real.target.set_failing(failing);
            model.failing = failing;
        }
        Event::Restart => {
            let kept = real.target.kept();
            real.target = target(model);
            real.target.restore(&kept).expect("what a target kept");
            assert_eq!(real.target.kept(), kept);
            model.failing = false;
        }
    }
}

fn disk(model: &Reference) -> Disk {
    let Setup { read_only, trims: trim, .. } = model.setup;
    Disk { sectors: model.sectors as u64, read_only, trim, identify: Box::new([0x1d; 512]) }
}

fn target(model: &Reference) -> Target {
    let settings = Settings {
        address: Address { shelf: Shelf(7), slot: Slot(3) },
        mac: Mac(TARGET),
        mtu: model.mtu,
        buffers: 64,
        disk: disk(model),
        mask: Vec::new(),
        wire_edits: model.setup.wire_edits,
    };
    Target::new(settings).expect("an empty mask")
}
