//! The proxy with real sockets on this machine.

use super::*;
use crate::network::client_hello::{hello_with, naming};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A server that keeps what each connection sends until its end (or `enough` bytes) and answers with `answer`.
fn server(enough: usize, answer: &'static [u8]) -> (u16, Arc<Mutex<Vec<Vec<u8>>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&seen);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
            let mut bytes = Vec::new();
            let mut chunk = [0; 1024];
            while bytes.len() < enough {
                match stream.read(&mut chunk) {
                    Ok(count) if count > 0 => bytes.extend_from_slice(&chunk[..count]),
                    _ => break,
                }
            }
            lock(&kept).push(bytes);
            let _ = stream.write_all(answer);
        }
    });
    (port, seen)
}

fn start(granted: &[String], resolve: Box<Resolve>) -> (Proxy, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let hosts = Arc::new(Hosts::parse(granted).unwrap());
    (Proxy::start_with(listener, hosts, Arc::default(), resolve).unwrap(), address)
}

/// The same on a machine with another proxy, which is at `port`.
fn start_behind(port: u16, granted: &[&str], resolve: Box<Resolve>) -> (Proxy, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let granted: Vec<String> = granted.iter().map(|text| (*text).to_owned()).collect();
    let way = Arc::new(WayOut::parse(&format!("http://me:pass@127.0.0.1:{port}"), "direct.org"));
    (Proxy::start_with(listener, Arc::new(Hosts::parse(&granted).unwrap()), way, resolve).unwrap(), address)
}

fn unknown() -> Box<Resolve> {
    Box::new(|_, _| Err(ErrorKind::NotFound.into()))
}

#[test]
fn the_other_proxy_is_asked_for_what_is_granted_and_for_nothing_else() {
    let (port, seen) = server(usize::MAX, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    let (_proxy, address) = start_behind(port, &["a.org"], unknown());
    let answer =
        say(address, b"GET http://a.org/x?y HTTP/1.1\r\nHost: a.org\r\nProxy-Authorization: Basic own\r\n\r\n");
    assert!(answer.ends_with("hi"), "{answer}");
    let sent = String::from_utf8(lock(&seen)[0].clone()).unwrap();
    assert!(
        sent.starts_with("GET http://a.org:80/x?y HTTP/1.1\r\nProxy-Authorization: Basic bWU6cGFzcw==\r\n"),
        "{sent}"
    );
    assert!(!sent.contains("own"), "{sent}");
    assert!(say(address, b"GET http://b.org/ HTTP/1.1\r\nHost: b.org\r\n\r\n").starts_with("HTTP/1.1 403"));
    assert!(say(address, b"CONNECT b.org:443 HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 403"));
    assert_eq!(lock(&seen).len(), 1, "the refused never got there");
}

#[test]
fn a_tunnel_through_the_other_proxy_is_vetted_too() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let other = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = vec![0; 1024];
        let count = stream.read(&mut head).unwrap();
        stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
        let mut inside = Vec::new();
        let _ = stream.read_to_end(&mut inside);
        (String::from_utf8_lossy(&head[..count]).into_owned(), inside)
    });
    let (proxy, address) = start_behind(port, &["a.org"], unknown());
    let mut stream = tunnel(address, "a.org:443");
    stream.write_all(&naming("evil.org").1).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert_eq!(answer, ALERT);
    drop(proxy);
    let (sent, inside) = other.join().unwrap();
    assert!(inside.is_empty());
    assert!(sent.starts_with("CONNECT a.org:443 HTTP/1.1\r\nHost: a.org:443\r\nProxy-Authorization: Basic "), "{sent}");
}

#[test]
fn behind_another_proxy_private_addresses_stay_refused_and_a_dead_one_is_not_gone_around() {
    let private: Box<Resolve> = Box::new(|_, port| Ok(vec![SocketAddr::from(([10, 0, 0, 1], port))]));
    let (port, seen) = server(1, b"");
    let (_proxy, address) = start_behind(port, &["a.org"], private);
    assert!(say(address, b"CONNECT a.org:443 HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 403"));
    assert!(lock(&seen).is_empty());
    let refusing = server(1, b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").0;
    let (_proxy, address) = start_behind(refusing, &["a.org"], unknown());
    let answer = say(address, b"CONNECT a.org:443 HTTP/1.1\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 502") && answer.contains("it answers 407"), "{answer}");
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (_proxy, address) = start_behind(gone, &["a.org"], unknown());
    assert!(say(address, b"GET http://a.org/ HTTP/1.1\r\nHost: a.org\r\n\r\n").starts_with("HTTP/1.1 502"));
}

fn nobody() -> Box<Resolve> {
    Box::new(|name, _| panic!("{name} was looked up"))
}

/// Sends `bytes`, gives everything that comes back.
fn say(proxy: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(proxy).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Opens a tunnel; the stream behind the proxy's 200.
fn tunnel(proxy: SocketAddr, target: &str) -> TcpStream {
    let mut stream = TcpStream::connect(proxy).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n").as_bytes()).unwrap();
    let mut answer = [0; 39];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 Connection established\r\n\r\n");
    stream
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

#[test]
fn a_granted_host_answers() {
    let (port, seen) = server(10, OK);
    let (proxy, address) = start(&[format!("localhost:{port}")], nobody());
    let answer =
        say(address, format!("GET http://LOCALHOST.:{port}/a HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n").as_bytes());
    assert!(answer.ends_with("\r\n\r\nhi"), "{answer}");
    assert!(lock(&seen)[0].starts_with(format!("GET /a HTTP/1.1\r\nHost: localhost:{port}\r\n").as_bytes()));
    assert!(proxy.refusals().is_empty());
}

#[test]
fn what_is_not_granted_is_refused_by_name_and_says_how_to_grant_it() {
    let (proxy, address) = start(&[], nobody());
    let answer = say(address, b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{answer}");
    assert!(answer.contains("Network(domain:evil.example)"), "{answer}");
    for other in ["http://127.0.0.1:9/", "http://2130706433/", "http://[::1]:9/", "http://169.254.169.254/latest"] {
        let answer = say(address, format!("GET {other} HTTP/1.1\r\n\r\n").as_bytes());
        assert!(answer.starts_with("HTTP/1.1 403"), "{other}: {answer}");
    }
    let _ = say(address, b"CONNECT evil.example:443 HTTP/1.1\r\n\r\n");
    let targets: Vec<String> = proxy.refusals().into_iter().map(|refusal| refusal.target).collect();
    assert_eq!(targets, ["evil.example:443", "127.0.0.1:9", "127.0.0.1:80", "[::1]:9", "169.254.169.254:80"]);
}

#[test]
fn a_public_name_does_not_lead_inside() {
    let (port, seen) = server(1, OK);
    let inside = Box::new(|_: &str, port| Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))]));
    let (proxy, address) = start(&[format!("rebound.example:{port}")], inside);
    let answer = say(address, format!("GET http://rebound.example:{port}/ HTTP/1.1\r\n\r\n").as_bytes());
    assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("no public address"), "{answer}");
    assert!(lock(&seen).is_empty() && proxy.refusals().len() == 1);
}

#[test]
fn a_name_is_looked_up_once_and_reached_where_it_was_judged() {
    let (port, _) = server(1, OK);
    let lookups = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&lookups);
    let resolve = Box::new(move |_: &str, port| {
        // A first answer that passes, and another one for whoever asks again.
        let first = count.fetch_add(1, Ordering::SeqCst) == 0;
        Ok(vec![SocketAddr::from((if first { [127, 0, 0, 1] } else { [127, 0, 0, 2] }, port))])
    });
    let (_proxy, address) = start(&[format!("own.example:{port}"), format!("127.0.0.1:{port}")], resolve);
    let answer = say(address, format!("GET http://own.example:{port}/ HTTP/1.1\r\n\r\n").as_bytes());
    assert!(answer.ends_with("hi"), "{answer}");
    assert_eq!(lookups.load(Ordering::SeqCst), 1);
}

#[test]
fn a_second_message_does_not_pass_behind_the_first() {
    let (port, seen) = server(4096, OK);
    let (_proxy, address) = start(&[format!("localhost:{port}")], nobody());
    let first = format!("POST http://localhost:{port}/ HTTP/1.1\r\nContent-Length: 2\r\n\r\nab");
    say(address, format!("{first}GET /secret HTTP/1.1\r\nHost: other.example\r\n\r\n").as_bytes());
    let seen = lock(&seen);
    let text = String::from_utf8_lossy(&seen[0]);
    assert!(text.ends_with("\r\n\r\nab") && !text.contains("secret"), "{text}");
}

#[test]
fn a_tunnel_carries_both_directions_where_its_name_fits() {
    let hello = hello_with(&[naming("localhost")]);
    let (port, seen) = server(hello.len() + 4, b"answer");
    let (proxy, address) = start(&[format!("localhost:{port}")], nobody());
    let mut stream = tunnel(address, &format!("localhost:{port}"));
    stream.write_all(&hello).unwrap();
    stream.write_all(b"more").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "answer");
    assert_eq!(lock(&seen)[0], [hello.as_slice(), b"more"].concat());
    assert!(proxy.refusals().is_empty());
}

#[test]
fn a_tunnel_that_names_another_host_inside_is_cut() {
    let (port, seen) = server(1, b"answer");
    let (proxy, address) = start(&[format!("localhost:{port}")], nobody());
    for hello in [hello_with(&[naming("other.example")]), hello_with(&[]), hello_with(&[(0xfe0d, vec![])])] {
        let mut stream = tunnel(address, &format!("localhost:{port}"));
        stream.write_all(&hello).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty() || answer == ALERT, "{answer:?}");
    }
    assert!(lock(&seen).iter().all(Vec::is_empty), "nothing of it reached the server");
    assert!(proxy.refusals()[0].sentence.contains("other.example"));
}

#[test]
fn other_protocols_pass_at_ports_granted_for_them_only() {
    let (port, seen) = server(4, b"SSH-2.0-server");
    let (_proxy, address) = start(&[format!("localhost:{port}"), "localhost".into()], nobody());
    let mut stream = tunnel(address, &format!("localhost:{port}"));
    stream.write_all(b"SSH-").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!((answer.as_str(), lock(&seen)[0].as_slice()), ("SSH-2.0-server", b"SSH-".as_slice()));
    assert!(say(address, b"CONNECT localhost:22 HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 403"));
}

#[test]
fn endless_and_broken_heads_are_refused() {
    let (_proxy, address) = start(&[], nobody());
    let long = [b"GET http://a.org/ HTTP/1.1\r\nX: ".as_slice(), &vec![b'x'; 20 * 1024]].concat();
    assert!(say(address, &long).starts_with("HTTP/1.1 431"));
    assert!(say(address, b"\x16\x03\x01\x00\x05hello\r\n\r\n").starts_with("HTTP/1.1 400"));
    assert!(say(address, b"GET / HTTP/1.1\r\nHost: a.org\r\n\r\n").starts_with("HTTP/1.1 400"));
}

#[test]
fn dropping_it_ends_everything() {
    let (port, _) = server(usize::MAX, b"");
    let (proxy, address) = start(&[format!("localhost:{port}")], nobody());
    let mut open = tunnel(address, &format!("localhost:{port}"));
    drop(proxy);
    let mut rest = Vec::new();
    let _ = open.read_to_end(&mut rest);
    assert!(rest.is_empty());
    assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
}
