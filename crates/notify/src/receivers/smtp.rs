//! One SMTP transaction for one recipient on its own connection, and the meaning of the replies.
//!
//! Unlike lettre's transport, this drives the conversation step by step, because the meaning of a reply depends on the step:
//! a rejected sender is a problem of the notifier, a rejected recipient one of the message.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use lettre::Address;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::outcome::{Delivery, RetrySchedule};
use crate::receivers::refusal::{self, RefusalCause};
use crate::wording::formatting;
use spendwatch_base::receiver::MailTls;

/// Mail server and connection settings.
#[derive(Clone)]
pub struct SmtpServer {
    pub host: String,
    pub port: u16,
    pub tls: MailTls,
    /// Present unless `tls` is `None`.
    pub parameters: Option<TlsParameters>,
    /// Sent only over an encrypted connection.
    pub credentials: Option<Credentials>,
    /// Name in EHLO; by default the host's full name or an address literal.
    pub helo: Option<String>,
}

impl fmt::Debug for SmtpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({}:{}, {:?})", self.host, self.port, self.tls)
    }
}

/// Step of the conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SmtpStep {
    Connect,
    StartTls,
    Login,
    Sender,
    Recipient,
    Data,
    Content,
}

impl SmtpStep {
    const fn as_str(self) -> &'static str {
        match self {
            SmtpStep::Connect => "connecting",
            SmtpStep::StartTls => "STARTTLS",
            SmtpStep::Login => "login",
            SmtpStep::Sender => "the sender",
            SmtpStep::Recipient => "the recipient",
            SmtpStep::Data => "DATA",
            SmtpStep::Content => "the message",
        }
    }
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum bytes read in a conversation, encryption included, because the server is not yet authenticated. lettre only
/// limits complete lines.
const MAX_REPLY_BYTES: usize = 1024 * 1024;
const HOSTS_FILE: &str = "/etc/hosts";
const QUIT_TIMEOUT: Duration = Duration::from_secs(2);

/// Sends one message to one recipient. `time_limit` applies to everything before the content, and again to the content.
pub async fn send(
    server: &SmtpServer,
    from: &Address,
    to: &Address,
    message: &[u8],
    time_limit: Duration,
) -> Delivery {
    let mut connection = match timeout(time_limit, prepare(server, from, to)).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(delivery)) => return delivery,
        Err(_) => return Delivery::retry("timeout waiting for the mail server"),
    };
    // From here on, the server may have accepted the message even if its reply is lost. The next attempt has the same
    // Message-ID.
    let delivery = match timeout(time_limit, connection.message(message)).await {
        Ok(Ok(_)) => Delivery::Delivered,
        Ok(Err(error)) => classify(SmtpStep::Content, &error),
        Err(_) => Delivery::ambiguous("timeout waiting for the mail server to confirm the message"),
    };
    // The reply to QUIT changes nothing.
    let _ = timeout(QUIT_TIMEOUT, connection.quit()).await;
    delivery
}

/// Runs the conversation up to the content.
async fn prepare(
    server: &SmtpServer,
    from: &Address,
    to: &Address,
) -> Result<AsyncSmtpConnection, Delivery> {
    let mut connection = connect(server).await?;
    if let Some(credentials) = &server.credentials {
        if !connection.is_encrypted() {
            return Err(Delivery::park(
                "the connection is not encrypted, so the password is not sent",
            ));
        }
        let login = connection.auth(DEFAULT_MECHANISMS, credentials).await;
        login.map_err(|error| classify(SmtpStep::Login, &error))?;
    }
    let is_ascii = [from, to]
        .iter()
        .all(|address| address.to_string().is_ascii());
    let has_utf8 = connection
        .server_info()
        .supports_feature(Extension::SmtpUtfEight);
    let parameters = match (is_ascii, has_utf8) {
        (true, _) => Vec::new(),
        (false, true) => vec![MailParameter::SmtpUtfEight],
        (false, false) if from.to_string().is_ascii() => {
            return Err(Delivery::drop_message(
                "the mail server does not accept non-ASCII addresses",
            ));
        }
        (false, false) => {
            return Err(Delivery::park(
                "the mail server does not accept non-ASCII addresses, and `from` is one",
            ));
        }
    };
    let mail = connection
        .command(Mail::new(Some(from.clone()), parameters))
        .await;
    mail.map_err(|error| classify(SmtpStep::Sender, &error))?;
    let rcpt = connection.command(Rcpt::new(to.clone(), Vec::new())).await;
    rcpt.map_err(|error| classify(SmtpStep::Recipient, &error))?;
    let data = connection.command(Data).await;
    data.map_err(|error| classify(SmtpStep::Data, &error))?;
    Ok(connection)
}

async fn connect(server: &SmtpServer) -> Result<AsyncSmtpConnection, Delivery> {
    let hello = client_id(server).await;
    let address = (server.host.as_str(), server.port);
    let failed = |error: Error| classify(SmtpStep::Connect, &error);
    if server.tls == MailTls::Implicit {
        let tls = server.parameters.clone();
        let limit = Some(CONNECT_TIMEOUT);
        let connected = AsyncSmtpConnection::connect_tokio1(address, limit, &hello, tls, None);
        return connected.await.map_err(failed);
    }
    let stream = match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => Box::new(BytewiseStream {
            stream,
            n_left: MAX_REPLY_BYTES,
        }),
        Ok(Err(error)) => return Err(Delivery::retry(format!("no connection: {error}"))),
        Err(_) => return Err(Delivery::retry("connection timed out")),
    };
    let connected = AsyncSmtpConnection::connect_with_transport(stream, &hello).await;
    let mut connection = connected.map_err(failed)?;
    let is_offered = connection
        .server_info()
        .supports_feature(Extension::StartTls);
    match (server.tls, is_offered) {
        (MailTls::None, _) | (MailTls::StartTlsOpportunistic, false) => return Ok(connection),
        (MailTls::StartTlsRequired, false) => {
            return Err(Delivery::park("the mail server does not offer STARTTLS"));
        }
        (MailTls::Implicit | MailTls::StartTlsRequired | MailTls::StartTlsOpportunistic, _) => {}
    }
    let parameters = server.parameters.clone();
    let parameters = parameters.ok_or_else(|| Delivery::park("TLS is not configured"))?;
    let started = connection.starttls(parameters, &hello).await;
    started.map_err(|error| classify(SmtpStep::StartTls, &error))?;
    Ok(connection)
}

/// Returns the meaning of a reply at its step (practice, retry table).
fn classify(step: SmtpStep, error: &Error) -> Delivery {
    let text = describe(step, error);
    match (error.status().map(u16::from), step) {
        (Some(421), _) => Delivery::retry(text),
        (Some(400..=499), _) => retry_later(text),
        (Some(530 | 534 | 535 | 538), _) => Delivery::park(text),
        (Some(_), SmtpStep::Connect | SmtpStep::StartTls | SmtpStep::Login | SmtpStep::Sender) => {
            Delivery::park(text)
        }
        (Some(code), SmtpStep::Recipient | SmtpStep::Data | SmtpStep::Content) => {
            let reply = error.source().map(ToString::to_string);
            match refusal::classify(code, &reply.unwrap_or_default()) {
                RefusalCause::Message => Delivery::drop_message(text),
                RefusalCause::Notifier => Delivery::park(text),
                RefusalCause::Temporary => retry_later(text),
            }
        }
        (None, SmtpStep::Login) if error.is_client() => Delivery::park(text),
        (None, SmtpStep::Content) => Delivery::ambiguous(text),
        (
            None,
            SmtpStep::Connect
            | SmtpStep::StartTls
            | SmtpStep::Login
            | SmtpStep::Sender
            | SmtpStep::Recipient
            | SmtpStep::Data,
        ) => Delivery::retry(text),
    }
}

/// A temporary refusal by the server.
fn retry_later(error: String) -> Delivery {
    Delivery::Retry {
        error,
        after: None,
        is_ambiguous: false,
        schedule: RetrySchedule::Mail,
    }
}

/// Returns the name for EHLO: the configured one, the host's full name, or the local address as a literal (RFC 5321, 4.1.4).
async fn client_id(server: &SmtpServer) -> ClientId {
    if let Some(name) = &server.helo {
        return ClientId::Domain(name.clone());
    }
    let name = match ClientId::default() {
        ClientId::Domain(name) => Some(name),
        _ => None,
    };
    let hosts = std::fs::read_to_string(HOSTS_FILE).unwrap_or_default();
    match name.and_then(|name| full_name(&name, &hosts)) {
        Some(name) => ClientId::Domain(name),
        None => match local_address(server).await {
            Some(IpAddr::V4(address)) => ClientId::Ipv4(address),
            Some(IpAddr::V6(address)) => ClientId::Ipv6(address),
            None => ClientId::Ipv4(Ipv4Addr::LOCALHOST),
        },
    }
}

/// Returns the host's name if it is fully qualified, or its full name in the hosts file.
fn full_name(name: &str, hosts: &str) -> Option<String> {
    let is_full = |name: &&str| {
        let labels: Vec<&str> = name.split('.').collect();
        let is_label = |label: &&str| {
            let is_good = |c: char| c.is_ascii_alphanumeric() || c == '-';
            !label.is_empty() && label.chars().all(is_good) && !label.starts_with('-')
        };
        labels.len() > 1 && labels.iter().all(is_label) && labels[0] != "localhost"
    };
    let name = name.trim_end_matches('.');
    if is_full(&name) {
        return Some(name.to_owned());
    }
    let lines = hosts.lines().map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        line.split_whitespace().skip(1).collect::<Vec<_>>()
    });
    let mut of_host = lines.filter(|names| names.contains(&name));
    of_host.find_map(|names| names.into_iter().find(is_full).map(str::to_owned))
}

/// Returns the local address for reaching the server. Sends nothing.
async fn local_address(server: &SmtpServer) -> Option<IpAddr> {
    let mut addresses = tokio::net::lookup_host((server.host.as_str(), server.port))
        .await
        .ok()?;
    let address = addresses.next()?;
    let any = match address {
        SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((any, 0)).await.ok()?;
    socket.connect(address).await.ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// At most 200 characters. A reply to the login is not quoted, because it may echo the password.
fn describe(step: SmtpStep, error: &Error) -> String {
    let place = step.as_str();
    match (error.status(), step) {
        (Some(code), SmtpStep::Login) => format!("mail server, {place}: {code}"),
        _ => {
            let text: String = formatting::single_line(&error.to_string())
                .chars()
                .take(200)
                .collect();
            format!("mail server, {place}: {text}")
        }
    }
}

/// A connection that is read byte by byte, so that nothing after a reply is buffered.
///
/// Otherwise data that an attacker appends to the unencrypted reply to STARTTLS would be read as if it had come over the
/// encrypted connection (STARTTLS injection). This way it breaks the handshake.
struct BytewiseStream {
    stream: TcpStream,
    n_left: usize,
}

impl fmt::Debug for BytewiseStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sparing")
    }
}

impl AsyncTokioStream for BytewiseStream {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }
}

impl AsyncRead for BytewiseStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut byte = [0];
        let mut one = ReadBuf::new(&mut byte);
        let capacity = buffer.remaining().min(1);
        if capacity == 0 {
            return Poll::Ready(Ok(()));
        }
        if self.n_left == 0 {
            return Poll::Ready(Err(io::Error::other("the server sends too much data")));
        }
        match Pin::new(&mut self.stream).poll_read(context, &mut one) {
            Poll::Ready(Ok(())) => {
                self.n_left -= one.filled().len();
                buffer.put_slice(one.filled());
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncWrite for BytewiseStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greeting_uses_a_full_name() {
        let hosts = "127.0.0.1 localhost\n# 192.0.2.9 no.example.com box\n192.0.2.1\tbox.example.com box # mail\n";
        for (name, expected) in [
            ("mail.example.com", Some("mail.example.com")),
            ("mail.example.com.", Some("mail.example.com")),
            ("box", Some("box.example.com")),
            ("other", None),
            ("localhost", None),
            ("localhost.localdomain", None),
            ("under_score.example.com", None),
            ("", None),
        ] {
            assert_eq!(full_name(name, hosts).as_deref(), expected, "{name}");
        }
    }
}
