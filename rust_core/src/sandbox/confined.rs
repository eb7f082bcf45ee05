//! Starting a process in the sandbox: a keeper is asked, the order goes out, the word that the command runs comes back.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Read as _};
use std::net::TcpListener;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rustix::process::Pid;

use super::confinement::Enclosure;
use super::environment::{Environment, MARKER_VARIABLE};
use super::keeper::{Keeper, PATIENCE, refusal};
use super::leader::Confined;
use super::order::{Ground, Message as _, PROXY_VARIABLES, Run};
use super::seatbelt;
use super::spawn::{Input, Request};
use crate::network::{Proxy, Refusal};

/// Keeps a confined process alive, and its way to the network open.
pub struct Hold {
    /// With what has put it up.
    life: Option<(UnixStream, Arc<Keeper>)>,
    proxy: Option<Proxy>,
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold").finish_non_exhaustive()
    }
}

impl Hold {
    /// Hosts that the command tried to reach in vain.
    pub fn refusals(&self) -> Vec<Refusal> {
        self.proxy.as_ref().map(Proxy::refusals).unwrap_or_default()
    }
}

impl Drop for Hold {
    /// Its end of the socket may be open elsewhere still; the other end is to see that nobody waits any more.
    fn drop(&mut self) {
        if let Some((life, _)) = &self.life {
            let _ = life.shutdown(std::net::Shutdown::Write);
        }
    }
}

/// `streams`: its input, output and errors. An error leaves nothing running.
pub fn start(
    request: &Request<'_>,
    enclosure: &Enclosure,
    streams: [BorrowedFd<'_>; 3],
) -> io::Result<(Confined, Hold)> {
    let (keeper, proxy) = keeper(request, enclosure)?;
    let (mut ours, theirs) = UnixStream::pair()?;
    ours.set_read_timeout(Some(PATIENCE))?;
    ours.set_write_timeout(Some(PATIENCE))?;
    let [input, output, errors] = streams;
    keeper.ask([theirs.as_fd(), input, output, errors])?;
    drop(theirs);
    run(request, enclosure).send(&mut ours).or_else(|error| {
        // It may have been refused before it was read.
        if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(error) }
    })?;
    let pid = began(&mut ours)?;
    ours.set_read_timeout(None)?;
    let hold = Hold { life: Some((ours.try_clone()?, keeper)), proxy };
    Ok((Confined::new(pid, ours)?, hold))
}

/// The same through Seatbelt: what is to be started instead, with its variables.
pub fn through_seatbelt(
    request: &Request<'_>,
    enclosure: &Enclosure,
) -> io::Result<(Vec<OsString>, Environment, Hold)> {
    let proxy = match &enclosure.hosts {
        Some(hosts) => {
            let listener = TcpListener::bind(("127.0.0.1", 0))?;
            Some((listener.local_addr()?, Proxy::start(listener, Arc::clone(hosts), Arc::clone(&enclosure.way))?))
        }
        None => None,
    };
    let mut arguments = seatbelt::arguments(&enclosure.ground, proxy.as_ref().map(|(address, _)| address.port()))?;
    arguments.push(request.program.into());
    arguments.extend(request.arguments.iter().cloned());
    let mut added = enclosure.variables.clone();
    if let Some((address, _)) = &proxy {
        added.extend(PROXY_VARIABLES.iter().map(|name| (name.into(), format!("http://{address}").into())));
    }
    let is_replaced = |name: &OsString| added.iter().any(|(other, _)| other == name);
    let kept = request.environment.iter().filter(|(name, _)| !is_replaced(name)).cloned();
    let environment = kept.chain(added.iter().cloned()).collect();
    Ok((arguments, environment, Hold { life: None, proxy: proxy.map(|(_, proxy)| proxy) }))
}

fn keeper(request: &Request<'_>, enclosure: &Enclosure) -> io::Result<(Arc<Keeper>, Option<Proxy>)> {
    let ground = &enclosure.ground;
    // Not that of the call: with it alone the keeper would end.
    let core = request.marker.split_once('-').map_or(request.marker, |(core, _)| core);
    let marker = format!("{core}-keeper");
    let is_shared = ground.layers.namespaces && enclosure.hosts.is_none() && request.input != Input::Inherit;
    if let Some(keepers) = enclosure.keepers.as_ref().filter(|_| is_shared) {
        return Ok((keepers.get(ground, &marker, &enclosure.state)?, None));
    }
    let ground = Ground { wants_proxy: enclosure.hosts.is_some(), is_single: true, ..ground.clone() };
    let (keeper, listener) = Keeper::start(ground, &marker, &enclosure.state, request.input)?;
    // Without a proxy there would be no network at all, which is safe, but not what was granted: that is said.
    let proxy = match (listener, &enclosure.hosts) {
        (Some(listener), Some(hosts)) => Some(Proxy::start(listener, Arc::clone(hosts), Arc::clone(&enclosure.way))?),
        _ => None,
    };
    Ok((Arc::new(keeper), proxy))
}

fn run(request: &Request<'_>, enclosure: &Enclosure) -> Run {
    let own = [(OsString::from(MARKER_VARIABLE), OsString::from(request.marker))];
    let replaced = || enclosure.variables.iter().chain(&own);
    let kept = request.environment.iter().filter(|(name, _)| !replaced().any(|(other, _)| other == name));
    let joined = |(name, value): &(OsString, OsString)| {
        let mut text = OsString::with_capacity(name.len() + value.len() + 1);
        text.push(name);
        text.push("=");
        text.push(value);
        text
    };
    let program = request.program.as_os_str().to_owned();
    Run {
        arguments: [program.clone()].into_iter().chain(request.arguments.iter().cloned()).collect(),
        program,
        folder: request.folder.as_os_str().to_owned(),
        environment: kept.chain(replaced()).map(joined).collect(),
        new_session: request.input != Input::Inherit,
    }
}

/// `+` and the number of its process 1: the command runs.
fn began(from: &mut UnixStream) -> io::Result<Pid> {
    let mut word = [0];
    match from.read_exact(&mut word) {
        Ok(()) if word == *b"-" => return Err(refusal(from)),
        Ok(()) => {
            let mut pid = [0; 4];
            from.read_exact(&mut pid)?;
            if let Some(pid) = Pid::from_raw(i32::from_ne_bytes(pid)) {
                return Ok(pid);
            }
        }
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
        Err(_) => {}
    }
    Err(io::Error::other("the sandbox's launcher ended before the command began"))
}
