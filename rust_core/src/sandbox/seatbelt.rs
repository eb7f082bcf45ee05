//! The sandbox of macOS: a profile for Seatbelt, through which `/usr/bin/sandbox-exec` starts the command.
//!
//! It says the same as the launcher puts up on Linux, as far as Seatbelt can say it. Nobody has run it on macOS yet: the text
//! is built and tested on every system, its effect on none. So the machine is reported as weaker, and each command asks.
//!
//! In this language the last rule that matches decides, so that places go from the outer to the inner ones. Seatbelt looks at
//! the path a file really has: places are canonical (`/private/var`, not `/var`).

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

use super::order::{Ground, Place, Treatment};
use super::probe::Machine;

/// Part of every macOS since 10.5.
pub const PROGRAM: &str = "/usr/bin/sandbox-exec";

/// What every command needs: starting programs, reading, terminals, and asking the system for users and time.
const BASE: &str = r#"(version 1)
(deny default)
(allow process-fork)
(allow process-exec)
(allow process-info* (target same-sandbox))
(allow signal (target same-sandbox))
(allow sysctl-read)
(allow ipc-posix-sem)
(allow ipc-posix-shm)
(allow user-preference-read)
(allow pseudo-tty)
(allow mach-lookup
  (global-name "com.apple.bsd.dirhelper")
  (global-name "com.apple.system.logger")
  (global-name "com.apple.system.notification_center")
  (global-name "com.apple.system.opendirectoryd.libinfo")
  (global-name "com.apple.system.opendirectoryd.membership"))
(allow file-read*)
(allow file-map-executable)
(allow file-ioctl (literal "/dev/tty") (literal "/dev/ptmx") (regex #"^/dev/ttys[0-9]+$"))
(allow file-write-data
  (literal "/dev/null") (literal "/dev/zero") (literal "/dev/tty") (literal "/dev/ptmx") (regex #"^/dev/ttys[0-9]+$")
  (regex #"^/dev/fd/[0-9]+$"))
"#;

/// What macOS gives, and what is missing.
pub fn machine() -> Machine {
    let has_seatbelt = Path::new(PROGRAM).is_file();
    let missing = if has_seatbelt {
        "Commands are confined by a Seatbelt profile that was never tried on macOS: it may let through what it should stop, or \
         stop what it should let through. Processes that a command leaves behind, memory and numbers of processes are not \
         limited, and servers inside cannot be reached."
            .to_owned()
    } else {
        format!("Nothing is confined: there is no {PROGRAM}.")
    };
    Machine { has_seatbelt, missing: vec![missing], ..Machine::default() }
}

/// Its arguments, those of the command after them.
pub fn arguments(ground: &Ground, proxy_port: Option<u16>) -> io::Result<Vec<OsString>> {
    Ok(vec!["-p".into(), profile(ground, proxy_port)?.into()])
}

/// The profile of these places. `proxy_port`: the one address of this machine that may be talked to. Fails where a path
/// cannot be written in it: a rule that is left out would allow.
fn profile(ground: &Ground, proxy_port: Option<u16>) -> io::Result<String> {
    let mut text = BASE.to_owned();
    for device in &ground.devices {
        rule(&mut text, "allow file-write-data file-ioctl", "literal", Path::new(device))?;
    }
    let mut places: Vec<&Place> = ground.places.iter().collect();
    places.sort_by_key(|place| (place.path.components().count(), place.treatment));
    for place in &places {
        let what = match place.treatment {
            Treatment::Write => "allow file-write*",
            Treatment::Protect => "deny file-write*",
            Treatment::Hide => "deny file-read* file-write*",
        };
        rule(&mut text, what, "subpath", &place.source)?;
    }
    // A folder moved away would take the place with it, to where no rule names it.
    for place in places.iter().filter(|place| place.treatment != Treatment::Write) {
        for above in place.source.ancestors().skip(1).filter(|above| is_writable(&places, above)) {
            rule(&mut text, "deny file-write-unlink", "literal", above)?;
        }
    }
    // No program with its owner's rights for whoever starts it.
    text.push_str("(deny file-write-setugid)\n");
    if let Some(port) = proxy_port {
        let _ = writeln!(text, "(allow network-outbound (remote ip \"localhost:{port}\"))");
    }
    Ok(text)
}

/// The root itself counts too: it could be moved to another name by a command that may write above it.
fn is_writable(places: &[&Place], path: &Path) -> bool {
    places.iter().any(|place| place.treatment == Treatment::Write && path.starts_with(&place.source))
}

fn rule(text: &mut String, what: &str, filter: &str, path: &Path) -> io::Result<()> {
    let _ = writeln!(text, "({what} ({filter} {}))", quote(path)?);
    Ok(())
}

/// A string of the language. Names with control characters are refused, not guessed at.
fn quote(path: &Path) -> io::Result<String> {
    let name = path.to_str().filter(|name| !name.chars().any(char::is_control)).ok_or_else(|| {
        let why = format!("the name {:?} cannot be written in a Seatbelt profile", path.to_string_lossy());
        io::Error::new(io::ErrorKind::InvalidInput, why)
    })?;
    Ok(format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\"")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt as _;

    fn ground(places: &[(Treatment, &str)]) -> Ground {
        let place = |(treatment, path): &(Treatment, &str)| Place {
            treatment: *treatment,
            path: path.into(),
            source: path.into(),
        };
        Ground { places: places.iter().map(place).collect(), ..Ground::default() }
    }

    /// What the last matching rule says, read from the text as Seatbelt would, for rules on one path.
    fn decides(profile: &str, operation: &str, path: &str) -> bool {
        let mut is_allowed = false;
        let rules = profile.replace("\n  ", " "); // one a line
        for line in rules.lines().filter(|line| line.starts_with('(')) {
            let (head, rest) = line[1..].split_once(" (").unwrap_or((line[1..].trim_end_matches(')'), ""));
            let mut words = head.split(' ');
            let verdict = words.next().unwrap();
            let names_it = words.any(|word| {
                word == "default"
                    || word == operation
                    || word.strip_suffix('*').is_some_and(|it| operation.starts_with(it))
            });
            let is_there = match rest.split_once(' ') {
                Some(("subpath", place)) => Path::new(path).starts_with(unquote(place)),
                Some(("literal", place)) if line.matches("(literal").count() == 1 => path == unquote(place),
                Some(_) => false,
                None => true,
            };
            if names_it && is_there {
                is_allowed = verdict == "allow";
            }
        }
        is_allowed
    }

    fn unquote(text: &str) -> String {
        text.trim_end_matches("))").trim_matches('"').replace("\\\"", "\"").replace("\\\\", "\\")
    }

    #[test]
    fn the_deepest_place_decides_whatever_the_order_they_came_in() {
        let places = [
            (Treatment::Protect, "/w/.git/config"),
            (Treatment::Hide, "/Users/a/.ssh"),
            (Treatment::Write, "/w"),
            (Treatment::Write, "/private/var/claw/tmp"),
            (Treatment::Hide, "/w/secret"),
            (Treatment::Write, "/w/secret/open"),
        ];
        let profile = profile(&ground(&places), None).unwrap();
        for (operation, path, is_allowed) in [
            ("file-write-create", "/w/a", true),
            ("file-write-data", "/w/.git/index", true),
            ("file-write-data", "/w/.git/config", false),
            ("file-write-data", "/private/var/claw/tmp/x", true),
            ("file-write-data", "/etc/hosts", false),
            ("file-write-data", "/wider", false),
            ("file-read-data", "/etc/hosts", true),
            ("file-read-data", "/Users/a/.ssh/id", false),
            ("file-read-metadata", "/Users/a/.ssh", false),
            ("file-read-data", "/w/secret/x", false),
            ("file-write-data", "/w/secret/open/x", true),
            ("network-outbound", "/", false),
            ("mach-register", "/", false),
            ("file-write-setugid", "/w/a", false),
        ] {
            assert_eq!(decides(&profile, operation, path), is_allowed, "{operation} {path}\n{profile}");
        }
    }

    #[test]
    fn what_holds_a_protected_place_cannot_be_moved_away() {
        let places = [(Treatment::Write, "/w"), (Treatment::Protect, "/w/a/.git/hooks"), (Treatment::Hide, "/h/.ssh")];
        let profile = profile(&ground(&places), None).unwrap();
        for folder in ["/w/a/.git", "/w/a", "/w"] {
            assert!(!decides(&profile, "file-write-unlink", folder), "{folder}");
            assert!(decides(&profile, "file-write-create", folder), "{folder}");
        }
        assert!(decides(&profile, "file-write-unlink", "/w/b"));
        assert!(!profile.contains("\"/h\""));
    }

    #[test]
    fn names_are_quoted_or_refused() {
        let name = "/w/a \"b\\c)(allow default";
        let profile = profile(&ground(&[(Treatment::Write, "/w"), (Treatment::Protect, name)]), None).unwrap();
        assert!(profile.contains("(deny file-write* (subpath \"/w/a \\\"b\\\\c)(allow default\"))"));
        for odd in ["/w/new\nline", "/w/\u{1b}", "/w/\u{85}"] {
            assert!(super::profile(&ground(&[(Treatment::Protect, odd)]), None).is_err(), "{odd:?}");
        }
        assert!(quote(Path::new(std::ffi::OsStr::from_bytes(b"/w/\xff"))).is_err());
    }

    #[test]
    fn only_the_proxy_can_be_talked_to() {
        let text = profile(&ground(&[]), Some(8123)).unwrap();
        let network: Vec<&str> = text.lines().filter(|line| line.contains("network")).collect();
        assert_eq!(network, ["(allow network-outbound (remote ip \"localhost:8123\"))"]);
        let balance = |text: &str| text.matches('(').count() == text.matches(')').count();
        assert!(balance(&text) && text.starts_with("(version 1)\n(deny default)\n"));
    }
}
