//! Processor time, as the kernel's scheduler counts it: to the nanosecond.

use std::fs;
use std::io;

use anyhow::Context;

/// What all threads of a process have used so far. Threads that ended are not in it.
///
/// # Errors
/// There is no such process, or the kernel keeps no such statistics.
pub fn used(process: &str) -> anyhow::Result<u64> {
    let tasks = format!("/proc/{process}/task");
    let mut sum = 0;
    for task in fs::read_dir(&tasks).context(tasks.clone())? {
        let path = task?.path().join("schedstat");
        let text = match fs::read_to_string(&path) {
            // A thread may end while one looks.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other.with_context(|| path.display().to_string())?,
        };
        let first = text.split(' ').next().unwrap_or_default();
        sum += first.parse::<u64>().with_context(|| format!("{}: `{first}'", path.display()))?;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_is_used_is_counted() {
        let before = used("self").unwrap();
        let mut sum = 0_u64;
        while used("self").unwrap() == before {
            sum = (0..100_000).fold(sum, |sum, number| sum.wrapping_mul(31).wrapping_add(number));
        }
        assert_ne!(sum, 1);
        assert!(used("0").is_err());
    }
}
