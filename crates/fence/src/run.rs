//! A job from its first agent to its verdict.
//!
//! Only an agent's exit status 0 is a yes. Everything else, a signal, silence, a program that is
//! not there, means that nothing is known, and the next method is tried.

use std::time::Duration;

use cluster_conf::{Device, Method};

use crate::agent::Agents;
use crate::job::{Action, End, Job};
use crate::plan::{self, Step};

/// How long an agent may take unless the device has a `timeout`.
const DEADLINE: Duration = Duration::from_secs(60);
/// The longest `timeout` and `delay` that are believed.
const LONGEST: u64 = 3600;
/// The agent of 2005 that waited for a person.
const MANUAL: &str = "fence_manual";

/// Does the job, with this host's agents. Takes as long as they do.
#[must_use]
pub fn run(job: &Job) -> End {
    Agents::from_env().run(job)
}

/// As [`run`], up to the moment at which the verdict is certain: a node is fenced once it has
/// been off, and what was switched off is switched on again by [`Rest::finish`].
pub fn begin(job: &Job) -> (End, Rest) {
    Agents::from_env().begin(job)
}

/// What is left to do for a node that has been off: the power it gets back.
#[derive(Debug)]
#[must_use = "the node stays off"]
pub struct Rest {
    agents: Agents,
    node: String,
    /// Devices, and what to tell them.
    on: Vec<(Device, String)>,
    /// Those that are switched on again if their agents reboot by default.
    unsaid: Vec<Device>,
}

impl Rest {
    /// Switches on again, and answers what did not go well.
    #[must_use]
    pub fn finish(self) -> Vec<String> {
        let Self { agents, node, mut on, unsaid } = self;
        let mut complaints = Vec::new();
        for device in unsaid {
            match agents.metadata(&device.agent) {
                Ok(metadata) if metadata.reboots() => on.push((device, "on".into())),
                // It cuts off something else than power, which is given back when the node asks.
                Ok(_) => {}
                Err(error) => complaints.push(format!("{} is left off: {error}", device.name)),
            }
        }
        for (device, action) in on {
            if let Err(why) = agents.step(&node, &Step { device: &device, action: Some(action) }) {
                complaints.push(format!("on again: {why}"));
            }
        }
        complaints
    }
}

impl Rest {
    fn none(agents: &Agents) -> Self {
        Self { agents: agents.clone(), node: String::new(), on: Vec::new(), unsaid: Vec::new() }
    }
}

impl Agents {
    /// [`run`] with these agents.
    #[must_use]
    pub fn run(&self, job: &Job) -> End {
        let (end, rest) = self.begin(job);
        let complaints = rest.finish();
        match end {
            End::Done { method, what } if !complaints.is_empty() => {
                let what = format!("{what}; {}", complaints.join("; "));
                // A test is of the whole cycle; a fenced node is fenced, on or not.
                if matches!(job.action, Action::Test(..)) { End::Failed { what } } else { End::Done { method, what } }
            }
            end => end,
        }
    }

    /// [`begin`] with these agents.
    pub fn begin(&self, job: &Job) -> (End, Rest) {
        match &job.action {
            Action::Fence(methods) => self.fence(&job.node, methods),
            Action::Test(methods, false) => (self.ask(&job.node, methods), Rest::none(self)),
            Action::Test(methods, true) => self.cycle(&job.node, methods),
            Action::Unfence(devices) => (self.unfence(&job.node, devices), Rest::none(self)),
        }
    }

    /// Methods in order; the first of which all devices succeed is enough.
    fn fence(&self, node: &str, methods: &[Method]) -> (End, Rest) {
        let mut failures = Vec::new();
        for method in methods {
            match self.method(node, method) {
                Ok((what, rest)) => return (End::Done { method: method.name.clone(), what }, rest),
                Err(why) => failures.push(format!("method {}: {why}", method.name)),
            }
        }
        if failures.is_empty() {
            failures.push(by_hand(node, "has no fence method"));
        }
        (End::Failed { what: failures.join("; ") }, Rest::none(self))
    }

    fn method(&self, node: &str, method: &Method) -> Result<(String, Rest), String> {
        let plan = plan::plan(method).map_err(|error| error.to_string())?;
        let mut said = Vec::new();
        for step in &plan.off {
            said.push(self.step(node, step)?);
        }
        let on = plan.on.iter().map(|step| (step.device.clone(), step.action.clone().unwrap_or_else(|| "on".into())));
        let unsaid = plan.unsaid.into_iter().cloned().collect();
        Ok((said.join(", "), Rest { agents: self.clone(), node: node.into(), on: on.collect(), unsaid }))
    }

    /// The first method, and power and access on again whatever the file says about that.
    fn cycle(&self, node: &str, methods: &[Method]) -> (End, Rest) {
        let Some(method) = methods.first() else {
            return (End::Failed { what: by_hand(node, "has no fence method") }, Rest::none(self));
        };
        match self.method(node, method) {
            Err(why) => (End::Failed { what: format!("method {}: {why}", method.name) }, Rest::none(self)),
            Ok((what, mut rest)) => {
                let reboots = |device: &Device| match (plan::said(device).as_deref(), rest.unsaid.is_empty()) {
                    // Alone and unsaid: the agent did what it does by default.
                    (None, true) => self.metadata(&device.agent).is_ok_and(|metadata| metadata.reboots()),
                    (said, _) => said == Some("reboot") && method.devices.len() == 1,
                };
                let mut on = std::mem::take(&mut rest.on);
                for device in &method.devices {
                    if !reboots(device) && !on.iter().any(|(known, _)| plan::same(known, device)) {
                        on.push((device.clone(), "on".into()));
                    }
                }
                let rest = Rest { on, unsaid: Vec::new(), ..rest };
                (End::Done { method: method.name.clone(), what }, rest)
            }
        }
    }

    /// The state of every device of every method. None of them is changed.
    fn ask(&self, node: &str, methods: &[Method]) -> End {
        let (mut good, mut said, mut asked) = (true, Vec::new(), 0);
        for method in methods {
            if let Err(error) = plan::plan(method) {
                good = false;
                said.push(format!("method {}: {error}", method.name));
            }
            let mut seen: Vec<&Device> = Vec::new();
            for device in &method.devices {
                if seen.iter().any(|other| plan::same(other, device)) {
                    continue;
                }
                seen.push(device);
                if device.agent == MANUAL {
                    said.push(format!("{}: a person", device.name));
                    continue;
                }
                asked += 1;
                match self.status(node, device) {
                    Ok(state) => said.push(format!("{}: {state}", device.name)),
                    Err(why) => {
                        good = false;
                        said.push(format!("{}: {why}", device.name));
                    }
                }
            }
        }
        if asked == 0 {
            said.push(by_hand(node, "has no fence device that can be asked"));
            good = false;
        }
        let what = said.join("; ");
        if good { End::Done { method: "status".into(), what } } else { End::Failed { what } }
    }

    /// `on` or `off`, as the device says.
    ///
    /// # Errors
    /// Anything but exit status 0 or 2.
    fn status(&self, node: &str, device: &Device) -> Result<&'static str, String> {
        let options = plan::options(device, node, Some("status"));
        let said = self.call(&device.agent, &[], &options, deadline(device)?).map_err(|error| error.to_string())?;
        match said.code {
            Some(0) => Ok("on"),
            Some(2) => Ok("off"),
            _ => Err(said.ending),
        }
    }

    /// The node's own devices, all of them.
    fn unfence(&self, node: &str, devices: &[Device]) -> End {
        let mut said = Vec::new();
        for device in devices {
            match self.step(node, &Step { device, action: Some("on".into()) }) {
                Ok(what) => said.push(what),
                Err(what) => return End::Failed { what },
            }
        }
        End::Done { method: "unfence".into(), what: said.join(", ") }
    }

    fn step(&self, node: &str, step: &Step<'_>) -> Result<String, String> {
        let Step { device, action } = step;
        if device.agent == MANUAL {
            return Err(by_hand(node, &format!("is to be fenced by hand (device {})", device.name)));
        }
        let options = plan::options(device, node, action.as_deref());
        let failed = |why: String| format!("device {}: {why}", device.name);
        let said = self.call(&device.agent, &[], &options, deadline(device).map_err(failed)?);
        match said.map_err(|error| failed(error.to_string()))? {
            said if said.code == Some(0) => {
                let done = action.as_deref().map(|action| format!(" {action}")).unwrap_or_default();
                Ok(format!("{} ({}{done})", device.name, device.agent))
            }
            said => Err(failed(said.ending)),
        }
    }
}

fn by_hand(node: &str, why: &str) -> String {
    format!("{node} {why}: switch it off, see that it is off, and type `cluster-fence --ack {node}'")
}

/// How long this device's agent may take: its `timeout`, or a minute and the time it is told to
/// wait before and after switching.
fn deadline(device: &Device) -> Result<Duration, String> {
    let number = |wanted: &str| -> Result<Option<u64>, String> {
        let Some((_, value)) = device.attributes.iter().rfind(|(name, _)| name == wanted) else { return Ok(None) };
        let fits = |seconds: &u64| *seconds <= LONGEST;
        let wrong = || format!("{wanted}=\"{value}\" is not 0 to {LONGEST} seconds");
        value.trim_end_matches('s').parse().ok().filter(fits).map(Some).ok_or_else(wrong)
    };
    match number("timeout") {
        Ok(Some(seconds)) if seconds > 0 => Ok(Duration::from_secs(seconds)),
        // A wrong number must not keep a node from being fenced.
        _ => {
            let waits = ["delay", "power_wait"].into_iter().filter_map(|name| number(name).ok().flatten());
            Ok(DEADLINE + Duration::from_secs(waits.sum()))
        }
    }
}
