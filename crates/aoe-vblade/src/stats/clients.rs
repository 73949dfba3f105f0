//! What each client of an export has asked for, and how it was served.

use std::time::Duration;

use nines_proto::aoe::SECTOR;
use nines_proto::aoe::statistics::Client;
use nines_proto::mac::Mac;

use super::histogram::Histogram;

/// Clients that are told apart; addresses are easily forged, so there has to be an end.
const MOST: usize = 64;

/// What is counted of a client.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Reads answered with data.
    pub reads: u64,
    /// Sectors they gave.
    pub sectors_read: u64,
    /// Writes that are done.
    pub writes: u64,
    /// Sectors they took.
    pub sectors_written: u64,
    /// Flushes that are done.
    pub flushes: u64,
    /// Trims that are done.
    pub trims: u64,
    /// Anything that needs no disk.
    pub others: u64,
    /// What the medium failed.
    pub errors: u64,
    /// What was answered with an error for what it asked.
    pub refused: u64,
    /// Requests that repeat one of the same client that is under way.
    pub duplicates: u64,
    /// Frames that got no answer.
    pub ignored: u64,
    queue: u32,
    queue_most: u32,
    read_times: Histogram,
    change_times: Histogram,
}

/// The clients of one export, by the order they came in; those too many are one together.
#[derive(Debug, Default)]
pub struct Clients {
    macs: Vec<Mac>,
    /// One more than there are addresses when some were too many.
    tallies: Vec<Tally>,
    /// Who asked last, which mostly asks next.
    last: usize,
    queue: u32,
    queue_most: u32,
}

impl Clients {
    /// A client's number, for as long as the export is served.
    pub fn number(&mut self, mac: Mac) -> usize {
        if let Some(number) = self.known(mac) {
            self.last = number;
            return number;
        }
        if self.macs.len() < MOST {
            self.macs.push(mac);
            self.tallies.push(Tally::default());
        } else if self.tallies.len() == MOST {
            self.tallies.push(Tally::default());
        }
        self.tallies.len() - 1
    }

    /// The number of one that has been served before, by itself.
    fn known(&self, mac: Mac) -> Option<usize> {
        if self.macs.get(self.last) == Some(&mac) {
            return Some(self.last);
        }
        self.macs.iter().position(|known| *known == mac)
    }

    /// What is counted of a client.
    ///
    /// # Panics
    /// There is no such client.
    pub fn tally(&mut self, number: usize) -> &mut Tally {
        &mut self.tallies[number]
    }

    /// Counts a frame that gets no answer, if it comes from a client: others leave no trace.
    pub fn ignored(&mut self, mac: Mac) {
        if let Some(number) = self.known(mac) {
            self.tallies[number].ignored += 1;
        }
    }

    /// A request for the disk has come.
    pub fn queue(&mut self, number: usize) {
        let tally = &mut self.tallies[number];
        tally.queue += 1;
        tally.queue_most = tally.queue_most.max(tally.queue);
        self.queue += 1;
        self.queue_most = self.queue_most.max(self.queue);
    }

    /// It is answered, or given up.
    pub fn leave(&mut self, number: usize) {
        self.tallies[number].queue -= 1;
        self.queue -= 1;
    }

    /// How long its answer took.
    pub fn took(&mut self, number: usize, read: bool, time: Duration) {
        let tally = &mut self.tallies[number];
        if read { &mut tally.read_times } else { &mut tally.change_times }.add(time);
    }

    /// Each of them, for others to see.
    #[must_use]
    pub fn each(&self) -> Vec<Client> {
        let name = |number: usize| self.macs.get(number).map_or_else(|| "others".to_owned(), Mac::to_string);
        self.tallies.iter().enumerate().map(|(number, tally)| show(name(number), tally)).collect()
    }

    /// All of them together.
    #[must_use]
    pub fn together(&self) -> Client {
        let mut sum = Tally::default();
        for tally in &self.tallies {
            sum.reads += tally.reads;
            sum.sectors_read += tally.sectors_read;
            sum.writes += tally.writes;
            sum.sectors_written += tally.sectors_written;
            sum.flushes += tally.flushes;
            sum.trims += tally.trims;
            sum.others += tally.others;
            sum.errors += tally.errors;
            sum.refused += tally.refused;
            sum.duplicates += tally.duplicates;
            sum.ignored += tally.ignored;
            sum.read_times.merge(&tally.read_times);
            sum.change_times.merge(&tally.change_times);
        }
        (sum.queue, sum.queue_most) = (self.queue, self.queue_most);
        show("all".to_owned(), &sum)
    }
}

fn show(client: String, tally: &Tally) -> Client {
    Client {
        client,
        reads: tally.reads,
        bytes_read: tally.sectors_read * SECTOR as u64,
        writes: tally.writes,
        bytes_written: tally.sectors_written * SECTOR as u64,
        flushes: tally.flushes,
        trims: tally.trims,
        others: tally.others,
        errors: tally.errors,
        refused: tally.refused,
        duplicates: tally.duplicates,
        ignored: tally.ignored,
        queue: tally.queue,
        queue_most: tally.queue_most,
        read_latency: tally.read_times.latency(),
        change_latency: tally.change_times.latency(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_told_apart_up_to_a_bound_and_counted_together_beyond() {
        let mut clients = Clients::default();
        for round in 0..2 {
            for last in 0..100 {
                let number = clients.number(Mac([2, 0, 0, 0, 0, last]));
                assert_eq!(number, usize::from(last).min(MOST), "round {round}");
                clients.tally(number).reads += 1;
            }
        }
        let each = clients.each();
        assert_eq!(each.len(), MOST + 1);
        assert_eq!((each[3].client.as_str(), each[3].reads), ("02:00:00:00:00:03", 2));
        assert_eq!((each[MOST].client.as_str(), each[MOST].reads), ("others", 2 * (100 - MOST as u64)));
        assert_eq!(clients.together().reads, 200);
    }

    #[test]
    fn the_queue_is_what_is_there_now_and_what_was_there_at_most() {
        let mut clients = Clients::default();
        let (a, b) = (clients.number(Mac([2; 6])), clients.number(Mac([4; 6])));
        clients.queue(a);
        clients.queue(b);
        clients.leave(a);
        clients.queue(b);
        clients.took(b, true, Duration::from_micros(10));
        let (first, all) = (&clients.each()[0], clients.together());
        assert_eq!((first.queue, first.queue_most, all.queue, all.queue_most), (0, 1, 2, 2));
        assert_eq!((all.read_latency.count, all.change_latency.count), (1, 0));
        clients.ignored(Mac([2; 6]));
        clients.ignored(Mac([6; 6]));
        assert_eq!((clients.each().len(), clients.together().ignored), (2, 1));
    }
}
