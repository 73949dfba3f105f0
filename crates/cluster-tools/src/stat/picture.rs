//! One look at the cluster: what is asked, and what is made of it.

use std::collections::BTreeMap;

use nines_proto::ctl::{Client, Fences};
use serde::Serialize;

use super::{changes, cman, screen, tables};

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum View {
    /// Is it well, what does it wait for, what is to be typed.
    Screen,
    Status,
    Nodes {
        all: bool,
    },
    Services,
    Locks,
    Fences,
    Conf,
    Keys {
        prefix: String,
    },
    Links,
}

/// What was seen.
#[derive(Debug, Default)]
pub struct Picture {
    pub text: String,
    /// One object a line.
    pub json: Vec<String>,
    /// The answer to the question that was asked is yes.
    pub good: bool,
    /// What a change is told of, by what it is about.
    pub facts: BTreeMap<String, String>,
}

/// Takes a picture at `now`, seconds since 1970.
pub fn take(view: &View, client: &mut Client, now: u64) -> anyhow::Result<Picture> {
    Ok(match view {
        View::Screen => {
            let status = client.status()?;
            // A daemon that cannot tell says the rest all the same.
            let fences = client.fences().unwrap_or_default();
            let notes = screen::notes(&status, &fences, now);
            Picture {
                text: screen::text(&status, &fences, &notes, now),
                facts: changes::of_status(&status, &notes),
                json: objects([&status])?,
                good: status.quorate,
            }
        }
        View::Status => {
            let (status, locks) = (client.status()?, client.locks()?);
            let conf = client.conf(None).ok().and_then(|entry| entry.text);
            let conf = conf.and_then(|text| cluster_conf::Conf::parse("cluster.conf", &text).ok());
            let services = cman::services(&status, &locks, &fences(client));
            let text = cman::status(&status, conf.as_ref(), services.len());
            let facts = text.lines().filter_map(|line| line.split_once(": "));
            let facts = facts.map(|(key, value)| (key.to_owned(), value.trim_end().to_owned())).collect();
            Picture { facts, json: objects([&status])?, good: status.quorate, text }
        }
        View::Nodes { all } => {
            let status = client.status()?;
            let rows = status.members.iter().map(cman::node);
            let facts = rows.map(|row| (row.name, row.state)).collect();
            let text = cman::nodes(&status, *all);
            Picture { text, facts, json: objects(&status.members)?, good: status.quorate }
        }
        View::Services => {
            let (status, locks) = (client.status()?, client.locks()?);
            let services = cman::services(&status, &locks, &fences(client));
            let facts = services.iter().map(|service| {
                (format!("{} {}", service.kind, service.name), format!("{} {:?}", service.state, service.members))
            });
            Picture {
                facts: facts.collect(),
                text: cman::services_text(&services),
                json: objects(&services)?,
                good: status.quorate,
            }
        }
        View::Locks => {
            let (status, locks) = (client.status()?, client.locks()?);
            let rows = tables::locks(&locks);
            Picture { good: status.quorate, ..rows.picture(&[0, 2, 4], objects(&locks)?) }
        }
        View::Fences => {
            let fences = client.fences()?;
            tables::fences(&fences).picture(&[0, 1], objects([&fences])?)
        }
        View::Conf => {
            let entries = client.conf_history()?;
            tables::conf(&entries).picture(&[0], objects(&entries)?)
        }
        View::Keys { prefix } => {
            let (_, entries) = client.keys(prefix, true)?;
            tables::keys(&entries).picture(&[0], objects(&entries)?)
        }
        View::Links => {
            let status = client.status()?;
            let rows = tables::links(&status.members);
            Picture { good: status.quorate, ..rows.picture(&[0, 1], objects(tables::link_objects(&status.members))?) }
        }
    })
}

fn fences(client: &mut Client) -> Fences {
    client.fences().unwrap_or_default()
}

fn objects<T: Serialize>(values: impl IntoIterator<Item = T>) -> serde_json::Result<Vec<String>> {
    values.into_iter().map(|value| serde_json::to_string(&value)).collect()
}
