//! A PDF as text, page by page. `PDFium` reads it in a child process (`claw_kernel/pdf_pages.py`) with bounds on memory and
//! time: a file made to break its reader ends that process and nothing else. The child gets the bytes, never a path.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::super::{Context, Output, ToolError};
use super::{MAX_CHARS, MAX_PAGES, PDF_SECONDS};
use crate::output::random_name;
use crate::sandbox::{self, Input, Process, Request, spawn};

/// Of the child's answer: texts are escaped in it.
const MAX_ANSWER: usize = 8 << 20;

/// Pages, both ends included, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pages {
    first: u32,
    last: u32,
}

impl Pages {
    /// `3` or `1-5`. The error says what is accepted.
    pub fn parse(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.trim().parse::<u32>().ok().filter(|number| *number > 0);
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (Some(first), Some(last)) = (number(first), number(last)) else {
            return Err(format!("pages is a page or a range such as 1-5, not {text:?}"));
        };
        if last < first || u64::from(last - first) >= MAX_PAGES {
            return Err(format!("pages is a range of at most {MAX_PAGES} pages, the first one first"));
        }
        Ok(Self { first, last })
    }
}

impl Default for Pages {
    fn default() -> Self {
        Self { first: 1, last: u32::try_from(MAX_PAGES).unwrap_or(u32::MAX) }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Error(String),
    Read { total: u32, texts: Vec<String> },
}

/// The text of `pages`.
pub fn read(path: &str, content: &[u8], pages: Pages, context: &Context<'_>) -> Result<Output, ToolError> {
    let failed = |why: &str| ToolError::failed(format!("{path} cannot be read: {why}"));
    let (total, texts) = match ask(content, pages, context, &failed)? {
        Answer::Error(why) => return Err(failed(&why)),
        Answer::Read { total, texts } => (total, texts),
    };
    if texts.is_empty() {
        return Err(ToolError::failed(format!("{path} has only {total} pages; there is no page {}.", pages.first)));
    }
    let mut text = String::new();
    let (mut chars, mut last) = (0, pages.first);
    let mut has_text = false;
    for (number, page) in (pages.first..).zip(&texts) {
        let page = page.trim();
        chars += page.chars().count();
        if chars > MAX_CHARS && number > pages.first {
            break;
        }
        has_text |= !page.is_empty();
        let page = if page.is_empty() { "[no text on this page]" } else { page };
        let _ = writeln!(text, "[page {number} of {total}]\n{page}\n");
        last = number;
    }
    if !has_text {
        text.push_str(
            "[These pages hold no text: they are probably scanned. Render them to images and look at those.]\n",
        );
    }
    if last < total {
        let next = last + 1;
        let until = total.min(last + u32::try_from(MAX_PAGES).unwrap_or(0));
        let _ = writeln!(text, "[pages {}-{last} of {total}; go on with pages {next}-{until}]", pages.first);
    }
    Ok(Output::text(text).detail("pages", last - pages.first + 1).detail("total_pages", total))
}

fn ask(
    content: &[u8],
    pages: Pages,
    context: &Context<'_>,
    failed: &impl Fn(&str) -> ToolError,
) -> Result<Answer, ToolError> {
    let python = context.python.ok_or_else(|| failed("there is no Python interpreter to read PDF files with."))?;
    let arguments: Vec<OsString> = ["-I", "-m", "claw_kernel.pdf_pages"]
        .into_iter()
        .map(OsString::from)
        .chain([pages.first.to_string().into(), pages.last.to_string().into(), MAX_CHARS.to_string().into()])
        .collect();
    let marker = format!("{}-{}", context.marker, random_name());
    let not_started = |error: std::io::Error| failed(&format!("its reader cannot be started: {error}."));
    let confinement = context.containment.reading().map_err(not_started)?;
    let running = spawn(&Request {
        program: python,
        arguments: &arguments,
        folder: context.workspace.path(),
        environment: context.environment,
        marker: &marker,
        input: Input::Pipe,
        output: sandbox::Output::Separate,
        confinement: &confinement,
    })
    .and_then(|running| Process::new(running, &marker))
    .map_err(not_started)?;
    let until = Instant::now() + Duration::from_secs(PDF_SECONDS);
    // The child reads all before it answers; one that dies first has its say below.
    let _ = running.write(content);
    running.close_input();
    let mut answer = Vec::new();
    loop {
        if context.cancel.is_cancelled() {
            return Err(ToolError::Cancelled); // dropping it ends the child
        }
        if Instant::now() > until {
            return Err(failed(&format!("it took more than {PDF_SECONDS} seconds.")));
        }
        match running.read_output(64 << 10, Some(Duration::from_millis(50))) {
            Ok(None) => {}
            Ok(Some(more)) if more.is_empty() => break,
            Ok(Some(more)) => answer.extend(more),
            Err(error) => return Err(failed(&format!("its reader failed: {error}."))),
        }
        if answer.len() > MAX_ANSWER {
            return Err(failed("its pages hold too much text; ask for fewer of them."));
        }
    }
    serde_json::from_slice(&answer).map_err(|_| {
        let errors = running.read_errors(4 << 10, Some(Duration::from_millis(100))).ok().flatten().unwrap_or_default();
        if String::from_utf8_lossy(&errors).contains("No module named") {
            return failed("PDF files need the Python package pypdfium2: pip install pypdfium2.");
        }
        failed("its reader gave up; the file is damaged, or needs more memory or time than is allowed.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_pages() {
        assert_eq!(Pages::parse("3"), Ok(Pages { first: 3, last: 3 }));
        assert_eq!(Pages::parse("1-5"), Ok(Pages { first: 1, last: 5 }));
        assert_eq!(Pages::parse(" 7 - 26 "), Ok(Pages { first: 7, last: 26 }));
        for wrong in ["", "0", "a", "1-", "-5", "5-1", "1-21", "1,3", "1-2-3", "99999999999"] {
            assert!(Pages::parse(wrong).is_err(), "{wrong}");
        }
    }
}
