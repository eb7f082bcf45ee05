use super::*;
use proptest::prelude::*;

/// As Jupyter writes it.
const NOTEBOOK: &str = r##"{
 "cells": [
  {
   "cell_type": "markdown",
   "id": "aaaa",
   "metadata": {},
   "source": [
    "# Title"
   ]
  },
  {
   "cell_type": "code",
   "execution_count": 5,
   "id": "bbbb",
   "metadata": {
    "number": 1E+2
   },
   "outputs": [
    {
     "name": "stdout",
     "output_type": "stream",
     "text": [
      "1\n"
     ]
    }
   ],
   "source": [
    "x = 1\n",
    "print(x)"
   ]
  }
 ],
 "metadata": {
  "big": 123456789012345678901234567890
 },
 "nbformat": 4,
 "nbformat_minor": 5
}
"##;

fn change(text: &str, change: &Change<'_>) -> Result<String, String> {
    apply(&Notebook::parse(text)?, change)
}

#[test]
fn a_new_source_changes_these_lines_only() {
    let after = change(NOTEBOOK, &Change::Replace { index: 1, source: "y = 2\n", cell_type: None }).unwrap();
    let expected = NOTEBOOK
        .replace("\"execution_count\": 5", "\"execution_count\": null")
        .replace("    \"x = 1\\n\",\n    \"print(x)\"\n", "    \"y = 2\\n\"\n");
    let outputs = expected.find("\"outputs\": [").unwrap();
    let end = expected[outputs..].find("\n   ],").unwrap() + outputs;
    let expected = format!("{}\"outputs\": [],{}", &expected[..outputs], &expected[end + "\n   ],".len()..]);
    assert_eq!(after, expected);
    let after = change(NOTEBOOK, &Change::Replace { index: 0, source: "# Two\n\nlines", cell_type: None }).unwrap();
    assert_eq!(after, NOTEBOOK.replace("    \"# Title\"\n", "    \"# Two\\n\",\n    \"\\n\",\n    \"lines\"\n"));
}

#[test]
fn inserting_and_deleting_undo_one_another() {
    for index in 0..=2 {
        for cell_type in [CellType::Code, CellType::Markdown, CellType::Raw] {
            let after = change(NOTEBOOK, &Change::Insert { index, source: "new", cell_type }).unwrap();
            let notebook = Notebook::parse(&after).unwrap();
            let cell = notebook.cell(index).unwrap();
            assert_eq!((cell.source().as_str(), cell.kind().as_str()), ("new", cell_type.name()));
            assert!(cell.id().is_some_and(|id| id.len() == 8));
            assert_eq!(cell.get("outputs").is_some(), cell_type == CellType::Code);
            assert_eq!(change(&after, &Change::Delete { index }).unwrap(), NOTEBOOK);
        }
    }
    let empty = change(&change(NOTEBOOK, &Change::Delete { index: 0 }).unwrap(), &Change::Delete { index: 0 }).unwrap();
    assert!(empty.starts_with("{\n \"cells\": [],\n \"metadata\""), "{empty}");
    let one = change(&empty, &Change::Insert { index: 0, source: "a", cell_type: CellType::Raw }).unwrap();
    assert!(one.starts_with("{\n \"cells\": [\n  {\n   \"cell_type\": \"raw\",\n   \"id\":"), "{one}");
    assert!(one.contains("    \"a\"\n   ]\n  }\n ],\n \"metadata\""), "{one}");
}

#[test]
fn another_type_takes_and_leaves_what_it_must() {
    let markdown =
        change(NOTEBOOK, &Change::Replace { index: 1, source: "text", cell_type: Some(CellType::Markdown) }).unwrap();
    let notebook = Notebook::parse(&markdown).unwrap();
    let cell = notebook.cell(1).unwrap();
    assert!(cell.get("outputs").is_none() && cell.get("execution_count").is_none());
    assert_eq!(cell.id().as_deref(), Some("bbbb"));
    assert!(markdown.contains("1E+2"));
    let code = change(&markdown, &Change::Replace { index: 1, source: "1", cell_type: Some(CellType::Code) }).unwrap();
    assert_eq!(Notebook::parse(&code).unwrap().cell(1).unwrap().get("outputs"), Some(serde_json::json!([])));
}

#[test]
fn the_writers_style_is_kept() {
    let compact = r#"{"cells":[{"cell_type":"code","execution_count":null,"metadata":{},"outputs":[],"source":"a\u00e9"}],"metadata":{},"nbformat":4,"nbformat_minor":2}"#;
    let after = change(compact, &Change::Replace { index: 0, source: "ü\n😀", cell_type: None }).unwrap();
    assert_eq!(after, compact.replace(r"a\u00e9", r"\u00fc\n\ud83d\ude00"));
    let after = change(compact, &Change::Insert { index: 1, source: "a\nb", cell_type: CellType::Markdown }).unwrap();
    assert!(
        after.contains(r#","source":"a\u00e9"},{"cell_type":"markdown","metadata":{},"source":["a\n","b"]}],"#),
        "{after}"
    );
    let tabs = NOTEBOOK.lines().fold(String::new(), |text, line| {
        let bare = line.trim_start();
        text + &"\t".repeat(line.len() - bare.len()) + bare + "\r\n"
    });
    let after = change(&tabs, &Change::Replace { index: 0, source: "a\nb", cell_type: None }).unwrap();
    assert_eq!(after, tabs.replace("\t\t\t\t\"# Title\"\r\n", "\t\t\t\t\"a\\n\",\r\n\t\t\t\t\"b\"\r\n"));
}

#[test]
fn cells_are_found_by_id_and_by_number() {
    let notebook = Notebook::parse(NOTEBOOK).unwrap();
    assert_eq!(notebook.find("bbbb"), Ok(1));
    assert_eq!(notebook.find("cell-1"), Ok(0));
    for missing in ["cell-0", "cell-3", "cell-x", "", "aaa"] {
        assert!(notebook.find(missing).unwrap_err().contains("2 cells"), "{missing}");
    }
    let twice = NOTEBOOK.replace("aaaa", "bbbb");
    assert!(Notebook::parse(&twice).unwrap().find("bbbb").unwrap_err().contains("more than one"));
}

#[test]
fn what_is_no_notebook_is_said() {
    for (text, says) in [
        ("", "not valid JSON"),
        ("{\"cells\": [", "not valid JSON"),
        ("[]", "no notebook"),
        ("{}", "no nbformat"),
        ("{\"nbformat\": 4}", "no list of cells"),
        ("{\"nbformat\": 4, \"cells\": {}}", "not a list"),
        ("{\"nbformat\": 2, \"worksheets\": []}", "format 2"),
        ("{\"nbformat\": \"4\"}", "no notebook"),
    ] {
        let error = Notebook::parse(text).err().unwrap();
        assert!(error.contains(says), "{text}: {error}");
    }
    let old =
        r#"{"nbformat": 3, "nbformat_minor": 0, "worksheets": [{"cells": [{"cell_type": "code", "input": ["a"]}]}]}"#;
    assert_eq!(Notebook::parse(old).unwrap().cell(0).unwrap().source(), "a");
    assert!(change(old, &Change::Delete { index: 0 }).unwrap_err().contains("convert it first"));
    let broken = r#"{"nbformat": 4, "nbformat_minor": 5, "cells": [1, {"cell_type": "code"}]}"#;
    assert!(change(broken, &Change::Replace { index: 0, source: "", cell_type: None }).unwrap_err().contains("cell 1"));
    assert!(change(broken, &Change::Replace { index: 1, source: "", cell_type: None }).unwrap_err().contains("source"));
}

proptest! {
    /// Any text comes back as it was put in, and nothing else has changed.
    #[test]
    fn any_source_round_trips(source in any::<String>(), index in 0..2usize) {
        let after = change(NOTEBOOK, &Change::Replace { index, source: &source, cell_type: None }).unwrap();
        let notebook = Notebook::parse(&after).unwrap();
        prop_assert_eq!(notebook.cell(index).unwrap().source(), source);
        let other = Notebook::parse(NOTEBOOK).unwrap();
        prop_assert_eq!(notebook.cells[1 - index].get(), other.cells[1 - index].get());
    }

    #[test]
    fn reading_never_panics(text in any::<String>(), cut in 0..NOTEBOOK.len()) {
        let _ = Notebook::parse(&text);
        let _ = Notebook::parse(&NOTEBOOK[..cut]);
    }
}
