//! Schema files as written: definitions with the place of every word, before anything is checked.

use std::ops::Range;

use apollo_parser::cst::{self, CstNode};
use apollo_parser::{Parser, SyntaxKind};

use super::diagnostic::{Diagnostic, Source};
use super::suggest::suggest;

/// Something and where it was written.
#[derive(Debug, Clone)]
pub(super) struct Spanned<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

/// `type Dog @table { .. }`.
#[derive(Debug)]
pub(super) struct TypeDefinition {
    pub(super) name: Spanned<String>,
    pub(super) docs: Option<String>,
    pub(super) directives: Vec<Directive>,
    pub(super) fields: Vec<Field>,
}

/// `name: String! @indexed`.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: Spanned<String>,
    pub(super) docs: Option<String>,
    pub(super) ty: TypeExpression,
    pub(super) directives: Vec<Directive>,
}

/// `String`, `[Int!]!`.
#[derive(Debug)]
pub(super) struct TypeExpression {
    pub(super) shape: ShapeExpression,
    pub(super) required: bool,
    pub(super) span: Range<usize>,
}

#[derive(Debug)]
pub(super) enum ShapeExpression {
    Named(String),
    List(Box<TypeExpression>),
}

/// `@export(name: "dogs")`.
#[derive(Debug)]
pub(super) struct Directive {
    /// With the `@` in its span.
    pub(super) name: Spanned<String>,
    pub(super) arguments: Vec<(Spanned<String>, Spanned<Value>)>,
}

/// The value of an argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    /// As written, with fraction and exponent if there are any.
    Number(String),
    Flag(bool),
    Word(String),
    /// `null`, lists, objects, variables: nothing a directive takes.
    Other,
}

/// The type definitions of a file; on failure the first mistake of each.
pub(super) fn parse(source: &Source) -> Result<Vec<TypeDefinition>, Vec<Diagnostic>> {
    if is_blank(&source.text) {
        return Ok(Vec::new());
    }
    let tree = Parser::new(&source.text).recursion_limit(RECURSION_MAX).parse();
    let mut errors: Vec<_> = tree.errors().collect();
    errors.sort_by_key(|error| error.index());
    let mut diagnostics = Vec::new();
    let mut next_definition = 0;
    for error in errors {
        if error.index() >= next_definition {
            diagnostics.push(syntax_error(source, error.message(), error.data(), error.index()));
            next_definition = definition_after(&source.text, error.index());
        }
    }
    if !diagnostics.is_empty() {
        return Err(diagnostics);
    }
    let mut definitions = Vec::new();
    for definition in tree.document().definitions() {
        match read_definition(source, &definition) {
            Ok(definition) => definitions.push(definition),
            Err(refused) => diagnostics.push(refused.unwrap_or_else(|| {
                Diagnostic::new(source, span(definition.syntax()), "this definition is not complete")
            })),
        }
    }
    if diagnostics.is_empty() { Ok(definitions) } else { Err(diagnostics) }
}

/// Nothing but space and comments, which the parser takes for a mistake.
fn is_blank(text: &str) -> bool {
    text.lines().map(str::trim).all(|line| line.is_empty() || line.starts_with('#'))
}

/// Where the next line begins that looks like a new definition: the parser's complaints up to there are about one.
fn definition_after(text: &str, index: usize) -> usize {
    let starts = text[index..].match_indices('\n').map(|(at, _)| index + at + 1);
    let mut definitions = starts.filter(|&at| text[at..].starts_with("type ") || text[at..].starts_with("\"\"\""));
    definitions.next().unwrap_or(usize::MAX)
}

/// The parser's complaint in our words.
fn syntax_error(source: &Source, message: &str, found: &str, index: usize) -> Diagnostic {
    let span = index..index + found.lines().next().unwrap_or_default().len();
    let is_end = index >= source.text.trim_end().len();
    let expected = |what: &str| {
        let found = if is_end { "the end of the file".to_owned() } else { format!("`{found}`") };
        Diagnostic::new(source, span.clone(), format!("expected {what}, found {found}"))
    };
    match message {
        _ if found.starts_with('"') && message.contains("definition") => {
            Diagnostic::new(source, span, "no type follows this description")
        }
        "expected definition" | "expected a StringValue, Name or OperationDefinition" => {
            let diagnostic = expected("a type definition");
            match suggest(found, ["type"]) {
                Some(_) => diagnostic.help("did you mean `type`?"),
                None => diagnostic.help("a table is declared as in `type Dog @table @export { name: String }`"),
            }
        }
        "expected Field Definition" if found == "}" => expected("a field")
            .help("a table without attributes is declared without braces, as in `type MyTopic @table @export`"),
        "expected Field Definition" => expected("a field, as in `name: String`"),
        "expected a type" => expected("`:` and a type, as in `name: String`"),
        "expected a Type" => expected("a type"),
        "expected a valid Value" => expected("a value"),
        "expected an Argument" => expected("an argument, as in `name: \"dogs\"`"),
        "expected a name" | "expected a Name" => expected("a name"),
        "unterminated string value" => Diagnostic::new(source, span, "this text has no closing quote"),
        "Unexpected <EOF>." => expected("a type definition"),
        _ if message.starts_with("Unexpected character") => match found {
            "'" => expected("double quotes around texts"),
            _ => expected("letters, digits and `_` only in names"),
        },
        _ => match message.strip_prefix("expected ").and_then(|rest| rest.split_once(", got ")) {
            Some(("R_CURLY", _)) => expected("`}` or another field"),
            Some(("R_PAREN", _)) => expected("`)` or another argument"),
            Some(("R_BRACK", _)) => expected("`]`"),
            _ => Diagnostic::new(source, span, message.to_owned()),
        },
    }
}

/// `Err(None)` for what is incomplete without the parser having complained.
fn read_definition(source: &Source, definition: &cst::Definition) -> Result<TypeDefinition, Option<Diagnostic>> {
    let refuse = |span, message: &str, help: &str| Err(Some(Diagnostic::new(source, span, message).help(help)));
    let cst::Definition::ObjectTypeDefinition(object) = definition else {
        let word = first_word(definition.syntax());
        let message = format!("there is no `{}` in a schema", &source.text[word.clone()]);
        return refuse(word, &message, "tables and the types nested in them are declared with `type`");
    };
    if let Some(implements) = object.implements_interfaces() {
        return refuse(first_word(implements.syntax()), "types implement nothing here", "leave out `implements`");
    }
    let fields = object.fields_definition().map(|fields| fields.field_definitions());
    Ok(TypeDefinition {
        name: read_name(object.name())?,
        docs: read_docs(object.description()),
        directives: read_directives(object.directives())?,
        fields: fields.into_iter().flatten().map(|field| read_field(source, &field)).collect::<Result<_, _>>()?,
    })
}

fn read_field(source: &Source, field: &cst::FieldDefinition) -> Result<Field, Option<Diagnostic>> {
    if let Some(arguments) = field.arguments_definition() {
        let diagnostic = Diagnostic::new(source, span(arguments.syntax()), "fields take no arguments here");
        return Err(Some(diagnostic.help("leave out the parentheses")));
    }
    Ok(Field {
        name: read_name(field.name())?,
        docs: read_docs(field.description()),
        ty: read_type(&field.ty().ok_or(None)?)?,
        directives: read_directives(field.directives())?,
    })
}

fn read_type(ty: &cst::Type) -> Result<TypeExpression, Option<Diagnostic>> {
    let (named, list, required) = match ty {
        cst::Type::NamedType(named) => (Some(named.clone()), None, false),
        cst::Type::ListType(list) => (None, Some(list.clone()), false),
        cst::Type::NonNullType(inner) => (inner.named_type(), inner.list_type(), true),
    };
    let shape = match (named, list) {
        (Some(named), _) => ShapeExpression::Named(read_name(named.name())?.value),
        (None, Some(list)) => ShapeExpression::List(Box::new(read_type(&list.ty().ok_or(None)?)?)),
        (None, None) => return Err(None),
    };
    Ok(TypeExpression { shape, required, span: span(ty.syntax()) })
}

fn read_directives(directives: Option<cst::Directives>) -> Result<Vec<Directive>, Option<Diagnostic>> {
    let directives = directives.map(|directives| directives.directives());
    directives.into_iter().flatten().map(|directive| read_directive(&directive)).collect()
}

fn read_directive(directive: &cst::Directive) -> Result<Directive, Option<Diagnostic>> {
    let mut name = read_name(directive.name())?;
    name.span.start = span(directive.syntax()).start;
    let arguments = directive.arguments().map(|arguments| arguments.arguments());
    let arguments = arguments.into_iter().flatten().map(|argument| {
        let value = argument.value().ok_or(None)?;
        Ok((read_name(argument.name())?, Spanned { value: read_value(&value), span: span(value.syntax()) }))
    });
    Ok(Directive { name, arguments: arguments.collect::<Result<_, Option<Diagnostic>>>()? })
}

fn read_value(value: &cst::Value) -> Value {
    match value {
        cst::Value::StringValue(text) => Value::Text(text.into()),
        cst::Value::IntValue(_) | cst::Value::FloatValue(_) => Value::Number(words(value.syntax())),
        cst::Value::BooleanValue(flag) => Value::Flag(flag.true_token().is_some()),
        cst::Value::EnumValue(_) => Value::Word(words(value.syntax())),
        _ => Value::Other,
    }
}

fn read_name(name: Option<cst::Name>) -> Result<Spanned<String>, Option<Diagnostic>> {
    let name = name.ok_or(None)?;
    Ok(Spanned { value: name.text().to_string(), span: span(name.syntax()) })
}

fn read_docs(description: Option<cst::Description>) -> Option<String> {
    let text = String::from(description?.string_value()?);
    if text.trim().is_empty() { None } else { Some(text.trim().to_owned()) }
}

/// The bytes of a node from its first to its last word.
fn span(node: &apollo_parser::SyntaxNode) -> Range<usize> {
    let mut ranges = tokens(node).map(|token| token.text_range());
    let first = ranges.next().unwrap_or_else(|| node.text_range());
    let last = ranges.last().unwrap_or(first);
    first.start().into()..last.end().into()
}

fn first_word(node: &apollo_parser::SyntaxNode) -> Range<usize> {
    let first = tokens(node).find(|token| token.kind() != SyntaxKind::STRING);
    first.map_or_else(|| span(node), |token| token.text_range().start().into()..token.text_range().end().into())
}

fn words(node: &apollo_parser::SyntaxNode) -> String {
    tokens(node).map(|token| token.text().to_owned()).collect()
}

fn tokens(node: &apollo_parser::SyntaxNode) -> impl Iterator<Item = apollo_parser::SyntaxToken> {
    let is_word = |token: &apollo_parser::SyntaxToken| {
        !matches!(token.kind(), SyntaxKind::WHITESPACE | SyntaxKind::COMMENT | SyntaxKind::COMMA)
    };
    node.descendants_with_tokens().filter_map(|element| element.into_token()).filter(is_word)
}

/// Nothing of a schema nests deeper, and the parser is recursive.
const RECURSION_MAX: usize = 64;
