//! `/dev/mapper/control`: the kernel's device-mapper through its ioctls.
//!
//! Every command is one `_IOWR(0xfd, nr, struct dm_ioctl)` on a buffer that begins with that
//! 312-byte header and goes on with the command's own data (linux `include/uapi/linux/dm-ioctl.h`,
//! interface 4). The header is read and written here byte by byte, so that the one unsafe call is
//! all there is to trust.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Where the control node is.
pub const CONTROL: &str = "/dev/mapper/control";

const HEADER: usize = 312;
const NAME: std::ops::Range<usize> = 48..176;
const UUID: std::ops::Range<usize> = 176..305;
/// Larger replies than this are refused rather than made room for.
const MAX_BUFFER: usize = 64 << 20;

const READONLY: u32 = 1;
const SUSPEND: u32 = 1 << 1;
const STATUS_TABLE: u32 = 1 << 4;
const ACTIVE_PRESENT: u32 = 1 << 5;
const INACTIVE_PRESENT: u32 = 1 << 6;
const BUFFER_FULL: u32 = 1 << 8;
const SKIP_LOCKFS: u32 = 1 << 10;
const NOFLUSH: u32 = 1 << 11;
/// In a list: with uuids.
const UUIDS: u32 = 1 << 14;

/// Keeps udev's rules away from a device whose nodes the caller makes: no device-mapper,
/// subsystem, disk or other rules, and this event is the one that counts. Goes into the upper half
/// of a cookie.
const UDEV_OURS: u32 = 0x004f_0000;

#[derive(Clone, Copy)]
enum Command {
    Version = 0,
    List = 2,
    Create = 3,
    Remove = 4,
    Suspend = 6,
    Status = 7,
    Load = 9,
    Clear = 10,
    Deps = 11,
    Table = 12,
}

/// An open control node.
#[derive(Debug)]
pub struct Control {
    file: File,
}

/// Which device a command is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By<'a> {
    Name(&'a str),
    Uuid(&'a str),
}

/// What the kernel says about a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    pub major: u32,
    pub minor: u32,
    pub name: String,
    pub uuid: String,
    /// How many have it open, other device-mapper devices included.
    pub open_count: u32,
    pub suspended: bool,
    pub read_only: bool,
    /// Whether it has a table that serves I/O, and one that waits for a resume.
    pub live_table: bool,
    pub inactive_table: bool,
    pub target_count: u32,
}

/// One device of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub major: u32,
    pub minor: u32,
    pub name: String,
    /// Kernels before 5.13 do not tell.
    pub uuid: Option<String>,
}

/// One line of a table, in sectors; of a status line `params` is the status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub start: u64,
    pub length: u64,
    pub kind: String,
    pub params: String,
}

/// A command's buffer. Words, so that the kernel finds its structures aligned.
struct Buffer(Vec<u64>);

impl Buffer {
    fn new(size: usize) -> Self {
        Self(vec![0; size.div_ceil(8)])
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    fn fill(&mut self, bytes: &[u8]) {
        for (word, chunk) in self.0.iter_mut().zip(bytes.chunks(8)) {
            let mut full = [0; 8];
            full[..chunk.len()].copy_from_slice(chunk);
            *word = u64::from_ne_bytes(full);
        }
    }
}

/// The kernel's answer: the header and what follows it.
struct Reply(Vec<u8>);

impl Reply {
    fn u32(&self, at: usize) -> io::Result<u32> {
        let bytes = self.0.get(at..at.saturating_add(4)).ok_or_else(short)?;
        Ok(u32::from_ne_bytes(bytes.try_into().map_err(|_| short())?))
    }

    fn u64(&self, at: usize) -> io::Result<u64> {
        let bytes = self.0.get(at..at.saturating_add(8)).ok_or_else(short)?;
        Ok(u64::from_ne_bytes(bytes.try_into().map_err(|_| short())?))
    }

    fn text(&self, at: usize) -> io::Result<String> {
        let bytes = self.0.get(at..).ok_or_else(short)?;
        Ok(String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned())
    }

    fn flags(&self) -> io::Result<u32> {
        self.u32(28)
    }

    fn data_start(&self) -> io::Result<usize> {
        usize::try_from(self.u32(16)?).map_err(|_| short())
    }

    fn info(&self) -> io::Result<Info> {
        let (major, minor) = split(self.u64(40)?);
        let flags = self.flags()?;
        Ok(Info {
            major,
            minor,
            name: self.text(NAME.start)?,
            uuid: self.text(UUID.start)?,
            open_count: self.u32(24)?,
            suspended: flags & SUSPEND != 0,
            read_only: flags & READONLY != 0,
            live_table: flags & ACTIVE_PRESENT != 0,
            inactive_table: flags & INACTIVE_PRESENT != 0,
            target_count: self.u32(20)?,
        })
    }
}

fn short() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "device-mapper's answer is cut short")
}

/// Major and minor of a device number as the kernel packs it here (`huge_encode_dev`).
fn split(dev: u64) -> (u32, u32) {
    let low = u32::try_from(dev & 0xffff_ffff).unwrap_or_default();
    ((low >> 8) & 0xfff, (low & 0xff) | ((low >> 12) & 0x000f_ff00))
}

impl Control {
    /// # Errors
    /// The node is not there, or the kernel has no device-mapper (`ENODEV`).
    pub fn open() -> io::Result<Self> {
        Ok(Self { file: File::options().read(true).write(true).open(CONTROL)? })
    }

    /// One ioctl. The buffer's own idea of its size is corrected here.
    fn ioctl(&self, command: Command, buffer: &mut Buffer) -> io::Result<()> {
        const SIZE: libc::c_ulong = HEADER as libc::c_ulong;
        let request = (3 << 30) | (SIZE << 16) | (0xfd << 8) | command as libc::c_ulong;
        let size = u32::try_from(buffer.0.len() * 8).map_err(io::Error::other)?;
        let mut start = buffer.0[1].to_ne_bytes();
        // data_size is the upper half of the second word: version[2], data_size.
        start[4..].copy_from_slice(&size.to_ne_bytes());
        buffer.0[1] = u64::from_ne_bytes(start);
        // SAFETY: the fd is open for the life of `self`; the pointer is to a writable, 8-aligned
        // allocation of exactly `data_size` bytes, which the kernel reads and writes no further
        // than (dm-ioctl.c copy_params and its copy_to_user of data_size).
        let result = unsafe { libc::ioctl(self.file.as_raw_fd(), request, buffer.0.as_mut_ptr()) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn call(&self, command: Command, by: Option<By<'_>>, setup: &Setup<'_>) -> io::Result<Reply> {
        let mut header = vec![0; HEADER];
        header[..4].copy_from_slice(&4u32.to_ne_bytes());
        header[16..20].copy_from_slice(&u32::try_from(HEADER).map_err(io::Error::other)?.to_ne_bytes());
        header[20..24].copy_from_slice(&setup.target_count.to_ne_bytes());
        header[28..32].copy_from_slice(&setup.flags.to_ne_bytes());
        header[32..36].copy_from_slice(&setup.cookie.to_ne_bytes());
        let (name, uuid) = match by {
            Some(By::Name(name)) => (name, setup.new_uuid),
            Some(By::Uuid(uuid)) => ("", uuid),
            None => ("", ""),
        };
        put(&mut header[NAME], name)?;
        put(&mut header[UUID], uuid)?;
        header.extend_from_slice(setup.payload);
        let mut size = header.len().max(16 << 10);
        loop {
            let mut buffer = Buffer::new(size);
            buffer.fill(&header);
            match self.ioctl(command, &mut buffer) {
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => continue,
                other => other?,
            }
            let reply = Reply(buffer.bytes());
            if reply.flags()? & BUFFER_FULL == 0 {
                return Ok(reply);
            }
            size *= 2;
            if size > MAX_BUFFER {
                return Err(io::Error::other("device-mapper's answer does not fit 64 MiB"));
            }
        }
    }

    /// The kernel's interface version.
    ///
    /// # Errors
    /// The ioctl failed.
    pub fn version(&self) -> io::Result<(u32, u32, u32)> {
        let reply = self.call(Command::Version, None, &Setup::default())?;
        Ok((reply.u32(0)?, reply.u32(4)?, reply.u32(8)?))
    }

    /// Every device, in one call.
    ///
    /// # Errors
    /// The ioctl failed, or its answer makes no sense.
    pub fn list(&self) -> io::Result<Vec<Listed>> {
        let reply = self.call(Command::List, None, &Setup { flags: UUIDS, ..Setup::default() })?;
        let tells_uuids = (reply.u32(0)?, reply.u32(4)?) >= (4, 45);
        let mut at = reply.data_start()?;
        let mut list = Vec::new();
        loop {
            let dev = reply.u64(at)?;
            if dev == 0 {
                return Ok(list);
            }
            let next = usize::try_from(reply.u32(at + 8)?).map_err(|_| short())?;
            let name = reply.text(at + 12)?;
            let (major, minor) = split(dev);
            // Behind the name, aligned: event number, flags, and with flag 1 the uuid.
            let tail = (at + 12 + name.len() + 1).next_multiple_of(8);
            let has_uuid = tells_uuids && reply.u32(tail + 4)? & 1 != 0;
            let uuid = if has_uuid { Some(reply.text(tail + 8)?) } else { tells_uuids.then(String::new) };
            list.push(Listed { major, minor, name, uuid });
            if next == 0 {
                return Ok(list);
            }
            at = at.checked_add(next).ok_or_else(short)?;
        }
    }

    /// Makes a device without a table.
    ///
    /// # Errors
    /// `EBUSY`: the name or the uuid is taken.
    pub fn create(&self, name: &str, uuid: &str) -> io::Result<Info> {
        self.call(Command::Create, Some(By::Name(name)), &Setup { new_uuid: uuid, ..Setup::default() })?.info()
    }

    /// Gives a device a table that waits for a resume.
    ///
    /// # Errors
    /// The kernel refuses the table; its log says why.
    pub fn load(&self, by: By<'_>, targets: &[Target], read_only: bool) -> io::Result<()> {
        let mut payload = Vec::new();
        for target in targets {
            let length = (40 + target.params.len() + 1).next_multiple_of(8);
            let start = payload.len();
            payload.extend_from_slice(&target.start.to_ne_bytes());
            payload.extend_from_slice(&target.length.to_ne_bytes());
            payload.extend_from_slice(&0u32.to_ne_bytes());
            payload.extend_from_slice(&u32::try_from(length).map_err(io::Error::other)?.to_ne_bytes());
            let mut kind = [0; 16];
            put(&mut kind, &target.kind)?;
            payload.extend_from_slice(&kind);
            payload.extend_from_slice(target.params.as_bytes());
            payload.resize(start + length, 0);
        }
        let setup = Setup {
            flags: if read_only { READONLY } else { 0 },
            target_count: u32::try_from(targets.len()).map_err(io::Error::other)?,
            payload: &payload,
            ..Setup::default()
        };
        self.call(Command::Load, Some(by), &setup).map(drop)
    }

    /// Drops the table that waits for a resume.
    ///
    /// # Errors
    /// There is no such device.
    pub fn clear(&self, by: By<'_>) -> io::Result<()> {
        self.call(Command::Clear, Some(by), &Setup::default()).map(drop)
    }

    /// Puts the waiting table in place and lets I/O through. udev is told to leave the nodes to
    /// the caller.
    ///
    /// # Errors
    /// There is no such device, or the table cannot be used.
    pub fn resume(&self, by: By<'_>) -> io::Result<Info> {
        self.call(Command::Suspend, Some(by), &Setup { cookie: UDEV_OURS, ..Setup::default() })?.info()
    }

    /// Holds I/O back; with `freeze`, a file system on the device is frozen first.
    ///
    /// # Errors
    /// There is no such device.
    pub fn suspend(&self, by: By<'_>, freeze: bool) -> io::Result<Info> {
        let flags = if freeze { SUSPEND } else { SUSPEND | SKIP_LOCKFS };
        self.call(Command::Suspend, Some(by), &Setup { flags, ..Setup::default() })?.info()
    }

    /// # Errors
    /// `EBUSY`: somebody has it open.
    pub fn remove(&self, by: By<'_>) -> io::Result<()> {
        self.call(Command::Remove, Some(by), &Setup { cookie: UDEV_OURS, ..Setup::default() }).map(drop)
    }

    /// What the kernel says of a device; `None` when there is none.
    ///
    /// # Errors
    /// The ioctl failed for another reason.
    pub fn status(&self, by: By<'_>) -> io::Result<Option<Info>> {
        match self.call(Command::Status, Some(by), &Setup::default()) {
            Ok(reply) => reply.info().map(Some),
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The live table, or with `status` each target's state. Outstanding I/O is not flushed.
    ///
    /// # Errors
    /// There is no such device, or the answer makes no sense.
    pub fn table(&self, by: By<'_>, status: bool) -> io::Result<Vec<Target>> {
        let flags = NOFLUSH | if status { 0 } else { STATUS_TABLE };
        let reply = self.call(Command::Table, Some(by), &Setup { flags, ..Setup::default() })?;
        let first = reply.data_start()?;
        let mut at = first;
        let mut targets = Vec::new();
        for _ in 0..reply.u32(20)? {
            let kind = reply.0.get(at + 24..at + 40).ok_or_else(short)?;
            let kind = String::from_utf8_lossy(kind.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned();
            targets.push(Target {
                start: reply.u64(at)?,
                length: reply.u64(at + 8)?,
                kind,
                params: reply.text(at + 40)?,
            });
            // Here, unlike in a load, `next` counts from the first target.
            at =
                usize::try_from(reply.u32(at + 20)?).ok().and_then(|next| first.checked_add(next)).ok_or_else(short)?;
        }
        Ok(targets)
    }

    /// The devices a device's table is made of: major, minor.
    ///
    /// # Errors
    /// There is no such device, or the answer makes no sense.
    pub fn deps(&self, by: By<'_>) -> io::Result<Vec<(u32, u32)>> {
        let reply = self.call(Command::Deps, Some(by), &Setup::default())?;
        let start = reply.data_start()?;
        let count = usize::try_from(reply.u32(start)?).map_err(|_| short())?;
        (0..count).map(|index| reply.u64(start + 8 + 8 * index).map(split)).collect()
    }
}

/// What a command needs beyond the device.
#[derive(Default)]
struct Setup<'a> {
    flags: u32,
    target_count: u32,
    cookie: u32,
    new_uuid: &'a str,
    payload: &'a [u8],
}

/// Copies a name into its field, which must keep a final NUL.
fn put(field: &mut [u8], text: &str) -> io::Result<()> {
    if text.len() >= field.len() || text.contains('\0') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("`{text}' is too long for device-mapper")));
    }
    field[..text.len()].copy_from_slice(text.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_are_unpacked_as_the_kernel_packs_them() {
        assert_eq!(split(0x1030_fd12), (0xfd, 0x1_0312));
        assert_eq!(split((253 << 8) | 5), (253, 5));
    }

    #[test]
    fn a_name_that_leaves_no_room_for_its_end_is_refused() {
        let mut field = [0; 4];
        assert!(put(&mut field, "abcd").is_err());
        assert!(put(&mut field, "abc").is_ok());
    }

    #[test]
    fn a_reply_cut_short_is_an_error() {
        let reply = Reply(vec![0; 100]);
        assert!(reply.info().is_err());
        assert!(reply.u64(usize::MAX - 2).is_err());
    }
}
