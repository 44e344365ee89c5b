//! A mail server on a loopback port, with STARTTLS or encrypted from the first byte. It keeps what it accepts, and
//! answers single commands as it is told.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};

use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// Runs until it is dropped.
pub(crate) struct MailServer {
    pub(crate) port: u16,
    /// To be trusted by who connects, in PEM; for `localhost`.
    pub(crate) certificate: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// How it encrypts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encryption {
    Never,
    StartTls,
    Implicit,
}

/// What it accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mail {
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
    pub(crate) data: String,
    pub(crate) is_encrypted: bool,
}

struct Shared {
    encryption: Encryption,
    acceptor: TlsAcceptor,
    scripted: Mutex<VecDeque<(String, String)>>,
    mails: Mutex<Vec<Mail>>,
    commands: Mutex<Vec<String>>,
}

/// The connection is closed instead of an answer.
pub(crate) const CLOSE: &str = "";

impl MailServer {
    pub(crate) async fn start(encryption: Encryption) -> MailServer {
        let pair = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(pair.signing_key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![pair.cert.der().clone()], key)
            .unwrap();
        let shared = Arc::new(Shared {
            encryption,
            acceptor: TlsAcceptor::from(Arc::new(config)),
            scripted: Mutex::default(),
            mails: Mutex::default(),
            commands: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        MailServer {
            port,
            certificate: pair.cert.pem(),
            shared,
            task,
        }
    }

    /// The next command that begins so is answered so, once. `CONNECT` is the greeting, `.` the end of a mail.
    pub(crate) fn answer(&self, command: &str, reply: &str) {
        let mut scripted = self.shared.scripted.lock().unwrap();
        scripted.push_back((command.to_owned(), reply.to_owned()));
    }

    /// What was accepted so far.
    pub(crate) fn mails(&self) -> Vec<Mail> {
        self.shared.mails.lock().unwrap().clone()
    }

    /// What was said so far.
    pub(crate) fn commands(&self) -> Vec<String> {
        self.shared.commands.lock().unwrap().clone()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let shared = Arc::clone(&shared);
        // Who connects may leave at any time: that is no fault of this server.
        tokio::spawn(async move { drop(serve(stream, &shared).await) });
    }
}

async fn serve(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    if shared.encryption == Encryption::Implicit {
        let mut stream = shared.acceptor.accept(stream).await?;
        greet(&mut stream, shared).await?;
        return converse(&mut stream, shared, true).await.map(drop);
    }
    greet(&mut stream, shared).await?;
    if converse(&mut stream, shared, false).await? == End::StartTls {
        let mut stream = shared.acceptor.accept(stream).await?;
        converse(&mut stream, shared, true).await?;
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
enum End {
    Closed,
    StartTls,
}

async fn greet(stream: &mut (impl AsyncWrite + Unpin), shared: &Shared) -> io::Result<()> {
    say(
        stream,
        &reply_to(shared, "CONNECT", "220 mail.example.com ready"),
    )
    .await
}

async fn converse(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    shared: &Shared,
    is_encrypted: bool,
) -> io::Result<End> {
    let (mut from, mut to) = (String::new(), Vec::new());
    loop {
        let command = read_line(stream).await?;
        shared.commands.lock().unwrap().push(command.clone());
        let word = command
            .split([' ', ':'])
            .next()
            .unwrap_or_default()
            .to_ascii_uppercase();
        let usual = match word.as_str() {
            "EHLO" if is_encrypted => {
                "250-mail.example.com\r\n250-8BITMIME\r\n250 AUTH PLAIN LOGIN"
            }
            "EHLO" if shared.encryption == Encryption::StartTls => {
                "250-mail.example.com\r\n250-STARTTLS\r\n250 8BITMIME"
            }
            "EHLO" => "250-mail.example.com\r\n250-AUTH PLAIN\r\n250 8BITMIME",
            "AUTH" => "235 2.7.0 welcome",
            "STARTTLS" => "220 2.0.0 go ahead",
            "DATA" => "354 end with a dot",
            "QUIT" => "221 2.0.0 bye",
            _ => "250 2.1.0 fine",
        };
        let reply = reply_to(shared, &command, usual);
        say(stream, &reply).await?;
        let is_accepted = reply.starts_with(['2', '3']);
        match word.as_str() {
            "MAIL" if is_accepted => from = command,
            "RCPT" if is_accepted => to.push(command),
            "STARTTLS" if is_accepted => return Ok(End::StartTls),
            "DATA" if is_accepted => {
                let data = read_mail(stream).await?;
                let reply = reply_to(shared, ".", "250 2.0.0 queued");
                // Closing here is a lost answer: the mail was taken.
                if reply == CLOSE || reply.starts_with('2') {
                    shared.mails.lock().unwrap().push(Mail {
                        from: std::mem::take(&mut from),
                        to: std::mem::take(&mut to),
                        data,
                        is_encrypted,
                    });
                }
                say(stream, &reply).await?;
            }
            "QUIT" => return Ok(End::Closed),
            _ => {}
        }
    }
}

fn reply_to(shared: &Shared, command: &str, usual: &str) -> String {
    let mut scripted = shared.scripted.lock().unwrap();
    let place = scripted
        .iter()
        .position(|(prefix, _)| command.starts_with(prefix.as_str()));
    match place.and_then(|place| scripted.remove(place)) {
        Some((_, reply)) => reply,
        None => usual.to_owned(),
    }
}

async fn say(stream: &mut (impl AsyncWrite + Unpin), reply: &str) -> io::Result<()> {
    if reply == CLOSE {
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    stream.write_all(format!("{reply}\r\n").as_bytes()).await?;
    stream.flush().await
}

/// Byte by byte, so that nothing of a handshake behind it is taken along.
async fn read_line(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<String> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.push(stream.read_u8().await?);
    }
    line.truncate(line.len() - 2);
    Ok(String::from_utf8_lossy(&line).into_owned())
}

/// Up to the lone dot, with doubled dots undone.
async fn read_mail(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<String> {
    let mut mail = String::new();
    loop {
        let line = read_line(stream).await?;
        if line == "." {
            return Ok(mail);
        }
        mail.push_str(line.strip_prefix('.').unwrap_or(&line));
        mail.push_str("\r\n");
    }
}
