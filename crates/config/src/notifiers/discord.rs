//! `type = "discord"`.

use crate::credentials;
use crate::notifiers::NotifierKind;
use crate::reader::SectionReader;

/// Reads the webhook of a channel.
pub fn read(section: &SectionReader<'_>) -> Option<NotifierKind> {
    credentials::required_encrypted_url(section, "url").map(|url| NotifierKind::Discord { url })
}
