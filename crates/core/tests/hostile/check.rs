//! What must hold for any text and any bytes: checked here on the corpora, and in `fuzz/` on whatever it finds.

use rowcast_core::catalog::Catalog;
use rowcast_core::schema::{Color, Schema, Source, Table, render};
use rowcast_core::validate::{Validator, attribute, key_in, merge_patch};
use rowcast_core::value::{Key, KeyType};
use std::sync::LazyLock;

/// A schema is understood, or its author is shown what is wrong with it.
pub(crate) fn schema(text: &str) {
    match Schema::parse(&[Source::new("schema.graphql", text)]) {
        Ok(schema) => {
            let catalog = Catalog::new(schema);
            assert!(catalog.changes_from(&catalog).is_empty(), "a schema does not differ from itself");
            for table in catalog.tables() {
                let key = Key::parse("7", table.key.key_type).expect("a key of any type");
                if let Some(topic) = catalog.canonical_topic(table, &key) {
                    catalog.resolve(&topic);
                }
            }
        }
        Err(mistakes) => {
            assert!(!mistakes.is_empty(), "refused without a reason");
            for color in [Color::Never, Color::Ansi] {
                assert!(!render(&mistakes, color).is_empty());
            }
        }
    }
}

/// The first byte says what the rest is sent as, and to which table. It is refused, or stored as JSON that is stored
/// the same way again.
pub(crate) fn value(input: &[u8]) {
    let Some((&how, payload)) = input.split_first() else { return };
    let content_type = match how & 3 {
        0 => None,
        1 => Some("application/cbor"),
        2 => Some("application/msgpack"),
        _ => return patch(payload),
    };
    let tables = CATALOG.tables();
    let table = &tables[usize::from(how >> 2) % tables.len()];
    let _ = key_in(table, payload, content_type);
    let Some(stored) = put(table, payload, content_type) else { return };
    if !table.is_typed() {
        return assert_eq!(stored, payload);
    }
    assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&stored).is_ok(), "{}", String::from_utf8_lossy(&stored));
    assert!(attribute(&stored, &table.key.name).is_some(), "{}", String::from_utf8_lossy(&stored));
    let again = put(table, &stored, None).expect("what was stored can be stored");
    assert_eq!(String::from_utf8_lossy(&again), String::from_utf8_lossy(&stored));
}

/// A record, a line break, a patch of it.
fn patch(input: &[u8]) {
    let at = input.iter().position(|&byte| byte == b'\n').unwrap_or(input.len());
    let (record, patch) = input.split_at(at);
    if let Ok(patched) = merge_patch(Some(record), patch) {
        assert!(serde_json::from_slice::<serde::de::IgnoredAny>(&patched).is_ok());
        let again = merge_patch(Some(&patched), patch).expect("a patch that fits once fits again");
        assert_eq!(again, patched, "{}", String::from_utf8_lossy(input));
    }
}

fn put(table: &Table, payload: &[u8], content_type: Option<&str>) -> Option<Vec<u8>> {
    let key = Key::parse("7", table.key.key_type).expect("a key of any type");
    let normalized = Validator::default().put(table, &key, payload, content_type, 1_000_000, Some(500_000)).ok()?;
    Some(normalized.payload.into_owned())
}

/// A key is refused, or found again under the bytes it is stored as and the JSON it is shown as.
pub(crate) fn key(input: &[u8]) {
    if let Some(key) = Key::decode(input) {
        let mut bytes = Vec::new();
        key.encode(&mut bytes);
        assert_eq!(bytes, input, "stored bytes of {key:?}");
    }
    let Ok(text) = std::str::from_utf8(input) else { return };
    for key_type in [KeyType::Text, KeyType::Int, KeyType::Long, KeyType::Any] {
        let _ = Key::from_json(text, key_type);
        let Ok(key) = Key::parse(text, key_type) else { continue };
        let mut bytes = Vec::new();
        key.encode(&mut bytes);
        assert_eq!(Key::decode(&bytes).as_ref(), Some(&key), "{text:?}");
        assert_eq!(Key::from_json(&key.to_json(), key_type).as_ref(), Ok(&key), "{text:?}");
    }
}

/// Tables of every kind of attribute.
static CATALOG: LazyLock<Catalog> = LazyLock::new(|| {
    let text = r"
type Every @table @export {
	id: ID @id
	text: String
	whole: Int
	long: Long
	float: Float
	flag: Boolean
	when: Date
	big: BigInt
	bytes: Bytes
	any: Any
	list: [Int]
	inner: Inner
	made: Long @createdTime
	changed: Date @updatedTime
}
type Inner { name: String!, more: [Inner] }
type Sealed @table @export @sealed { id: Int @id, name: String! }
type Untyped @table @export
";
    match Schema::parse(&[Source::new("schema.graphql", text)]) {
        Ok(schema) => Catalog::new(schema),
        Err(mistakes) => panic!("{}", render(&mistakes, Color::Never)),
    }
});
