//! Frames by the batch: the generator must be cheaper than what it measures.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use nines_proto::aoe::ETHERTYPE;
use nines_proto::aoe::ata::DATA;
use nines_sys::frames::Frames;
use nines_sys::packet::batch::{BATCH, Batch};
use nines_sys::packet::link::Link;
use nines_sys::packet::{ETHERNET_HEADER, Instruction, PacketSocket};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// How long a wait for frames lasts at most: timers are looked at in between.
const WAIT: Duration = Duration::from_millis(5);

/// A packet socket with room for a batch each way.
#[derive(Debug)]
pub struct Wire {
    socket: PacketSocket,
    batch: Batch,
    input: Frames,
    output: Frames,
    order: Vec<usize>,
    /// Frames written and not sent: each one's number and length.
    waiting: Vec<(usize, usize)>,
    came: Vec<(usize, usize)>,
}

impl Wire {
    /// Opens the interface for what the filter takes.
    ///
    /// # Errors
    /// No such interface, or no CAP_NET_RAW.
    pub fn open(link: &Link, filter: &[Instruction]) -> io::Result<Self> {
        let socket = PacketSocket::open(ETHERTYPE, filter)?;
        socket.set_buffers(64 << 20)?;
        socket.set_patience(WAIT)?;
        // Older kernels cannot: it only costs more.
        let _ = socket.bypass_queue(true);
        socket.bind(link.index)?;
        let length = (link.mtu + ETHERNET_HEADER).max(DATA + 24);
        let frames = || Frames::new(BATCH, DATA, length);
        let (input, output) = (frames()?, frames()?);
        let (waiting, came) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
        Ok(Self { socket, batch: Batch::default(), input, output, order: (0..BATCH).collect(), waiting, came })
    }

    /// Has a frame written and sends it soon: with the batch, or by [`flush`](Self::flush).
    /// `write` gets the frame as it was last left and returns the length to send.
    ///
    /// # Errors
    /// The interface's own.
    pub fn send(&mut self, write: impl FnOnce(&mut [u8]) -> usize) -> io::Result<()> {
        let frame = self.waiting.len();
        let length = write(self.output.bytes_mut(frame));
        self.waiting.push((frame, length));
        if self.waiting.len() == BATCH { self.flush() } else { Ok(()) }
    }

    /// Sends what waits.
    ///
    /// # Errors
    /// The interface's own; what a full queue does not take in time is dropped.
    pub fn flush(&mut self) -> io::Result<()> {
        send_all(&self.socket, &mut self.batch, &self.output, &self.waiting)?;
        self.waiting.clear();
        Ok(())
    }

    /// Waits a moment for frames and hands each one over. False when none came.
    ///
    /// # Errors
    /// The interface's own.
    pub fn receive(&mut self, mut take: impl FnMut(&[u8])) -> io::Result<bool> {
        self.came.clear();
        let came = &mut self.came;
        let note = |frame, length| came.push((frame, length));
        match self.socket.receive_batch(&mut self.batch, &mut self.input, &self.order, note) {
            Ok(_) => {}
            Err(error) if idle(&error) => return Ok(false),
            Err(error) => return Err(error),
        }
        for (frame, length) in &self.came {
            // One that did not fit is nothing this end asked for.
            if let Some(bytes) = self.input.bytes(*frame).get(..*length) {
                take(bytes);
            }
        }
        Ok(true)
    }

    /// Waits a moment for frames, has each one turned into its answer where it lies, and sends
    /// the answers.
    ///
    /// # Errors
    /// The interface's own.
    pub fn answer(&mut self, mut answer: impl FnMut(&mut [u8], usize) -> Option<usize>) -> io::Result<()> {
        self.came.clear();
        let came = &mut self.came;
        let note = |frame, length| came.push((frame, length));
        match self.socket.receive_batch(&mut self.batch, &mut self.input, &self.order, note) {
            Ok(_) => {}
            Err(error) if idle(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
        let input = &mut self.input;
        self.came.retain_mut(|(frame, length)| match answer(input.bytes_mut(*frame), *length) {
            Some(answered) => {
                *length = answered;
                true
            }
            None => false,
        });
        send_all(&self.socket, &mut self.batch, &self.input, &self.came)
    }
}

/// Nothing came, or the interface went down for a moment.
fn idle(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, NetworkDown, WouldBlock};
    [WouldBlock, Interrupted, NetworkDown].contains(&error.kind())
}

fn send_all(socket: &PacketSocket, batch: &mut Batch, frames: &Frames, these: &[(usize, usize)]) -> io::Result<()> {
    let mut rest = these;
    while !rest.is_empty() {
        match socket.send_batch(batch, frames, rest) {
            Ok(sent) => rest = &rest[sent..],
            Err(error) => match Errno::try_from(error)? {
                Errno::EAGAIN => {
                    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
                    poll(&mut fds, PollTimeout::from(1_u8))?;
                }
                // Dropped, as a switch would: timers find out.
                Errno::ENOBUFS | Errno::ENETDOWN => rest = &rest[1..],
                Errno::EINTR => {}
                errno => return Err(errno.into()),
            },
        }
    }
    Ok(())
}
