//! Times of lock and unlock calls over one connection: `lock-latency SOCKET COUNT [ETCD]` prints,
//! tab-separated, medians and 99th percentiles in microseconds of grant, release and both
//! together, and whether the node asked is the leader. With the address of an etcd (HOST:PORT) a
//! second line has the same of its lock service, asked in turns with ours over a connection that
//! is kept as well, and a third line the time of a read that its gateway answers from memory: what
//! the way through the gateway costs.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nines_cli::Exit;
use nines_proto::ctl::{Client, Mode};
use serde_json::{Value, json};

const USAGE: &str = "usage: lock-latency SOCKET COUNT [ETCD-HOST:PORT]";
/// base64 of `latency`.
const NAME: &str = "bGF0ZW5jeQ==";

fn main() -> ExitCode {
    nines_cli::run("lock-latency", measure)
}

fn measure() -> anyhow::Result<Exit> {
    let mut arguments = std::env::args().skip(1);
    let socket = arguments.next().context(USAGE)?;
    let count: usize = arguments.next().context(USAGE)?.parse()?;
    let mut etcd = arguments.next().map(|address| Etcd::connect(&address)).transpose()?;
    ensure!((1..=1_000_000).contains(&count), "{count} is not a number of rounds");
    let mut client = Client::connect(Some(Path::new(&socket)))?;
    let status = client.status()?;
    let (mut ours, mut theirs, mut reads) = (Times::default(), Times::default(), Times::default());
    // The first rounds find caches cold and are not counted.
    for round in 0..count + count.min(20) {
        if round == count.min(20) {
            (ours, theirs, reads) = (Times::default(), Times::default(), Times::default());
        }
        let start = Instant::now();
        client.lock("latency", Mode::Ex, Some(0), "lock-latency")?;
        let granted = start.elapsed();
        client.unlock("latency")?;
        ours.round(granted, start.elapsed());
        let Some(etcd) = &mut etcd else { continue };
        let start = Instant::now();
        let key = etcd.lock()?;
        let granted = start.elapsed();
        etcd.unlock(&key)?;
        theirs.round(granted, start.elapsed());
        let start = Instant::now();
        etcd.read()?;
        reads.round(start.elapsed(), start.elapsed());
    }
    println!("{}\t{}", ours.line(), role(status.leader.as_deref() == Some(&status.node)));
    if let Some(mut etcd) = etcd {
        println!("{}\t{}", theirs.line(), role(etcd.leads()?));
        println!("{}\tread", reads.line());
    }
    Ok(Exit::Ok)
}

fn role(leads: bool) -> &'static str {
    if leads { "leader" } else { "follower" }
}

#[derive(Default)]
struct Times {
    grants: Vec<Duration>,
    releases: Vec<Duration>,
    both: Vec<Duration>,
}

impl Times {
    fn round(&mut self, granted: Duration, both: Duration) {
        self.grants.push(granted);
        self.releases.push(both.saturating_sub(granted));
        self.both.push(both);
    }

    fn line(&mut self) -> String {
        let mut columns = Vec::new();
        for times in [&mut self.grants, &mut self.releases, &mut self.both] {
            times.sort_unstable();
            for percent in [50, 99] {
                columns.push(times[(times.len() - 1) * percent / 100].as_micros().to_string());
            }
        }
        columns.join("\t")
    }
}

/// etcd's HTTP gateway over one connection.
struct Etcd {
    address: String,
    stream: BufReader<TcpStream>,
    lease: String,
}

impl Etcd {
    fn connect(address: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| address.to_owned())?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut etcd = Self { address: address.to_owned(), stream: BufReader::new(stream), lease: String::new() };
        let lease = etcd.post("/v3/lease/grant", &json!({ "TTL": "600" }))?;
        etcd.lease = lease["ID"].as_str().context("etcd: no lease")?.to_owned();
        Ok(etcd)
    }

    /// The key that is this lock.
    fn lock(&mut self) -> anyhow::Result<String> {
        let body = json!({ "name": NAME, "lease": self.lease });
        let answer = self.post("/v3/lock/lock", &body)?;
        Ok(answer["key"].as_str().with_context(|| format!("etcd: no lock: {answer}"))?.to_owned())
    }

    fn unlock(&mut self, key: &str) -> anyhow::Result<()> {
        self.post("/v3/lock/unlock", &json!({ "key": key })).map(drop)
    }

    fn read(&mut self) -> anyhow::Result<()> {
        self.post("/v3/kv/range", &json!({ "key": NAME, "serializable": true })).map(drop)
    }

    fn leads(&mut self) -> anyhow::Result<bool> {
        let status = self.post("/v3/maintenance/status", &json!({}))?;
        Ok(status["leader"] == status["header"]["member_id"])
    }

    fn post(&mut self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let body = body.to_string();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes())?;
        let status = self.header()?;
        let (mut length, mut chunked) = (None, false);
        loop {
            let header = self.header()?.to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(value) = header.strip_prefix("content-length:") {
                length = Some(value.trim().parse::<u64>()?);
            }
            chunked |= header.starts_with("transfer-encoding:") && header.contains("chunked");
        }
        let mut answer = Vec::new();
        match length {
            Some(length) => drop((&mut self.stream).take(length.min(1 << 20)).read_to_end(&mut answer)?),
            None if chunked => loop {
                let size = u64::from_str_radix(&self.header()?, 16)?;
                (&mut self.stream).take(size.min(1 << 20)).read_to_end(&mut answer)?;
                self.header()?;
                if size == 0 {
                    break;
                }
            },
            None => bail!("etcd: {path}: an answer without a length"),
        }
        ensure!(status.contains(" 200 "), "etcd: {path}: {status}: {}", String::from_utf8_lossy(&answer));
        Ok(serde_json::from_slice(&answer)?)
    }

    fn header(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        (&mut self.stream).take(8192).read_line(&mut line)?;
        ensure!(line.ends_with('\n'), "etcd: {}: the connection broke", self.address);
        Ok(line.trim_end().to_owned())
    }
}
