//! Secrets of AWS Secrets Manager, by AWS's own crates: credentials of the environment, of profile files, of containers, of web
//! identities and of the instance, each refreshed before it ends; `AWS_ENDPOINT_URL` is heeded. These crates read the process's
//! environment themselves.

use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::DisplayErrorContext;
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;

use crate::config::source::AwsSecret;
use crate::secret::Secret;
use crate::secrets::field::{FieldError, value_of};

/// For the connection of one attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// For one attempt.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
/// For everything: credentials, and all attempts.
const TIMEOUT: Duration = Duration::from_secs(20);
/// So much of what AWS says is shown.
const MAX_MESSAGE_CHARS: usize = 300;

/// Why a secret is not to be had. Never shows a value.
#[derive(Debug, thiserror::Error)]
pub enum AwsError {
    /// Nobody says where it is.
    #[error("no region is known; set `region`, or `AWS_REGION` in the environment")]
    NoRegion,
    #[error("AWS gave no answer within {} s", TIMEOUT.as_secs())]
    Timeout,
    /// AWS refuses, or cannot be reached, or there are no credentials for it.
    #[error("{0}")]
    Refused(String),
    #[error("it is binary; keep a text or JSON")]
    Binary,
    /// The field is not in it.
    #[error(transparent)]
    Field(#[from] FieldError),
}

/// Reads the newest version of a secret.
pub async fn read(secret: &AwsSecret) -> Result<Secret, AwsError> {
    tokio::time::timeout(TIMEOUT, read_in_time(secret))
        .await
        .map_err(|_| AwsError::Timeout)?
}

async fn read_in_time(secret: &AwsSecret) -> Result<Secret, AwsError> {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .build();
    // The one provider of this program: the crates' own choice would bring a second one.
    let client = Builder::new()
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(client)
        .timeout_config(timeouts);
    if let Some(region) = secret.known_region() {
        loader = loader.region(Region::new(region.to_owned()));
    }
    let config = loader.load().await;
    if config.region().is_none() {
        return Err(AwsError::NoRegion);
    }
    let asked = Client::new(&config)
        .get_secret_value()
        .secret_id(&secret.name);
    let answer = asked.send().await.map_err(|error| {
        let words = DisplayErrorContext(&error).to_string();
        AwsError::Refused(one_line(&words))
    })?;
    let text = answer.secret_string().ok_or(AwsError::Binary)?;
    Ok(value_of(text, secret.field.as_deref())?)
}

fn one_line(words: &str) -> String {
    let mut chars = words.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut short: String = chars.by_ref().take(MAX_MESSAGE_CHARS).collect();
    if chars.next().is_some() {
        short.push('…');
    }
    short
}
