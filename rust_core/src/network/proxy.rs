//! The HTTP proxy that is a sandboxed command's only way to the network.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use super::client_hello::{self, Opening};
use super::host::Host;
use super::hosts::{Hosts, TLS_PORT};
use super::relay::{STACK_BYTES, relay};
use super::request::{self, Kind, Rejection, Request};
use super::way_out::{Upstream, WayOut};

/// More at once get 503.
const MAX_CONNECTIONS: usize = 128;
/// For a request's head, and for the first message in a tunnel.
const HEAD_LIMIT: Duration = Duration::from_secs(30);
const CONNECT_LIMIT: Duration = Duration::from_secs(15);
const MAX_ADDRESSES: usize = 8;
/// More refused hosts are not remembered.
const MAX_REFUSALS: usize = 50;
/// A fatal TLS alert: unrecognized name.
const ALERT: &[u8] = &[21, 3, 3, 0, 2, 2, 112];

/// A host a command wanted and did not get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// `host:port`.
    pub target: String,
    /// Why, and which rule would allow it.
    pub sentence: String,
}

/// Looks up a name. Only granted names get here.
type Resolve = dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync;

struct Shared {
    hosts: Arc<Hosts>,
    way: Arc<WayOut>,
    resolve: Box<Resolve>,
    refusals: Mutex<Vec<Refusal>>,
    /// The sockets of each connection, so that stopping ends them; `None` once stopped.
    connections: Mutex<Option<HashMap<u64, Vec<TcpStream>>>>,
}

/// A running proxy; dropping it ends it and all its connections.
pub struct Proxy {
    shared: Arc<Shared>,
    stop: Option<OwnedFd>,
    acceptor: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Serves `listener`, which may lie in another network namespace; names are looked up and servers reached from this
    /// process's own.
    pub fn start(listener: TcpListener, hosts: Arc<Hosts>, way: Arc<WayOut>) -> io::Result<Self> {
        let resolve = |name: &str, port| (name, port).to_socket_addrs().map(Iterator::collect);
        Self::start_with(listener, hosts, way, Box::new(resolve))
    }

    fn start_with(
        listener: TcpListener,
        hosts: Arc<Hosts>,
        way: Arc<WayOut>,
        resolve: Box<Resolve>,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let shared = Arc::new(Shared {
            hosts,
            way,
            resolve,
            refusals: Mutex::default(),
            connections: Mutex::new(Some(HashMap::new())),
        });
        let (stopped, stop) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let acceptor = {
            let shared = Arc::clone(&shared);
            thread::Builder::new()
                .name("claw-proxy".into())
                .stack_size(STACK_BYTES)
                .spawn(move || accept(&listener, &stopped, &shared))?
        };
        Ok(Self { shared, stop: Some(stop), acceptor: Some(acceptor) })
    }

    /// What was refused so far, each host once, in order.
    pub fn refusals(&self) -> Vec<Refusal> {
        lock(&self.shared.refusals).clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop = None; // the acceptor sees the pipe's end
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        for stream in lock(&self.shared.connections).take().unwrap_or_default().into_values().flatten() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(listener: &TcpListener, stopped: &OwnedFd, shared: &Arc<Shared>) {
    for id in 0.. {
        let client = loop {
            let mut waited = [PollFd::new(listener, PollFlags::IN), PollFd::new(stopped, PollFlags::IN)];
            let _ = poll(&mut waited, None);
            if !waited[1].revents().is_empty() {
                return;
            }
            match listener.accept() {
                Ok((client, _)) => break client,
                // Out of descriptors: those who wait must not keep this thread busy.
                Err(error) if error.kind() != ErrorKind::WouldBlock => thread::sleep(Duration::from_millis(20)),
                Err(_) => {}
            }
        };
        if client.set_nonblocking(false).is_err() || client.set_write_timeout(Some(HEAD_LIMIT)).is_err() {
            continue;
        }
        let is_full = lock(&shared.connections).as_ref().is_none_or(|open| open.len() >= MAX_CONNECTIONS);
        if is_full || !shared.remember(id, &client) {
            let sentence = format!("More than {MAX_CONNECTIONS} connections at once are not served.");
            let _ = reject(&client, &Rejection(503, sentence));
            continue;
        }
        let own = Arc::clone(shared);
        let serve = move || {
            // A client that breaks off is no fault of anybody here.
            let _ = own.serve(id, &client);
            if let Some(open) = lock(&own.connections).as_mut() {
                open.remove(&id);
            }
        };
        if thread::Builder::new().name("claw-proxy".into()).stack_size(STACK_BYTES).spawn(serve).is_err()
            && let Some(open) = lock(&shared.connections).as_mut()
        {
            open.remove(&id);
        }
    }
}

impl Shared {
    /// False where the proxy has stopped, or the socket cannot be kept.
    fn remember(&self, id: u64, stream: &TcpStream) -> bool {
        match (lock(&self.connections).as_mut(), stream.try_clone()) {
            (Some(open), Ok(stream)) => {
                open.entry(id).or_default().push(stream);
                true
            }
            _ => false,
        }
    }

    fn serve(&self, id: u64, client: &TcpStream) -> io::Result<()> {
        let (request, first) = match request::read(client, HEAD_LIMIT)? {
            None => return Ok(()),
            Some(Ok(read)) => read,
            Some(Err(rejection)) => return turn_away(client, &rejection),
        };
        let (server, upstream) = match self.reach(&request) {
            Ok(reached) => reached,
            Err(rejection) => return turn_away(client, &rejection),
        };
        if !self.remember(id, &server) {
            return Ok(());
        }
        match &request.kind {
            Kind::Message { head, body_bytes } => {
                match upstream {
                    Some(upstream) => (&server).write_all(&upstream.message(&request, head))?,
                    None => (&server).write_all(head)?,
                }
                // Bytes beyond the announced body would be a second message.
                let length = usize::try_from(*body_bytes).map_or(first.len(), |most| most.min(first.len()));
                relay(client, &server, Some(*body_bytes), |_| Ok(first[..length].to_vec()))
            }
            Kind::Tunnel => {
                (&*client).write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
                relay(client, &server, None, |client| self.vet_tunnel(&request, first, client))
            }
        }
    }

    /// A connection to what was asked for, or to the other proxy that leads there, ready for it.
    fn reach(&self, request: &Request) -> Result<(TcpStream, Option<&Upstream>), Rejection> {
        let (host, port) = (&request.host, request.port);
        if let Some(why) = self.hosts.objection(host, port) {
            return Err(self.refuse(request, &why));
        }
        let Some(upstream) = self.way.to(host, port).map_err(|why| Rejection(502, why))? else {
            return self.connect(request).map(|server| (server, None));
        };
        // Where the other proxy looks it up elsewhere than this machine, nobody here can tell.
        if let Host::Name(name) = host
            && let Ok(addresses) = (self.resolve)(name, port)
            && let Some(why) = addresses.iter().find_map(|at| self.hosts.address_objection(host, at.ip(), port))
        {
            return Err(self.refuse(request, &why));
        }
        let server = upstream.connect().and_then(|server| {
            if request.kind == Kind::Tunnel {
                upstream.open_tunnel(&server, request)?;
            }
            Ok(server)
        });
        server.map(|server| (server, Some(upstream))).map_err(|error| {
            Rejection(502, format!("{host} cannot be reached through the proxy of this machine: {error}."))
        })
    }

    /// A connection to an address that was judged; nothing is looked up between judging and connecting.
    fn connect(&self, request: &Request) -> Result<TcpStream, Rejection> {
        let (host, port) = (&request.host, request.port);
        let unreachable = |error: io::Error| Rejection(502, format!("{host} cannot be reached: {error}."));
        let mut addresses = match host {
            Host::Address(address) => vec![SocketAddr::new(*address, port)],
            // Without asking anybody, so that nobody can answer something else.
            Host::Name(name) if name == "localhost" => {
                vec![(IpAddr::V4(Ipv4Addr::LOCALHOST), port).into(), (IpAddr::V6(Ipv6Addr::LOCALHOST), port).into()]
            }
            Host::Name(name) => (self.resolve)(name, port).map_err(unreachable)?,
        };
        addresses.truncate(MAX_ADDRESSES);
        let refused = addresses.iter().find_map(|address| self.hosts.address_objection(host, address.ip(), port));
        addresses.retain(|address| self.hosts.address_objection(host, address.ip(), port).is_none());
        if let (true, Some(why)) = (addresses.is_empty(), refused) {
            return Err(self.refuse(request, &why));
        }
        let deadline = Instant::now() + CONNECT_LIMIT;
        let mut last = io::Error::new(ErrorKind::NotFound, "it has no address");
        for address in addresses {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            match TcpStream::connect_timeout(&address, left) {
                Ok(server) => {
                    let _ = server.set_nodelay(true);
                    return Ok(server);
                }
                Err(error) => last = error,
            }
        }
        Err(unreachable(last))
    }

    /// The first bytes of a tunnel, where they name no other host than one that is granted.
    fn vet_tunnel(&self, request: &Request, first: Vec<u8>, client: &TcpStream) -> io::Result<Vec<u8>> {
        // At other ports, which are granted one by one, the server may be the one who speaks first.
        client.set_read_timeout((request.port == TLS_PORT).then_some(HEAD_LIMIT))?;
        let (bytes, opening) = client_hello::read(&mut first.as_slice().chain(client))?;
        let left = first.get(bytes.len()..).unwrap_or_default();
        let why = match opening {
            Opening::Tls(None) if matches!(request.host, Host::Address(_)) => None,
            Opening::Tls(None) => Some("the connection does not name its host".to_owned()),
            Opening::Tls(Some(name)) => match Host::parse(&name) {
                Ok(named) if named == request.host => None,
                Ok(named) => self
                    .hosts
                    .objection(&named, request.port)
                    .map(|_| format!("the connection names another host, {named}, inside")),
                Err(_) => Some("the connection names what is no host".to_owned()),
            },
            Opening::Other if request.port != TLS_PORT || bytes.is_empty() => None,
            Opening::Other => Some(format!("port {TLS_PORT} is for TLS, and this is something else")),
            Opening::Unclear(why) => Some(format!("the connection {why}")),
        };
        if let Some(why) = why {
            self.refuse(request, &format!("{} was refused: {why}.", request.host));
            let _ = (&*client).write_all(ALERT);
            return Err(ErrorKind::PermissionDenied.into());
        }
        Ok([bytes.as_slice(), left].concat())
    }

    fn refuse(&self, request: &Request, sentence: &str) -> Rejection {
        let target = format!("{}:{}", request.host, request.port);
        let mut refusals = lock(&self.refusals);
        if refusals.len() < MAX_REFUSALS && !refusals.iter().any(|refusal| refusal.target == target) {
            refusals.push(Refusal { target, sentence: sentence.to_owned() });
        }
        Rejection(403, sentence.to_owned())
    }
}

/// Rejects, and takes what the client still sends: closing on unread bytes would throw the answer away.
fn turn_away(client: &TcpStream, rejection: &Rejection) -> io::Result<()> {
    reject(client, rejection)?;
    client.set_read_timeout(Some(Duration::from_secs(1)))?;
    io::copy(&mut client.take(64 * 1024), &mut io::sink()).map(drop)
}

/// Answers with one line.
fn reject(mut client: &TcpStream, Rejection(status, sentence): &Rejection) -> io::Result<()> {
    let phrase = match status {
        400 => "Bad Request",
        403 => "Forbidden",
        411 => "Length Required",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "Bad Gateway",
    };
    let sentence = crate::visible::visible(sentence).replace('\n', " ");
    let mut answer = format!("HTTP/1.1 {status} {phrase}\r\nContent-Type: text/plain; charset=utf-8\r\n");
    let _ = write!(answer, "Content-Length: {}\r\nConnection: close\r\n\r\n{sentence}\n", sentence.len() + 1);
    client.write_all(answer.as_bytes())?;
    client.shutdown(Shutdown::Write)
}

#[cfg(test)]
#[path = "proxy_tests.rs"]
mod tests;
