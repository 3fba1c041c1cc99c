//! How long a put of a document that fills a packet takes, by what it is full of: so long its shard serves nobody else.
//! `cargo bench -p rowcast-core --bench large [-- WORD]`

#![expect(clippy::disallowed_methods, reason = "a benchmark has no other clock")]

use std::hint::black_box;
use std::time::Instant;

use rowcast_core::catalog::{Catalog, Resolved};
use rowcast_core::schema::{Schema, Source};
use rowcast_core::validate::{Validator, created_ms, merge_patch};

const BYTES: usize = 14_000_000;

const SCHEMA: &str = r#"
type Open @table @export { id: ID @id any: Any made: Long @createdTime }
type Lists @table @export {
	id: ID @id
	ints: [Int] longs: [Long] floats: [Float] bigs: [BigInt] ids: [ID] strings: [String] dates: [Date] bytes: [Bytes]
	flags: [Boolean]
	points: [Point]
}
type Point { x: Int y: Int name: String }
"#;

fn main() {
    let schema = Schema::parse(&[Source::new("schema.graphql", SCHEMA)]).expect("the schema is right");
    let catalog = Catalog::new(schema);
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    println!("documents of {} MB", BYTES / 1_000_000);
    for (what, topic, document) in puts() {
        if what.contains(&wanted) {
            let document = document();
            let Resolved::Record { table, key } = catalog.resolve(topic) else { panic!("{topic} is no record") };
            measure(what, document.len(), || {
                let mut validator = Validator::default();
                validator.put(table, &key, document.as_bytes(), None, 1, Some(1)).map_or(0, |kept| kept.payload.len())
            });
        }
    }
    for (what, record, patch) in patches() {
        if what.contains(&wanted) {
            let (record, patch) = (record(), patch());
            let Resolved::Record { table, key } = catalog.resolve("open/1") else { panic!("it is a record") };
            measure(what, record.len() + patch.len(), || {
                let patched = merge_patch(Some(record.as_bytes()), patch.as_bytes()).expect("both are JSON");
                let created = created_ms(table, record.as_bytes());
                let mut validator = Validator::default();
                validator.put(table, &key, &patched, None, 1, created).map_or(0, |kept| kept.payload.len())
            });
        }
    }
}

/// What it is called, which record, and the document.
type Put = (&'static str, &'static str, Box<dyn Fn() -> String>);

fn puts() -> Vec<Put> {
    let open = |what, member: fn(usize) -> String| -> Put { (what, "open/1", Box::new(move || object(member))) };
    let any = |what, item: &str| list(what, "open/1", "any", item);
    let of = |what, name, item: &str| list(what, "lists/1", name, item);
    vec![
        open("keys in order", |n| format!(r#""k{n:07}":1"#)),
        open("keys mixed", |n| format!(r#""{:08x}":1"#, mix(n))),
        open("keys mixed, of 16 bytes", |n| format!(r#""{:08x}{:08x}":1"#, mix(n % 1000), mix(n))),
        open("keys mixed, of 40 bytes alike", |n| format!(r#""{:032}{:08x}":1"#, 0, mix(n))),
        open("keys short, each some times", |n| format!(r#""{:x}":1"#, mix(n) & 0xfffff)),
        open("keys all the same", |_| r#""a":1"#.to_owned()),
        open("keys with escapes", |n| format!(r#""\n{:08x}":1"#, mix(n))),
        open("keys of 1000 bytes alike", |n| format!(r#""{:0992}{:08x}":1"#, 0, mix(n))),
        any("values are long text", &format!("\"{}\"", "The quick brown fox. ".repeat(50_000))),
        any("values are text with escapes", &format!("\"{}\"", r"\n\u00e9".repeat(10_000))),
        any("values are text not ASCII", &format!("\"{}\"", "é漢".repeat(10_000))),
        any("values are short text", r#""abc""#),
        any("values are digits", "1"),
        any("values are numbers", "-12345.678e10"),
        any("values are null", "null"),
        any("values are empty objects", "{}"),
        any("values are small objects", r#"{"a":1,"b":2}"#),
        any("values are objects of 17", &format!("{{{}}}", names(17))),
        any("values are deep", &deep(62)),
        any("values are objects with a name twice", r#"{"a":1,"a":2}"#),
        any("values are spaced out", "\n          1     "),
        of("[Int]", "ints", "123456"),
        of("[Int] as 5.0", "ints", "5.0"),
        of("[Int] as 1e3", "ints", "1e3"),
        of("[Int] of what does not fit", "ints", "true"),
        of("[Long]", "longs", "1770091506789"),
        of("[Float]", "floats", "52.520008"),
        of("[Float] with exponents", "floats", "5.2520008e10"),
        of("[BigInt]", "bigs", "123456789012345678901234567890"),
        of("[BigInt] as digits", "bigs", "5"),
        of("[BigInt] as text", "bigs", r#""12""#),
        of("[ID] as numbers", "ids", "5"),
        of("[String]", "strings", r#""abc""#),
        of("[Date] as kept", "dates", r#""2026-02-03T04:05:06.789Z""#),
        of("[Date] as days", "dates", r#""2026-02-03""#),
        of("[Date] as numbers", "dates", "1"),
        of("[Bytes] as kept", "bytes", r#""YWJjZGVmZ2hpamts""#),
        of("[Bytes] of the other alphabet", "bytes", r#""_-8""#),
        of("[Bytes], long", "bytes", &format!("\"{}\"", "YWJj".repeat(1_000_000))),
        of("[Boolean]", "flags", "true"),
        of("[Point]", "points", r#"{"x":1,"y":2,"name":"a"}"#),
    ]
}

/// What it is called, the record, and the patch.
type Patch = (&'static str, fn() -> String, fn() -> String);

fn patches() -> Vec<Patch> {
    let keys = || object(|n| format!(r#""{:08x}":1"#, mix(n)));
    let text = || format!(r#"{{"id":"1","any":["{}"],"made":1}}"#, "x".repeat(BYTES));
    let nothing = || r#"{"id":"1"}"#.to_owned();
    vec![
        ("patch: one of many keys", keys, || r#"{"00000000":2}"#.to_owned()),
        ("patch: many keys of the same", keys, || object(|n| format!(r#""{:08x}":2"#, mix(n)))),
        ("patch: many keys removed", keys, || object(|n| format!(r#""{:08x}":null"#, mix(n)))),
        ("patch: many new keys", nothing, keys),
        ("patch: small objects", nothing, || object(|n| format!(r#""{:08x}":{{"a":1}}"#, mix(n)))),
        ("patch: deep", nothing, || object(|n| format!(r#""{:08x}":{}"#, mix(n), deep(60)))),
        ("patch: of long text", text, || r#"{"made":2}"#.to_owned()),
        ("patch: long text", text, text),
    ]
}

fn list(what: &'static str, topic: &'static str, name: &str, item: &str) -> Put {
    let (name, item) = (name.to_owned(), item.to_owned());
    (what, topic, Box::new(move || format!(r#"{{"id":"1","{name}":[{}],"made":1}}"#, fill(|_| item.clone()))))
}

fn deep(levels: usize) -> String {
    format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels))
}

/// An object as large as a packet.
fn object(member: impl Fn(usize) -> String) -> String {
    format!(r#"{{"id":"1",{},"made":1}}"#, fill(member))
}

fn fill(item: impl Fn(usize) -> String) -> String {
    let mut all = item(0);
    for n in 1.. {
        let item = item(n);
        if all.len() + item.len() >= BYTES {
            break;
        }
        all.push(',');
        all.push_str(&item);
    }
    all
}

fn names(count: usize) -> String {
    (0..count).map(|n| format!(r#""n{n}":1"#)).collect::<Vec<_>>().join(",")
}

/// Another number for each, in no order.
fn mix(n: usize) -> u32 {
    (n as u32).wrapping_mul(0x9e37_79b9).rotate_left(16).wrapping_mul(0x85eb_ca6b)
}

const ROUNDS: usize = 7;

fn measure(what: &str, bytes: usize, mut once: impl FnMut() -> usize) {
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        black_box(once());
        best = best.min(start.elapsed().as_secs_f64());
    }
    println!("{what:40} {:8.1} ms {:8.0} MB/s", best * 1e3, bytes as f64 / best / 1e6);
}
