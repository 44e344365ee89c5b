//! Builds all HTTP clients, and parses times in responses.
//!
//! A default client has no timeouts, follows redirects (sending the key along) and panics without root certificates. These clients
//! have timeouts, follow no redirects, use the proxy of the environment, and trust the system's roots and a configured file.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, Url};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// `user-agent` of every request.
pub const USER_AGENT: &str = concat!("spendwatch/", env!("CARGO_PKG_VERSION"));

/// Timeouts and additional root certificates of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpClientConfig {
    pub connect_timeout: Duration,
    /// Until the first byte of a response, and between two reads.
    pub read_timeout: Duration,
    /// For the whole request and response.
    pub timeout: Duration,
    pub ca_file: Option<PathBuf>,
}

/// Why a client cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    #[error("cannot read the root certificates in `{}`", path.display())]
    CaUnreadable { path: PathBuf, source: io::Error },
    /// The file contains no certificate, or an invalid one.
    #[error("`{}` contains no valid PEM certificate (expected `-----BEGIN CERTIFICATE-----`)", path.display())]
    CaUnusable { path: PathBuf },
    /// Usually because the machine has no root certificates.
    #[error("cannot set up TLS: {detail} (is the package `ca-certificates` installed?)")]
    Tls { detail: String },
}

/// Builds a client for any server.
pub fn client(outbound: &HttpClientConfig) -> Result<Client, OutboundError> {
    build(base(outbound).tls_certs_merge(certificates(outbound)?))
}

/// Builds a client for one server. A loopback server needs no proxy, and over plain `http` no root certificates, so that it also
/// works on a machine without them.
pub fn client_for(outbound: &HttpClientConfig, server: &Url) -> Result<Client, OutboundError> {
    let certificates = certificates(outbound)?;
    if !is_loopback(server) {
        return build(base(outbound).tls_certs_merge(certificates));
    }
    let direct = base(outbound).no_proxy();
    build(match server.scheme() {
        "http" => direct.tls_certs_only(certificates),
        _ => direct.tls_certs_merge(certificates),
    })
}

/// Returns whether a URL's host is a loopback address or `localhost`.
pub fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    match address.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

fn base(outbound: &HttpClientConfig) -> ClientBuilder {
    // Only the first call installs the TLS provider; later ones fail harmlessly.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .user_agent(USER_AGENT)
        .redirect(Policy::none())
        // Callers decide on retries and count them.
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(outbound.connect_timeout.min(outbound.timeout))
        .read_timeout(outbound.read_timeout.min(outbound.timeout))
        .timeout(outbound.timeout)
}

fn certificates(outbound: &HttpClientConfig) -> Result<Vec<Certificate>, OutboundError> {
    let Some(path) = outbound.ca_file.clone() else {
        return Ok(Vec::new());
    };
    match fs::read(&path) {
        Ok(pem) => usable_certificates(&pem).ok_or(OutboundError::CaUnusable { path }),
        Err(source) => Err(OutboundError::CaUnreadable { path, source }),
    }
}

/// Returns `None` if there is no certificate or an invalid one; the TLS library would report it later and without the file.
fn usable_certificates(pem: &[u8]) -> Option<Vec<Certificate>> {
    let mut trusted = RootCertStore::empty();
    let mut certificates = Vec::new();
    for der in CertificateDer::pem_slice_iter(pem) {
        let der = der.ok()?;
        certificates.push(Certificate::from_der(&der).ok()?);
        trusted.add(der).ok()?;
    }
    (!certificates.is_empty()).then_some(certificates)
}

fn build(builder: ClientBuilder) -> Result<Client, OutboundError> {
    builder.build().map_err(|error| OutboundError::Tls {
        detail: error_chain(&error.without_url()),
    })
}

/// Parses a `retry-after` header: seconds, rounded up, or a date, where a past one is zero. Returns `None` if invalid. Not bounded.
pub fn retry_after(header: &str, now: Timestamp) -> Option<Duration> {
    let header = header.trim();
    seconds(header).or_else(|| until_date(header, now))
}

fn seconds(header: &str) -> Option<Duration> {
    let (whole, fraction) = header.split_once('.').unwrap_or((header, "0"));
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    // Overflow is longer than any pause that callers grant.
    let whole: u64 = whole.parse().unwrap_or(u64::MAX);
    let has_fraction = fraction.bytes().any(|byte| byte != b'0');
    Some(Duration::from_secs(
        whole.saturating_add(u64::from(has_fraction)),
    ))
}

fn until_date(header: &str, now: Timestamp) -> Option<Duration> {
    let wait = http_date(header)?.duration_since(now);
    Some(Duration::try_from(wait).unwrap_or(Duration::ZERO))
}

/// Parses an HTTP date such as `Tue, 24 Nov 2026 02:00:00 GMT`, or one of the two older forms.
pub fn http_date(header: &str) -> Option<Timestamp> {
    let since_1970 = httpdate::parse_http_date(header)
        .ok()?
        .duration_since(std::time::UNIX_EPOCH)
        .ok()?;
    Timestamp::from_duration(SignedDuration::try_from(since_1970).ok()?).ok()
}

/// Returns an error and its sources in one line: `error sending request: connection refused`. Callers remove the URL first if it
/// may contain a secret.
pub fn error_chain(error: &dyn std::error::Error) -> String {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use rustls::pki_types::PrivateKeyDer;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    #[track_caller]
    fn check_retry_after(header: &str, expected_seconds: Option<u64>) {
        let now = "2026-11-24T02:00:00Z".parse().unwrap();
        assert_eq!(
            retry_after(header, now),
            expected_seconds.map(Duration::from_secs),
            "{header:?}"
        );
    }

    #[test]
    fn case_21_retry_after_is_seconds_or_a_date() {
        check_retry_after("120", Some(120));
        check_retry_after(" 7 ", Some(7));
        check_retry_after("0", Some(0));
        check_retry_after("1.5", Some(2));
        check_retry_after("2.0", Some(2));
        check_retry_after("Tue, 24 Nov 2026 02:02:00 GMT", Some(120));
        check_retry_after("Tuesday, 24-Nov-26 02:02:00 GMT", Some(120));
        check_retry_after("Tue Nov 24 02:02:00 2026", Some(120));
        check_retry_after("Tue, 24 Nov 2026 01:00:00 GMT", Some(0));
        check_retry_after("99999999999999999999999999", Some(u64::MAX));
        for invalid in [
            "",
            "soon",
            "-5",
            "+5",
            "1e3",
            "5 s",
            ".5",
            "5.",
            "2026-11-24T02:02:00Z",
            "24 Nov 2026",
            "NaN",
            "١٢٠",
        ] {
            check_retry_after(invalid, None);
        }
    }

    fn outbound(ca_file: Option<PathBuf>) -> HttpClientConfig {
        HttpClientConfig {
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(5),
            ca_file,
        }
    }

    /// Starts a server with a self-signed certificate; returns its URL and the certificate.
    async fn private_server() -> (Url, String) {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(
                vec![cert.der().clone()],
                PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap(),
            )
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    continue;
                };
                let _ = stream.read(&mut [0; 1024]).await;
                let answer = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
                let _ = stream.write_all(answer).await;
                let _ = stream.shutdown().await;
            }
        });
        let url = format!("https://localhost:{port}/").parse().unwrap();
        (url, cert.pem())
    }

    #[tokio::test]
    async fn configured_certificates_are_trusted() {
        let (url, pem) = private_server().await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        fs::write(&path, pem).unwrap();
        let trusting = client_for(&outbound(Some(path)), &url).unwrap();
        let status = trusting.get(url.clone()).send().await.unwrap().status();
        assert_eq!(status, 204);
    }

    #[tokio::test]
    async fn unknown_certificates_are_rejected() {
        let (url, other) = (private_server().await.0, private_server().await.1);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        fs::write(&path, other).unwrap();
        let client = client_for(&outbound(Some(path)), &url).unwrap();
        let error = client.get(url).send().await.unwrap_err().without_url();
        let text = error_chain(&error);
        assert!(error.is_connect() && text.contains("certificate"), "{text}");
    }

    #[test]
    fn files_without_certificates_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let check = |expected: &str| {
            let error = client(&outbound(Some(path.clone()))).unwrap_err();
            assert!(error.to_string().starts_with(expected), "{error}");
            assert!(error.to_string().contains("ca.pem"), "{error}");
        };
        check("cannot read the root certificates in `");
        for content in [
            "",
            "no PEM",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            fs::write(&path, content).unwrap();
            check("");
        }
    }

    #[test]
    fn loopback_addresses() {
        let check = |url: &str, expected| {
            assert_eq!(is_loopback(&url.parse().unwrap()), expected, "{url}");
        };
        check("http://127.0.0.1:9899/", true);
        check("http://127.8.9.1/", true);
        check("http://[::1]:80/", true);
        check("https://LOCALHOST/", true);
        check("http://localhost.example.com/", false);
        check("http://127.0.0.1.example.com/", false);
        check("http://10.0.0.1/", false);
    }
}
