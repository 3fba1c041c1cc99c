//! What checking a put costs. `cargo bench -p rowcast-core --bench validate`

#![expect(clippy::disallowed_methods, reason = "a benchmark has no other clock")]

use std::hint::black_box;
use std::time::Instant;

use rowcast_core::catalog::{Catalog, Resolved};
use rowcast_core::schema::{Schema, Source};
use rowcast_core::validate::{Validator, merge_patch};

const SCHEMA: &str = r#"
type Sensor @table @export {
	id: ID @id
	name: String!
	celsius: Float
	seen: Long
	tags: [String]
	active: Boolean
	place: Place
}
type Place { latitude: Float longitude: Float }
type Stamped @table @export {
	id: Int @id
	name: String
	created: Long @createdTime
	updated: Long @updatedTime
}
type Raw @table @export
"#;

const DOCUMENT: &str = r#"{"id":"hall/7","name":"Hall, north side, upper window","celsius":21.375,"seen":1770091506789,"tags":["air","door","upper floor"],"active":true,"place":{"latitude":52.520008,"longitude":13.404954},"note":"ok"}"#;
const STAMPED: &str = r#"{"name":"Hall, north side, upper window"}"#;

fn main() {
    let schema = Schema::parse(&[Source::new("schema.graphql", SCHEMA)]).expect("the schema is right");
    let catalog = Catalog::new(schema);
    let mut validator = Validator::default();
    let mut put = |topic: &str, payload: &str| {
        let Resolved::Record { table, key } = catalog.resolve(topic) else { panic!("{topic} is no record") };
        validator.put(table, &key, payload.as_bytes(), None, 1_770_091_506_789, None).expect("it fits").payload.len()
    };
    println!("a document of {} bytes", DOCUMENT.len());
    measure("resolve a topic", || {
        matches!(catalog.resolve(black_box("sensor/hall/7")), Resolved::Record { .. }).into()
    });
    measure("resolve an open topic", || {
        matches!(catalog.resolve(black_box("homeassistant/hall/7")), Resolved::Open).into()
    });
    measure("put, kept as sent", || put(black_box("sensor/hall/7"), black_box(DOCUMENT)));
    measure("put, key and times filled in", || put(black_box("stamped/7"), black_box(STAMPED)));
    measure("put, untyped", || put(black_box("raw/7"), black_box(DOCUMENT)));
    measure("parse to a tree, to compare", || {
        let tree: serde_json::Value = serde_json::from_str(black_box(DOCUMENT)).expect("it is JSON");
        tree.as_object().map_or(0, |object| object.len())
    });
    measure("merge patch", || {
        let patch = black_box(r#"{"celsius":22.5,"active":null}"#);
        merge_patch(Some(black_box(DOCUMENT.as_bytes())), patch.as_bytes()).expect("both are JSON").len()
    });
}

fn measure(what: &str, mut once: impl FnMut() -> usize) {
    const ROUNDS: u32 = 200_000;
    let mut best = f64::INFINITY;
    for _ in 0..7 {
        let start = Instant::now();
        let bytes: usize = (0..ROUNDS).map(|_| once()).sum();
        black_box(bytes);
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(ROUNDS));
    }
    println!("{what:32} {best:8.1} ns");
}
