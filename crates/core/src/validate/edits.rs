//! Changes to a text, noted while it is read and made when it has been.

use std::borrow::Cow;
use std::ops::Range;

use crate::value::json::Superseded;

/// Ranges of a text and what they become. Used again for the next text.
#[derive(Debug, Default)]
pub(super) struct Edits {
    list: Vec<Edit>,
    /// What is put in, one after another.
    texts: String,
}

/// `start..end` of the document becomes `text..text_end` of the texts.
#[derive(Debug, Clone, Copy)]
struct Edit {
    start: usize,
    end: usize,
    text: usize,
    text_end: usize,
}

impl Edits {
    pub(super) fn clear(&mut self) {
        self.list.clear();
        self.texts.clear();
    }

    /// `range` becomes `parts`. What is put in at one place stays in the order noted.
    pub(super) fn replace(&mut self, range: Range<usize>, parts: &[&str]) {
        let text = self.texts.len();
        parts.iter().for_each(|part| self.texts.push_str(part));
        self.list.push(Edit { start: range.start, end: range.end, text, text_end: self.texts.len() });
    }

    /// `range` of the text with all changes made, and without what is superseded. Changes inside of that are lost.
    pub(super) fn apply<'t>(&mut self, text: &'t str, range: Range<usize>, superseded: &[Superseded]) -> Cow<'t, [u8]> {
        let text = text.as_bytes();
        for gone in superseded {
            self.replace(gone.start..gone.end, &[]);
        }
        if self.list.is_empty() {
            return Cow::Borrowed(&text[range]);
        }
        // Stable, so that what is put in where a superseded member begins stays in front of it.
        self.list.sort_by_key(|edit| edit.start);
        let mut document = Vec::with_capacity(range.len() + self.texts.len());
        let mut done = range.start;
        for edit in self.list.iter().copied() {
            if edit.start < done {
                continue; // Inside of something removed.
            }
            document.extend_from_slice(&text[done..edit.start]);
            document.extend_from_slice(&self.texts.as_bytes()[edit.text..edit.text_end]);
            done = edit.end;
        }
        document.extend_from_slice(&text[done..range.end]);
        Cow::Owned(document)
    }
}
