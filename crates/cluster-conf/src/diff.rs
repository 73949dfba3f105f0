//! Two texts line by line, as `diff -u` shows them.

/// Lines around a change.
const CONTEXT: usize = 3;
/// Most pairs of lines that are compared; what is larger counts as replaced as a whole.
const MAX_PAIRS: usize = 16 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Both,
    Old,
    New,
}

/// The unified difference; empty when the texts are equal.
#[must_use]
pub fn unified(old_name: &str, old: &str, new_name: &str, new: &str) -> String {
    if old == new {
        return String::new();
    }
    let (old, new) = (lines(old), lines(new));
    let steps = steps(&old, &new);
    let mut out = format!("--- {old_name}\n+++ {new_name}\n");
    let changes: Vec<usize> = (0..steps.len()).filter(|at| steps[*at] != Step::Both).collect();
    let mut next = 0;
    while let Some(first) = changes.get(next) {
        let mut last = *first;
        while let Some(change) = changes.get(next).filter(|change| **change <= last + 2 * CONTEXT + 1) {
            last = *change;
            next += 1;
        }
        let (from, until) = (first.saturating_sub(CONTEXT), (last + CONTEXT + 1).min(steps.len()));
        hunk(&mut out, &steps, from, until, &old, &new);
    }
    out
}

fn lines(text: &str) -> Vec<&str> {
    text.split_inclusive('\n').collect()
}

fn hunk(out: &mut String, steps: &[Step], from: usize, until: usize, old: &[&str], new: &[&str]) {
    let count = |range: &[Step], skipped: Step| range.iter().filter(|step| **step != skipped).count();
    let (mut in_old, mut in_new) = (count(&steps[..from], Step::New), count(&steps[..from], Step::Old));
    let place = |before: usize, length: usize| match length {
        0 => format!("{before},0"),
        1 => (before + 1).to_string(),
        _ => format!("{},{length}", before + 1),
    };
    let part = &steps[from..until];
    let (olds, news) = (place(in_old, count(part, Step::New)), place(in_new, count(part, Step::Old)));
    out.push_str(&format!("@@ -{olds} +{news} @@\n"));
    for step in part {
        let (mark, line) = match step {
            Step::Both => (' ', old[in_old]),
            Step::Old => ('-', old[in_old]),
            Step::New => ('+', new[in_new]),
        };
        in_old += usize::from(*step != Step::New);
        in_new += usize::from(*step != Step::Old);
        out.push(mark);
        out.push_str(line);
        if !line.ends_with('\n') {
            out.push_str("\n\\ No newline at end of file\n");
        }
    }
}

/// A shortest way from the old lines to the new ones.
fn steps(old: &[&str], new: &[&str]) -> Vec<Step> {
    let head = old.iter().zip(new).take_while(|(old, new)| old == new).count();
    let (old, new) = (&old[head..], &new[head..]);
    let tail = old.iter().rev().zip(new.iter().rev()).take_while(|(old, new)| old == new).count();
    let (old, new) = (&old[..old.len() - tail], &new[..new.len() - tail]);
    let mut steps = vec![Step::Both; head];
    if old.len().saturating_mul(new.len()) > MAX_PAIRS {
        steps.extend(std::iter::repeat_n(Step::Old, old.len()).chain(std::iter::repeat_n(Step::New, new.len())));
    } else {
        // The longest common rest behind each pair of places.
        let width = new.len() + 1;
        let mut common = vec![0u32; (old.len() + 1) * width];
        for i in (0..old.len()).rev() {
            for j in (0..new.len()).rev() {
                common[i * width + j] = if old[i] == new[j] {
                    common[(i + 1) * width + j + 1] + 1
                } else {
                    common[(i + 1) * width + j].max(common[i * width + j + 1])
                };
            }
        }
        let (mut i, mut j) = (0, 0);
        while i < old.len() || j < new.len() {
            let step = if i < old.len() && j < new.len() && old[i] == new[j] {
                Step::Both
            } else if j == new.len() || (i < old.len() && common[(i + 1) * width + j] >= common[i * width + j + 1]) {
                Step::Old
            } else {
                Step::New
            };
            i += usize::from(step != Step::New);
            j += usize::from(step != Step::Old);
            steps.push(step);
        }
    }
    steps.extend(std::iter::repeat_n(Step::Both, tail));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_have_no_difference() {
        assert_eq!(unified("a", "x\ny\n", "b", "x\ny\n"), "");
    }

    #[test]
    fn a_change_is_shown_as_diff_shows_it() {
        let old = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";
        let new = "1\n2\n3\n4\nfive\n6\n7\n8\n9\nten";
        let wanted = "--- a\n+++ b\n@@ -2,8 +2,9 @@\n 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n 9\n+ten\n\\ No newline at end of file\n";
        assert_eq!(unified("a", old, "b", new), wanted);
        assert_eq!(unified("a", "", "b", "x\n"), "--- a\n+++ b\n@@ -0,0 +1 @@\n+x\n");
    }

    #[test]
    fn changes_far_apart_are_parts_of_their_own() {
        let old: String = (0..30).map(|line| format!("{line}\n")).collect();
        let new = old.replace("\n2\n", "\n").replace("\n20\n", "\nXX\n");
        let shown = unified("a", &old, "b", &new);
        let heads: Vec<&str> = shown.lines().filter(|line| line.starts_with("@@")).collect();
        assert_eq!(heads, ["@@ -1,6 +1,5 @@", "@@ -18,7 +17,7 @@"]);
    }

    #[test]
    fn texts_too_long_to_compare_are_replaced() {
        let old = "a\n".repeat(5000);
        let shown = unified("a", &old, "b", &"b\n".repeat(5000));
        assert_eq!(shown.lines().filter(|line| line.starts_with("-a")).count(), 5000);
    }
}
