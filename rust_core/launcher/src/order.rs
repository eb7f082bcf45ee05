//! What the core tells the launcher, and how it crosses: this file is part of both. Paths and variables are bytes, because
//! file names are; so it is no JSON. Both sides come from one build, so there is no version.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

/// An order longer than this is refused: something is wrong with it.
const MAX_BYTES: usize = 16 << 20;

/// The proxy variables programs know; some only read one of the cases.
pub const PROXY_VARIABLES: &[&str] =
    &["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"];

/// What is done with a place in the file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Treatment {
    /// Can be written; everything else cannot.
    Write,
    /// Inside a place that can be written, cannot.
    Protect,
    /// Empty to whoever looks, and cannot be written.
    Hide,
}

/// A place, absolute and without links. The deepest place that covers a path decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// What is done with it.
    pub treatment: Treatment,
    /// Where the command sees it.
    pub path: PathBuf,
    /// What it sees there; mostly the same path.
    pub source: PathBuf,
}

/// Which layers are put up. What is asked for must succeed, or nothing is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a layer of its own")]
pub struct Layers {
    /// Mount, process, network, IPC and host name namespaces.
    pub namespaces: bool,
    /// A user namespace around them; not needed by root, who keeps the rights over other people's files without it.
    pub user_namespace: bool,
    /// A control group namespace.
    pub cgroup_namespace: bool,
    /// A `/proc` that shows only the sandbox.
    pub proc: bool,
    /// `mount_setattr` and `move_mount`; otherwise bind and remount.
    pub mount_api: bool,
    /// The kernel's Landlock version; 0: none.
    pub landlock: u8,
    /// The table of refused system calls.
    pub seccomp: bool,
}

/// What is put up before a command, the same for all commands of one confinement.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ground {
    /// What is put up.
    pub layers: Layers,
    /// What the file system looks like; sorted: what lies deeper comes later.
    pub places: Vec<Place>,
    /// Devices beside the usual ones.
    pub devices: Vec<OsString>,
    /// Without namespaces: what may be read, as far as not everything.
    pub readable: Vec<OsString>,
    /// A listening socket in the sandbox is handed out, and the proxy variables name it.
    pub wants_proxy: bool,
    /// It ends with its first command, and prepares for no other.
    pub is_single: bool,
    /// Resources as `setrlimit` numbers them, and their limits.
    pub limits: Vec<(u32, u64)>,
    /// Processes of one command at most; 0: no limit.
    pub processes: u64,
}

/// What is to be run on it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Run {
    /// A full path.
    pub program: OsString,
    /// With the program's own name first.
    pub arguments: Vec<OsString>,
    /// Where it starts.
    pub folder: OsString,
    /// `NAME=value`, all of them.
    pub environment: Vec<OsString>,
    /// A session of its own, without a terminal.
    pub new_session: bool,
}

/// Either of the two on its way.
pub trait Message: Sized {
    /// Appends it.
    fn encode(&self, to: &mut Vec<u8>);

    /// Reads what `encode` wrote.
    fn decode(from: &mut Reader<'_>) -> io::Result<Self>;

    /// Writes it with its length in front.
    fn send(&self, to: &mut impl Write) -> io::Result<()> {
        let mut message = vec![0; 8];
        message.reserve(8 << 10);
        self.encode(&mut message);
        let length = message.len() as u64 - 8;
        message[..8].copy_from_slice(&length.to_le_bytes());
        to.write_all(&message)
    }

    /// Reads what `send` wrote, and nothing beyond.
    fn receive(from: &mut impl Read) -> io::Result<Self> {
        let mut length = [0; 8];
        from.read_exact(&mut length)?;
        let length = usize::try_from(u64::from_le_bytes(length)).unwrap_or(usize::MAX);
        if length > MAX_BYTES {
            return Err(broken());
        }
        let mut body = vec![0; length];
        from.read_exact(&mut body)?;
        Self::decode(&mut Reader(&body))
    }
}

impl Message for Ground {
    fn encode(&self, to: &mut Vec<u8>) {
        let layers = &self.layers;
        for flag in [
            layers.namespaces,
            layers.user_namespace,
            layers.cgroup_namespace,
            layers.proc,
            layers.mount_api,
            layers.seccomp,
            self.wants_proxy,
            self.is_single,
        ] {
            put_number(to, u64::from(flag));
        }
        put_number(to, u64::from(layers.landlock));
        put_number(to, self.places.len() as u64);
        for place in &self.places {
            put_number(to, place.treatment as u64);
            put(to, place.path.as_os_str());
            put(to, place.source.as_os_str());
        }
        put_all(to, &self.devices);
        put_all(to, &self.readable);
        put_number(to, self.limits.len() as u64);
        for (resource, limit) in &self.limits {
            put_number(to, u64::from(*resource));
            put_number(to, *limit);
        }
        put_number(to, self.processes);
    }

    fn decode(from: &mut Reader<'_>) -> io::Result<Self> {
        let layers = Layers {
            namespaces: from.flag()?,
            user_namespace: from.flag()?,
            cgroup_namespace: from.flag()?,
            proc: from.flag()?,
            mount_api: from.flag()?,
            seccomp: from.flag()?,
            landlock: 0,
        };
        let (wants_proxy, is_single) = (from.flag()?, from.flag()?);
        let layers = Layers { landlock: u8::try_from(from.number()?).map_err(|_| broken())?, ..layers };
        let mut places = Vec::new();
        for _ in 0..from.number()? {
            let treatment = match from.number()? {
                0 => Treatment::Write,
                1 => Treatment::Protect,
                2 => Treatment::Hide,
                _ => return Err(broken()),
            };
            places.push(Place { treatment, path: from.text()?.into(), source: from.text()?.into() });
        }
        let devices = from.texts()?;
        let readable = from.texts()?;
        let mut limits = Vec::new();
        for _ in 0..from.number()? {
            limits.push((u32::try_from(from.number()?).map_err(|_| broken())?, from.number()?));
        }
        let processes = from.number()?;
        Ok(Self { layers, places, devices, readable, wants_proxy, is_single, limits, processes })
    }
}

impl Message for Run {
    fn encode(&self, to: &mut Vec<u8>) {
        put(to, &self.program);
        put_all(to, &self.arguments);
        put(to, &self.folder);
        put_all(to, &self.environment);
        put_number(to, u64::from(self.new_session));
    }

    fn decode(from: &mut Reader<'_>) -> io::Result<Self> {
        Ok(Self {
            program: from.text()?,
            arguments: from.texts()?,
            folder: from.text()?,
            environment: from.texts()?,
            new_session: from.flag()?,
        })
    }
}

fn put_number(to: &mut Vec<u8>, number: u64) {
    to.extend_from_slice(&number.to_le_bytes());
}

fn put(to: &mut Vec<u8>, text: &OsStr) {
    put_number(to, text.len() as u64);
    to.extend_from_slice(text.as_bytes());
}

fn put_all(to: &mut Vec<u8>, texts: &[OsString]) {
    put_number(to, texts.len() as u64);
    for text in texts {
        put(to, text);
    }
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the order cannot be read")
}

/// What of a message is not read yet.
pub struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take(&mut self, count: usize) -> io::Result<&[u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(broken)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self) -> io::Result<u64> {
        let bytes = self.take(8)?.try_into().map_err(|_| broken())?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn flag(&mut self) -> io::Result<bool> {
        Ok(self.number()? == 1)
    }

    fn text(&mut self) -> io::Result<OsString> {
        let length = usize::try_from(self.number()?).map_err(|_| broken())?;
        Ok(OsString::from_vec(self.take(length)?.to_vec()))
    }

    fn texts(&mut self) -> io::Result<Vec<OsString>> {
        (0..self.number()?).map(|_| self.text()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrives<T: Message + PartialEq + std::fmt::Debug>(message: &T) {
        let mut bytes = Vec::new();
        message.send(&mut bytes).unwrap();
        assert_eq!(T::receive(&mut bytes.as_slice()).unwrap(), *message);
        for end in 0..bytes.len() {
            assert!(T::receive(&mut &bytes[..end]).is_err());
        }
        assert!(T::receive(&mut [0xff; 64].as_slice()).is_err());
    }

    #[test]
    fn an_order_arrives_as_it_was_sent() {
        arrives(&Ground {
            layers: Layers { namespaces: true, landlock: 6, ..Layers::default() },
            places: vec![Place { treatment: Treatment::Hide, path: "/p".into(), source: "/s".into() }],
            devices: vec!["/dev/x".into()],
            readable: vec!["/r".into()],
            wants_proxy: true,
            is_single: true,
            limits: vec![(4, 0), (1, u64::MAX)],
            processes: 7,
        });
        arrives(&Run {
            program: "/bin/\u{e9} x".into(),
            arguments: vec!["a".into(), String::new().into(), OsString::from_vec(vec![0xff, b'\n'])],
            folder: "/w".into(),
            environment: vec!["A=b".into()],
            new_session: true,
        });
    }
}
