//! Finding room for a logical volume: the first free run that holds all of it, or as many runs as
//! it takes, in the order of the physical volumes.

use lvm2_format::{Area, Mapping, Segment, Vg};

/// A free run of extents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Index in the group.
    pub pv: usize,
    pub start: u32,
    pub count: u32,
}

/// Which part of the group may be used: a physical volume, and ranges of it when some are named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    pub pv: usize,
    /// First and last extent.
    pub ranges: Vec<(u32, u32)>,
}

/// The free runs of the group, within `allowed`, in its order.
#[must_use]
pub fn free(vg: &Vg, allowed: &[Allowed]) -> Vec<Run> {
    let used = vg.used();
    let mut runs = Vec::new();
    for item in allowed {
        let mut next = 0;
        let mut on_pv = Vec::new();
        let end = vg.pvs[item.pv].pe_count;
        let taken = used.iter().filter(|(pv, _, _)| *pv == item.pv).map(|(_, start, count)| (*start, *count));
        for (start, count) in taken.chain([(end, 0)]) {
            if start > next {
                on_pv.push((next, start));
            }
            next = next.max(start + count);
        }
        let ranges = if item.ranges.is_empty() { vec![(0, u32::MAX)] } else { item.ranges.clone() };
        for (first, last) in ranges {
            for (start, end) in &on_pv {
                let start = (*start).max(first);
                let end = (*end).min(last.saturating_add(1));
                if start < end {
                    runs.push(Run { pv: item.pv, start, count: end - start });
                }
            }
        }
    }
    runs
}

/// Takes `count` extents out of free runs; `None` when there are not as many, or with
/// `contiguous` not in one run.
#[must_use]
pub fn linear(vg: &Vg, runs: &[Run], count: u32, contiguous: bool) -> Option<Vec<Segment>> {
    if let Some(run) = runs.iter().find(|run| run.count >= count) {
        return Some(vec![segment(vg, *run, 0, count)]);
    }
    if contiguous {
        return None;
    }
    let mut segments = Vec::new();
    let mut done = 0;
    for run in runs {
        let take = run.count.min(count - done);
        segments.push(segment(vg, *run, done, take));
        done += take;
        if done == count {
            return Some(segments);
        }
    }
    None
}

fn segment(vg: &Vg, run: Run, start: u32, count: u32) -> Segment {
    let area = Area { on: vg.pvs[run.pv].key.clone(), extent: run.start };
    Segment {
        start,
        count,
        reshape_count: None,
        kind: "striped".into(),
        tags: Vec::new(),
        mapping: Mapping::Striped { stripe_size: None, areas: vec![area] },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group() -> Vg {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/lvm/01-single.vgcfgbackup");
        Vg::parse(&std::fs::read(path).unwrap()).unwrap()
    }

    fn all(vg: &Vg) -> Vec<Allowed> {
        (0..vg.pvs.len()).map(|pv| Allowed { pv, ranges: Vec::new() }).collect()
    }

    #[test]
    fn free_runs_are_what_no_segment_uses() {
        let vg = group();
        assert_eq!(free(&vg, &all(&vg)), [Run { pv: 0, start: 6, count: 9 }]);
        let part = [Allowed { pv: 0, ranges: vec![(0, 7), (10, 10)] }];
        assert_eq!(free(&vg, &part), [Run { pv: 0, start: 6, count: 2 }, Run { pv: 0, start: 10, count: 1 }]);
    }

    #[test]
    fn a_run_that_holds_all_is_taken_before_several() {
        let vg = group();
        let runs = [Run { pv: 0, start: 0, count: 2 }, Run { pv: 0, start: 6, count: 4 }];
        assert_eq!(linear(&vg, &runs, 3, false).unwrap().len(), 1);
        let two = linear(&vg, &runs, 6, false).unwrap();
        assert_eq!(two.iter().map(|segment| (segment.start, segment.count)).collect::<Vec<_>>(), [(0, 2), (2, 4)]);
        assert_eq!(linear(&vg, &runs, 6, true), None);
        assert_eq!(linear(&vg, &runs, 7, false), None);
    }
}
