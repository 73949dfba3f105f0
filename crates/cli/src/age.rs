//! How long ago something was, for people.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// `12s`, `5m12s`, `3h12m`, `4d3h`. Another host's clock may be ahead of ours.
pub fn age(now: u64, then: u64) -> String {
    let seconds = now.saturating_sub(then);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::age;

    #[test]
    fn ages_have_two_units_at_most() {
        let ages = [(0, "0s"), (59, "59s"), (60, "1m00s"), (3599, "59m59s"), (11_525, "3h12m"), (356_400, "4d3h")];
        for (seconds, wanted) in ages {
            assert_eq!(age(1_000_000 + seconds, 1_000_000), wanted);
        }
        assert_eq!(age(1, 5), "0s");
    }
}
