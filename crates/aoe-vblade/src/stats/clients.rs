//! What each client of an export has asked for, and how it was served.

use std::time::Duration;

use nines_proto::aoe::statistics::Client;
use nines_proto::mac::Mac;

use super::histogram::Histogram;

/// Clients that are told apart; addresses are easily forged, so there has to be an end.
const MOST: usize = 64;

/// What is counted of a client.
#[derive(Debug, Clone, Default)]
struct Tally {
    /// Without its name and its times.
    counts: Client,
    read_times: Histogram,
    change_times: Histogram,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        let (sum, one) = (&mut self.counts, &other.counts);
        sum.reads += one.reads;
        sum.bytes_read += one.bytes_read;
        sum.writes += one.writes;
        sum.bytes_written += one.bytes_written;
        sum.flushes += one.flushes;
        sum.trims += one.trims;
        sum.others += one.others;
        sum.errors += one.errors;
        sum.refused += one.refused;
        sum.duplicates += one.duplicates;
        sum.ignored += one.ignored;
        self.read_times.merge(&other.read_times);
        self.change_times.merge(&other.change_times);
    }

    fn show(&self, client: String) -> Client {
        let (read_latency, change_latency) = (self.read_times.latency(), self.change_times.latency());
        Client { client, read_latency, change_latency, ..self.counts.clone() }
    }
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
    pub fn tally(&mut self, number: usize) -> &mut Client {
        &mut self.tallies[number].counts
    }

    /// Counts a frame that gets no answer, if it comes from a client: others leave no trace.
    pub fn ignored(&mut self, mac: Mac) {
        if let Some(number) = self.known(mac) {
            self.tallies[number].counts.ignored += 1;
        }
    }

    /// A request for the disk has come.
    pub fn queue(&mut self, number: usize) {
        let tally = self.tally(number);
        tally.queue += 1;
        tally.queue_most = tally.queue_most.max(tally.queue);
        self.queue += 1;
        self.queue_most = self.queue_most.max(self.queue);
    }

    /// It is answered, or given up.
    pub fn leave(&mut self, number: usize) {
        self.tallies[number].counts.queue -= 1;
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
        self.tallies.iter().enumerate().map(|(number, tally)| tally.show(name(number))).collect()
    }

    /// All of them together.
    #[must_use]
    pub fn together(&self) -> Client {
        let mut sum = Tally::default();
        self.tallies.iter().for_each(|tally| sum.add(tally));
        (sum.counts.queue, sum.counts.queue_most) = (self.queue, self.queue_most);
        sum.show("all".to_owned())
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
