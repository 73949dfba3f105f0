//! A target against the protocol: named checks, each of one fact of AoEr11 or of what initiators
//! need. The disk's first 4096 sectors, a few at its end and a few beyond 2 TiB are overwritten.

mod command;
mod config;
mod data;
mod header;
mod link;
mod mask;
mod order;
mod reserve;
pub mod subject;

use subject::{Skipped, Subject};

/// One check: what it is called and how it is made. Success says what was seen.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// What is true of a target that passes.
    pub name: &'static str,
    run: fn(&mut Subject) -> anyhow::Result<String>,
}

/// How a check ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Pass(String),
    /// Not so.
    Fail(String),
    /// It could not be made.
    Skip(String),
}

impl Verdict {
    /// In a word.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Pass(_) => "pass",
            Self::Fail(_) => "fail",
            Self::Skip(_) => "skip",
        }
    }

    /// What was seen.
    #[must_use]
    pub fn seen(&self) -> &str {
        let (Self::Pass(seen) | Self::Fail(seen) | Self::Skip(seen)) = self;
        seen
    }
}

/// Every check, in the order they are made: what ends a target comes last.
pub fn checks() -> impl Iterator<Item = Check> {
    let groups = [
        header::CHECKS,
        config::CHECKS,
        command::CHECKS,
        data::CHECKS,
        order::CHECKS,
        reserve::CHECKS,
        mask::CHECKS,
        link::CHECKS,
    ];
    groups.into_iter().flatten().copied()
}

impl Check {
    /// Makes the check, and looks whether the target outlived it.
    ///
    /// # Errors
    /// The target is gone for good, or the interface is.
    pub fn make(self, subject: &mut Subject) -> anyhow::Result<Verdict> {
        // Answers that came late belong to no check.
        subject.advertised();
        let result = (self.run)(subject);
        let survived = subject.survived()?;
        // What taking it back does to a target is for the checks that do the same to tell.
        subject.reset()?;
        subject.survived()?;
        Ok(match result {
            Err(error) if error.is::<Skipped>() => Verdict::Skip(error.to_string()),
            Err(error) => Verdict::Fail(format!("{error:#}")),
            Ok(_) if !survived => Verdict::Fail("the target fell silent".into()),
            Ok(seen) => Verdict::Pass(seen),
        })
    }
}
