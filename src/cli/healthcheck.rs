//! `healthcheck`: queries the daemon's health, for containers without an HTTP client.
//!
//! Sends the request without an HTTP library, so that no proxy from the environment applies.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::cli::globals::{CommandError, Globals};
use spendwatch_config::source::Environment;
use spendwatch_config::tree::in_environment;
use spendwatch_notify::wording::formatting;

/// Timeout of the whole check.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Maximum size of the response to read.
const MAX_BYTES: u64 = 64 * 1024;

/// Arguments of `healthcheck`.
#[derive(Debug, Args)]
pub struct Healthcheck {
    /// Check readiness: whether the first cycle of every organization has ended
    #[arg(long)]
    ready: bool,
}

impl Healthcheck {
    /// Returns exit code 0 if the daemon responds with 200, else 1.
    pub async fn run(
        &self,
        globals: &Globals,
        environment: &Environment,
    ) -> Result<ExitCode, CommandError> {
        let address = reachable(listen(globals, environment)?);
        let path = if self.ready { "/-/ready" } else { "/-/healthy" };
        let url = format!("http://{address}{path}");
        let response = match timeout(TIMEOUT, get(address, path)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => {
                return Err(CommandError::Failed(format!(
                    "{url}: {error} (is `spendwatch run` running?)"
                )));
            }
            Err(_) => {
                return Err(CommandError::Failed(format!(
                    "{url}: no response within {} s",
                    TIMEOUT.as_secs()
                )));
            }
        };
        match status(&response) {
            Some("200") => Ok(ExitCode::SUCCESS),
            Some(code) => Err(CommandError::Failed(format!(
                "{url}: status {}: {}",
                formatting::clean(code),
                formatting::single_line(body(&response))
            ))),
            None => Err(CommandError::Failed(format!("{url}: not an HTTP response"))),
        }
    }
}

/// Returns the daemon's listen address. If it is set in the environment, as in the image, the configuration is not read, so
/// that a file or secret broken since the start does not make a serving daemon unhealthy.
fn listen(globals: &Globals, environment: &Environment) -> Result<SocketAddr, CommandError> {
    let listen =
        in_environment(environment, "http.listen").and_then(|address| address.parse().ok());
    match listen {
        Some(listen) => Ok(listen),
        None => Ok(globals.load(environment)?.http.listen),
    }
}

/// Replaces "all addresses" by loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

async fn get(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut response = Vec::new();
    stream.take(MAX_BYTES).read_to_end(&mut response).await?;
    Ok(String::from_utf8_lossy(&response).into_owned())
}

fn status(response: &str) -> Option<&str> {
    response
        .strip_prefix("HTTP/1.1 ")?
        .split_whitespace()
        .next()
}

fn body(response: &str) -> &str {
    response.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_addresses_become_loopback() {
        let check = |listen: &str, expected: &str| {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), expected);
        };
        check("0.0.0.0:9899", "127.0.0.1:9899");
        check("[::]:9899", "[::1]:9899");
        check("10.0.0.1:80", "10.0.0.1:80");
    }
}
