//! curl and wget: the options that keep them to printing what a web server answers to a question that sends nothing of this
//! machine. They have hundreds, so these are named, not the others.

use super::Word;

/// A program's options that are known.
struct Known {
    program: &'static str,
    /// Letters without a value.
    flags: &'static str,
    /// Letters with one.
    valued: &'static str,
    /// Long ones without a value.
    words: &'static [&'static str],
    /// Long ones with one.
    settings: &'static [&'static str],
}

const KNOWN: &[Known] = &[
    Known {
        program: "curl",
        flags: "sSfLIivgGN#0146",
        valued: "AemXH",
        words: &[
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
        settings: &[
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
    },
    Known {
        program: "wget",
        flags: "qvcNS46",
        valued: "tTU",
        words: &[
            "quiet",
            "verbose",
            "no-verbose",
            "spider",
            "continue",
            "timestamping",
            "server-response",
            "show-progress",
        ],
        settings: &["tries", "timeout", "user-agent", "wait", "max-redirect"],
    },
];

/// Prints what a web server answers to a question that sends nothing of this machine.
pub fn is_plain_fetch(name: &str, arguments: &[Word]) -> bool {
    let Some(Known { flags, valued, words, settings, .. }) = KNOWN.iter().find(|known| known.program == name) else {
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
