//! curl and wget: the options that keep them to printing what a web server answers to a question that sends nothing of this
//! machine. They have hundreds, so these are named, not the others.

use super::Word;

/// Programs that talk to hosts, with the options that keep them to printing what they get: letters without a value, letters
/// with one, long ones without, long ones with one. An option that is not listed needs a rule for exactly the command.
const FETCHERS: &[(&str, &str, &str, &[&str], &[&str])] = &[
    (
        "curl",
        "sSfLIivgGN#0146",
        "AemXH",
        &[
            "silent",
            "show-error",
            "fail",
            "fail-with-body",
            "location",
            "head",
            "include",
            "verbose",
            "compressed",
            "globoff",
            "no-progress-meter",
            "progress-bar",
            "http1.1",
            "http2",
            "ipv4",
            "ipv6",
            "no-buffer",
        ],
        &[
            "user-agent",
            "referer",
            "max-time",
            "connect-timeout",
            "request",
            "header",
            "retry",
            "retry-delay",
            "max-redirs",
            "range",
        ],
    ),
    (
        "wget",
        "qvcNS46",
        "tTU",
        &["quiet", "verbose", "no-verbose", "spider", "continue", "timestamping", "server-response", "show-progress"],
        &["tries", "timeout", "user-agent", "wait", "max-redirect"],
    ),
];

/// Prints what a web server answers to a question that sends nothing of this machine.
pub fn is_plain_fetch(name: &str, arguments: &[Word]) -> bool {
    let Some((_, flags, valued, words, settings)) = FETCHERS.iter().find(|(program, ..)| *program == name) else {
        return false;
    };
    let is_plain_value = |letter: &str, value: &str| match letter {
        "X" | "request" => matches!(value, "GET" | "HEAD" | "OPTIONS"),
        _ => !value.starts_with(['@', '-']),
    };
    let mut rest = arguments.iter().map(|word| word.text.as_str());
    while let Some(text) = rest.next() {
        let is_fine = if let Some(long) = text.strip_prefix("--") {
            let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
            match value {
                None if words.contains(&name) => true,
                _ if !settings.contains(&name) => false,
                _ => value.or_else(|| rest.next()).is_some_and(|value| is_plain_value(name, value)),
            }
        } else if let Some(cluster) = text.strip_prefix('-') {
            let at = cluster.find(|letter| !flags.contains(letter)).unwrap_or(cluster.len());
            let (_, last) = cluster.split_at(at);
            match last.chars().next() {
                None => !cluster.is_empty(),
                Some(letter) if !valued.contains(letter) => false,
                Some(letter) => {
                    let value = if last.len() > 1 { last.get(1..) } else { rest.next() };
                    value.is_some_and(|value| is_plain_value(letter.encode_utf8(&mut [0; 4]), value))
                }
            }
        } else {
            // `file:`, `dict:` and their like reach what is no web server.
            text.split_once(':').is_none_or(|(scheme, rest)| {
                matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https") || !rest.starts_with("//")
            }) && !text.to_ascii_lowercase().starts_with("file:")
        };
        if !is_fine {
            return false;
        }
    }
    true
}
