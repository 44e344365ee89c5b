//! Builds the HTTP clients with which everything outside is spoken to.
//!
//! A bare client has no time-outs, follows redirects (and takes the key along) and panics where the machine has no
//! root certificates. What is built here has time-outs, follows nothing, goes through the proxy that the environment
//! names, and trusts the system's roots and those of a file of one's own.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, Url};

/// What every request carries as its `user-agent`.
pub const USER_AGENT: &str = concat!("spendwatch/", env!("CARGO_PKG_VERSION"));

/// How long a client waits, and whom it trusts besides the system's roots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outbound {
    /// For the connection, the TLS handshake included.
    pub connect_timeout: Duration,
    /// For the first byte of an answer, and between two reads of it.
    pub read_timeout: Duration,
    /// For the whole of a request and its answer.
    pub timeout: Duration,
    /// More root certificates, PEM, one or several.
    pub ca_file: Option<PathBuf>,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// The file of root certificates cannot be read.
    #[error("cannot read the root certificates in `{}`", path.display())]
    CaUnreadable {
        /// The configured file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file was read and holds no certificate, or a broken one.
    #[error("`{}` holds no usable PEM certificate (expected `-----BEGIN CERTIFICATE-----`)", path.display())]
    CaUnusable {
        /// The configured file.
        path: PathBuf,
    },
    /// The client cannot be built: above all, the machine has no root certificates.
    #[error("cannot set up TLS: {detail} (is the package `ca-certificates` installed?)")]
    Tls {
        /// What the TLS library says.
        detail: String,
    },
}

/// A client for any address.
pub fn client(outbound: &Outbound) -> Result<Client, OutboundError> {
    build(trusting_system(base(outbound), outbound)?)
}

/// A client for one server alone. A loopback address is never asked for at a proxy, and plain `http` needs no root
/// certificates, so that it also works on a machine that has none.
pub fn client_for(outbound: &Outbound, server: &Url) -> Result<Client, OutboundError> {
    let base = base(outbound);
    let routed = if is_loopback(server) {
        base.no_proxy()
    } else {
        base
    };
    if server.scheme() == "http" && is_loopback(server) {
        build(routed.tls_certs_only([]))
    } else {
        build(trusting_system(routed, outbound)?)
    }
}

/// Whether a URL's host is this machine by its loopback address or as `localhost`.
pub fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    match address.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

fn base(outbound: &Outbound) -> ClientBuilder {
    // TLS has one provider in this process. Only the first call installs it; that a later one does not is no error.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .user_agent(USER_AGENT)
        .redirect(Policy::none())
        .referer(false)
        .connect_timeout(outbound.connect_timeout.min(outbound.timeout))
        .read_timeout(outbound.read_timeout.min(outbound.timeout))
        .timeout(outbound.timeout)
}

fn trusting_system(
    builder: ClientBuilder,
    outbound: &Outbound,
) -> Result<ClientBuilder, OutboundError> {
    match &outbound.ca_file {
        Some(path) => Ok(builder.tls_certs_merge(certificates(path)?)),
        None => Ok(builder),
    }
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, OutboundError> {
    let pem = fs::read(path).map_err(|source| OutboundError::CaUnreadable {
        path: path.to_owned(),
        source,
    })?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) | Err(_) => Err(OutboundError::CaUnusable {
            path: path.to_owned(),
        }),
    }
}

fn build(builder: ClientBuilder) -> Result<Client, OutboundError> {
    builder.build().map_err(|error| OutboundError::Tls {
        detail: causes(&error.without_url()),
    })
}

/// An error and what caused it, in one line: `error sending request: connection refused`. Without the URL, which may
/// hold a secret, if the caller has taken it out.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
