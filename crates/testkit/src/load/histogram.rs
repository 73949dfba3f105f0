//! How long requests took: counted in buckets of one part in 64, so that a quantile is off by less
//! than 2 % and counting costs a few instructions.

use std::time::Duration;

/// Buckets of a power of two.
const FINE: u64 = 64;

/// Microseconds, counted.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        // Up to 2^37 ns and more: two minutes; what took longer counts as that.
        Self { counts: vec![0; 64 * 38], total: 0 }
    }
}

impl Histogram {
    /// Counts one.
    pub fn add(&mut self, took: Duration) {
        let bucket = Self::bucket(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX)).min(self.counts.len() - 1);
        self.counts[bucket] += 1;
        self.total += 1;
    }

    /// How many were counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// What this share of them, in thousandths, stayed below; 0 when there are none.
    #[must_use]
    pub fn microseconds(&self, thousandths: u64) -> f64 {
        let mut left = (self.total * thousandths).div_ceil(1000).max(1);
        for (bucket, count) in self.counts.iter().enumerate() {
            if *count >= left {
                return Self::middle(bucket) / 1000.0;
            }
            left -= count;
        }
        0.0
    }

    /// Below 64 each number has its own; above, the top bit's place and the six bits behind it.
    fn bucket(nanoseconds: u64) -> usize {
        let power = nanoseconds.max(1).ilog2();
        let bucket =
            if power < 6 { nanoseconds } else { u64::from(power - 5) * FINE + (nanoseconds >> (power - 6)) - FINE };
        usize::try_from(bucket).unwrap_or(usize::MAX)
    }

    fn middle(bucket: usize) -> f64 {
        let bucket = bucket as u64;
        if bucket < FINE {
            return bucket as f64;
        }
        let power = bucket / FINE - 1;
        ((FINE + bucket % FINE) << power) as f64 + (1_u64 << power) as f64 / 2.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_and_are_narrow() {
        let mut last = 0;
        for nanoseconds in 1..100_000 {
            let bucket = Histogram::bucket(nanoseconds);
            assert!(bucket == last || bucket == last + 1, "{nanoseconds}");
            last = bucket;
            let error = (Histogram::middle(bucket) - nanoseconds as f64).abs() / nanoseconds as f64;
            assert!(error < 0.016, "{nanoseconds} counts as {}", Histogram::middle(bucket));
        }
    }

    #[test]
    fn quantiles_are_where_they_should_be() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.microseconds(500), 0.0);
        for microseconds in 1..=1000 {
            histogram.add(Duration::from_micros(microseconds));
        }
        for (thousandths, wanted) in [(500, 500.0), (990, 990.0), (999, 999.0), (1, 1.0)] {
            let got = histogram.microseconds(thousandths);
            assert!((got / wanted - 1.0).abs() < 0.02, "{thousandths}: {got}");
        }
        histogram.add(Duration::from_secs(3600));
        assert_eq!(histogram.total(), 1001);
    }
}
