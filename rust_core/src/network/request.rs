//! The request a client makes of the proxy: read, checked, and written anew for the server.

use std::io::{self, Read as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::host::Host;
use super::hosts::{HTTP_PORT, TLS_PORT};

const MAX_HEAD_BYTES: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
/// Headers that are between client and proxy alone (RFC 9110, 7.6.1); `Host` and the length are written anew.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "proxy-connection",
    "keep-alive",
    "proxy-authorization",
    "proxy-authenticate",
    "te",
    "trailer",
    "upgrade",
    "host",
    "content-length",
];

/// What a client wants.
#[derive(Debug, PartialEq, Eq)]
pub struct Request {
    /// Where to.
    pub host: Host,
    /// At which port.
    pub port: u16,
    /// Through, or for a page.
    pub kind: Kind,
}

/// A tunnel or one message.
#[derive(Debug, PartialEq, Eq)]
pub enum Kind {
    /// `CONNECT host:port`.
    Tunnel,
    /// `GET http://host/…`: the head for the server, and how many bytes of body follow it.
    Message { head: Vec<u8>, body_bytes: u64 },
}

/// Why a request is not served: status and one sentence.
#[derive(Debug, PartialEq, Eq)]
pub struct Rejection(pub u16, pub String);

fn malformed(sentence: impl Into<String>) -> Rejection {
    Rejection(400, sentence.into())
}

/// A request and what was read beyond its head, or why there is none.
pub type Read = Result<(Request, Vec<u8>), Rejection>;

/// Reads a request's head within `limit`. `None`: the client said nothing.
pub fn read(stream: &TcpStream, limit: Duration) -> io::Result<Option<Read>> {
    let deadline = Instant::now() + limit;
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        let count = (&*stream).read(&mut chunk)?;
        if count == 0 {
            return Ok((!bytes.is_empty()).then(|| Err(malformed("The request ends in its head."))));
        }
        bytes.extend_from_slice(&chunk[..count]);
        match parse(&bytes) {
            Ok(Some((request, length))) => return Ok(Some(Ok((request, bytes.split_off(length))))),
            Ok(None) if bytes.len() <= MAX_HEAD_BYTES => {}
            Ok(None) => {
                let sentence = format!("The request's head is longer than {MAX_HEAD_BYTES} bytes.");
                return Ok(Some(Err(Rejection(431, sentence))));
            }
            Err(rejection) => return Ok(Some(Err(rejection))),
        }
    }
}

/// A request and the length of its head; `None` where more must be read.
fn parse(bytes: &[u8]) -> Result<Option<(Request, usize)>, Rejection> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let length = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(malformed(format!("The request cannot be read: {error}."))),
    };
    let (Some(method), Some(target)) = (parsed.method, parsed.path) else {
        return Err(malformed("The request has no target."));
    };
    let is_tunnel = method == "CONNECT";
    let (authority, path) = if is_tunnel { (target, "") } else { split_target(target)? };
    let no_host = |why: String| malformed(format!("The request's target is no host: it {why}."));
    let (host, port) = Host::parse_with_port(authority).map_err(no_host)?;
    let default_port = if is_tunnel { TLS_PORT } else { HTTP_PORT };
    if is_tunnel && port.is_none() {
        return Err(malformed("CONNECT needs a port."));
    }
    let port = port.unwrap_or(default_port);
    check_host_header(parsed.headers, is_tunnel, &host, port)?;
    let kind = if is_tunnel {
        Kind::Tunnel
    } else {
        let body_bytes = body_length(parsed.headers)?;
        Kind::Message { head: rewrite(method, path, &host, port, parsed.headers, body_bytes), body_bytes }
    };
    Ok(Some((Request { host, port, kind }, length)))
}

/// Authority and path of `http://authority/path`.
fn split_target(target: &str) -> Result<(&str, &str), Rejection> {
    let scheme = target.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("http://"));
    if scheme.is_none() {
        return Err(malformed("This is a proxy: it serves CONNECT host:port and http:// addresses."));
    }
    let rest = &target[7..];
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    Ok(rest.split_at(end))
}

/// The server picks its content by this header; it must not name another host than the one that was judged.
fn check_host_header(
    headers: &[httparse::Header<'_>],
    is_tunnel: bool,
    host: &Host,
    port: u16,
) -> Result<(), Rejection> {
    let mut named = headers.iter().filter(|header| header.name.eq_ignore_ascii_case("host"));
    let Some(first) = named.next() else { return Ok(()) }; // HTTP/1.0; ours is written anew
    if named.next().is_some() {
        return Err(malformed("The request has two Host headers."));
    }
    let written = std::str::from_utf8(first.value).ok().and_then(|text| Host::parse_with_port(text.trim()).ok());
    match written {
        Some((own, own_port))
            if own == *host && own_port.map_or(is_tunnel || port == HTTP_PORT, |own_port| own_port == port) =>
        {
            Ok(())
        }
        _ => Err(Rejection(403, format!("The request's Host header does not name its target {host}."))),
    }
}

fn body_length(headers: &[httparse::Header<'_>]) -> Result<u64, Rejection> {
    let has = |name: &str| headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name)).count();
    if has("transfer-encoding") > 0 {
        return Err(Rejection(411, "The request's body has no length; send it with Content-Length.".into()));
    }
    if has("content-length") > 1 {
        return Err(malformed("The request has two lengths."));
    }
    let Some(header) = headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length")) else {
        return Ok(0);
    };
    let digits = header.value;
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let length = std::str::from_utf8(digits).ok().filter(|_| is_number).and_then(|text| text.parse().ok());
    length.ok_or_else(|| malformed("The request's Content-Length is no number."))
}

fn rewrite(
    method: &str,
    path: &str,
    host: &Host,
    port: u16,
    headers: &[httparse::Header<'_>],
    body_bytes: u64,
) -> Vec<u8> {
    let slash = if path.starts_with('/') { "" } else { "/" };
    let path = path.split('#').next().unwrap_or_default();
    let shown_port = if port == HTTP_PORT { String::new() } else { format!(":{port}") };
    let mut head = format!("{method} {slash}{path} HTTP/1.1\r\nHost: {host}{shown_port}\r\n").into_bytes();
    let connection: Vec<String> = headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case("connection"))
        .flat_map(|header| {
            String::from_utf8_lossy(header.value)
                .to_ascii_lowercase()
                .split(',')
                .map(|name| name.trim().to_owned())
                .collect::<Vec<_>>()
        })
        .collect();
    let had_length = headers.iter().any(|header| header.name.eq_ignore_ascii_case("content-length"));
    for header in headers {
        let name = header.name.to_ascii_lowercase();
        if !HOP_BY_HOP.contains(&name.as_str()) && !connection.contains(&name) {
            head.extend_from_slice(header.name.as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(header.value);
            head.extend_from_slice(b"\r\n");
        }
    }
    if had_length {
        head.extend_from_slice(format!("Content-Length: {body_bytes}\r\n").as_bytes());
    }
    // One message a connection: a second one could name another host.
    head.extend_from_slice(b"Connection: close\r\n\r\n");
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> Result<Request, Rejection> {
        parse(text.as_bytes()).map(|parsed| parsed.expect("complete").0)
    }

    #[test]
    fn a_message_is_written_anew() {
        let text = "POST http://Example.org/a?b#c HTTP/1.1\r\nHost: example.org\r\nProxy-Authorization: x\r\n\
                    Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nUpgrade: h2c\r\nX-Own: v\r\nContent-Length: 3\r\n\r\n";
        let Ok(Request { port: 80, kind: Kind::Message { head, body_bytes: 3 }, .. }) = request(text) else {
            panic!("{:?}", request(text))
        };
        let head = String::from_utf8(head).unwrap();
        assert_eq!(
            head,
            "POST /a?b HTTP/1.1\r\nHost: example.org\r\nX-Own: v\r\nContent-Length: 3\r\nConnection: close\r\n\r\n"
        );
        let Ok(Request { kind: Kind::Message { head, .. }, .. }) = request("GET http://a.org?q HTTP/1.0\r\n\r\n")
        else {
            panic!()
        };
        assert!(head.starts_with(b"GET /?q HTTP/1.1\r\nHost: a.org\r\n"));
    }

    #[test]
    fn a_tunnel_needs_a_port() {
        let tunnel = request("CONNECT a.org:443 HTTP/1.1\r\nHost: a.org:443\r\n\r\n").unwrap();
        assert_eq!(tunnel, Request { host: Host::Name("a.org".into()), port: 443, kind: Kind::Tunnel });
        assert!(request("CONNECT a.org:443 HTTP/1.1\r\nHost: a.org\r\n\r\n").is_ok());
        assert!(request("CONNECT a.org HTTP/1.1\r\n\r\n").is_err());
    }

    #[test]
    fn what_could_mean_two_things_is_rejected() {
        for (text, status) in [
            ("GET / HTTP/1.1\r\nHost: a.org\r\n\r\n", 400),
            ("GET https://a.org/ HTTP/1.1\r\n\r\n", 400),
            ("GET http://a.org/ HTTP/1.1\r\nHost: b.org\r\n\r\n", 403),
            ("GET http://a.org:81/ HTTP/1.1\r\nHost: a.org\r\n\r\n", 403),
            ("GET http://a.org/ HTTP/1.1\r\nHost: a.org\r\nHost: b.org\r\n\r\n", 400),
            ("CONNECT a.org:443 HTTP/1.1\r\nHost: b.org:443\r\n\r\n", 403),
            ("GET http://b.org@a.org/ HTTP/1.1\r\n\r\n", 400),
            ("GET http://a.org\\@b.org/ HTTP/1.1\r\n\r\n", 400),
            ("POST http://a.org/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
            ("POST http://a.org/ HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
            ("POST http://a.org/ HTTP/1.1\r\nContent-Length: +1\r\n\r\n", 400),
            ("GET http://a.org/ HTTP/1.1\r\nX: a\r\n b\r\n\r\n", 400),
            ("CONNECT evil\0.a.org:443 HTTP/1.1\r\n\r\n", 400),
            ("CONNECT a.org:443:443 HTTP/1.1\r\n\r\n", 400),
        ] {
            assert_eq!(request(text).map_err(|rejection| rejection.0), Err(status), "{text:?}");
        }
        assert!(parse(b"GET http://a.org/ HTTP/1.1\r\nHost: a").unwrap().is_none());
    }
}
