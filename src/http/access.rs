//! Who may ask for what; pure but for the token's source.
//!
//! With no login everything is served on loopback, and elsewhere only what a scraper and a health check need. A browser on
//! the same machine can be made to send requests by any page it shows: what changes something must come for a host that is
//! us, from no other origin, and through no proxy.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::http::{HeaderMap, StatusCode, Uri, Version, header};

use crate::config::sections::{Http, TOKEN_TOO_SHORT, is_token_too_short};
use crate::config::source::Environment;
use crate::secret::Secret;
use crate::secrets::{self, SecretError};

/// What a path is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// Whether the process serves; open to everyone.
    Health,
    Metrics,
    /// Shows what is not everyone's.
    Read,
    Write,
}

/// The rules of one configuration.
#[derive(Debug)]
pub struct Access {
    token: Option<Secret>,
    has_public_metrics: bool,
    is_on_loopback: bool,
    external: Option<Origin>,
}

/// Why there are no rules for a configuration.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The token cannot be read.
    #[error("`http.bearer_token`: {0}")]
    Secret(#[from] SecretError),
    /// The token can be guessed.
    #[error("`http.bearer_token` {TOKEN_TOO_SHORT}")]
    TokenTooShort,
}

/// Why a request is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No token, or a wrong one.
    #[error("the bearer token of `[http]` is needed")]
    NoToken,
    /// Its source presented too many wrong tokens; the number of seconds until another one is compared.
    #[error("too many wrong bearer tokens from this address; retry in {0} s")]
    TooManyAttempts(u64),
    /// Neither loopback nor login.
    #[error(
        "not served: no login is configured, and this address is not loopback; set `bearer_token` in `[http]`"
    )]
    NoLogin,
    /// Came for another host, or changes something through a proxy.
    #[error(
        "refused: without a login, `Host` must be loopback or `external_url`, and changes must not come through a proxy; set `bearer_token` in `[http]`"
    )]
    ForeignHost,
    /// Sent by another site's page.
    #[error("refused: sent by a page of another origin")]
    ForeignOrigin,
    /// `Host` is missing, given twice, unreadable, or differs from the address of the request.
    #[error("the request needs exactly one valid `Host`, which agrees with its target")]
    BadHost,
}

impl Refusal {
    /// Of the answer.
    pub fn status(self) -> StatusCode {
        match self {
            Refusal::NoToken => StatusCode::UNAUTHORIZED,
            Refusal::TooManyAttempts(_) => StatusCode::TOO_MANY_REQUESTS,
            Refusal::NoLogin | Refusal::ForeignHost | Refusal::ForeignOrigin => {
                StatusCode::FORBIDDEN
            }
            Refusal::BadHost => StatusCode::BAD_REQUEST,
        }
    }
}

/// Headers that proxies add, beside those with `forwarded` in their name.
const FORWARDING: [&str; 12] = [
    "via",
    "x-real-ip",
    "client-ip",
    "x-client-ip",
    "true-client-ip",
    "x-cluster-client-ip",
    "fastly-client-ip",
    "cf-connecting-ip",
    "x-azure-clientip",
    "x-original-host",
    "x-envoy-external-address",
    "cdn-loop",
];

fn is_forwarded(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| {
        let name = name.as_str();
        name.contains("forwarded") || FORWARDING.contains(&name)
    })
}

/// A host's name without case and trailing dot, and its port.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Authority {
    name: String,
    port: Option<u16>,
}

impl Authority {
    fn parse(text: &str) -> Option<Authority> {
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
            let is_plain = |sign: u8| sign.is_ascii_alphanumeric() || b"-._~".contains(&sign);
            let name = name.strip_suffix('.').unwrap_or(name);
            if name.is_empty() || !name.bytes().all(is_plain) {
                return None;
            }
            name.to_ascii_lowercase()
        };
        Some(Authority { name, port })
    }

    fn is_loopback(&self) -> bool {
        let ip = self.name.parse::<IpAddr>();
        self.name == "localhost" || ip.is_ok_and(|ip| ip.to_canonical().is_loopback())
    }
}

/// Scheme, host and port of a page; ports that are not given are those of the scheme.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Origin {
    scheme: String,
    name: String,
    port: u16,
}

impl Origin {
    /// Of an address, whatever its path.
    fn of(url: &str) -> Option<Origin> {
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

    /// Whether a page of this origin was served under that host. Under the host of `external_url` it has that scheme.
    fn is_of(&self, host: &Authority, external: Option<&Origin>) -> bool {
        if external == Some(self) {
            return true;
        }
        let port = host.port.or(default_port(&self.scheme));
        let is_external =
            external.is_some_and(|external| external.name == self.name && host.port.is_none());
        self.name == host.name && port == Some(self.port) && !is_external
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// Checks that a request names exactly one host: what is judged by it must be what everybody else takes it for.
pub fn check_host(version: Version, target: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
    let hosts: Vec<_> = headers.get_all(header::HOST).iter().collect();
    let host = match hosts[..] {
        [] if version < Version::HTTP_11 => return Ok(()),
        [host] => host
            .to_str()
            .ok()
            .and_then(Authority::parse)
            .ok_or(Refusal::BadHost)?,
        _ => return Err(Refusal::BadHost),
    };
    let Some(authority) = target.authority() else {
        return Ok(());
    };
    let default = target.scheme_str().and_then(default_port);
    let is_same = |named: Authority| {
        named.name == host.name && named.port.or(default) == host.port.or(default)
    };
    if Authority::parse(authority.as_str()).is_some_and(is_same) {
        Ok(())
    } else {
        Err(Refusal::BadHost)
    }
}

impl Access {
    /// As configured, for the address that is listened on. Fails if the token is missing or too short.
    pub async fn configured(
        http: &Http,
        address: SocketAddr,
        environment: &Environment,
    ) -> Result<Access, AccessError> {
        let token = match &http.bearer_token {
            Some(source) => Some(secrets::resolve(source, environment).await?),
            None => None,
        };
        if token.as_ref().is_some_and(is_token_too_short) {
            return Err(AccessError::TokenTooShort);
        }
        let external = http.external_url.as_deref();
        Ok(Access {
            token,
            has_public_metrics: http.public_metrics,
            is_on_loopback: address.ip().is_loopback(),
            external: external.and_then(Origin::of),
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

    /// Whether judging a request compares a token that it presents.
    pub fn compares_token(&self, door: Door, headers: &HeaderMap) -> bool {
        let needs_token = match door {
            Door::Health => false,
            Door::Metrics => !self.has_public_metrics,
            Door::Read | Door::Write => true,
        };
        needs_token && self.token.is_some() && headers.contains_key(header::AUTHORIZATION)
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
            // Who has the token is no page of another site.
            Door::Read if self.token.is_some() => Ok(()),
            Door::Read => self.judge_read(headers),
            Door::Write => self.judge_write(has_token, headers),
        }
    }

    fn judge_read(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let host = self.own_host(headers)?;
        let is_link = text(headers, "sec-fetch-mode") == Some("navigate")
            && text(headers, "sec-fetch-dest").is_none_or(|shown| shown == "document");
        if is_link && !headers.contains_key(header::ORIGIN) {
            return Ok(());
        }
        self.judge_origin(&host, headers)
    }

    fn judge_write(&self, has_token: bool, headers: &HeaderMap) -> Result<(), Refusal> {
        let host = if self.token.is_some() {
            if !has_token {
                return Err(Refusal::NoToken);
            }
            host_of(headers)
        } else if !self.is_on_loopback {
            return Err(Refusal::NoLogin);
        } else if is_forwarded(headers) {
            return Err(Refusal::ForeignHost);
        } else {
            Some(self.own_host(headers)?)
        };
        let nowhere = || Authority {
            name: String::new(),
            port: None,
        };
        let host = host.unwrap_or_else(nowhere);
        self.judge_origin(&host, headers)?;
        // A form of another site's page is sent without a question; with a proof that it is ours, it would be let in above.
        let is_form = text(headers, "content-type").is_some_and(|kind| {
            let kind = kind.trim_start().to_ascii_lowercase();
            kind.starts_with("text/plain") || kind.starts_with("multipart/form-data")
        });
        let has_proof = ["origin", "sec-fetch-site", "referer"]
            .iter()
            .any(|name| headers.contains_key(*name));
        if is_form && !has_proof && self.token.is_none() {
            return Err(Refusal::ForeignOrigin);
        }
        Ok(())
    }

    /// Browsers say in one of three headers which page a request comes from; programs say nothing.
    fn judge_origin(&self, host: &Authority, headers: &HeaderMap) -> Result<(), Refusal> {
        let is_ours = |name: &str| {
            let mut values = headers.get_all(name).iter();
            match (values.next(), values.next()) {
                (None, _) => None,
                (Some(value), None) => {
                    let origin = value.to_str().ok().and_then(Origin::of);
                    Some(origin.is_some_and(|origin| origin.is_of(host, self.external.as_ref())))
                }
                (Some(_), Some(_)) => Some(false),
            }
        };
        let is_same_site = headers
            .get_all("sec-fetch-site")
            .iter()
            .all(|site| site == "same-origin" || site == "none");
        let is_told = headers.contains_key("sec-fetch-site");
        let is_allowed = match is_ours("origin") {
            Some(is_ours) => is_ours && is_same_site,
            None if is_told => is_same_site,
            None => is_ours("referer").unwrap_or(true),
        };
        if is_allowed {
            Ok(())
        } else {
            Err(Refusal::ForeignOrigin)
        }
    }

    /// The host of a request, which must be this machine or `external_url`: another name may be one of somebody else that
    /// leads here.
    fn own_host(&self, headers: &HeaderMap) -> Result<Authority, Refusal> {
        let is_ours = |host: &Authority| {
            let external = self.external.as_ref();
            host.is_loopback() || external.is_some_and(|external| external.name == host.name)
        };
        host_of(headers).filter(is_ours).ok_or(Refusal::ForeignHost)
    }
}

fn host_of(headers: &HeaderMap) -> Option<Authority> {
    text(headers, "host").and_then(Authority::parse)
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

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;
    use crate::config::source::SecretSource;

    fn access(token: Option<&str>, has_public_metrics: bool, is_on_loopback: bool) -> Access {
        Access {
            token: token.map(|token| Secret::new(token.to_owned())),
            has_public_metrics,
            is_on_loopback,
            external: Origin::of("https://spend.example.com"),
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
    fn only_a_token_that_decides_something_is_compared() {
        let check = |access: &Access, has_token: bool, expected: [bool; 4]| {
            let mut headers = HeaderMap::new();
            if has_token {
                headers.insert(header::AUTHORIZATION, "Bearer guess".parse().unwrap());
            }
            let doors = [Door::Health, Door::Metrics, Door::Read, Door::Write];
            let compared = doors.map(|door| access.compares_token(door, &headers));
            assert_eq!(compared, expected, "{access:?} {has_token}");
        };
        let locked = access(Some("canary-token"), false, false);
        check(&locked, true, [false, true, true, true]);
        check(&locked, false, [false; 4]);
        let public = access(Some("canary-token"), true, false);
        check(&public, true, [false, false, true, true]);
        check(&access(None, false, true), true, [false; 4]);
    }

    #[tokio::test]
    async fn a_token_has_at_least_twenty_characters() {
        for (token, is_good) in [
            ("canary-9-characters", false),
            ("  canary-9-characters  ", false),
            ("ääääääääääääääääääà", false),
            ("canary-10-characters", true),
        ] {
            let http = Http {
                listen: SocketAddr::from(([127, 0, 0, 1], 0)),
                external_url: None,
                bearer_token: Some(SecretSource::Literal(Secret::new(token.to_owned()))),
                public_metrics: false,
                max_connections: 1,
            };
            let access = Access::configured(&http, http.listen, &Environment::new()).await;
            assert_eq!(access.is_ok(), is_good, "{token}");
            if let Err(error) = access {
                let error = error.to_string();
                let is_named = error.starts_with("`http.bearer_token` has fewer than 20 ");
                assert!(is_named && !error.contains("canary"), "{error}");
            }
        }
    }

    #[test]
    fn what_is_not_everyones_needs_the_token_or_where_there_is_none_loopback() {
        let local = [("host", "localhost:9899")];
        check(&access(None, false, true), Door::Read, &local, Ok(()));
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
            "localhost.",
            "spend.example.com",
            "SPEND.example.com.:443",
        ] {
            check(&here, Door::Write, &[("host", host)], Ok(()));
            check(&here, Door::Read, &[("host", host)], Ok(()));
        }
        for host in [
            "evil.example",
            "localhost.evil.example:9899",
            "10.0.0.1",
            "",
            "127.0.0.1.evil.example",
        ] {
            for door in [Door::Read, Door::Write] {
                check(&here, door, &[("host", host)], Err(Refusal::ForeignHost));
            }
        }
        check(&here, Door::Write, &[], Err(Refusal::ForeignHost));
        for forwarding in [
            "forwarded",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "via",
            "x-real-ip",
            "true-client-ip",
            "cf-connecting-ip",
            "x-original-forwarded-for",
        ] {
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

    #[test]
    fn a_page_of_another_site_sends_nothing_without_an_origin_either() {
        let here = access(None, false, true);
        let host = ("host", "localhost:9899");
        for (header, is_allowed) in [
            (("sec-fetch-site", "same-origin"), true),
            (("sec-fetch-site", "none"), true),
            (("sec-fetch-site", "cross-site"), false),
            (("sec-fetch-site", "same-site"), false),
            (("referer", "http://localhost:9899/alerts/a"), true),
            (("referer", "http://evil.example/"), false),
            (("origin", "http://LOCALHOST:9899"), true),
            (("origin", "http://localhost"), false),
            (("origin", "http://spend.example.com"), false),
            (("origin", "null"), false),
        ] {
            let expected = is_allowed.then_some(()).ok_or(Refusal::ForeignOrigin);
            for door in [Door::Read, Door::Write] {
                check(&here, door, &[host, header], expected);
            }
        }
        let form = [host, ("content-type", "text/plain; charset=utf-8")];
        check(&here, Door::Write, &form, Err(Refusal::ForeignOrigin));
        let link = [
            host,
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
        ];
        check(&here, Door::Read, &link, Ok(()));
        check(&here, Door::Write, &link, Err(Refusal::ForeignOrigin));
    }

    #[test]
    fn a_request_names_one_host() {
        let check = |target: &str, hosts: &[&str], version: Version, is_good: bool| {
            let headers = hosts
                .iter()
                .map(|host| (header::HOST, host.parse().unwrap()))
                .collect();
            let checked = check_host(version, &target.parse().unwrap(), &headers);
            assert_eq!(checked.is_ok(), is_good, "{target} {hosts:?}");
        };
        let new = Version::HTTP_11;
        check("/", &["localhost:9899"], new, true);
        check("/", &["[::1]:9899"], new, true);
        check("/", &[], new, false);
        check("/", &[], Version::HTTP_10, true);
        check("/", &["localhost", "localhost"], new, false);
        check("/", &["localhost", "localhost"], Version::HTTP_10, false);
        for garbage in [
            "",
            "user@localhost",
            "local host",
            "localhost:99999",
            "a,b",
            "localhost/x",
            "[::1",
        ] {
            check("/", &[garbage], new, false);
        }
        check("http://localhost/", &["LOCALHOST:80"], new, true);
        check("http://evil.example/", &["localhost"], new, false);
    }
}
