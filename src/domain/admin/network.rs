//! Networks from which people may come: CIDR blocks, and whether one list lets fewer in than another.

use core::net::{IpAddr, Ipv6Addr};
use std::fmt;
use std::str::FromStr;

/// A block of addresses: `203.0.113.0/24`, `2001:db8::/32`. Bits behind the prefix are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// Why a text is no block of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// It has another shape.
    #[error(
        "`{0}` is no block of addresses; it is written like `203.0.113.0/24` or `2001:db8::/32`"
    )]
    Shape(String),
    /// The prefix is longer than the address.
    #[error("`{text}`: the prefix is at most {most}")]
    Prefix {
        text: String,
        /// 32 or 128.
        most: u8,
    },
    /// It names an address within the block.
    #[error(
        "`{text}` names an address within a block; did you mean `{meant}`, or `{alone}` for this address alone?"
    )]
    Host {
        text: String,
        meant: String,
        alone: String,
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
        let most = width(address);
        let too_long = || NetworkError::Prefix {
            text: text.to_owned(),
            most,
        };
        let prefix: u8 = prefix.parse().map_err(|_| too_long())?;
        if prefix > most {
            return Err(too_long());
        }
        let network = Network {
            address: masked(address, prefix),
            prefix,
        };
        if network.address != address {
            return Err(NetworkError::Host {
                text: text.to_owned(),
                meant: network.to_string(),
                alone: format!("{address}/{most}"),
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
    /// Whether all addresses of the other block are in this one.
    pub fn contains(&self, other: &Network) -> bool {
        self.address.is_ipv4() == other.address.is_ipv4()
            && self.prefix <= other.prefix
            && masked(other.address, self.prefix) == self.address
    }
}

/// Whether somebody who could come in may be kept out. No block at all lets everyone in. Blocks that together cover an older
/// one are not put together: what is not sure counts as narrower.
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
    fn blocks_are_read_or_refused_with_a_hint() {
        let check = |text: &str, expected: &str| {
            let told = text
                .parse::<Network>()
                .map_or_else(|error| error.to_string(), |network| network.to_string());
            assert_eq!(told, expected);
        };
        check(" 203.0.113.0/24 ", "203.0.113.0/24");
        check("0.0.0.0/0", "0.0.0.0/0");
        check("2001:DB8::/32", "2001:db8::/32");
        check("::1/128", "::1/128");
        check("10.0.0.0/33", "`10.0.0.0/33`: the prefix is at most 32");
        check("10.0.0.0/999", "`10.0.0.0/999`: the prefix is at most 32");
        let shape = |text: &str| {
            format!(
                "`{text}` is no block of addresses; it is written like `203.0.113.0/24` or `2001:db8::/32`"
            )
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
            "`10.0.0.7/8` names an address within a block; did you mean `10.0.0.0/8`, or `10.0.0.7/32` for this address alone?",
        );
    }

    #[test]
    fn fewer_are_let_in_or_not() {
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
