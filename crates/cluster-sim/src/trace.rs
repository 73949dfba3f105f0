//! What happened, for people: nothing is written down unless somebody wants to read it.

/// The log of one history.
#[derive(Debug, Default)]
pub struct Trace {
    on: bool,
    lines: Vec<String>,
}

impl Trace {
    #[must_use]
    pub fn new(on: bool) -> Self {
        Self { on, lines: Vec::new() }
    }

    /// Notes what `text` says, if anybody wants to know.
    pub fn note(&mut self, time: u64, text: impl FnOnce() -> String) {
        if self.on {
            self.lines.push(format!("{:>10}.{:03} ms  {}", time / 1000, time % 1000, text()));
        }
    }

    #[must_use]
    pub fn lines(&self) -> &[String] {
        &self.lines
    }
}
