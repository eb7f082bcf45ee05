//! The first message of a TLS connection, read only as far as the host it names (RFC 8446, RFC 6066).

use std::io::{self, Read};

/// Enough for post-quantum key shares several times over.
const MAX_BYTES: usize = 32 * 1024;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;

/// What a connection begins with.
#[derive(Debug, PartialEq, Eq)]
pub enum Opening {
    /// A client hello and the host it names.
    Tls(Option<String>),
    /// Something else than TLS.
    Other,
    /// TLS that cannot be judged: the end of the sentence "it …".
    Unclear(&'static str),
}

/// Reads from `stream` what is needed to judge it: the bytes read, to be passed on, and what they are.
pub fn read(stream: &mut impl Read) -> io::Result<(Vec<u8>, Opening)> {
    let mut bytes = Vec::new();
    let mut message = Vec::new();
    loop {
        let start = bytes.len();
        fill(stream, &mut bytes, start + 1)?;
        if bytes.len() == start {
            return Ok((
                bytes,
                if start == 0 { Opening::Other } else { Opening::Unclear("ends in its first message") },
            ));
        }
        if bytes[start] != HANDSHAKE {
            let opening = if start == 0 { Opening::Other } else { Opening::Unclear("begins with a broken message") };
            return Ok((bytes, opening));
        }
        // A message may be cut into several records, to hide it from readers that look at the first only.
        fill(stream, &mut bytes, start + 5)?;
        let Some([_, 3, _, high, low]) = bytes.get(start..start + 5) else {
            return Ok((bytes, Opening::Unclear("begins with a broken message")));
        };
        let end = start + 5 + usize::from(u16::from_be_bytes([*high, *low]));
        if end > MAX_BYTES || end == start + 5 {
            return Ok((bytes, Opening::Unclear("begins with a message of an impossible size")));
        }
        fill(stream, &mut bytes, end)?;
        if bytes.len() < end {
            return Ok((bytes, Opening::Unclear("ends in its first message")));
        }
        message.extend_from_slice(&bytes[start + 5..end]);
        if let [kind, a, b, c, body @ ..] = message.as_slice() {
            let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            if *kind != CLIENT_HELLO || length > MAX_BYTES {
                return Ok((bytes, Opening::Unclear("begins with a broken message")));
            }
            if let Some(hello) = body.get(..length) {
                let opening = server_name(hello).unwrap_or(Opening::Unclear("begins with a broken message"));
                return Ok((bytes, opening));
            }
        }
    }
}

/// Reads until there are `length` bytes, or the stream ends.
fn fill(stream: &mut impl Read, bytes: &mut Vec<u8>, length: usize) -> io::Result<()> {
    let missing = length.saturating_sub(bytes.len());
    stream.take(missing as u64).read_to_end(bytes).map(drop)
}

/// A reader of fields; every step gives `None` where the message is too short.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<usize> {
        self.take(1).map(|taken| usize::from(taken[0]))
    }

    fn short(&mut self) -> Option<u16> {
        self.take(2).map(|taken| u16::from_be_bytes([taken[0], taken[1]]))
    }

    fn block(&mut self) -> Option<&'a [u8]> {
        let length = self.short()?;
        self.take(usize::from(length))
    }
}

fn server_name(hello: &[u8]) -> Option<Opening> {
    let mut fields = Fields(hello);
    fields.take(2 + 32)?; // version, random
    let session = fields.byte()?;
    fields.take(session)?;
    fields.block()?; // cipher suites
    let compressions = fields.byte()?;
    fields.take(compressions)?;
    if fields.0.is_empty() {
        return Some(Opening::Tls(None));
    }
    let mut extensions = Fields(fields.block()?);
    let mut name = None;
    while !extensions.0.is_empty() {
        let kind = extensions.short()?;
        let content = extensions.block()?;
        match kind {
            SERVER_NAME if name.is_some() => return Some(Opening::Unclear("names its host twice")),
            SERVER_NAME => {
                let mut list = Fields(Fields(content).block()?);
                let (0, host) = (list.byte()?, list.block()?) else { return None };
                if !list.0.is_empty() {
                    return Some(Opening::Unclear("names its host twice"));
                }
                name = Some(std::str::from_utf8(host).ok()?.to_owned());
            }
            ENCRYPTED_CLIENT_HELLO => {
                return Some(Opening::Unclear("hides the host it names (encrypted client hello)"));
            }
            _ => {}
        }
    }
    Some(Opening::Tls(name))
}

/// A client hello with these extensions, as one record.
#[cfg(test)]
pub fn hello_with(extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut listed = Vec::new();
    for (kind, content) in extensions {
        listed.extend(kind.to_be_bytes());
        listed.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
        listed.extend(content);
    }
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
    body.extend(u16::try_from(listed.len()).unwrap().to_be_bytes());
    body.extend(listed);
    let mut record = vec![HANDSHAKE, 3, 1];
    record.extend(u16::try_from(body.len() + 4).unwrap().to_be_bytes());
    record.push(CLIENT_HELLO);
    record.extend(&u32::try_from(body.len()).unwrap().to_be_bytes()[1..]);
    record.extend(body);
    record
}

/// The extension that names `host`.
#[cfg(test)]
pub fn naming(host: &str) -> (u16, Vec<u8>) {
    let length = u16::try_from(host.len()).unwrap();
    let mut content = (length + 3).to_be_bytes().to_vec();
    content.push(0);
    content.extend(length.to_be_bytes());
    content.extend(host.bytes());
    (SERVER_NAME, content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opening(bytes: &[u8]) -> Opening {
        let (read, opening) = read(&mut &*bytes).unwrap();
        assert!(bytes.starts_with(&read), "what was read is what is passed on");
        opening
    }

    #[test]
    fn the_host_is_found_also_in_pieces() {
        let whole = hello_with(&[(10, vec![0, 2, 0, 29]), naming("example.org")]);
        assert_eq!(opening(&whole), Opening::Tls(Some("example.org".into())));
        assert_eq!(opening(&hello_with(&[])), Opening::Tls(None));
        let message = &whole[5..];
        let pieces: Vec<u8> = message
            .chunks(7)
            .flat_map(|piece| {
                let length = u16::try_from(piece.len()).unwrap().to_be_bytes();
                [HANDSHAKE, 3, 1, length[0], length[1]].into_iter().chain(piece.iter().copied())
            })
            .collect();
        assert_eq!(opening(&pieces), Opening::Tls(Some("example.org".into())));
    }

    #[test]
    fn what_is_hidden_or_broken_is_unclear() {
        assert_eq!(opening(b"SSH-2.0-x\r\n"), Opening::Other);
        assert_eq!(opening(b""), Opening::Other);
        let twice = hello_with(&[naming("a.org"), naming("b.org")]);
        assert_eq!(opening(&twice), Opening::Unclear("names its host twice"));
        let hidden = hello_with(&[naming("a.org"), (ENCRYPTED_CLIENT_HELLO, vec![0])]);
        assert!(matches!(opening(&hidden), Opening::Unclear(why) if why.contains("hides")));
        let whole = hello_with(&[naming("example.org")]);
        for end in 1..whole.len() {
            assert!(matches!(opening(&whole[..end]), Opening::Unclear(_)), "{end}");
        }
        for at in 0..whole.len() {
            let mut broken = whole.clone();
            broken[at] ^= 0xff;
            opening(&broken); // whatever it is: no panic, no endless reading
        }
    }
}
