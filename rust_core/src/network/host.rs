//! One host, in one spelling: a lower-case name or an address, however it was written.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A name or an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// Lower case, without a trailing dot.
    Name(String),
    /// IPv4 also where it was written as an integer, in octal, in hexadecimal or mapped into IPv6.
    Address(IpAddr),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl Host {
    /// Reads a host without port. The error is the end of the sentence "… is no host: it …".
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or("lacks its closing bracket")?;
            return Ok(Self::Address(address_v6(inner)?));
        }
        if text.contains(':') {
            return Ok(Self::Address(address_v6(text)?));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        check_name(&name)?;
        let last = name.rsplit('.').next().unwrap_or_default();
        // A name whose last label is a number is an address to every program that gets it.
        if last.bytes().all(|byte| byte.is_ascii_digit()) || hexadecimal(last).is_some() {
            return address_v4(&name)
                .map(|address| Self::Address(IpAddr::V4(address)))
                .ok_or_else(|| "ends in a number but is no IPv4 address".to_owned());
        }
        Ok(Self::Name(name))
    }

    /// Reads `host`, `host:port` or `[v6]:port`; the error as in `parse`.
    pub fn parse_with_port(text: &str) -> Result<(Self, Option<u16>), String> {
        // Without brackets, the last colon of an IPv6 address would pass for a port's.
        let is_bare_v6 = if text.starts_with('[') { text.ends_with(']') } else { text.matches(':').count() > 1 };
        match text.rsplit_once(':') {
            Some((host, port)) if !is_bare_v6 => {
                let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
                let port = port.parse().ok().filter(|port| is_number && *port != 0);
                Ok((Self::parse(host)?, Some(port.ok_or("has a port that is no number from 1 to 65535")?)))
            }
            _ => Ok((Self::parse(text)?, None)),
        }
    }
}

/// Letters, digits and hyphens in labels of 1 to 63, at most 253 in all (RFC 1123).
fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("is empty".into());
    }
    if let Some(odd) = name.chars().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '.')) {
        return Err(if odd.is_ascii() {
            format!("holds {odd:?}; only letters, digits, hyphens and dots may stand in it")
        } else {
            "holds letters beyond ASCII; write it in its ASCII form (xn--…)".into()
        });
    }
    let is_label = |label: &str| (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-');
    if name.len() > 253 || !name.split('.').all(is_label) {
        return Err("has a part that is empty, too long, or begins or ends with a hyphen".into());
    }
    Ok(())
}

fn hexadecimal(part: &str) -> Option<&str> {
    part.strip_prefix("0x").filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// As the C library reads addresses: one to four numbers, each decimal, octal (`0…`) or hexadecimal (`0x…`), the last one
/// filling what is left.
fn address_v4(text: &str) -> Option<Ipv4Addr> {
    let number = |part: &str| match part {
        "" => None,
        _ if hexadecimal(part) == Some("") => Some(0),
        _ => match hexadecimal(part) {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None if part.len() > 1 && part.starts_with('0') => u64::from_str_radix(part, 8).ok(),
            None => part.parse().ok(),
        },
    };
    let parts = text.split('.').map(number).collect::<Option<Vec<u64>>>()?;
    let (last, first) = parts.split_last()?;
    if first.len() > 3 || first.iter().any(|part| *part > 255) || *last >= 1 << (8 * (4 - first.len())) {
        return None;
    }
    let high = first.iter().zip([24, 16, 8]).map(|(part, shift)| part << shift).sum::<u64>();
    u32::try_from(high + last).ok().map(Ipv4Addr::from)
}

fn address_v6(text: &str) -> Result<IpAddr, String> {
    let address: Ipv6Addr =
        text.parse().map_err(|_| "is no IPv6 address; a port goes behind brackets, as in [::1]:80")?;
    Ok(IpAddr::V6(address).to_canonical())
}

/// True for addresses of the public Internet: not this machine, not a private or link-local network, not a cloud's
/// metadata service, not multicast, documentation or reserved space (IANA special-purpose registries of IPv4 and IPv6).
pub fn is_public_address(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_special = matches!(
        (a, b, c),
        (0 | 10 | 127 | 224..=255, ..) // this network, private, loopback, multicast and reserved
            | (100, 64..=127, _)       // shared by carriers; a metadata service of one cloud
            | (169, 254, _)            // link-local; the metadata service of most clouds
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)          // protocol assignments, documentation
            | (192, 88, 99)            // former 6to4 relays
            | (192, 168, _)
            | (198, 18 | 19, _)        // benchmarks
            | (198, 51, 100)
            | (203, 0, 113)
    );
    // Azure serves a machine's own configuration at this address out of public space.
    !is_special && address != Ipv4Addr::new(168, 63, 129, 16)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        // Translated to IPv4, 6to4.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => embedded(high, low),
        [0x2001, second, ..] => second > 0x1ff && second != 0xdb8, // protocols (Teredo among them), documentation
        [0x3fff, second, ..] => second > 0xfff,                    // documentation
        [first, ..] => first & 0xe000 == 0x2000,                   // global unicast
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Host {
        Host::Address(text.parse().unwrap())
    }

    #[test]
    fn a_name_has_one_spelling() {
        for text in ["example.org", "EXAMPLE.org", "example.org."] {
            assert_eq!(Host::parse(text), Ok(Host::Name("example.org".into())), "{text}");
        }
        assert_eq!(Host::parse("localhost."), Ok(Host::Name("localhost".into())));
        assert_eq!(Host::parse("xn--bcher-kva.example"), Ok(Host::Name("xn--bcher-kva.example".into())));
    }

    #[test]
    fn an_address_is_known_in_every_spelling() {
        for text in [
            "127.0.0.1",
            "2130706433",
            "0x7f000001",
            "017700000001",
            "127.1",
            "0177.0.0.1",
            "0x7f.1",
            "127.0.0.1.",
            "::ffff:127.0.0.1",
            "[::ffff:7f00:1]",
            "0X7F.0.0.1",
        ] {
            assert_eq!(Host::parse(text), Ok(address("127.0.0.1")), "{text}");
        }
        assert_eq!(Host::parse("0"), Ok(address("0.0.0.0")));
        assert_eq!(Host::parse("0x"), Ok(address("0.0.0.0")));
        assert_eq!(Host::parse("[::1]"), Ok(address("::1")));
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in [
            "",
            ".",
            "a..b",
            "evil\0.example.org",
            "evil\r\n.org",
            "a b",
            "exämple.org",
            "example.org\u{ff0e}evil",
            "-a.org",
            "a-.org",
            "a_b.org",
            "a/b",
            "a@b",
            "a%2eb",
            "1.2.3.4.5",
            "256.1.1.1",
            "1.2.3.08",
            "foo.1",
            "foo.0x1",
            "[::1",
            "[fe80::1%eth0]",
            "4294967296",
            "*.example.org",
            "a\u{200b}.org",
            "..",
            "a..",
        ] {
            assert!(Host::parse(text).is_err(), "{text:?} is {:?}", Host::parse(text));
        }
        assert!(Host::parse(&format!("{}.org", "a".repeat(64))).is_err());
        assert!(Host::parse(&vec!["abcdefg"; 40].join(".")).is_err());
    }

    #[test]
    fn ports_are_read() {
        let name = Host::Name("a.org".into());
        assert_eq!(Host::parse_with_port("a.org:8443"), Ok((name.clone(), Some(8443))));
        assert_eq!(Host::parse_with_port("a.org"), Ok((name, None)));
        assert_eq!(Host::parse_with_port("[::1]:80"), Ok((address("::1"), Some(80))));
        assert_eq!(Host::parse_with_port("::1"), Ok((address("::1"), None)));
        assert_eq!(Host::parse_with_port("[::1]"), Ok((address("::1"), None)));
        for text in ["a.org:", "a.org:0", "a.org:65536", "a.org:+80", "a.org:x", ":80", "[::1]80", "[::1]x:80"] {
            assert!(Host::parse_with_port(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_public_addresses_are_public() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "64:ff9b::808:808",
            "2002:808:808::1",
        ] {
            assert!(is_public_address(text.parse().unwrap()), "{text}");
        }
        for text in [
            "0.0.0.0",
            "10.0.0.1",
            "127.0.0.1",
            "127.255.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "168.63.129.16",
            "203.0.113.9",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "::7f00:1",
            "3fff::1",
        ] {
            assert!(!is_public_address(text.parse().unwrap()), "{text}");
        }
    }
}
