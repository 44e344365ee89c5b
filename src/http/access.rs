//! Access rules of the HTTP server.
//!
//! Without a login, everything is served on loopback and only metrics and health checks elsewhere. Any web page can make
//! a local browser send requests, so writes must name our own host, come from the same origin, and not pass a proxy.

use std::net::SocketAddr;

use axum::http::{HeaderMap, StatusCode, Uri, Version, header};

use crate::http::origin::{Authority, Origin, default_port};
use crate::secrets::{self, SecretError};
use spendwatch_base::secret::Secret;
use spendwatch_config::sections::{HttpConfig, TOKEN_TOO_SHORT, is_token_too_short};
use spendwatch_config::source::Environment;

/// Group of routes that share one access rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteClass {
    Health,
    Metrics,
    Read,
    Write,
}

/// Access rules derived from `[http]` and the listen address.
#[derive(Debug)]
pub struct AccessPolicy {
    token: Option<Secret>,
    has_public_metrics: bool,
    is_on_loopback: bool,
    external: Option<Origin>,
}

/// Why no access policy can be built from a configuration.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    #[error("`http.bearer_token`: {0}")]
    Secret(#[from] SecretError),
    #[error("`http.bearer_token` {TOKEN_TOO_SHORT}")]
    TokenTooShort,
}

/// Why a request is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AccessDenied {
    #[error("missing or wrong bearer token")]
    NoToken,
    /// Seconds until another token of this source is compared.
    #[error("too many wrong bearer tokens from this address; retry in {0} s")]
    TooManyAttempts(u64),
    #[error("not served on a non-loopback address without a login; set `bearer_token` in `[http]`")]
    NoLogin,
    #[error(
        "without a login, `Host` must be loopback or `external_url`, and writes must not pass a proxy; set `bearer_token` in `[http]`"
    )]
    ForeignHost,
    #[error("cross-origin request rejected")]
    ForeignOrigin,
    #[error("the request must have exactly one valid `Host` header that matches its target")]
    BadHost,
}

impl AccessDenied {
    /// Returns the status code of the response.
    pub fn status(self) -> StatusCode {
        match self {
            AccessDenied::NoToken => StatusCode::UNAUTHORIZED,
            AccessDenied::TooManyAttempts(_) => StatusCode::TOO_MANY_REQUESTS,
            AccessDenied::NoLogin | AccessDenied::ForeignHost | AccessDenied::ForeignOrigin => {
                StatusCode::FORBIDDEN
            }
            AccessDenied::BadHost => StatusCode::BAD_REQUEST,
        }
    }
}

/// Headers that proxies add, besides those with `forwarded` in their name.
const PROXY_HEADERS: [&str; 12] = [
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
        name.contains("forwarded") || PROXY_HEADERS.contains(&name)
    })
}

/// Checks that a request names exactly one host, so that every proxy in front agrees on what it is.
pub fn check_host(version: Version, target: &Uri, headers: &HeaderMap) -> Result<(), AccessDenied> {
    let hosts: Vec<_> = headers.get_all(header::HOST).iter().collect();
    let host = match hosts[..] {
        [] if version < Version::HTTP_11 => return Ok(()),
        [host] => host
            .to_str()
            .ok()
            .and_then(Authority::parse)
            .ok_or(AccessDenied::BadHost)?,
        _ => return Err(AccessDenied::BadHost),
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
        Err(AccessDenied::BadHost)
    }
}

impl AccessPolicy {
    /// Builds the policy for a listen address; fails if the token cannot be read or is too short.
    pub async fn from_config(
        http: &HttpConfig,
        address: SocketAddr,
        environment: &Environment,
    ) -> Result<AccessPolicy, AccessError> {
        let token = match &http.bearer_token {
            Some(source) => Some(secrets::resolve(source, environment).await?),
            None => None,
        };
        if token.as_ref().is_some_and(is_token_too_short) {
            return Err(AccessError::TokenTooShort);
        }
        let external = http.external_url.as_deref();
        Ok(AccessPolicy {
            token,
            has_public_metrics: http.public_metrics,
            is_on_loopback: address.ip().is_loopback(),
            external: external.and_then(Origin::parse),
        })
    }

    /// Returns the configured bearer token.
    pub fn token(&self) -> Option<&Secret> {
        self.token.as_ref()
    }

    /// Returns whether only metrics and health checks are served.
    pub fn serves_only_metrics(&self) -> bool {
        self.token.is_none() && !self.is_on_loopback
    }

    /// Returns whether authorizing a request compares the token that it presents.
    pub fn compares_token(&self, class: RouteClass, headers: &HeaderMap) -> bool {
        let needs_token = match class {
            RouteClass::Health => false,
            RouteClass::Metrics => !self.has_public_metrics,
            RouteClass::Read | RouteClass::Write => true,
        };
        needs_token && self.token.is_some() && headers.contains_key(header::AUTHORIZATION)
    }

    /// Checks whether a request may use routes of a class.
    pub fn authorize(&self, class: RouteClass, headers: &HeaderMap) -> Result<(), AccessDenied> {
        let has_token = self
            .token
            .as_ref()
            .is_some_and(|token| presents_token(headers, token));
        match class {
            RouteClass::Health => Ok(()),
            RouteClass::Metrics if self.token.is_none() || self.has_public_metrics || has_token => {
                Ok(())
            }
            RouteClass::Metrics => Err(AccessDenied::NoToken),
            RouteClass::Read if self.token.is_some() && !has_token => Err(AccessDenied::NoToken),
            RouteClass::Read if self.serves_only_metrics() => Err(AccessDenied::NoLogin),
            // Another site's page cannot know the token.
            RouteClass::Read if self.token.is_some() => Ok(()),
            RouteClass::Read => self.authorize_read(headers),
            RouteClass::Write => self.authorize_write(has_token, headers),
        }
    }

    fn authorize_read(&self, headers: &HeaderMap) -> Result<(), AccessDenied> {
        let host = self.require_own_host(headers)?;
        let is_link = text(headers, "sec-fetch-mode") == Some("navigate")
            && text(headers, "sec-fetch-dest").is_none_or(|shown| shown == "document");
        if is_link && !headers.contains_key(header::ORIGIN) {
            return Ok(());
        }
        self.check_origin(&host, headers)
    }

    fn authorize_write(&self, has_token: bool, headers: &HeaderMap) -> Result<(), AccessDenied> {
        let host = if self.token.is_some() {
            if !has_token {
                return Err(AccessDenied::NoToken);
            }
            host_of(headers)
        } else if !self.is_on_loopback {
            return Err(AccessDenied::NoLogin);
        } else if is_forwarded(headers) {
            return Err(AccessDenied::ForeignHost);
        } else {
            Some(self.require_own_host(headers)?)
        };
        let no_host = || Authority {
            name: String::new(),
            port: None,
        };
        let host = host.unwrap_or_else(no_host);
        self.check_origin(&host, headers)?;
        // Browsers send cross-site forms without a preflight. If a header identified it as ours, it passed above.
        let is_form = text(headers, "content-type").is_some_and(|kind| {
            let kind = kind.trim_start().to_ascii_lowercase();
            kind.starts_with("text/plain") || kind.starts_with("multipart/form-data")
        });
        let names_origin = ["origin", "sec-fetch-site", "referer"]
            .iter()
            .any(|name| headers.contains_key(*name));
        if is_form && !names_origin && self.token.is_none() {
            return Err(AccessDenied::ForeignOrigin);
        }
        Ok(())
    }

    /// Browsers name the page that sends a request in one of three headers; other clients send none.
    fn check_origin(&self, host: &Authority, headers: &HeaderMap) -> Result<(), AccessDenied> {
        let is_ours =
            |name: &str| {
                let mut values = headers.get_all(name).iter();
                match (values.next(), values.next()) {
                    (None, _) => None,
                    (Some(value), None) => {
                        let origin = value.to_str().ok().and_then(Origin::parse);
                        Some(origin.is_some_and(|origin| {
                            origin.matches_host(host, self.external.as_ref())
                        }))
                    }
                    (Some(_), Some(_)) => Some(false),
                }
            };
        let is_same_site = headers
            .get_all("sec-fetch-site")
            .iter()
            .all(|site| site == "same-origin" || site == "none");
        let has_fetch_site = headers.contains_key("sec-fetch-site");
        let is_allowed = match is_ours("origin") {
            Some(is_ours) => is_ours && is_same_site,
            None if has_fetch_site => is_same_site,
            None => is_ours("referer").unwrap_or(true),
        };
        if is_allowed {
            Ok(())
        } else {
            Err(AccessDenied::ForeignOrigin)
        }
    }

    /// Returns the host of a request if it is loopback or `external_url`. Any other name may point here by DNS rebinding.
    fn require_own_host(&self, headers: &HeaderMap) -> Result<Authority, AccessDenied> {
        let is_ours = |host: &Authority| {
            let external = self.external.as_ref();
            host.is_loopback() || external.is_some_and(|external| external.name == host.name)
        };
        host_of(headers)
            .filter(is_ours)
            .ok_or(AccessDenied::ForeignHost)
    }
}

fn host_of(headers: &HeaderMap) -> Option<Authority> {
    text(headers, "host").and_then(Authority::parse)
}

fn presents_token(headers: &HeaderMap, token: &Secret) -> bool {
    let value = headers
        .get(header::AUTHORIZATION)
        .map(header::HeaderValue::as_bytes);
    let Some((scheme, value)) = value.and_then(|value| value.split_at_checked(b"Bearer ".len()))
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
    use spendwatch_config::source::SecretSource;

    fn access(token: Option<&str>, has_public_metrics: bool, is_on_loopback: bool) -> AccessPolicy {
        AccessPolicy {
            token: token.map(|token| Secret::new(token.to_owned())),
            has_public_metrics,
            is_on_loopback,
            external: Origin::parse("https://spend.example.com"),
        }
    }

    #[track_caller]
    fn check(
        access: &AccessPolicy,
        class: RouteClass,
        headers: &[(&'static str, &str)],
        expected: Result<(), AccessDenied>,
    ) {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        assert_eq!(access.authorize(class, &headers), expected, "{headers:?}");
    }

    #[test]
    fn health_is_open_to_everyone() {
        for access in [
            access(Some("t"), false, false),
            access(None, false, false),
            access(None, false, true),
        ] {
            check(
                &access,
                RouteClass::Health,
                &[("host", "evil.example")],
                Ok(()),
            );
        }
    }

    #[test]
    fn metrics_need_the_token_if_one_is_configured() {
        check(
            &access(None, false, false),
            RouteClass::Metrics,
            &[],
            Ok(()),
        );
        let locked = access(Some("canary-token"), false, true);
        check(
            &locked,
            RouteClass::Metrics,
            &[],
            Err(AccessDenied::NoToken),
        );
        check(
            &locked,
            RouteClass::Metrics,
            &[("authorization", "Bearer canary")],
            Err(AccessDenied::NoToken),
        );
        check(
            &locked,
            RouteClass::Metrics,
            &[("authorization", "Basic canary-token")],
            Err(AccessDenied::NoToken),
        );
        check(
            &locked,
            RouteClass::Metrics,
            &[("authorization", "bearer canary-token")],
            Ok(()),
        );
        check(
            &access(Some("canary-token"), true, false),
            RouteClass::Metrics,
            &[],
            Ok(()),
        );
    }

    #[test]
    fn a_token_is_compared_only_if_the_route_needs_it() {
        let check = |access: &AccessPolicy, has_token: bool, expected: [bool; 4]| {
            let mut headers = HeaderMap::new();
            if has_token {
                headers.insert(header::AUTHORIZATION, "Bearer guess".parse().unwrap());
            }
            let classes = [
                RouteClass::Health,
                RouteClass::Metrics,
                RouteClass::Read,
                RouteClass::Write,
            ];
            let compared = classes.map(|class| access.compares_token(class, &headers));
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
            let http = HttpConfig {
                listen: SocketAddr::from(([127, 0, 0, 1], 0)),
                external_url: None,
                bearer_token: Some(SecretSource::Literal(Secret::new(token.to_owned()))),
                public_metrics: false,
                max_connections: 1,
            };
            let access = AccessPolicy::from_config(&http, http.listen, &Environment::new()).await;
            assert_eq!(access.is_ok(), is_good, "{token}");
            if let Err(error) = access {
                let error = error.to_string();
                let is_named = error.starts_with("`http.bearer_token` has fewer than 20 ");
                assert!(is_named && !error.contains("canary"), "{error}");
            }
        }
    }

    #[test]
    fn reads_need_the_token_or_loopback() {
        let local = [("host", "localhost:9899")];
        check(&access(None, false, true), RouteClass::Read, &local, Ok(()));
        let outside = access(None, true, false);
        check(&outside, RouteClass::Read, &[], Err(AccessDenied::NoLogin));
        let token = ("authorization", "Bearer canary-token");
        for is_on_loopback in [true, false] {
            let locked = access(Some("canary-token"), true, is_on_loopback);
            check(&locked, RouteClass::Read, &[], Err(AccessDenied::NoToken));
            check(&locked, RouteClass::Read, &[token], Ok(()));
        }
    }

    #[test]
    fn without_a_login_writes_need_a_loopback_host_and_no_proxy() {
        let on_loopback = access(None, false, true);
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
            check(&on_loopback, RouteClass::Write, &[("host", host)], Ok(()));
            check(&on_loopback, RouteClass::Read, &[("host", host)], Ok(()));
        }
        for host in [
            "evil.example",
            "localhost.evil.example:9899",
            "10.0.0.1",
            "",
            "127.0.0.1.evil.example",
        ] {
            for class in [RouteClass::Read, RouteClass::Write] {
                check(
                    &on_loopback,
                    class,
                    &[("host", host)],
                    Err(AccessDenied::ForeignHost),
                );
            }
        }
        check(
            &on_loopback,
            RouteClass::Write,
            &[],
            Err(AccessDenied::ForeignHost),
        );
        for proxy_header in [
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
            let headers = [("host", "localhost"), (proxy_header, "10.0.0.1")];
            check(
                &on_loopback,
                RouteClass::Write,
                &headers,
                Err(AccessDenied::ForeignHost),
            );
        }
        check(
            &access(None, false, false),
            RouteClass::Write,
            &[("host", "localhost")],
            Err(AccessDenied::NoLogin),
        );
    }

    #[test]
    fn cross_origin_writes_are_rejected() {
        let on_loopback = access(None, false, true);
        let host = ("host", "localhost:9899");
        check(
            &on_loopback,
            RouteClass::Write,
            &[host, ("origin", "http://localhost:9899")],
            Ok(()),
        );
        check(
            &on_loopback,
            RouteClass::Write,
            &[host, ("origin", "https://spend.example.com")],
            Ok(()),
        );
        for origin in ["http://localhost:3000", "https://evil.example", "null"] {
            check(
                &on_loopback,
                RouteClass::Write,
                &[host, ("origin", origin)],
                Err(AccessDenied::ForeignOrigin),
            );
        }
        let locked = access(Some("canary-token"), false, false);
        let token = ("authorization", "Bearer canary-token");
        check(
            &locked,
            RouteClass::Write,
            &[token, ("host", "10.0.0.1:9899")],
            Ok(()),
        );
        check(
            &locked,
            RouteClass::Write,
            &[token, ("origin", "https://evil.example")],
            Err(AccessDenied::ForeignOrigin),
        );
    }

    #[test]
    fn cross_site_requests_without_origin_are_rejected() {
        let on_loopback = access(None, false, true);
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
            let expected = is_allowed.then_some(()).ok_or(AccessDenied::ForeignOrigin);
            for class in [RouteClass::Read, RouteClass::Write] {
                check(&on_loopback, class, &[host, header], expected);
            }
        }
        let form = [host, ("content-type", "text/plain; charset=utf-8")];
        check(
            &on_loopback,
            RouteClass::Write,
            &form,
            Err(AccessDenied::ForeignOrigin),
        );
        let link = [
            host,
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
        ];
        check(&on_loopback, RouteClass::Read, &link, Ok(()));
        check(
            &on_loopback,
            RouteClass::Write,
            &link,
            Err(AccessDenied::ForeignOrigin),
        );
    }

    #[test]
    fn a_request_names_exactly_one_host() {
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
