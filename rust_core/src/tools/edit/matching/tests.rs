use super::*;
use proptest::prelude::*;

fn edit(content: &[u8], old: &str, new: &str, is_all: bool) -> Result<(Vec<u8>, usize), String> {
    let applied = apply(content, old, new, is_all)?;
    assert_eq!(applied.level, Level::Exact);
    Ok((applied.content, applied.count))
}

fn loosely(content: &str, old: &str, new: &str) -> Result<(String, Level), String> {
    let applied = apply(content.as_bytes(), old, new, false)?;
    Ok((String::from_utf8(applied.content).unwrap(), applied.level))
}

#[test]
fn a_text_must_occur_once_or_all_are_meant() {
    assert_eq!(edit(b"a b a", "b", "c", false).unwrap(), (b"a c a".to_vec(), 1));
    assert_eq!(edit(b"a b a", "a", "c", true).unwrap(), (b"c b c".to_vec(), 2));
    let error = edit(b"x\na\nb\na", "a", "c", false).unwrap_err();
    assert!(error.contains("2 times (lines 2, 4)"), "{error}");
    assert!(edit(b"x", "y", "z", false).unwrap_err().contains("not found"));
}

#[test]
fn what_is_not_found_is_explained_by_what_stands_there() {
    let error = |old: &str| edit(b"def f():\n    return 1\n\ndef g():\n    return 2\n", old, "x", true).unwrap_err();
    assert!(error("1\tdef f():\n2\t    return 1").contains("line numbers that Read shows"));
    assert!(
        error("def g():\n    return 3")
            .contains("from line 4 on, but line 5 is `return 2`, and old_string has `return 3`")
    );
    assert!(error("def g():\n    return 2\nmore").contains("line 6 is the end of the file"));
    assert!(error("def g(): ").contains("Line 4 and what follows differ from it only in white space"));
    assert!(error("nothing").contains("Read the file again"));
    assert!(error(&format!("def g():\n{}", "ü".repeat(200))).contains(&format!("`{}…`", "ü".repeat(100))));
}

#[test]
fn line_ends_stay_as_they_are() {
    assert_eq!(edit(b"a\r\nb\r\nc", "a\nb", "x\ny\nz", false).unwrap().0, b"x\r\ny\r\nz\r\nc");
    assert_eq!(edit(b"a\r\nb\r\n", "b", "x\ny", false).unwrap().0, b"a\r\nx\r\ny\r\n");
    assert_eq!(edit(b"a\nb", "b", "c", false).unwrap().0, b"a\nc");
    assert_eq!(edit(b"a\r\nb\nc\n", "b\nc", "x\ny", false).unwrap().0, b"a\r\nx\ny\n");
}

#[test]
fn encodings_stay_as_they_are() {
    assert_eq!(edit(b"\xef\xbb\xbfa\xc3\xa9", "é", "ü", false).unwrap().0, "\u{feff}aü".as_bytes());
    assert_eq!(edit(b"caf\xe9 x", "café", "thé", false).unwrap().0, b"th\xe9 x");
    assert_eq!(edit(b"caf\xe9 x", "x", "y", false).unwrap().0, b"caf\xe9 y");
    assert!(edit(b"caf\xe9 x", "café", "日本", false).unwrap_err().contains("not UTF-8"));
    assert_eq!(
        edit(b"na\xc3\xafve \xe9", "naïve", "dümm", false).unwrap().0,
        "dümm ".bytes().chain([0xe9]).collect::<Vec<_>>()
    );
    let utf16: Vec<u8> = "\u{feff}a日b".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let expected: Vec<u8> = "\u{feff}a本b".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(edit(&utf16, "日", "本", false).unwrap().0, expected);
}

#[test]
fn white_space_at_line_ends_may_differ() {
    let (after, level) = loosely("a  \nb\t\nc\n", "a\nb", "x\ny").unwrap();
    assert_eq!((after.as_str(), level), ("x\ny\nc\n", Level::LineEnds));
    let (after, level) = loosely("a \r\nb\r\nc\r\n", "a\nb\n", "x\n").unwrap();
    assert_eq!((after.as_str(), level), ("x\r\nc\r\n", Level::LineEnds));
    let error = loosely("a \nb\na\t\nb\n", "a\nb", "x").unwrap_err();
    assert!(error.contains("2 times apart from white space at the ends of lines (lines 1, 3)"), "{error}");
    assert!(loosely("a\n \nb", "  \n\t", "x").is_err(), "blank lines are no place");
}

#[test]
fn the_new_text_is_indented_as_the_file_is() {
    let file = "class A:\n    def f(self):\n        return 1\n";
    let (after, level) = loosely(file, "def f(self):\n  return 1", "def f(self):\n  # two\n  return 2").unwrap();
    assert_eq!(level, Level::Indentation);
    assert_eq!(after, "class A:\n    def f(self):\n        # two\n        return 2\n");
    // All of it deeper in the file than in the call, a deeper line being new.
    let (after, _) =
        loosely(file, "def f(self):\n    return 1\n", "def f(self):\n    if x:\n        return 2\n\n").unwrap();
    assert_eq!(after, "class A:\n    def f(self):\n        if x:\n            return 2\n\n");
    // Tabs in the file, spaces in the call.
    let (after, _) = loosely("if a:\n\tb()\n", "if a:\n    b()\n", "if a:\n    c()\n    d()\n").unwrap();
    assert_eq!(after, "if a:\n\tc()\n\td()\n");
    // The call has more than the file.
    let (after, _) = loosely("a:\n  b\n", "    a:\n      b", "    a:\n        c").unwrap();
    assert_eq!(after, "a:\n    c\n");
}

#[test]
fn an_indentation_that_is_not_clear_is_not_guessed() {
    // Two lines of one indentation in the call have different ones in the file.
    let error = loosely("a\n  b\n    c\n", "a\nb\nc", "a\nx\nc").unwrap_err();
    assert!(error.contains("line 1 with another indentation"), "{error}");
    // A line deeper than any that is known, and tabs against spaces.
    assert!(loosely("if a:\n\tb()\n", "if a:\n    b()\n", "if a:\n        b()\n").is_err());
    let error = loosely("  a\n    a\n", "a\n", "b\n").unwrap_err();
    assert!(error.contains("occurs 2 times"), "{error}");
}

#[test]
fn typographic_punctuation_may_differ() {
    let (after, level) = loosely("say “hi” – it’s\u{a0}me", "\"hi\" - it's me", "ho").unwrap();
    assert_eq!((after.as_str(), level), ("say ho", Level::Punctuation));
    let (after, _) = loosely("a “b”\r\nc ’d\r\n", "\"b\"\nc 'd", "x\ny").unwrap();
    assert_eq!(after, "a x\r\ny\r\n");
    assert!(loosely("“a” \"b\" „c”", "'z'", "").unwrap_err().contains("not found"));
    assert!(loosely("“a” ”a”", "\"a\"", "b").unwrap_err().contains("apart from typographic punctuation (lines 1, 1)"));
}

#[test]
fn only_the_exact_text_is_replaced_everywhere_or_in_unknown_encodings() {
    assert!(apply(b"a \nb", "a\nb", "c", true).unwrap_err().contains("only in white space"));
    assert!(apply(b"\xe9 \nb", "\u{e9}\nb", "c", false).unwrap_err().contains("only in white space"));
}

#[test]
fn marks_and_wide_units_keep_their_places_on_every_level() {
    let text = "\u{feff}日本 \n“x”\n\tend\n";
    for (old, new, expected) in [
        ("日本\n“x”", "a", "\u{feff}a\n\tend\n"),
        ("\"x\"", "y", "\u{feff}日本 \ny\n\tend\n"),
        ("  end\n", "  fin\n", "\u{feff}日本 \n“x”\n\tfin\n"),
    ] {
        assert_eq!(apply(text.as_bytes(), old, new, false).unwrap().content, expected.as_bytes());
        for to in [u16::to_le_bytes, u16::to_be_bytes] {
            let wide = |text: &str| text.encode_utf16().flat_map(to).collect::<Vec<u8>>();
            assert_eq!(apply(&wide(text), old, new, false).unwrap().content, wide(expected));
        }
    }
}

proptest! {
    /// An edit and its reverse give the same bytes again, in every encoding and with every line end.
    #[test]
    fn an_edit_and_its_reverse_round_trip(
        before in "[a-zäé\n ]{0,40}", after in "[a-zäé\n ]{0,40}", form in 0..5usize, is_windows in any::<bool>()
    ) {
        let whole = format!("{before}OLD{after}");
        let whole = if is_windows { to_crlf(&whole) } else { whole };
        let bytes: Vec<u8> = match form {
            0 => whole.into_bytes(),
            1 => format!("\u{feff}{whole}").into_bytes(),
            2 => format!("\u{feff}{whole}").encode_utf16().flat_map(u16::to_le_bytes).collect(),
            3 => format!("\u{feff}{whole}").encode_utf16().flat_map(u16::to_be_bytes).collect(),
            _ => whole.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect(),
        };
        let (changed, _) = edit(&bytes, "OLD", "NEW", false).unwrap();
        prop_assert_ne!(&changed, &bytes);
        prop_assert_eq!(edit(&changed, "NEW", "OLD", false).unwrap().0, bytes);
    }

    /// Whatever is asked: no panic, and a change leaves all bytes before and after one place as they were.
    #[test]
    fn bytes_elsewhere_stay(
        content in prop::collection::vec(prop::sample::select(&[b'a', b'"', b' ', b'\t', b'\n', b'\r', 0xe2, 0x80, 0x9c, 0xff][..]), 0..60),
        old in "[a\"“ \t\n\r]{1,8}", new in "[b\n ]{0,4}"
    ) {
        if let Ok(applied) = apply(&content, &old, &new, false) {
            let same = content.iter().zip(&applied.content).take_while(|(a, b)| a == b).count();
            let tail = content.iter().rev().zip(applied.content.iter().rev()).take_while(|(a, b)| a == b).count();
            let kept = (same + tail).min(content.len());
            // The old text, its white space and line ends, four times as long at most where characters are wide.
            prop_assert!(content.len() - kept <= 4 * old.len() + content.iter().filter(|b| b" \t\r\n".contains(b)).count());
        }
    }
}
