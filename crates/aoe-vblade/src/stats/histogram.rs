//! How long requests took, in few enough numbers to keep for every client: eight steps to each
//! power of two, so that what is read off is at most a sixteenth off.

use std::time::Duration;

use nines_proto::aoe::statistics::Latency;

/// The finest step, in nanoseconds, as a power of two.
const FINEST: u32 = 7;
/// Steps to each power of two, as a power of two.
const STEPS: u32 = 3;
/// Powers of two: what takes over four minutes is as long as it gets.
const POWERS: u32 = 32;
/// Steps that are kept together.
const ROW: usize = 1 << STEPS;
const ROWS: usize = (POWERS - STEPS + 1) as usize;

/// Times, by their number of nanoseconds. Addresses are easily forged, so one that has asked for
/// little is to cost little: only the powers of two that something fell into are there.
#[derive(Debug, Clone, Default)]
pub struct Histogram {
    /// Which of the rows is that of a power of two, counted from 1.
    places: [u8; ROWS],
    rows: Vec<[u64; ROW]>,
    longest: u64,
}

impl Histogram {
    /// Counts one.
    pub fn add(&mut self, time: Duration) {
        let nanoseconds = time.as_secs().saturating_mul(1_000_000_000).saturating_add(time.subsec_nanos().into());
        let bucket = bucket(nanoseconds);
        self.row(bucket / ROW)[bucket % ROW] += 1;
        self.longest = self.longest.max(nanoseconds);
    }

    fn row(&mut self, power: usize) -> &mut [u64; ROW] {
        if self.places[power] == 0 {
            self.open(power);
        }
        &mut self.rows[usize::from(self.places[power]) - 1]
    }

    /// The first of a power of two, which happens a few times in the life of a client.
    #[cold]
    #[expect(clippy::cast_possible_truncation, reason = "there are 30 rows at most")]
    fn open(&mut self, power: usize) {
        self.rows.push([0; ROW]);
        self.places[power] = self.rows.len() as u8;
    }

    /// How many there are in each bucket that is kept, from the shortest times on.
    fn counts(&self) -> impl Iterator<Item = (usize, u64)> {
        let kept = self.places.iter().enumerate().filter(|(_, place)| **place > 0);
        kept.flat_map(|(power, place)| {
            let row = self.rows[usize::from(*place) - 1];
            row.into_iter().enumerate().map(move |(step, count)| (power * ROW + step, count))
        })
    }

    /// Counts all of another's.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, count) in other.counts() {
            self.row(bucket / ROW)[bucket % ROW] += count;
        }
        self.longest = self.longest.max(other.longest);
    }

    /// What is told of them.
    #[must_use]
    pub fn latency(&self) -> Latency {
        let count = self.counts().map(|(_, count)| count).sum();
        Latency {
            count,
            p50_ns: self.percentile(count, 500),
            p99_ns: self.percentile(count, 990),
            p999_ns: self.percentile(count, 999),
            max_ns: self.longest,
        }
    }

    /// The time that so many thousandths are no longer than.
    fn percentile(&self, count: u64, thousandths: u64) -> u64 {
        // The division first where the product would not fit: by then one more or less is nothing.
        let wanted =
            count.checked_mul(thousandths).map_or(count / 1000 * thousandths, |product| product.div_ceil(1000));
        let mut seen = 0;
        for (number, in_bucket) in self.counts() {
            seen += in_bucket;
            if seen >= wanted && in_bucket > 0 {
                return middle(number).min(self.longest);
            }
        }
        0
    }
}

fn bucket(nanoseconds: u64) -> usize {
    let value = nanoseconds >> FINEST;
    let Some(power) = value.checked_ilog2().filter(|power| *power >= STEPS) else {
        return usize::try_from(value).unwrap_or(0);
    };
    let shift = power - STEPS;
    let step = usize::try_from(value >> shift).unwrap_or(0);
    // The leading one of `step` is the first row's width.
    (((shift as usize) << STEPS) + step).min(ROWS * ROW - 1)
}

fn middle(number: usize) -> u64 {
    let (shift, step) = if number < ROW { (0, number) } else { (number / ROW - 1, number % ROW + ROW) };
    ((2 * step as u64 + 1) << shift) << (FINEST - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn histogram(times: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        times.iter().for_each(|time| histogram.add(Duration::from_nanos(*time)));
        histogram
    }

    #[test]
    fn nothing_took_no_time() {
        assert_eq!(Histogram::default().latency(), Latency::default());
    }

    #[test]
    fn a_client_costs_what_its_times_are_spread_over() {
        assert_eq!(Histogram::default().rows.capacity(), 0);
        let one = histogram(&[100_000; 9]);
        assert_eq!((one.rows.len(), one.latency().count), (1, 9));
        let all = histogram(&std::array::from_fn::<u64, 64, _>(|power| 1 << power));
        assert_eq!((all.rows.len(), all.latency().count), (ROWS, 64));
    }

    #[test]
    fn the_longest_is_told_as_it_was() {
        let latency = histogram(&[u64::MAX, 5_000_000]).latency();
        assert_eq!((latency.count, latency.max_ns), (2, u64::MAX));
        assert_eq!(histogram(&[1]).latency().p999_ns, 1);
    }

    proptest! {
        #[test]
        fn percentiles_are_near_those_of_the_times(
            mut times in proptest::collection::vec(0_u64..200_000_000_000, 1..400),
            cut in 0_u32..38,
        ) {
            times.iter_mut().for_each(|time| *time >>= cut);
            let halves = times.split_at(times.len() / 2);
            let mut merged = histogram(halves.0);
            merged.merge(&histogram(halves.1));
            prop_assert!(merged.counts().eq(histogram(&times).counts()));
            times.sort_unstable();
            let latency = merged.latency();
            for (thousandths, told) in [(500, latency.p50_ns), (990, latency.p99_ns), (999, latency.p999_ns)] {
                let exact = times[(times.len() * thousandths).div_ceil(1000) - 1];
                prop_assert!(told.abs_diff(exact) <= exact / 8 + 128, "{} for {}", told, exact);
            }
        }
    }
}
