//! What is wrong with a text its author wrote, and how it is shown to them.

use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// A file's name, as the user would type it, and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Shown before line and column.
    pub name: Arc<str>,
    /// The whole text.
    pub text: Arc<str>,
}

/// One mistake in a [`Source`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Where the mistake is.
    pub source: Source,
    /// The bytes of the text to point at.
    pub span: Range<usize>,
    /// What is wrong, without a full stop.
    pub message: String,
    /// How it could be put right.
    pub help: Option<String>,
}

/// Whether text may hold terminal colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Color {
    /// Letters only.
    Never,
    /// ANSI escape sequences.
    Ansi,
}

impl Source {
    /// A text and its name.
    pub fn new(name: &str, text: &str) -> Self {
        Self { name: name.into(), text: text.into() }
    }

    /// `schema.graphql:3:7`: file, line and column of a byte, both counted from 1, columns in characters.
    pub fn place(&self, byte: usize) -> String {
        let before = &self.text[..self.text.floor_char_boundary(byte)];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        format!("{}:{line}:{column}", self.name)
    }
}

impl Diagnostic {
    /// A mistake at `span` of `source`.
    pub fn new(source: &Source, span: Range<usize>, message: impl Into<String>) -> Self {
        Self { source: source.clone(), span, message: message.into(), help: None }
    }

    /// The same with advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// The mistakes as a terminal shows them: each with file, line and column, the line itself and what to do.
pub fn render(diagnostics: &[Diagnostic], color: Color) -> String {
    let renderer = match color {
        Color::Never => Renderer::plain(),
        Color::Ansi => Renderer::styled(),
    };
    let rendered: Vec<String> = diagnostics.iter().map(|diagnostic| render_one(diagnostic, &renderer)).collect();
    rendered.join("\n\n")
}

fn render_one(diagnostic: &Diagnostic, renderer: &Renderer) -> String {
    let snippet = Snippet::source(&*diagnostic.source.text)
        .path(&*diagnostic.source.name)
        .annotation(AnnotationKind::Primary.span(diagnostic.span.clone()));
    let mut group = Level::ERROR.primary_title(&diagnostic.message).element(snippet);
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(help));
    }
    renderer.render(&[group])
}
