//! Sends entries to syslog, one datagram each, in the format of `syslog(3)`.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use jiff::{Timestamp, tz::TimeZone};

/// Facility `authpriv` (10), severity `info` (6). Source: RFC 3164, section 4.1.1.
const PRIORITY: u8 = 10 * 8 + 6;

/// Sends one entry to a datagram socket without waiting for the reader.
pub fn send(path: &Path, at: Timestamp, line: &str) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.send_to(message(at, std::process::id(), line).as_bytes(), path)?;
    Ok(())
}

fn message(at: Timestamp, process: u32, line: &str) -> String {
    let local = at.to_zoned(TimeZone::UTC);
    let stamp = local.strftime("%b %e %H:%M:%S");
    format!("<{PRIORITY}>{stamp} spendwatch[{process}]: {line}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_one_datagram() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let socket = UnixDatagram::bind(&path).unwrap();
        let at = "2026-11-05T09:08:07Z".parse().unwrap();
        send(&path, at, "{}").unwrap();
        let mut bytes = [0; 100];
        let n_bytes = socket.recv(&mut bytes).unwrap();
        let expected = format!(
            "<86>Nov  5 09:08:07 spendwatch[{}]: {{}}",
            std::process::id()
        );
        assert_eq!(String::from_utf8_lossy(&bytes[..n_bytes]), expected);
        drop(socket);
        std::fs::remove_file(&path).unwrap();
        assert!(send(&path, at, "{}").is_err());
    }
}
