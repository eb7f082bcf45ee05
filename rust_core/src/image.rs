//! Images as providers take them. One that a server refuses would be sent again with every later request of the
//! conversation, so each is looked at before it gets into one: its format, its size, whether it is whole.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// In base64 that is 5 MB, the most that the Messages API takes of one image.
pub const MAX_BYTES: u64 = 3_750_000;
/// Pixels of a side, of the same API.
const MAX_SIDE: u32 = 8_000;

/// An image that can be looked at.
#[derive(Debug, PartialEq)]
pub struct Viewable<'a> {
    /// What it is, whatever its name says.
    pub media_type: &'static str,
    /// Width and height in pixels.
    pub size: (u32, u32),
    /// Of an animated GIF, which not all servers take, only the first picture.
    pub bytes: Cow<'a, [u8]>,
}

impl Viewable<'_> {
    /// As it stands in a result.
    pub fn block(&self) -> Value {
        json!({"type": "image", "media_type": self.media_type, "data": STANDARD.encode(&self.bytes)})
    }
}

/// By how it begins.
pub fn media_type(start: &[u8]) -> Option<&'static str> {
    match start {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        _ => None,
    }
}

/// Looks at an image. The error says why it cannot be shown and what to do, as the rest of a sentence.
pub fn view(bytes: &[u8]) -> Result<Viewable<'_>, String> {
    let media_type = media_type(bytes).ok_or("it is no PNG, JPEG, GIF or WebP image; convert it first")?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("it has {} bytes, of at most {MAX_BYTES}; make a smaller copy first", bytes.len()));
    }
    let found = match media_type {
        "image/png" => png(bytes),
        "image/jpeg" => jpeg(bytes),
        "image/gif" => gif(bytes),
        _ => webp(bytes),
    };
    let (size, shown) = found.ok_or("it is damaged or not complete")?;
    let (width, height) = size;
    if width == 0 || height == 0 {
        return Err("it is damaged: it has no pixels".into());
    }
    if width > MAX_SIDE || height > MAX_SIDE {
        return Err(format!(
            "it has {width} x {height} pixels, of at most {MAX_SIDE} a side; make a smaller copy first"
        ));
    }
    Ok(Viewable { media_type, size, bytes: shown })
}

/// Makes a content block with an image one that every server takes; what cannot be shown becomes a text that says so.
pub fn mend(block: &mut Value) {
    if block.get("type").and_then(Value::as_str) != Some("image") {
        return;
    }
    let data: String = block.get("data").and_then(Value::as_str).unwrap_or_default().split_ascii_whitespace().collect();
    let seen = STANDARD.decode(data).map_err(|_| "it is no base64".to_owned());
    *block = match seen.as_deref().map_err(Clone::clone).and_then(view) {
        Ok(image) => image.block(),
        Err(why) => json!({"type": "text", "text": format!("[An image is left out: {why}.]")}),
    };
}

/// Size and what to show; `None` where it is not whole.
type Seen<'a> = Option<((u32, u32), Cow<'a, [u8]>)>;

fn png(bytes: &[u8]) -> Seen<'_> {
    bytes.get(12..16).filter(|kind| kind == b"IHDR")?;
    let number = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let size = (number(16)?, number(20)?);
    let mut at = 8;
    let mut has_pixels = false;
    loop {
        let kind = bytes.get(at + 4..at + 8)?;
        let end = at.checked_add(12)?.checked_add(usize::try_from(number(at)?).ok()?)?;
        if end > bytes.len() {
            return None;
        }
        has_pixels |= kind == b"IDAT";
        if kind == b"IEND" {
            return has_pixels.then_some((size, bytes.into()));
        }
        at = end;
    }
}

fn jpeg(bytes: &[u8]) -> Seen<'_> {
    let mut at = 2;
    let mut size = None;
    loop {
        let marker = match bytes.get(at..at + 2)? {
            [0xff, 0xff] => {
                at += 1;
                continue;
            }
            [0xff, marker] => *marker,
            _ => return None,
        };
        let length = usize::from(u16::from_be_bytes(bytes.get(at + 2..at + 4)?.try_into().ok()?));
        let segment = bytes.get(at + 4..at + 2 + length)?;
        match marker {
            // The start of a frame; the gaps in this range are tables.
            0xc0..=0xcf if ![0xc4, 0xc8, 0xcc].contains(&marker) => {
                let side = |at: usize| Some(u32::from(u16::from_be_bytes(segment.get(at..at + 2)?.try_into().ok()?)));
                size = Some((side(3)?, side(1)?));
            }
            // Pixels, up to the mark of the end.
            0xda => {
                let is_whole = memchr::memmem::rfind(&bytes[at..], b"\xff\xd9").is_some();
                return size.filter(|_| is_whole).map(|size| (size, bytes.into()));
            }
            _ => {}
        }
        at += 2 + length;
    }
}

fn gif(bytes: &[u8]) -> Seen<'_> {
    let side = |at: usize| Some(u32::from(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?)));
    let size = (side(6)?, side(8)?);
    let table = |flags: u8| if flags & 0x80 == 0 { 0 } else { 3usize << ((flags & 7) + 1) };
    let mut at = 13 + table(*bytes.get(10)?);
    let mut first_end = None;
    loop {
        match (*bytes.get(at)?, first_end) {
            // An extension: a label and blocks.
            (0x21, _) => at = blocks_end(bytes, at + 2)?,
            (0x2c, None) => {
                at = blocks_end(bytes, at + 11 + table(*bytes.get(at + 9)?))?;
                first_end = Some(at);
            }
            (0x2c, Some(end)) => return Some((size, [&bytes[..end], &[0x3b]].concat().into())),
            (0x3b, Some(_)) => return Some((size, bytes.into())),
            _ => return None,
        }
    }
}

/// Behind a row of blocks, each after its length, the last one empty.
fn blocks_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let length = usize::from(*bytes.get(at)?);
        at += 1 + length;
        if length == 0 {
            return Some(at);
        }
    }
}

fn webp(bytes: &[u8]) -> Seen<'_> {
    let length = u32::from_le_bytes(bytes.get(4..8)?.try_into().ok()?);
    if u64::from(length) + 8 > bytes.len() as u64 {
        return None;
    }
    let at = |at: usize| bytes.get(at).copied().map(u32::from);
    let size = match bytes.get(12..16)? {
        b"VP8 " if bytes.get(23..26)? == b"\x9d\x01\x2a" => {
            ((at(26)? | at(27)? << 8) & 0x3fff, (at(28)? | at(29)? << 8) & 0x3fff)
        }
        b"VP8L" if at(20)? == 0x2f => {
            let packed = at(21)? | at(22)? << 8 | at(23)? << 16 | at(24)? << 24;
            ((packed & 0x3fff) + 1, (packed >> 14 & 0x3fff) + 1)
        }
        b"VP8X" => ((at(24)? | at(25)? << 8 | at(26)? << 16) + 1, (at(27)? | at(28)? << 8 | at(29)? << 16) + 1),
        _ => return None,
    };
    Some((size, bytes.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIF: &[u8] = b"GIF89a\x02\x00\x03\x00\x80\0\0\0\0\0\xff\xff\xff\
        \x2c\0\0\0\0\x02\0\x03\0\0\x02\x02\x84\x51\0\x3b";

    fn chunk(kind: &[u8], content: &[u8]) -> Vec<u8> {
        [&u32::try_from(content.len()).unwrap().to_be_bytes(), kind, content, &[0; 4]].concat()
    }

    fn png_of(width: u32, height: u32) -> Vec<u8> {
        let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 0, 0, 0, 0]].concat();
        let chunks = [chunk(b"IHDR", &header), chunk(b"IDAT", b"x"), chunk(b"IEND", b"")].concat();
        [b"\x89PNG\r\n\x1a\n", chunks.as_slice()].concat()
    }

    fn jpeg_of(width: u16, height: u16) -> Vec<u8> {
        let frame = [&[0xff, 0xc2, 0, 11, 8][..], &height.to_be_bytes(), &width.to_be_bytes(), &[1, 1, 0x11, 0]];
        [b"\xff\xd8\xff\xe0\0\x04ab\xff".as_slice(), &frame.concat(), b"\xff\xda\0\x02pixels\xff\xd9"].concat()
    }

    fn webp_of(kind: &[u8], content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len()).unwrap();
        [b"RIFF", &(length + 12).to_le_bytes()[..], b"WEBP", kind, &length.to_le_bytes(), content].concat()
    }

    #[test]
    fn whole_images_are_shown_with_their_size() {
        let lossy = webp_of(b"VP8 ", b"\0\0\0\x9d\x01\x2a\x07\0\x09\x40");
        let lossless = webp_of(b"VP8L", &[0x2f, 6, 0, 2, 0]);
        let extended = webp_of(b"VP8X", &[0, 0, 0, 0, 6, 0, 0, 8, 0, 0]);
        for (bytes, media_type, size) in [
            (png_of(7, 9), "image/png", (7, 9)),
            (jpeg_of(7, 9), "image/jpeg", (7, 9)),
            (GIF.to_vec(), "image/gif", (2, 3)),
            (lossy, "image/webp", (7, 9)),
            (lossless, "image/webp", (7, 9)),
            (extended, "image/webp", (7, 9)),
        ] {
            let seen = view(&bytes).unwrap();
            assert_eq!((seen.media_type, seen.size), (media_type, size));
            assert_eq!(*seen.bytes, bytes);
        }
    }

    #[test]
    fn what_a_server_would_refuse_is_told() {
        for whole in [png_of(7, 9), jpeg_of(7, 9), GIF.to_vec(), webp_of(b"VP8L", &[0x2f, 6, 0, 2, 0])] {
            for end in 12..whole.len() {
                assert!(view(&whole[..end]).unwrap_err().contains("not complete"), "{end}");
            }
        }
        assert!(view(&png_of(8_001, 1)).unwrap_err().contains("8001 x 1 pixels"));
        assert!(view(&png_of(0, 1)).unwrap_err().contains("no pixels"));
        assert!(view(&[png_of(1, 1), vec![0; 3_750_000]].concat()).unwrap_err().contains("smaller copy"));
        assert!(view(b"BM....").unwrap_err().contains("convert"));
    }

    #[test]
    fn of_an_animation_the_first_picture_is_shown() {
        let picture = &GIF[19..GIF.len() - 1];
        let repeat = b"\x21\xf9\x04\0\0\0\0\0";
        let animated = [&GIF[..19], repeat, picture, repeat, picture, b"\x3b"].concat();
        let seen = view(&animated).unwrap();
        assert_eq!(*seen.bytes, [&GIF[..19], repeat, picture, b"\x3b"].concat());
    }

    #[test]
    fn a_block_gets_its_true_type_or_becomes_text() {
        let block = |data: &str| json!({"type": "image", "media_type": "image/png", "data": data});
        let mut found = block(&STANDARD.encode(GIF));
        mend(&mut found);
        assert_eq!(found["media_type"], "image/gif");
        for bad in ["", "!!", "AAAA"] {
            let mut found = block(bad);
            mend(&mut found);
            assert!(found["text"].as_str().unwrap().starts_with("[An image is left out: it is no"), "{found}");
        }
        let mut text = json!({"type": "text", "text": "x"});
        mend(&mut text);
        assert_eq!(text, json!({"type": "text", "text": "x"}));
    }
}
