//! One SMTP transaction for one recipient, on a connection of its own, and what its replies mean.
//!
//! lettre's own transport answers for the conversation as a whole; here it is led step by step, because the same reply
//! means something else at another step: a refused sender is the notifier's fault, a refused recipient the message's.

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

use crate::notify::outcome::{Delivery, Schedule};
use crate::notify::refusal::{self, Subject};
use crate::notify::formatting;

/// How the connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    /// From the first byte: `smtps://`.
    Implicit,
    /// By STARTTLS, or not at all.
    StartTlsRequired,
    /// By STARTTLS where the server offers it; where it does, the certificate must be good.
    StartTlsOpportunistic,
    None,
}

/// Where and how to connect.
#[derive(Clone)]
pub struct Server {
    /// A name or an address.
    pub host: String,
    /// 25, 465, 587.
    pub port: u16,
    /// How the connection is encrypted.
    pub tls: Tls,
    /// Present unless `tls` is `None`.
    pub parameters: Option<TlsParameters>,
    /// Who we are; sent only over an encrypted connection.
    pub credentials: Option<Credentials>,
    /// The name in EHLO, as configured; `None` for the host's full name, or an address literal.
    pub helo: Option<String>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({}:{}, {:?})", self.host, self.port, self.tls)
    }
}

/// How far the conversation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Connect,
    StartTls,
    Login,
    Sender,
    Recipient,
    Data,
    Content,
}

impl Step {
    const fn as_str(self) -> &'static str {
        match self {
            Step::Connect => "connecting",
            Step::StartTls => "STARTTLS",
            Step::Login => "login",
            Step::Sender => "the sender",
            Step::Recipient => "the recipient",
            Step::Data => "DATA",
            Step::Content => "the message",
        }
    }
}

/// Until a connection stands.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of a whole conversation, encryption included, that are read from a server which is not yet known to be the
/// right one. lettre measures a line only when it has ended.
const MAX_ANSWERS: usize = 1024 * 1024;
/// Where a host's own names stand.
const HOSTS: &str = "/etc/hosts";
/// For the farewell, which changes nothing.
const QUIT_TIMEOUT: Duration = Duration::from_secs(2);

/// Sends one message to one recipient. `time_limit` holds for all up to the content, and again for the content.
pub async fn transact(
    server: &Server,
    from: &Address,
    to: &Address,
    message: &[u8],
    time_limit: Duration,
) -> Delivery {
    let mut connection = match timeout(time_limit, prepare(server, from, to)).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(delivery)) => return delivery,
        Err(_) => return Delivery::retry("the mail server does not answer in time"),
    };
    // From here on the server may have taken the message although its answer is lost: the next attempt has the same
    // Message-ID.
    let delivery = match timeout(time_limit, connection.message(message)).await {
        Ok(Ok(_)) => Delivery::Delivered,
        Ok(Err(error)) => judge(Step::Content, &error),
        Err(_) => Delivery::ambiguous("the mail server does not confirm the message in time"),
    };
    // What a farewell is answered changes nothing.
    let _ = timeout(QUIT_TIMEOUT, connection.quit()).await;
    delivery
}

/// Everything up to where the server waits for the content.
async fn prepare(
    server: &Server,
    from: &Address,
    to: &Address,
) -> Result<AsyncSmtpConnection, Delivery> {
    let mut connection = connect(server).await?;
    if let Some(credentials) = &server.credentials {
        if !connection.is_encrypted() {
            return Err(Delivery::park(
                "the connection is not encrypted: the password is not sent over it",
            ));
        }
        let login = connection.auth(DEFAULT_MECHANISMS, credentials).await;
        login.map_err(|error| judge(Step::Login, &error))?;
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
                "the mail server does not take addresses beyond ASCII",
            ));
        }
        (false, false) => {
            return Err(Delivery::park(
                "the mail server does not take addresses beyond ASCII, and `from` is one",
            ));
        }
    };
    let mail = connection
        .command(Mail::new(Some(from.clone()), parameters))
        .await;
    mail.map_err(|error| judge(Step::Sender, &error))?;
    let rcpt = connection.command(Rcpt::new(to.clone(), Vec::new())).await;
    rcpt.map_err(|error| judge(Step::Recipient, &error))?;
    let data = connection.command(Data).await;
    data.map_err(|error| judge(Step::Data, &error))?;
    Ok(connection)
}

async fn connect(server: &Server) -> Result<AsyncSmtpConnection, Delivery> {
    let hello = client_id(server).await;
    let address = (server.host.as_str(), server.port);
    let failed = |error: Error| judge(Step::Connect, &error);
    if server.tls == Tls::Implicit {
        let tls = server.parameters.clone();
        let limit = Some(CONNECT_TIMEOUT);
        let connected = AsyncSmtpConnection::connect_tokio1(address, limit, &hello, tls, None);
        return connected.await.map_err(failed);
    }
    let stream = match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => Box::new(Sparing {
            stream,
            n_left: MAX_ANSWERS,
        }),
        Ok(Err(error)) => return Err(Delivery::retry(format!("no connection: {error}"))),
        Err(_) => return Err(Delivery::retry("no connection in time")),
    };
    let connected = AsyncSmtpConnection::connect_with_transport(stream, &hello).await;
    let mut connection = connected.map_err(failed)?;
    let is_offered = connection
        .server_info()
        .supports_feature(Extension::StartTls);
    match (server.tls, is_offered) {
        (Tls::None, _) | (Tls::StartTlsOpportunistic, false) => return Ok(connection),
        (Tls::StartTlsRequired, false) => {
            return Err(Delivery::park("the mail server does not offer STARTTLS"));
        }
        (Tls::Implicit | Tls::StartTlsRequired | Tls::StartTlsOpportunistic, _) => {}
    }
    let parameters = server.parameters.clone();
    let parameters = parameters.ok_or_else(|| Delivery::park("encryption is not set up"))?;
    let started = connection.starttls(parameters, &hello).await;
    started.map_err(|error| judge(Step::StartTls, &error))?;
    Ok(connection)
}

/// The reply's meaning at its step (practice, retry table).
fn judge(step: Step, error: &Error) -> Delivery {
    let text = describe(step, error);
    match (error.status().map(u16::from), step) {
        (Some(421), _) => Delivery::retry(text),
        (Some(400..=499), _) => later(text),
        (Some(530 | 534 | 535 | 538), _) => Delivery::park(text),
        (Some(_), Step::Connect | Step::StartTls | Step::Login | Step::Sender) => {
            Delivery::park(text)
        }
        (Some(code), Step::Recipient | Step::Data | Step::Content) => {
            let reply = error.source().map(ToString::to_string);
            match refusal::subject_of(code, &reply.unwrap_or_default()) {
                Subject::Message => Delivery::drop_message(text),
                Subject::Notifier => Delivery::park(text),
                Subject::Later => later(text),
            }
        }
        (None, Step::Login) if error.is_client() => Delivery::park(text),
        (None, Step::Content) => Delivery::ambiguous(text),
        (
            None,
            Step::Connect
            | Step::StartTls
            | Step::Login
            | Step::Sender
            | Step::Recipient
            | Step::Data,
        ) => Delivery::retry(text),
    }
}

/// A server that says "later".
fn later(error: String) -> Delivery {
    Delivery::Retry {
        error,
        after: None,
        is_ambiguous: false,
        schedule: Schedule::Mail,
    }
}

/// The name to greet with: the configured one, the host's full name, or the local address as a literal (RFC 5321, 4.1.4).
async fn client_id(server: &Server) -> ClientId {
    if let Some(name) = &server.helo {
        return ClientId::Domain(name.clone());
    }
    let name = match ClientId::default() {
        ClientId::Domain(name) => Some(name),
        _ => None,
    };
    let hosts = std::fs::read_to_string(HOSTS).unwrap_or_default();
    match name.and_then(|name| full_name(&name, &hosts)) {
        Some(name) => ClientId::Domain(name),
        None => match local_address(server).await {
            Some(IpAddr::V4(address)) => ClientId::Ipv4(address),
            Some(IpAddr::V6(address)) => ClientId::Ipv6(address),
            None => ClientId::Ipv4(Ipv4Addr::LOCALHOST),
        },
    }
}

/// The host's name with its domain: as it is, or by the line of the hosts file that has it as an alias.
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

/// The address from which the server is reached. Nothing is sent.
async fn local_address(server: &Server) -> Option<IpAddr> {
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

/// On one line, at most 200 characters; at the login nothing that the server says is quoted, since it may echo.
fn describe(step: Step, error: &Error) -> String {
    let place = step.as_str();
    match (error.status(), step) {
        (Some(code), Step::Login) => format!("mail server, {place}: {code}"),
        _ => {
            let text: String = formatting::line(&error.to_string()).chars().take(200).collect();
            format!("mail server, {place}: {text}")
        }
    }
}

/// A connection that is read byte by byte, so that nothing which arrives behind a reply is taken along.
///
/// What somebody in between adds to the unencrypted reply to STARTTLS would otherwise be held in a buffer and read as
/// if it had come over the encrypted connection; like this it ends in the handshake, which fails.
struct Sparing {
    stream: TcpStream,
    n_left: usize,
}

impl fmt::Debug for Sparing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sparing")
    }
}

impl AsyncTokioStream for Sparing {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }
}

impl AsyncRead for Sparing {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut byte = [0];
        let mut one = ReadBuf::new(&mut byte);
        let room = buffer.remaining().min(1);
        if room == 0 {
            return Poll::Ready(Ok(()));
        }
        if self.n_left == 0 {
            return Poll::Ready(Err(io::Error::other("the server says too much")));
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

impl AsyncWrite for Sparing {
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
    fn a_name_in_the_greeting_has_a_domain() {
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
