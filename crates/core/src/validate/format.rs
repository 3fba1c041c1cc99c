//! The formats documents are sent and read in. All become JSON, which is what is stored.

use std::borrow::Cow;
use std::cmp::Reverse;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::{MediaRange, Refusal, RefusalKind};
use crate::schema::{Attributes, Role, Scalar, Shape, Table, Type};
use crate::value::binary::Encoding;
use crate::value::cbor::{self, Cbor};
use crate::value::json::{Fault, Kind, Scanner};
use crate::value::msgpack::{self, MessagePack};

/// A format a document can be sent or read in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// `application/json`, another `+json`, or no content type at all.
    #[default]
    Json,
    /// `application/cbor`.
    Cbor,
    /// `application/msgpack`, `application/x-msgpack` or `application/vnd.msgpack`.
    MessagePack,
}

impl Format {
    /// The format of a content type, parameters aside.
    pub fn of(content_type: Option<&str>) -> Result<Self, Refusal> {
        let Some(content_type) = content_type else { return Ok(Self::Json) };
        if content_type == "application/json" {
            return Ok(Self::Json);
        }
        let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let is_patch = essence.ends_with("-patch+json");
        match &*essence {
            "" | "application/json" => Ok(Self::Json),
            "application/cbor" => Ok(Self::Cbor),
            "application/msgpack" | "application/x-msgpack" | "application/vnd.msgpack" => Ok(Self::MessagePack),
            other if other.starts_with("application/") && other.ends_with("+json") && !is_patch => Ok(Self::Json),
            _ => Err(Refusal::new(RefusalKind::MediaType, String::new(), ACCEPTED, format!("`{essence}`"))),
        }
    }

    /// The one that an `Accept` (RFC 9110 §12.5.1) likes best, JSON before others; `None`: it takes none of them.
    pub fn accepted(accept: &str) -> Option<Self> {
        let ranges = accept.split(',').take(ACCEPT_RANGES_MAX).filter_map(MediaRange::parse);
        let ranges = ranges.filter(|range| range.quality > 0).filter_map(|range| {
            let format = match (range.kind, range.subtype) {
                (kind, "*") if kind == "*" || kind.eq_ignore_ascii_case("application") => Self::Json,
                (kind, subtype) => Self::of(Some(&format!("{kind}/{subtype}"))).ok()?,
            };
            Some((format, range.quality))
        });
        let best = ranges.max_by_key(|&(format, quality)| (quality, Reverse(format)));
        best.map(|(format, _)| format)
    }

    /// The content type deliveries in this format name.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Cbor => "application/cbor",
            Self::MessagePack => "application/msgpack",
        }
    }

    /// A payload as JSON, not yet checked where it already was.
    pub(crate) fn decode(self, payload: &[u8]) -> Result<Cow<'_, [u8]>, Refusal> {
        let json = match self {
            Self::Json => return Ok(Cow::Borrowed(payload)),
            Self::Cbor => cbor::to_json(payload),
            Self::MessagePack => msgpack::to_json(payload),
        };
        match json {
            Ok(json) => Ok(Cow::Owned(json.into_bytes())),
            Err(fault) => Err(Refusal::of_bytes(payload, fault)),
        }
    }

    /// A stored document in this format; `Bytes` are bytes where the format has them. Numbers no other item can hold
    /// are text of their digits. What is not JSON (in an untyped table) has no other format: `None`.
    pub fn encode<'d>(self, table: &Table, document: &'d [u8]) -> Option<Cow<'d, [u8]>> {
        match self {
            Self::Json => Some(Cow::Borrowed(document)),
            Self::Cbor => encode::<Cbor>(table, document).ok().map(Cow::Owned),
            Self::MessagePack => encode::<MessagePack>(table, document).ok().map(Cow::Owned),
        }
    }
}

/// Elements of one `Accept` that are looked at.
const ACCEPT_RANGES_MAX: usize = 64;

const ACCEPTED: &str = "content type application/json, application/cbor or application/msgpack";

fn encode<E: Encoding>(table: &Table, document: &[u8]) -> Result<Vec<u8>, Fault> {
    let mut scanner = Scanner::new(document)?;
    let mut counts = Vec::new();
    count(&mut scanner.clone(), &mut counts)?;
    let mut writer = Writer { table, counts: counts.into_iter(), out: Vec::with_capacity(document.len()) };
    writer.value::<E>(&mut scanner, Declared::Members(&table.attributes))?;
    scanner.end()?;
    Ok(writer.out)
}

/// How many items each object and array has, in the order they begin: it is told before they come.
fn count(scanner: &mut Scanner<'_>, counts: &mut Vec<usize>) -> Result<(), Fault> {
    let place = counts.len();
    match scanner.kind()? {
        Kind::Object => {
            counts.push(0);
            let mut elements = scanner.open()?;
            while scanner.next_member(&mut elements)?.is_some() {
                counts[place] += 1;
                count(scanner, counts)?;
            }
        }
        Kind::Array => {
            counts.push(0);
            let mut elements = scanner.open()?;
            while scanner.next_item(&mut elements)? {
                counts[place] += 1;
                count(scanner, counts)?;
            }
        }
        _ => drop(scanner.value(&mut ())?),
    }
    Ok(())
}

/// What is known about a value before it is read.
#[derive(Clone, Copy)]
enum Declared<'t> {
    Nothing,
    /// An object with these.
    Members(&'t Attributes),
    Type(&'t Type),
}

struct Writer<'t> {
    table: &'t Table,
    counts: std::vec::IntoIter<usize>,
    out: Vec<u8>,
}

impl<'t> Writer<'t> {
    fn value<E: Encoding>(&mut self, scanner: &mut Scanner<'_>, declared: Declared<'t>) -> Result<(), Fault> {
        match scanner.kind()? {
            Kind::Object => {
                E::map(self.counts.next().unwrap_or_default(), &mut self.out);
                let attributes = self.attributes(declared);
                let mut elements = scanner.open()?;
                while let Some((_, name)) = scanner.next_member(&mut elements)? {
                    let name = name.unescaped();
                    E::text(&name, &mut self.out);
                    let attribute = attributes.and_then(|attributes| attributes.get(&name));
                    let stored = attribute.filter(|attribute| !matches!(attribute.role, Role::Key));
                    self.value::<E>(scanner, stored.map_or(Declared::Nothing, |it| Declared::Type(&it.ty)))?;
                }
            }
            Kind::Array => {
                E::array(self.counts.next().unwrap_or_default(), &mut self.out);
                let item = match declared {
                    Declared::Type(Type { shape: Shape::List(item), .. }) => Declared::Type(item),
                    _ => Declared::Nothing,
                };
                let mut elements = scanner.open()?;
                while scanner.next_item(&mut elements)? {
                    self.value::<E>(scanner, item)?;
                }
            }
            Kind::String => self.string::<E>(&scanner.string()?.unescaped(), declared),
            Kind::Number => number::<E>(scanner.number()?, &mut self.out),
            Kind::Boolean => E::boolean(scanner.value(&mut ())? == "true", &mut self.out),
            Kind::Null => {
                scanner.literal()?;
                E::null(&mut self.out);
            }
        }
        Ok(())
    }

    fn attributes(&self, declared: Declared<'t>) -> Option<&'t Attributes> {
        match declared {
            Declared::Members(attributes) => Some(attributes),
            Declared::Type(Type { shape: Shape::Object { index, .. }, .. }) => {
                Some(&self.table.types[*index as usize].attributes)
            }
            _ => None,
        }
    }

    fn string<E: Encoding>(&mut self, text: &str, declared: Declared<'_>) {
        let is_bytes = matches!(declared, Declared::Type(Type { shape: Shape::Scalar(Scalar::Bytes), .. }));
        match STANDARD.decode(text) {
            Ok(bytes) if is_bytes => E::bytes(&bytes, &mut self.out),
            _ => E::text(text, &mut self.out),
        }
    }
}

fn number<E: Encoding>(json: &str, out: &mut Vec<u8>) {
    let is_whole = json.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit()) && json != "-0";
    let is_written = match json.parse::<i128>() {
        Ok(integer) if is_whole => E::integer(integer, out) || E::digits(json, out),
        _ if is_whole => E::digits(json, out),
        _ => match json.parse::<f64>() {
            Ok(double) if double.is_finite() => {
                E::double(double, out);
                true
            }
            _ => false,
        },
    };
    if !is_written {
        E::text(json, out);
    }
}
