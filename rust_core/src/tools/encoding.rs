//! How text stands in a file, and how to put a piece of text into it without touching the rest.

/// The encodings files are edited in. Anything that is not UTF and has no mark is edited as bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Without or with a byte order mark: the mark stays where it is.
    Utf8,
    /// Little endian, with its mark.
    Utf16Le,
    /// Big endian, with its mark.
    Utf16Be,
    /// Something else, read as Latin-1 where it is not UTF-8.
    Bytes,
}

impl Encoding {
    /// By the byte order mark, else by whether the bytes are UTF-8.
    pub fn of(bytes: &[u8]) -> Self {
        match bytes {
            [0xff, 0xfe, ..] if bytes.len().is_multiple_of(2) => Self::Utf16Le,
            [0xfe, 0xff, ..] if bytes.len().is_multiple_of(2) => Self::Utf16Be,
            _ if std::str::from_utf8(bytes).is_ok() => Self::Utf8,
            _ => Self::Bytes,
        }
    }

    /// Bytes per unit: a match must begin at a multiple.
    pub fn unit(self) -> usize {
        match self {
            Self::Utf16Le | Self::Utf16Be => 2,
            Self::Utf8 | Self::Bytes => 1,
        }
    }

    /// The ways `text` may stand in a file of this encoding, likeliest first.
    pub fn spellings(self, text: &str) -> Vec<Vec<u8>> {
        match self {
            Self::Utf8 => vec![text.as_bytes().to_vec()],
            Self::Utf16Le => vec![text.encode_utf16().flat_map(u16::to_le_bytes).collect()],
            Self::Utf16Be => vec![text.encode_utf16().flat_map(u16::to_be_bytes).collect()],
            Self::Bytes => {
                let latin: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
                let utf8 = text.as_bytes().to_vec();
                if text.is_ascii() { vec![utf8] } else { latin.into_iter().chain([utf8]).collect() }
            }
        }
    }

    /// For showing: never fails, the byte order mark left out.
    pub fn decode(self, bytes: &[u8]) -> String {
        let units = |to: fn([u8; 2]) -> u16| {
            let units: Vec<u16> = bytes[2..].chunks_exact(2).map(|pair| to([pair[0], pair[1]])).collect();
            String::from_utf16_lossy(&units)
        };
        match self {
            Self::Utf8 => String::from_utf8_lossy(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)).into_owned(),
            Self::Utf16Le => units(u16::from_le_bytes),
            Self::Utf16Be => units(u16::from_be_bytes),
            Self::Bytes => bytes.split_inclusive(|byte| *byte == b'\n').map(decode_line).collect(),
        }
    }
}

/// A line as UTF-8 where it is, else as Latin-1, in which every byte is a character.
pub fn decode_line(line: &[u8]) -> String {
    std::str::from_utf8(line).map_or_else(|_| line.iter().map(|byte| char::from(*byte)).collect(), str::to_owned)
}

/// True where most line ends of the file are CR LF.
pub fn is_crlf(text: &str) -> bool {
    let (all, with_cr) = (text.matches('\n').count(), text.matches("\r\n").count());
    with_cr * 2 > all
}

/// `text` with CR LF line ends.
pub fn to_crlf(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\n', "\r\n")
}

/// Where `needle` stands in `bytes`, without overlaps, at multiples of `unit`.
pub fn positions(bytes: &[u8], needle: &[u8], unit: usize) -> Vec<usize> {
    let finder = finder_of(needle);
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = finder(&bytes[from..]).map(|at| at + from) {
        if at.is_multiple_of(unit) {
            found.push(at);
            from = at + needle.len();
        } else {
            from = at + 1;
        }
    }
    found
}

/// A closure that finds `needle`.
fn finder_of(needle: &[u8]) -> impl Fn(&[u8]) -> Option<usize> {
    let automaton = aho_corasick::AhoCorasick::new([needle]).ok();
    move |bytes| automaton.as_ref()?.find(bytes).map(|found| found.start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_are_told_apart() {
        assert_eq!(Encoding::of(b"plain"), Encoding::Utf8);
        assert_eq!(Encoding::of("\u{feff}mark".as_bytes()), Encoding::Utf8);
        assert_eq!(Encoding::of(&[0xff, 0xfe, b'a', 0]), Encoding::Utf16Le);
        assert_eq!(Encoding::of(&[0xfe, 0xff, 0, b'a']), Encoding::Utf16Be);
        assert_eq!(Encoding::of(&[b'a', 0xe9, b'b']), Encoding::Bytes);
        assert_eq!(Encoding::Bytes.decode(b"caf\xe9\nna\xc3\xafve\n"), "café\nnaïve\n");
    }

    #[test]
    fn matches_in_utf16_begin_at_units() {
        let bytes = [0xff, 0xfe, 0x61, 0x00, 0x00, 0x61];
        assert_eq!(positions(&bytes, &[0x61, 0x00], 2), [2]);
        assert_eq!(positions(&bytes, &[0x00, 0x00], 2), Vec::<usize>::new());
    }
}
