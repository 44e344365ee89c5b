//! `healthcheck`: asks the daemon's own address, for containers that have no other program to ask with.
//!
//! It speaks HTTP by hand: one request to one's own machine, through no proxy whatever the environment says.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::cli::globals::{Failure, Globals};
use crate::config::source::Environment;
use crate::config::tree::in_environment;
use crate::notify::formatting;

/// For all of it.
const LIMIT: Duration = Duration::from_secs(3);
/// More of an answer is not read.
const MAX_BYTES: u64 = 64 * 1024;

/// What is asked.
#[derive(Debug, Args)]
pub struct Healthcheck {
    /// Ask whether the first cycle of every organization has ended, not only whether the daemon serves
    #[arg(long)]
    ready: bool,
}

impl Healthcheck {
    /// Exit 0 where the answer is 200, else 1.
    pub async fn run(
        &self,
        globals: &Globals,
        environment: &Environment,
    ) -> Result<ExitCode, Failure> {
        let address = reachable(listen(globals, environment)?);
        let path = if self.ready { "/-/ready" } else { "/-/healthy" };
        let place = format!("http://{address}{path}");
        let answer = match timeout(LIMIT, ask(address, path)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => {
                return Err(Failure::World(format!(
                    "{place}: {error} (does `spendwatch run` run?)"
                )));
            }
            Err(_) => {
                return Err(Failure::World(format!(
                    "{place}: no answer within {} s",
                    LIMIT.as_secs()
                )));
            }
        };
        match status(&answer) {
            Some("200") => Ok(ExitCode::SUCCESS),
            Some(code) => Err(Failure::World(format!(
                "{place} answers {}: {}",
                formatting::clean(code),
                formatting::line(body(&answer))
            ))),
            None => Err(Failure::World(format!("{place} does not speak HTTP"))),
        }
    }
}

/// Where the daemon was told to listen. Where the environment says it, as in the image, nothing else is read: a file that
/// was spoiled or a secret that went away since the start does not make a daemon unhealthy that serves.
fn listen(globals: &Globals, environment: &Environment) -> Result<SocketAddr, Failure> {
    let said = in_environment(environment, "http.listen").and_then(|said| said.parse().ok());
    match said {
        Some(listen) => Ok(listen),
        None => Ok(globals.load(environment)?.http.listen),
    }
}

/// Where a daemon that listens on all addresses is met on its own machine.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

async fn ask(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_BYTES).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn status(answer: &str) -> Option<&str> {
    answer.strip_prefix("HTTP/1.1 ")?.split_whitespace().next()
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_addresses_are_met_on_loopback() {
        let check = |listen: &str, expected: &str| {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), expected);
        };
        check("0.0.0.0:9899", "127.0.0.1:9899");
        check("[::]:9899", "[::1]:9899");
        check("10.0.0.1:80", "10.0.0.1:80");
    }
}
