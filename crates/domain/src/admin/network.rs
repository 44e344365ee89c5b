//! Networks that users may connect from: CIDR blocks, and whether one list is more restrictive than another.

use core::net::{IpAddr, Ipv6Addr};
use std::fmt;
use std::str::FromStr;

/// A CIDR block such as `203.0.113.0/24` or `2001:db8::/32`. Bits after the prefix are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// Why a string is not a CIDR block.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    #[error("`{0}` is not a CIDR block, for example `203.0.113.0/24` or `2001:db8::/32`")]
    Shape(String),
    #[error("the prefix of `{text}` exceeds {max}")]
    Prefix {
        text: String,
        /// 32 or 128.
        max: u8,
    },
    #[error(
        "`{text}` has bits after the prefix; did you mean `{block}`, or `{single}` for this address only?"
    )]
    Host {
        text: String,
        block: String,
        single: String,
    },
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Network, NetworkError> {
        let text = text.trim();
        let shape = || NetworkError::Shape(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(shape)?;
        let address: IpAddr = address.parse().map_err(|_| shape())?;
        let is_digits = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
        if !is_digits || prefix.len() > 3 {
            return Err(shape());
        }
        let max = width(address);
        let too_long = || NetworkError::Prefix {
            text: text.to_owned(),
            max,
        };
        let prefix: u8 = prefix.parse().map_err(|_| too_long())?;
        if prefix > max {
            return Err(too_long());
        }
        let network = Network {
            address: masked(address, prefix),
            prefix,
        };
        if network.address != address {
            return Err(NetworkError::Host {
                text: text.to_owned(),
                block: network.to_string(),
                single: format!("{address}/{max}"),
            });
        }
        Ok(network)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Network {
    /// Returns whether all addresses of the other block are in this one.
    pub fn contains(&self, other: &Network) -> bool {
        self.address.is_ipv4() == other.address.is_ipv4()
            && self.prefix <= other.prefix
            && masked(other.address, self.prefix) == self.address
    }
}

/// Returns whether an address that `old` allows may be denied by `new`. An empty list allows all addresses. Does not
/// merge adjacent blocks, so it may return true for an equivalent list.
pub fn is_narrower(old: &[Network], new: &[Network]) -> bool {
    if new.is_empty() {
        return false;
    }
    old.is_empty()
        || !old
            .iter()
            .all(|old| new.iter().any(|new| new.contains(old)))
}

const fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Vec<Network> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn blocks_are_parsed_or_rejected_with_a_hint() {
        let check = |text: &str, expected: &str| {
            let parsed = text
                .parse::<Network>()
                .map_or_else(|error| error.to_string(), |network| network.to_string());
            assert_eq!(parsed, expected);
        };
        check(" 203.0.113.0/24 ", "203.0.113.0/24");
        check("0.0.0.0/0", "0.0.0.0/0");
        check("2001:DB8::/32", "2001:db8::/32");
        check("::1/128", "::1/128");
        check("10.0.0.0/33", "the prefix of `10.0.0.0/33` exceeds 32");
        check("10.0.0.0/999", "the prefix of `10.0.0.0/999` exceeds 32");
        let shape = |text: &str| {
            format!("`{text}` is not a CIDR block, for example `203.0.113.0/24` or `2001:db8::/32`")
        };
        for text in [
            "10.0.0.1",
            "10.0.0/8",
            "a/8",
            "",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
        ] {
            check(text, &shape(text));
        }
        check(
            "10.0.0.7/8",
            "`10.0.0.7/8` has bits after the prefix; did you mean `10.0.0.0/8`, or `10.0.0.7/32` for this address only?",
        );
    }

    #[test]
    fn narrower_lists_are_detected() {
        let check = |old: &[&str], new: &[&str], expected: bool| {
            assert_eq!(
                is_narrower(&networks(old), &networks(new)),
                expected,
                "{old:?} {new:?}"
            );
        };
        check(&[], &["10.0.0.0/8"], true);
        check(&["10.0.0.0/8"], &[], false);
        check(&[], &[], false);
        check(&["10.1.0.0/16"], &["10.0.0.0/8"], false);
        check(&["10.0.0.0/8"], &["10.1.0.0/16"], true);
        check(&["10.0.0.0/8", "::/0"], &["10.0.0.0/8"], true);
        check(&["10.0.0.0/8"], &["10.0.0.0/8", "192.0.2.0/24"], false);
        check(&["10.0.0.0/8"], &["10.0.0.0/9", "10.128.0.0/9"], true);
        check(&["0.0.0.0/0"], &["::/0"], true);
    }
}
