//! The hosts that are granted, and what is taken away from them.

use std::net::IpAddr;

use super::host::{Host, is_public_address};

/// Ports of a grant that names none: encrypted and plain web.
pub const TLS_PORT: u16 = 443;
pub const HTTP_PORT: u16 = 80;

/// Hosts that may be talked to. Empty: none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hosts {
    granted: Vec<HostPattern>,
    denied: Vec<HostPattern>,
}

/// `example.org`, `*.example.org`, `127.0.0.1`, `[::1]`, each with `:port` or without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPattern {
    host: Named,
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Named {
    Exactly(Host),
    /// Every name below this one, not the name itself.
    Below(String),
}

impl HostPattern {
    /// Reads a pattern; the error is one sentence for the person who wrote it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (is_below, rest) = text.strip_prefix("*.").map_or((false, text), |rest| (true, rest));
        let (host, port) = Host::parse_with_port(rest).map_err(|why| format!("{text:?} is no host: it {why}"))?;
        let host = match host {
            Host::Name(name) if is_below => Named::Below(name),
            Host::Address(_) if is_below => return Err(format!("{text:?} is no host: it puts * before an address")),
            host => Named::Exactly(host),
        };
        Ok(Self { host, port })
    }

    /// It speaks of one port only.
    pub fn has_port(&self) -> bool {
        self.port.is_some()
    }

    /// True for the host at whatever port.
    pub fn covers(&self, host: &Host) -> bool {
        match (&self.host, host) {
            (Named::Exactly(own), host) => own == host,
            (Named::Below(apex), Host::Name(name)) => {
                name.strip_suffix(apex).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
            (Named::Below(_), Host::Address(_)) => false,
        }
    }
}

impl Hosts {
    /// Hosts as written. An empty list grants nothing.
    #[cfg(test)]
    pub fn parse(granted: &[String]) -> Result<Self, String> {
        let granted = granted.iter().map(|text| HostPattern::parse(text)).collect::<Result<_, _>>()?;
        Ok(Self { granted, denied: Vec::new() })
    }

    /// What `granted` names, without what `denied` names.
    pub fn new(granted: Vec<HostPattern>, denied: Vec<HostPattern>) -> Self {
        Self { granted, denied }
    }

    /// True where nothing is granted.
    pub fn is_empty(&self) -> bool {
        self.granted.is_empty()
    }

    /// True where some port of this host is granted.
    pub fn names(&self, host: &Host) -> bool {
        self.granted.iter().any(|pattern| pattern.covers(host))
    }

    /// Why this host may not be talked to at this port, and which rule would allow it. A grant without a port means 443 and
    /// 80; a denial without one means all.
    pub fn objection(&self, host: &Host, port: u16) -> Option<String> {
        if self.denies(host, port) {
            return Some(format!("A Network rule denies commands to talk to {host} at port {port}."));
        }
        let is_granted = |pattern: &HostPattern| {
            pattern.port.map_or(matches!(port, TLS_PORT | HTTP_PORT), |own| own == port) && pattern.covers(host)
        };
        (!self.granted.iter().any(is_granted)).then(|| {
            let rule = rule_for(host, port);
            format!("No rule lets commands talk to {host} at port {port}; the rule {rule} would allow it.")
        })
    }

    /// Why a connection to the granted `host` may not end at `address`. Addresses that are not public pass where they are
    /// granted as such, or where `localhost` is meant: a public name does not lead into this machine or a private network.
    pub fn address_objection(&self, host: &Host, address: IpAddr, port: u16) -> Option<String> {
        let literal = Host::Address(address.to_canonical());
        if *host == literal {
            return None; // judged as a host
        }
        if self.denies(&literal, port) {
            return Some(format!("{host} leads to {literal}, which a Network rule denies to commands."));
        }
        let is_local = matches!(host, Host::Name(name) if name == "localhost") && address.to_canonical().is_loopback();
        if is_public_address(address) || is_local || self.objection(&literal, port).is_none() {
            return None;
        }
        let rule = rule_for(&literal, port);
        Some(format!("{host} leads to {literal}, no public address; the rule {rule} beside its own would allow it."))
    }

    fn denies(&self, host: &Host, port: u16) -> bool {
        self.denied.iter().any(|pattern| pattern.port.is_none_or(|own| own == port) && pattern.covers(host))
    }
}

/// The narrowest rule that grants this.
fn rule_for(host: &Host, port: u16) -> String {
    match port {
        TLS_PORT | HTTP_PORT => format!("Network(domain:{host})"),
        _ => format!("Network(domain:{host}:{port})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(granted: &[&str]) -> Hosts {
        Hosts::parse(&granted.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    fn grants(granted: &[&str], host: &str, port: u16) -> bool {
        Host::parse(host).is_ok_and(|host| hosts(granted).objection(&host, port).is_none())
    }

    #[test]
    fn nothing_is_granted_by_nothing() {
        assert!(hosts(&[]).is_empty() && !grants(&[], "example.org", 443) && !grants(&[], "localhost", 80));
    }

    #[test]
    fn a_star_stands_for_what_is_below() {
        let rule = &["*.example.org"];
        assert!(grants(rule, "a.example.org", 443) && grants(rule, "A.B.example.org.", 80));
        for host in ["example.org", "evilexample.org", "example.org.evil.net", "xexample.org", "example.orgs"] {
            assert!(!grants(rule, host, 443), "{host}");
        }
    }

    #[test]
    fn ports_are_web_ports_unless_written() {
        assert!(grants(&["a.org"], "a.org", 80) && !grants(&["a.org"], "a.org", 22));
        assert!(grants(&["a.org:22"], "a.org", 22) && !grants(&["a.org:22"], "a.org", 443));
    }

    #[test]
    fn an_address_is_granted_only_as_an_address() {
        assert!(grants(&["127.0.0.1:80"], "0x7f.1", 80) && grants(&["[::ffff:127.0.0.1]:80"], "127.0.0.1", 80));
        assert!(!grants(&["localhost"], "127.0.0.1", 80) && !grants(&["127.0.0.1"], "localhost", 80));
        let example = Host::parse("example.org").unwrap();
        let leads_to = |granted: &[&str], address: &str| {
            hosts(granted).address_objection(&example, address.parse().unwrap(), 443).is_none()
        };
        assert!(leads_to(&["example.org"], "1.1.1.1"));
        assert!(!leads_to(&["example.org"], "10.0.0.1") && !leads_to(&["example.org"], "::ffff:169.254.169.254"));
        assert!(leads_to(&["example.org", "10.0.0.1"], "10.0.0.1"));
    }

    #[test]
    fn a_denial_takes_away_whatever_was_granted() {
        let pattern = |text: &str| HostPattern::parse(text).unwrap();
        let hosts =
            Hosts::new(vec![pattern("*.a.org"), pattern("1.1.1.1")], vec![pattern("x.a.org"), pattern("1.0.0.1")]);
        let host = |text: &str| Host::parse(text).unwrap();
        assert!(hosts.objection(&host("y.a.org"), 443).is_none());
        assert!(hosts.objection(&host("x.a.org"), 443).unwrap().contains("denies"));
        assert!(hosts.address_objection(&host("y.a.org"), "1.0.0.1".parse().unwrap(), 443).is_some());
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for text in
            ["", "*", "*.", "a.*.org", "*.*.org", "*.1.2.3.4", "a.org:99999", "a\0.org", "http://a.org", "a.org/x"]
        {
            assert!(HostPattern::parse(text).is_err(), "{text}");
        }
    }
}
