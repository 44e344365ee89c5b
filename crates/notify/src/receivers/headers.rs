//! Configured headers of requests.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use crate::outcome::SettingsError;
use spendwatch_base::secret::Secret;

/// Headers that spendwatch or HTTP sets.
const RESERVED: [&str; 8] = [
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
    "content-length",
    "transfer-encoding",
    "connection",
    "host",
    "user-agent",
];

/// Parses additional headers. None may replace a header of ours.
pub fn parse(settings: &[(String, Secret)]) -> Result<HeaderMap, SettingsError> {
    let mut headers = HeaderMap::new();
    for (name, value) in settings {
        let unusable = || SettingsError::Header { name: name.clone() };
        let header = HeaderName::try_from(name.as_str()).map_err(|_| unusable())?;
        if RESERVED.contains(&header.as_str()) {
            return Err(SettingsError::ReservedHeader { name: name.clone() });
        }
        let mut value = HeaderValue::try_from(value.expose()).map_err(|_| unusable())?;
        value.set_sensitive(true);
        headers.append(header, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned())
    }

    #[test]
    fn configured_headers_never_replace_ours() {
        let refused = |name: &str, value: &str| {
            parse(&[(name.to_owned(), secret(value))]).map_err(|error| error.to_string())
        };
        for name in ["Webhook-Id", "webhook-signature", "Content-Length", "host"] {
            let expected = format!("header `{name}` is set by spendwatch itself");
            assert_eq!(refused(name, "x"), Err(expected));
        }
        assert!(refused("a b", "x").is_err());
        assert!(refused("x-a", "canary\r\nb: c").is_err_and(|error| !error.contains("canary")));
        let headers = refused("Authorization", "Bearer canary").unwrap();
        assert!(!format!("{headers:?}").contains("canary"));
    }
}
