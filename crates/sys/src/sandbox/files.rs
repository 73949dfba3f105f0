//! The file system, and everything else of which Landlock knows: TCP, and the signals and abstract
//! sockets of other processes.

use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use super::Needs;

/// The newest kernel interface whose rights have been considered; older kernels enforce what they
/// know of it.
const KNOWN: ABI = ABI::V9;

pub(super) fn confine(needs: &Needs) -> Result<(), String> {
    match enforce(needs) {
        Ok(RulesetStatus::NotEnforced) => Err("this kernel has none, or it is switched off".to_owned()),
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

fn enforce(needs: &Needs) -> Result<RulesetStatus, RulesetError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let write = read | AccessFs::WriteFile | AccessFs::IoctlDev;
    let keep = read | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::MakeReg | AccessFs::RemoveFile;
    let rules = Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::from_all(KNOWN))?
        .scope(Scope::from_all(KNOWN))?
        .create()?;
    let rules = allow(rules, &needs.read, read)?;
    let rules = allow(rules, &needs.write, write)?;
    let rules = allow(rules, &needs.keep, keep)?;
    let rules = allow(rules, &needs.clear, AccessFs::RemoveFile.into())?;
    Ok(rules.restrict_self()?.ruleset)
}

fn allow(
    mut rules: RulesetCreated,
    paths: &[PathBuf],
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    for path in paths {
        // What is not there now will not be opened later.
        let Ok(fd) = PathFd::new(path) else { continue };
        let access = if path.is_dir() { access } else { access & AccessFs::from_file(KNOWN) };
        rules = rules.add_rule(PathBeneath::new(fd, access))?;
    }
    Ok(rules)
}
