//! Who may ask for what; pure but for the token's source.
//!
//! With no login everything is served on loopback, and elsewhere only what a scraper and a health check need. A browser on
//! the same machine can be made to send requests by any page it shows: what changes something must come for a host that is
//! us, from no other origin, and through no proxy.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderName, StatusCode, header};

use crate::config::sections::Http;
use crate::config::source::Environment;
use crate::secret::Secret;
use crate::secrets::{self, SecretError};

/// What a path is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// Whether the process serves; open to everyone.
    Health,
    /// The scrape.
    Metrics,
    /// Shows what is not everyone's.
    Read,
    /// Changes something.
    Write,
}

/// The rules of one configuration.
#[derive(Debug)]
pub struct Access {
    token: Option<Secret>,
    has_public_metrics: bool,
    is_on_loopback: bool,
    external_host: Option<String>,
}

/// Why a request is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No token, or a wrong one.
    #[error("the bearer token of `[http]` is needed")]
    NoToken,
    /// Neither loopback nor login.
    #[error(
        "not served: no login is configured, and this address is not loopback; set `bearer_token` in `[http]`"
    )]
    NoLogin,
    /// Came for another host, or through a proxy.
    #[error(
        "refused: without a login a change must be asked for on this machine (its `Host`, no proxy); set `bearer_token` in `[http]`"
    )]
    ForeignHost,
    /// Sent by another site's page.
    #[error("refused: sent by a page of another origin")]
    ForeignOrigin,
}

impl Refusal {
    /// Of the answer.
    pub fn status(self) -> StatusCode {
        match self {
            Refusal::NoToken => StatusCode::UNAUTHORIZED,
            Refusal::NoLogin | Refusal::ForeignHost | Refusal::ForeignOrigin => {
                StatusCode::FORBIDDEN
            }
        }
    }
}

/// What a proxy adds.
const FORWARDING: [HeaderName; 3] = [
    header::FORWARDED,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
];

impl Access {
    /// As configured, for the address that is listened on.
    pub async fn configured(
        http: &Http,
        address: SocketAddr,
        environment: &Environment,
    ) -> Result<Access, SecretError> {
        let token = match &http.bearer_token {
            Some(source) => Some(secrets::resolve(source, environment).await?),
            None => None,
        };
        let external = http.external_url.as_deref();
        Ok(Access {
            token,
            has_public_metrics: http.public_metrics,
            is_on_loopback: address.ip().is_loopback(),
            external_host: external.and_then(authority_of).map(str::to_owned),
        })
    }

    /// The token that clients present.
    pub fn token(&self) -> Option<&Secret> {
        self.token.as_ref()
    }

    /// Whether no more than metrics and health are served.
    pub fn is_narrow(&self) -> bool {
        self.token.is_none() && !self.is_on_loopback
    }

    /// Whether a request may pass a door.
    pub fn judge(&self, door: Door, headers: &HeaderMap) -> Result<(), Refusal> {
        let has_token = self
            .token
            .as_ref()
            .is_some_and(|token| bears(headers, token));
        match door {
            Door::Health => Ok(()),
            Door::Metrics if self.token.is_none() || self.has_public_metrics || has_token => Ok(()),
            Door::Metrics => Err(Refusal::NoToken),
            Door::Read if self.token.is_some() && !has_token => Err(Refusal::NoToken),
            Door::Read if self.is_narrow() => Err(Refusal::NoLogin),
            Door::Read => Ok(()),
            Door::Write => self.judge_write(has_token, headers),
        }
    }

    fn judge_write(&self, has_token: bool, headers: &HeaderMap) -> Result<(), Refusal> {
        let host = text(headers, &header::HOST).unwrap_or_default();
        if self.token.is_some() {
            if !has_token {
                return Err(Refusal::NoToken);
            }
        } else if !self.is_on_loopback {
            return Err(Refusal::NoLogin);
        } else if !self.is_ours(host) || FORWARDING.iter().any(|name| headers.contains_key(name)) {
            return Err(Refusal::ForeignHost);
        }
        let origin = headers.get(header::ORIGIN);
        let is_same = |origin: &str| {
            authority_of(origin).is_some_and(|authority| {
                authority.eq_ignore_ascii_case(host)
                    || Some(authority) == self.external_host.as_deref()
            })
        };
        match origin.map(|origin| origin.to_str()) {
            None => Ok(()),
            Some(Ok(origin)) if is_same(origin) => Ok(()),
            Some(_) => Err(Refusal::ForeignOrigin),
        }
    }

    fn is_ours(&self, host: &str) -> bool {
        self.external_host
            .as_deref()
            .is_some_and(|external| external.eq_ignore_ascii_case(host))
            || is_loopback(host)
    }
}

/// `localhost`, `127.0.0.1:9899`, `[::1]:9899`.
fn is_loopback(host: &str) -> bool {
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') && port.parse::<u16>().is_ok() => name,
        Some(_) | None => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Host and port of a URL.
fn authority_of(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    rest.split('/')
        .next()
        .filter(|authority| !authority.is_empty())
}

fn bears(headers: &HeaderMap, token: &Secret) -> bool {
    let given = headers
        .get(header::AUTHORIZATION)
        .map(header::HeaderValue::as_bytes);
    let Some((scheme, value)) = given.and_then(|given| given.split_at_checked(b"Bearer ".len()))
    else {
        return false;
    };
    scheme.eq_ignore_ascii_case(b"Bearer ") && token.equals(value.trim_ascii())
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(token: Option<&str>, has_public_metrics: bool, is_on_loopback: bool) -> Access {
        Access {
            token: token.map(|token| Secret::new(token.to_owned())),
            has_public_metrics,
            is_on_loopback,
            external_host: Some("spend.example.com".to_owned()),
        }
    }

    #[track_caller]
    fn check(
        access: &Access,
        door: Door,
        headers: &[(&'static str, &str)],
        expected: Result<(), Refusal>,
    ) {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        assert_eq!(access.judge(door, &headers), expected, "{headers:?}");
    }

    #[test]
    fn health_is_open_to_everyone() {
        for access in [
            access(Some("t"), false, false),
            access(None, false, false),
            access(None, false, true),
        ] {
            check(&access, Door::Health, &[("host", "evil.example")], Ok(()));
        }
    }

    #[test]
    fn metrics_need_the_token_where_there_is_one() {
        check(&access(None, false, false), Door::Metrics, &[], Ok(()));
        let locked = access(Some("canary-token"), false, true);
        check(&locked, Door::Metrics, &[], Err(Refusal::NoToken));
        check(
            &locked,
            Door::Metrics,
            &[("authorization", "Bearer canary")],
            Err(Refusal::NoToken),
        );
        check(
            &locked,
            Door::Metrics,
            &[("authorization", "Basic canary-token")],
            Err(Refusal::NoToken),
        );
        check(
            &locked,
            Door::Metrics,
            &[("authorization", "bearer canary-token")],
            Ok(()),
        );
        check(
            &access(Some("canary-token"), true, false),
            Door::Metrics,
            &[],
            Ok(()),
        );
    }

    #[test]
    fn what_is_not_everyones_needs_the_token_or_where_there_is_none_loopback() {
        check(&access(None, false, true), Door::Read, &[], Ok(()));
        let outside = access(None, true, false);
        check(&outside, Door::Read, &[], Err(Refusal::NoLogin));
        let token = ("authorization", "Bearer canary-token");
        for is_on_loopback in [true, false] {
            let locked = access(Some("canary-token"), true, is_on_loopback);
            check(&locked, Door::Read, &[], Err(Refusal::NoToken));
            check(&locked, Door::Read, &[token], Ok(()));
        }
    }

    #[test]
    fn without_a_login_a_change_is_asked_for_on_this_machine() {
        let here = access(None, false, true);
        for host in [
            "127.0.0.1:9899",
            "localhost",
            "LOCALHOST:9899",
            "[::1]:9899",
            "127.8.8.8",
            "spend.example.com",
        ] {
            check(&here, Door::Write, &[("host", host)], Ok(()));
        }
        for host in [
            "evil.example",
            "localhost.evil.example:9899",
            "10.0.0.1",
            "",
            "127.0.0.1.evil.example",
        ] {
            check(
                &here,
                Door::Write,
                &[("host", host)],
                Err(Refusal::ForeignHost),
            );
        }
        check(&here, Door::Write, &[], Err(Refusal::ForeignHost));
        for forwarding in ["forwarded", "x-forwarded-for", "x-forwarded-host"] {
            let headers = [("host", "localhost"), (forwarding, "10.0.0.1")];
            check(&here, Door::Write, &headers, Err(Refusal::ForeignHost));
        }
        check(
            &access(None, false, false),
            Door::Write,
            &[("host", "localhost")],
            Err(Refusal::NoLogin),
        );
    }

    #[test]
    fn a_page_of_another_origin_changes_nothing() {
        let here = access(None, false, true);
        let host = ("host", "localhost:9899");
        check(
            &here,
            Door::Write,
            &[host, ("origin", "http://localhost:9899")],
            Ok(()),
        );
        check(
            &here,
            Door::Write,
            &[host, ("origin", "https://spend.example.com")],
            Ok(()),
        );
        for origin in ["http://localhost:3000", "https://evil.example", "null"] {
            check(
                &here,
                Door::Write,
                &[host, ("origin", origin)],
                Err(Refusal::ForeignOrigin),
            );
        }
        let locked = access(Some("canary-token"), false, false);
        let token = ("authorization", "Bearer canary-token");
        check(
            &locked,
            Door::Write,
            &[token, ("host", "10.0.0.1:9899")],
            Ok(()),
        );
        check(
            &locked,
            Door::Write,
            &[token, ("origin", "https://evil.example")],
            Err(Refusal::ForeignOrigin),
        );
    }
}
