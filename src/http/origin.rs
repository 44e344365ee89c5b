//! Hosts and web origins, as request headers name them.

use std::net::{IpAddr, Ipv6Addr};

/// Host name, lower case and without a trailing dot, and optional port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    pub name: String,
    pub port: Option<u16>,
}

impl Authority {
    /// Parses `host`, `host:port` or `[address]:port`, as in the header `host`.
    pub fn parse(text: &str) -> Option<Authority> {
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') => (name, Some(port)),
            Some(_) | None => (text, None),
        };
        let port = match port {
            None | Some("") => None,
            Some(port) if port.bytes().all(|digit| digit.is_ascii_digit()) => {
                Some(port.parse().ok()?)
            }
            Some(_) => return None,
        };
        let name = if let Some(bare) = name.strip_prefix('[') {
            let address: Ipv6Addr = bare.strip_suffix(']')?.parse().ok()?;
            address.to_string()
        } else {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            let name = name.strip_suffix('.').unwrap_or(name);
            if name.is_empty() || !name.bytes().all(is_plain) {
                return None;
            }
            name.to_ascii_lowercase()
        };
        Some(Authority { name, port })
    }

    /// Returns whether the host is `localhost` or a loopback address.
    pub fn is_loopback(&self) -> bool {
        let ip = self.name.parse::<IpAddr>();
        self.name == "localhost" || ip.is_ok_and(|ip| ip.to_canonical().is_loopback())
    }
}

/// Web origin; the port defaults to that of the scheme.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    scheme: String,
    pub name: String,
    pub port: u16,
}

impl Origin {
    /// Parses a URL with its scheme, such as `https://host:8443`; `None` if it has no valid host.
    pub fn parse(url: &str) -> Option<Origin> {
        let (scheme, rest) = url.split_once("://")?;
        let authority = Authority::parse(rest.split(['/', '?', '#']).next()?)?;
        let scheme = scheme.to_ascii_lowercase();
        let port = authority.port.or(default_port(&scheme))?;
        Some(Origin {
            scheme,
            name: authority.name,
            port,
        })
    }

    /// Returns whether this is the origin of pages served under `host`. Under the host of `external_url`, the scheme must match
    /// it.
    pub fn matches_host(&self, host: &Authority, external: Option<&Origin>) -> bool {
        if external == Some(self) {
            return true;
        }
        let port = host.port.or(default_port(&self.scheme));
        let is_external =
            external.is_some_and(|external| external.name == self.name && host.port.is_none());
        self.name == host.name && port == Some(self.port) && !is_external
    }
}

/// Returns the port that a URL of `http` or `https` may omit, `None` for other schemes.
pub fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}
