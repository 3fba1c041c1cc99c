//! Changes to a text, made while it is read.

use std::borrow::Cow;
use std::ops::Range;

/// A document as it becomes, from the first change to a text on. Changes come in the order of the text.
#[derive(Debug, Default)]
pub(super) struct Edits {
    /// Where the document begins in the text.
    start: usize,
    /// What has become of the text from there ...
    document: String,
    /// ... to here; nothing has changed yet where that is empty.
    end: usize,
}

impl Edits {
    /// The document is what is at `start` of a text.
    pub(super) fn begin(&mut self, start: usize) {
        (self.start, self.end) = (start, start);
        self.document.clear();
    }

    /// `range` of the text becomes what is appended to what this returns.
    pub(super) fn replace(&mut self, text: &str, range: Range<usize>) -> &mut String {
        if self.document.is_empty() {
            self.document.reserve(text.len() - self.start + SPARE_BYTES);
        }
        self.document.push_str(&text[self.end..range.start]);
        self.end = range.end;
        &mut self.document
    }

    /// `parts` are put in at a place of the text that is before all changes.
    pub(super) fn insert_first(&mut self, text: &str, at: usize, parts: &[&str]) {
        match self.document.is_empty() {
            true => self.replace(text, at..at).extend(parts.iter().copied()),
            false => self.document.insert_str(at - self.start, &parts.concat()),
        }
    }

    /// `range` of the text with all changes made.
    pub(super) fn finish<'t>(&mut self, text: &'t str, range: Range<usize>) -> Cow<'t, [u8]> {
        if self.document.is_empty() {
            return Cow::Borrowed(&text.as_bytes()[range]);
        }
        self.document.push_str(&text[self.end..range.end]);
        Cow::Owned(std::mem::take(&mut self.document).into_bytes())
    }
}

/// What most documents grow by at most.
const SPARE_BYTES: usize = 128;
