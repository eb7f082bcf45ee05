//! How the filtering proxy gets to a server: directly, or through the proxy that the person's machine is told to use.
//!
//! What is judged stays judged: only granted hosts get here. Where it leads, the other proxy finds out by itself, so a name is
//! compared with its addresses only where this machine can look it up too. Where the other proxy cannot be used nothing is
//! reached: there is no way around it but for the hosts that its exceptions name.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use base64::Engine as _;

use super::host::Host;
use super::hosts::HTTP_PORT;
use super::request::Request;

const HEAD_LIMIT: usize = 16 * 1024;
const LIMIT: Duration = Duration::from_secs(30);

/// The way to servers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum WayOut {
    /// To the server itself.
    #[default]
    Direct,
    /// Through another proxy.
    Through(Upstream),
    /// None: the sentence says what is wrong with the other proxy's address.
    Closed(String),
}

/// Another proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    host: Host,
    port: u16,
    /// The value of `Proxy-Authorization`.
    authorization: Option<String>,
    exceptions: Vec<Exception>,
}

/// An entry of `NO_PROXY`: `*`, a host, or a name with all below it; with a port or without.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Exception {
    All,
    Exactly(Host, Option<u16>),
    Below(String, Option<u16>),
}

impl WayOut {
    /// From `http://[user:password@]host[:port]`, empty for none, and a list as in `NO_PROXY`.
    pub fn parse(proxy: &str, no_proxy: &str) -> Self {
        let proxy = proxy.trim();
        if proxy.is_empty() {
            return Self::Direct;
        }
        match Upstream::parse(proxy, no_proxy) {
            Ok(upstream) => Self::Through(upstream),
            Err(why) => Self::Closed(format!("The proxy of this machine cannot be used: its address {why}.")),
        }
    }

    /// What leads to this host. An error is one sentence.
    pub fn to(&self, host: &Host, port: u16) -> Result<Option<&Upstream>, String> {
        match self {
            _ if is_this_machine(host) => Ok(None),
            Self::Direct => Ok(None),
            Self::Through(upstream) => Ok((!upstream.excepts(host, port)).then_some(upstream)),
            Self::Closed(why) => Err(why.clone()),
        }
    }
}

fn is_this_machine(host: &Host) -> bool {
    match host {
        Host::Name(name) => name == "localhost" || name.ends_with(".localhost"),
        Host::Address(address) => address.is_loopback(),
    }
}

impl Upstream {
    fn parse(proxy: &str, no_proxy: &str) -> Result<Self, String> {
        let (scheme, rest) = proxy.split_once("://").unwrap_or(("http", proxy));
        if !scheme.eq_ignore_ascii_case("http") {
            return Err("does not begin with http://".into());
        }
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (login, place) =
            authority.rsplit_once('@').map_or((None, authority), |(login, place)| (Some(login), place));
        let (host, port) = Host::parse_with_port(place)?;
        let encoded = |login: &str| {
            let login = if login.contains(':') { login.to_owned() } else { format!("{login}:") };
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(unescape(&login)))
        };
        Ok(Self {
            host,
            port: port.unwrap_or(HTTP_PORT),
            authorization: login.map(encoded),
            exceptions: no_proxy.split([',', ' ']).filter_map(Exception::parse).collect(),
        })
    }

    fn excepts(&self, host: &Host, port: u16) -> bool {
        self.exceptions.iter().any(|exception| exception.covers(host, port))
    }

    /// A connection to the other proxy.
    pub fn connect(&self) -> io::Result<TcpStream> {
        let deadline = Instant::now() + LIMIT;
        let mut last = io::Error::new(io::ErrorKind::NotFound, "it has no address");
        for address in (self.host.to_string().trim_matches(['[', ']']), self.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(
                &address,
                deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1)),
            ) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Has the other proxy open a tunnel on `stream`.
    pub fn open_tunnel(&self, mut stream: &TcpStream, request: &Request) -> io::Result<()> {
        let target = format!("{}:{}", request.host, request.port);
        stream.set_read_timeout(Some(LIMIT))?;
        stream.write_all(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{}\r\n", self.header()).as_bytes())?;
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            // One by one: what follows belongs to the tunnel.
            if head.len() == HEAD_LIMIT || stream.read(&mut byte)? == 0 {
                return Err(io::Error::other("its answer breaks off"));
            }
            head.push(byte[0]);
        }
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut answer = httparse::Response::new(&mut headers);
        match answer.parse(&head).map(|_| answer.code) {
            Ok(Some(200..=299)) => Ok(()),
            Ok(Some(code)) => Err(io::Error::other(format!("it answers {code}"))),
            _ => Err(io::Error::other("its answer is not HTTP")),
        }
    }

    /// The head of a message, for a proxy: with the whole address, and our login.
    pub fn message(&self, request: &Request, head: &[u8]) -> Vec<u8> {
        let at = head.iter().position(|byte| *byte == b' ').map_or(0, |at| at + 1);
        let line = head.iter().position(|byte| *byte == b'\n').map_or(head.len(), |end| end + 1);
        let place = format!("http://{}:{}", request.host, request.port);
        [&head[..at], place.as_bytes(), &head[at..line], self.header().as_bytes(), &head[line..]].concat()
    }

    fn header(&self) -> String {
        self.authorization.as_ref().map_or_else(String::new, |value| format!("Proxy-Authorization: {value}\r\n"))
    }
}

impl Exception {
    /// As curl reads it: a name stands for itself and all below it. What is no host is passed over.
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text == "*" {
            return Some(Self::All);
        }
        let (host, port) = Host::parse_with_port(text.trim_start_matches('*').trim_start_matches('.')).ok()?;
        Some(match host {
            Host::Name(name) => Self::Below(name, port),
            host @ Host::Address(_) => Self::Exactly(host, port),
        })
    }

    fn covers(&self, host: &Host, port: u16) -> bool {
        let is_port = |own: &Option<u16>| own.is_none_or(|own| own == port);
        match (self, host) {
            (Self::All, _) => true,
            (Self::Exactly(own, own_port), host) => own == host && is_port(own_port),
            (Self::Below(apex, own_port), Host::Name(name)) => {
                name.strip_suffix(apex.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
                    && is_port(own_port)
            }
            (Self::Below(..), Host::Address(_)) => false,
        }
    }
}

/// `%40` and its like.
fn unescape(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((byte, after)) = rest.split_first() {
        let escaped = after.get(..2).filter(|_| *byte == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(escaped) = escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            bytes.push(escaped);
            rest = &after[2..];
        } else {
            bytes.push(*byte);
            rest = after;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leads(way: &WayOut, host: &str, port: u16) -> &'static str {
        match way.to(&Host::parse(host).unwrap(), port) {
            Ok(None) => "direct",
            Ok(Some(_)) => "proxy",
            Err(_) => "closed",
        }
    }

    #[test]
    fn exceptions_go_directly_and_nothing_else() {
        let way = WayOut::parse(
            "http://proxy.corp:3128",
            "intern.corp, .lab.corp 10.0.0.1,only.corp:8443,*.star.corp,10.0.0.0/8",
        );
        for (host, port, expected) in [
            ("example.org", 443, "proxy"),
            ("intern.corp", 443, "direct"),
            ("a.intern.corp", 80, "direct"),
            ("evilintern.corp", 443, "proxy"),
            ("x.lab.corp", 443, "direct"),
            ("x.star.corp", 443, "direct"),
            ("10.0.0.1", 80, "direct"),
            ("10.0.0.2", 80, "proxy"),
            ("only.corp", 8443, "direct"),
            ("only.corp", 443, "proxy"),
            ("localhost", 80, "direct"),
            ("127.0.0.1", 80, "direct"),
        ] {
            assert_eq!(leads(&way, host, port), expected, "{host}:{port}");
        }
        assert_eq!(leads(&WayOut::parse("http://p", "*"), "example.org", 443), "direct");
        assert_eq!(leads(&WayOut::parse("", ""), "example.org", 443), "direct");
    }

    #[test]
    fn a_proxy_that_cannot_be_used_closes_the_way() {
        for proxy in ["https://p:1", "socks5://p:1", "http://", "http://a b", "http://p:99999", "http://p\r\nX: y"] {
            assert_eq!(leads(&WayOut::parse(proxy, ""), "example.org", 443), "closed", "{proxy}");
        }
    }

    #[test]
    fn logins_are_sent_as_they_are_meant() {
        let WayOut::Through(upstream) = WayOut::parse("http://me:p%40ss@proxy:1", "") else { panic!() };
        assert_eq!(upstream.header(), "Proxy-Authorization: Basic bWU6cEBzcw==\r\n");
        assert_eq!((upstream.host, upstream.port), (Host::Name("proxy".into()), 1));
    }
}
