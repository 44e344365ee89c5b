//! Builds the clients for what goes out: no redirects (a key must not follow one), time-outs everywhere, the system's root
//! certificates and, where one is given, an own one beside them. Proxies come from the environment.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::redirect::Policy;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);

/// Why a client cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The certificate file is not to be had.
    #[error("ca_file `{}`: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It holds no certificates.
    #[error("ca_file `{}` holds no certificate in PEM form", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The TLS library refuses, for instance for want of any root certificate.
    #[error("cannot set up HTTPS: {0}; is the package `ca-certificates` installed?")]
    Tls(#[source] reqwest::Error),
}

/// A client whose requests take `timeout` at most, and whose answers never pause for longer.
pub fn client(timeout: Duration, ca_file: Option<&Path>) -> Result<reqwest::Client, ClientError> {
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("spendwatch/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .connect_timeout(CONNECT.min(timeout))
        .read_timeout(timeout)
        .timeout(timeout);
    if let Some(path) = ca_file {
        let unreadable = |source| ClientError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let pem = std::fs::read(path).map_err(unreadable)?;
        let no_certificate = || ClientError::NoCertificate {
            path: path.to_owned(),
        };
        let certificates =
            reqwest::Certificate::from_pem_bundle(&pem).map_err(|_| no_certificate())?;
        if certificates.is_empty() {
            return Err(no_certificate());
        }
        builder = builder.tls_certs_merge(certificates);
    }
    builder.build().map_err(ClientError::Tls)
}

/// Installs the one TLS provider; once, first thing in `main` and in tests. A second call changes nothing.
pub fn install_tls() {
    let already_installed = rustls::crypto::ring::default_provider()
        .install_default()
        .is_err();
    if already_installed {
        tracing::trace!("the TLS provider was installed before");
    }
}
