//! Reads secrets from AWS Secrets Manager with the AWS SDK. The SDK reads the process environment (such as `AWS_ENDPOINT_URL`), and
//! finds and refreshes credentials: environment, profile files, container, web identity, instance.

use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::DisplayErrorContext;
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;

use crate::secrets::field::{FieldError, value_of};
use spendwatch_base::secret::Secret;
use spendwatch_config::source::AwsSecret;

/// Per attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Per attempt.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
/// For loading credentials and all attempts together.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Maximum characters shown of an AWS error.
const MAX_MESSAGE_CHARS: usize = 300;

/// Why a secret cannot be read. Contains no value.
#[derive(Debug, thiserror::Error)]
pub enum AwsError {
    #[error("no region; set `region`, or `AWS_REGION` in the environment")]
    NoRegion,
    #[error("no response from AWS within {} s", TIMEOUT.as_secs())]
    Timeout,
    /// AWS rejected the request or is unreachable, or there are no credentials.
    #[error("{0}")]
    Refused(String),
    #[error("the secret is binary; store text or JSON")]
    Binary,
    #[error(transparent)]
    Field(#[from] FieldError),
}

/// Reads the current version of a secret.
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
    // The SDK's default would add a second TLS provider.
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
    let request = Client::new(&config)
        .get_secret_value()
        .secret_id(&secret.name);
    let response = request.send().await.map_err(|error| {
        let text = DisplayErrorContext(&error).to_string();
        AwsError::Refused(one_line(&text))
    })?;
    let text = response.secret_string().ok_or(AwsError::Binary)?;
    Ok(value_of(text, secret.field.as_deref())?)
}

fn one_line(text: &str) -> String {
    let mut chars = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut short: String = chars.by_ref().take(MAX_MESSAGE_CHARS).collect();
    if chars.next().is_some() {
        short.push('…');
    }
    short
}
