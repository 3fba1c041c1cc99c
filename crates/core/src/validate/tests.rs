use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::catalog::{Catalog, Resolved};
use crate::schema::{Schema, Source};

const NOW: u64 = 1_770_091_506_789;

const SCHEMA: &str = r#"
    type Dog @table @export {
        id: ID @id
        name: String!
        age: Int
        tags: [String!]
        home: Address
        grid: [[Int]]
    }
    type Address { street: String! next: Address numbers: [Long] }
    type All @table @export {
        id: ID @id
        text: String  code: ID  int: Int  long: Long  big: BigInt  float: Float
        flag: Boolean  date: Date  any: Any  bytes: Bytes
    }
    type Counter @table @export { id: Int @id  n: Long }
    type Mixed @table @export { id: Any @id }
    type Free @table @export { id: ID }
    type Strict @table @export @sealed { name: String  box: Box }
    type Box @sealed { width: Int }
    type Stamped @table(expiration: 60) @export {
        key: String @id
        made: Long @createdTime
        changed: Date @updatedTime
    }
    type Leased @table(expiration: 60) @export { until: Long @expiresAt }
    type Dated @table @export { until: Date @expiresAt }
    type Anytime @table @export { until: Any! @expiresAt }
    type Derived @table @export {
        ownerId: ID
        owner: Dog @relationship(from: ownerId)
        sum: Int @computed(from: "1 + 1")
    }
    type Raw @table @export
"#;

#[test]
fn what_an_operator_may_read_holds_nothing_that_was_sent() {
    for (words, outline) in [
        (r#"attribute `age`: expected Int, found "secret""#, "attribute `age`: expected Int"),
        (r#"attribute `age`: expected Int, found ", found secret""#, "attribute `age`: expected Int"),
        ("payload: expected a JSON value at byte 7, found `secret`", "payload: expected a JSON value at byte 7"),
        (
            "attribute `secret`: expected nothing (`Bowl` is sealed and declares no such attribute), found 1",
            "payload: expected no attribute that its type does not declare",
        ),
        ("not a key", "not a key"),
    ] {
        assert_eq!(super::outline(words), outline);
    }
}

#[test]
fn a_document_that_fits_is_kept_as_sent() {
    for (topic, document) in [
        ("dog/1", r#"{"id":"1","name":"Rex"}"#),
        ("dog/1", "{ \"name\" : \"Rex\" ,\n\t\"id\" : \"1\", \"age\" : -5 }"),
        ("dog/1", r#"{"id":"1","name":"","age":null,"tags":null,"home":null,"grid":[[1,null],null,[]]}"#),
        ("dog/1", r#"{"id":"1","name":"x","home":{"street":"a","next":{"street":"b","more":[1.0]}}}"#),
        ("dog/1", r#"{"id":"\u0031","n\u0061me":"Rex"}"#),
        ("dog/1", r#"{"id":"1","name":"x","__proto__":{"a":1},"":0,"toString":null,"constructor":[]}"#),
        ("dog/a/b", r#"{"id":"a/b","name":"x"}"#),
        ("all/1", r#"{"id":"1","text":"\ud83d\ude00","code":"x","int":2147483647,"long":9007199254740992}"#),
        ("all/1", r#"{"id":"1","big":123456789012345678901234567890,"float":1.10,"flag":false}"#),
        ("all/1", r#"{"id":"1","date":"2026-02-03T04:05:06.789Z","any":{"x":[1E400]},"bytes":"/+8="}"#),
        ("all/1", r#"{"id":"1","big":0,"float":-0.0,"bytes":"","other":123456789012345678901234567890.10}"#),
        ("counter/01", r#"{"id":1,"n":0}"#),
        ("mixed/a", r#"{"id":"a"}"#),
        ("mixed/-7", r#"{"id":-7}"#),
        ("free/1", r#"{"id":"1","anything":["goes"]}"#),
        ("strict/1", r#"{"id":"1","name":"x","box":{"width":1}}"#),
        ("derived/1", r#"{"id":"1","ownerId":"2"}"#),
    ] {
        let normalized = put(topic, document).unwrap_or_else(|refusal| panic!("{document}: {refusal}"));
        assert_eq!(normalized.payload, Cow::<[u8]>::Borrowed(document.as_bytes()), "{document}");
        assert!(matches!(normalized.payload, Cow::Borrowed(_)), "{document}");
    }
}

#[test]
fn a_document_that_could_fit_is_brought_to_its_form() {
    for (topic, document, kept) in [
        // The key.
        ("free/1", r#"{}"#, r#"{"id":"1"}"#),
        ("free/1", " {\n} ", "{\"id\":\"1\"\n}"),
        ("free/1", r#"{"a":1}"#, r#"{"id":"1","a":1}"#),
        ("free/1", r#"{"id":null,"a":1}"#, r#"{"id":"1","a":1}"#),
        ("free/1", r#"{"id":1}"#, r#"{"id":"1"}"#),
        ("free/\"q\"", r#"{}"#, r#"{"id":"\"q\""}"#),
        ("counter/1", r#"{"id":"01"}"#, r#"{"id":1}"#),
        ("counter/1", r#"{"id":1.0}"#, r#"{"id":1}"#),
        ("mixed/5", r#"{"id":"5"}"#, r#"{"id":5}"#),
        ("mixed/1.5", r#"{"id":1.5}"#, r#"{"id":"1.5"}"#),
        // Values.
        ("all/1", r#"{"id":"1","code":5}"#, r#"{"id":"1","code":"5"}"#),
        ("all/1", r#"{"id":"1","code":5.0}"#, r#"{"id":"1","code":"5"}"#),
        ("all/1", r#"{"id":"1","code":123456789012345678901}"#, r#"{"id":"1","code":"123456789012345678901"}"#),
        ("all/1", r#"{"id":"1","int":5.0,"long":1e3}"#, r#"{"id":"1","int":5,"long":1000}"#),
        ("all/1", r#"{"id":"1","int":-0,"big":-0}"#, r#"{"id":"1","int":0,"big":0}"#),
        ("all/1", r#"{"id":"1","big":"-0012"}"#, r#"{"id":"1","big":-12}"#),
        ("all/1", r#"{"id":"1","big":1.50e1}"#, r#"{"id":"1","big":15}"#),
        ("all/1", r#"{"id":"1","date":1770091506789}"#, r#"{"id":"1","date":"2026-02-03T04:05:06.789Z"}"#),
        ("all/1", r#"{"id":"1","date":"2026-02-03"}"#, r#"{"id":"1","date":"2026-02-03T00:00:00.000Z"}"#),
        ("all/1", r#"{"id":"1","date":"2026-02-03\u005404:05Z"}"#, r#"{"id":"1","date":"2026-02-03T04:05:00.000Z"}"#),
        ("all/1", r#"{"id":"1","bytes":"_-8"}"#, r#"{"id":"1","bytes":"/+8="}"#),
        ("all/1", r#"{"id":"1","bytes":"\/+8="}"#, r#"{"id":"1","bytes":"/+8="}"#),
        ("dog/1", r#"{"id":"1","name":"x","grid":[[1.0],[2]]}"#, r#"{"id":"1","name":"x","grid":[[1],[2]]}"#),
        // Times of the server.
        ("stamped/a", r#"{}"#, r#"{"key":"a","made":1770091506789,"changed":"2026-02-03T04:05:06.789Z"}"#),
        ("stamped/a", r#"{"x":1 }"#, r#"{"key":"a","x":1,"made":1770091506789,"changed":"2026-02-03T04:05:06.789Z" }"#),
        (
            "stamped/a",
            r#"{"changed":[1,{}],"key":"a","made":null}"#,
            r#"{"changed":"2026-02-03T04:05:06.789Z","key":"a","made":1770091506789}"#,
        ),
        // Of a name that comes twice the last wins, whatever the first was.
        ("free/1", r#"{"a":1,"a":2}"#, r#"{"id":"1","a":2}"#),
        ("free/1", r#"{"id":"2","id":"1"}"#, r#"{"id":"1"}"#),
        (
            "dog/1",
            r#"{"id":"1","name":5,"age":"old","name":"x","\u0061ge":1}"#,
            r#"{"id":"1","name":"x","\u0061ge":1}"#,
        ),
        (
            "dog/1",
            r#"{"id":"1","name":"x","home":{},"home":{"street":"a"}}"#,
            r#"{"id":"1","name":"x","home":{"street":"a"}}"#,
        ),
        (
            "free/1",
            r#"{"id":"1","a":[{"b":1,"c":{"d":0,"d":1},"b":2}],"z":0}"#,
            r#"{"id":"1","a":[{"c":{"d":1},"b":2}],"z":0}"#,
        ),
        ("free/1", r#"{"id":"1","a":{"b":1,"b":2},"a":3}"#, r#"{"id":"1","a":3}"#),
        ("all/1", r#"{"id":1,"int":1.0,"int":2.0}"#, r#"{"id":"1","int":2}"#),
    ] {
        let normalized = put(topic, document).unwrap_or_else(|refusal| panic!("{document}: {refusal}"));
        assert_eq!(std::str::from_utf8(&normalized.payload).unwrap(), kept, "{document}");
    }
}

#[test]
fn a_document_that_does_not_fit_is_refused_in_words() {
    for (topic, document, words) in [
        ("dog/1", r#"{"name":"Rex","age":"old"}"#, r#"attribute `age`: expected Int, found "old""#),
        ("dog/1", r#"{"age":1}"#, "attribute `name`: expected String!, found nothing"),
        ("dog/1", r#"{"name":null}"#, "attribute `name`: expected String!, found null"),
        ("dog/1", r#"{"name":5}"#, "attribute `name`: expected String!, found 5"),
        ("dog/1", r#"{"name":"x","age":true}"#, "attribute `age`: expected Int, found true"),
        ("dog/1", r#"{"name":"x","age":{"a":1}}"#, "attribute `age`: expected Int, found an object"),
        (
            "dog/1",
            r#"{"name":"x","age":2147483648}"#,
            "attribute `age`: expected Int (a whole number of 32 bits), found 2147483648",
        ),
        ("dog/1", r#"{"name":"x","age":1.5}"#, "attribute `age`: expected Int (a whole number of 32 bits), found 1.5"),
        ("dog/1", r#"{"name":"x","tags":"a"}"#, r#"attribute `tags`: expected [String!], found "a""#),
        ("dog/1", r#"{"name":"x","tags":["a",7]}"#, "attribute `tags[1]`: expected String!, found 7"),
        ("dog/1", r#"{"name":"x","tags":["a",null]}"#, "attribute `tags[1]`: expected String!, found null"),
        ("dog/1", r#"{"name":"x","grid":[[1],[2,"3"]]}"#, r#"attribute `grid[1][1]`: expected Int, found "3""#),
        ("dog/1", r#"{"name":"x","home":[]}"#, "attribute `home`: expected Address, found an array"),
        ("dog/1", r#"{"name":"x","home":{}}"#, "attribute `home.street`: expected String!, found nothing"),
        (
            "dog/1",
            r#"{"name":"x","home":{"street":"a","next":{"street":"b","numbers":[1,0.5]}}}"#,
            "attribute `home.next.numbers[1]`: expected Long (a whole number within ±2^53), found 0.5",
        ),
        ("all/1", r#"{"text":5}"#, "attribute `text`: expected String, found 5"),
        ("all/1", r#"{"code":1.5}"#, "attribute `code`: expected ID, found 1.5"),
        ("all/1", r#"{"code":true}"#, "attribute `code`: expected ID, found true"),
        ("all/1", r#"{"int":"5"}"#, r#"attribute `int`: expected Int, found "5""#),
        (
            "all/1",
            r#"{"long":9007199254740993}"#,
            "attribute `long`: expected Long (a whole number within ±2^53), found 9007199254740993",
        ),
        ("all/1", r#"{"big":1.5}"#, "attribute `big`: expected BigInt (a whole number), found 1.5"),
        ("all/1", r#"{"big":"12x"}"#, r#"attribute `big`: expected BigInt, found "12x""#),
        ("all/1", r#"{"float":"1.5"}"#, r#"attribute `float`: expected Float, found "1.5""#),
        ("all/1", r#"{"float":1e400}"#, "attribute `float`: expected Float (a number a double can hold), found 1e400"),
        ("all/1", r#"{"flag":1}"#, "attribute `flag`: expected Boolean, found 1"),
        ("all/1", r#"{"flag":"true"}"#, r#"attribute `flag`: expected Boolean, found "true""#),
        (
            "all/1",
            r#"{"date":"yesterday"}"#,
            r#"attribute `date`: expected Date (ISO 8601 text or epoch milliseconds), found "yesterday""#,
        ),
        (
            "all/1",
            r#"{"date":1.5}"#,
            "attribute `date`: expected Date (ISO 8601 text or epoch milliseconds), found 1.5",
        ),
        (
            "all/1",
            r#"{"date":1e300}"#,
            "attribute `date`: expected Date (ISO 8601 text or epoch milliseconds), found 1e300",
        ),
        ("all/1", r#"{"bytes":"a"}"#, r#"attribute `bytes`: expected Bytes (base64 text), found "a""#),
        ("all/1", r#"{"bytes":"ab=="}"#, r#"attribute `bytes`: expected Bytes (base64 text), found "ab==""#),
        ("all/1", r#"{"bytes":"YQ="}"#, r#"attribute `bytes`: expected Bytes (base64 text), found "YQ=""#),
        ("all/1", r#"{"bytes":"YQ==="}"#, r#"attribute `bytes`: expected Bytes (base64 text), found "YQ===""#),
        ("all/1", r#"{"bytes":"Y Q="}"#, r#"attribute `bytes`: expected Bytes (base64 text), found "Y Q=""#),
        ("dog/1", r#"{"id":"2","name":"x"}"#, r#"attribute `id`: expected "1" as in the topic, found "2""#),
        ("dog/1", r#"{"id":true,"name":"x"}"#, r#"attribute `id`: expected "1" as in the topic, found true"#),
        ("dog/01", r#"{"id":1,"name":"x"}"#, r#"attribute `id`: expected "01" as in the topic, found 1"#),
        ("dog/1", r#"{"id":"1","name":"x","id":"3"}"#, r#"attribute `id`: expected "1" as in the topic, found "3""#),
        ("counter/1", r#"{"id":"x"}"#, r#"attribute `id`: expected 1 as in the topic, found "x""#),
        ("mixed/01", r#"{"id":1}"#, r#"attribute `id`: expected "01" as in the topic, found 1"#),
        (
            "strict/1",
            r#"{"nam":"x"}"#,
            r#"attribute `nam`: expected nothing (`Strict` is sealed and declares no such attribute), found "x""#,
        ),
        (
            "strict/1",
            r#"{"box":{"width":1,"a/b~c":{}}}"#,
            "attribute `box.a/b~c`: expected nothing (`Box` is sealed and declares no such attribute), found an object",
        ),
        ("derived/1", r#"{"sum":2}"#, "attribute `sum`: expected nothing (it is computed), found 2"),
        ("derived/1", r#"{"owner":null}"#, "attribute `owner`: expected nothing (it is a relationship), found null"),
        ("leased/1", r#"{"until":"soon"}"#, r#"attribute `until`: expected Long, found "soon""#),
        (
            "anytime/1",
            r#"{"until":"soon"}"#,
            r#"attribute `until`: expected epoch milliseconds or a date, found "soon""#,
        ),
        ("anytime/1", r#"{"until":[]}"#, "attribute `until`: expected epoch milliseconds or a date, found an array"),
        ("anytime/1", r#"{}"#, "attribute `until`: expected Any!, found nothing"),
        ("dog/1", "[]", "payload: expected a JSON object, found an array"),
        ("dog/1", " 5 ", "payload: expected a JSON object, found 5"),
        ("dog/1", "null", "payload: expected a JSON object, found null"),
        ("dog/1", "", "payload: expected a JSON object, found nothing"),
        ("dog/1", "hello", "payload: expected a JSON object, found `hello`"),
        ("dog/1", r#"{"name":"Rex"#, "payload: expected the end of a string at byte 12, found nothing"),
        ("dog/1", r#"{"name":"Rex"} x"#, "payload: expected the end of the JSON text at byte 15, found `x`"),
        ("dog/1", "{\"name\":\"\n\"}", "payload: expected control characters to be escaped at byte 9, found U+000A"),
        (
            "dog/1",
            r#"{"name":"\ud800"}"#,
            "payload: expected both halves of a surrogate pair before this at byte 15, found `\"}`",
        ),
        ("dog/1", "\u{feff}{}", "payload: expected JSON without a byte order mark at byte 0, found U+FEFF"),
        ("dog/1", r#"{"a":01}"#, "payload: expected `,` or `}` at byte 6, found `1}`"),
    ] {
        let refusal = put(topic, document).expect_err(document);
        assert_eq!(refusal.to_string(), words, "{document}");
    }
    let long = format!(r#"{{"name":"x","age":"{}"}}"#, "é".repeat(1000));
    assert_eq!(put("dog/1", &long).unwrap_err().to_string().chars().count(), 79);
    let deep = r#"{"home":"#.repeat(64) + "1" + &"}".repeat(64);
    assert!(put("dog/1", &deep).unwrap_err().attribute().chars().count() <= 121);
    let not_text = Validator::default().put(table("dog/1").0, &table("dog/1").1, b"{\"\xff\":1}", None, NOW, None);
    assert_eq!(not_text.unwrap_err().to_string(), "payload: expected UTF-8 at byte 2, found `\u{fffd}\":1}`");
}

#[test]
fn a_refusal_points_at_its_value() {
    for (topic, document, pointer, kind) in [
        ("dog/1", r#"{"name":"x","tags":["a",7]}"#, "/tags/1", RefusalKind::Attribute),
        ("dog/1", r#"{"name":"x","home":{"street":1}}"#, "/home/street", RefusalKind::Attribute),
        ("strict/1", r#"{"a/b~c":1}"#, "/a~1b~0c", RefusalKind::Attribute),
        ("dog/1", r#"{"id":"2"}"#, "/id", RefusalKind::Key),
        ("dog/1", "[", "", RefusalKind::Syntax),
        ("dog/1", "[]", "", RefusalKind::Attribute),
    ] {
        let refusal = put(topic, document).expect_err(document);
        assert_eq!((&*refusal.pointer, refusal.kind), (pointer, kind), "{document}");
    }
}

#[test]
fn nesting_ends_at_sixty_four_levels() {
    let nested = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    assert!(put("free/1", &nested(63)).is_ok());
    let words = "payload: expected at most 64 levels of nesting at byte 68, found `[]]]]]]]]]]]]]]]…`";
    assert_eq!(put("free/1", &nested(64)).unwrap_err().to_string(), words);
    let home = |levels: usize| {
        let open = r#"{"street":"a","next":"#.repeat(levels);
        format!(r#"{{"name":"x","home":{open}null{}}}"#, "}".repeat(levels))
    };
    assert!(put("dog/1", &home(63)).is_ok());
    assert_eq!(put("dog/1", &home(64)).unwrap_err().kind, RefusalKind::Syntax);
}

#[test]
fn a_large_document_costs_no_more_than_its_size() {
    let many = |count: usize, text: &str| text.repeat(count);
    for document in [
        format!(r#"{{"name":"x","tags":[{}1],{}"tags":[]}}"#, many(50_000, "1,"), many(50_000, r#""a":1,"#)),
        format!(r#"{{"name":"x",{}"id":"1"}}"#, (0..50_000).map(|n| format!("\"{n}\":{n},")).collect::<String>()),
        format!(r#"{{"name":"x","a":[{}0]}}"#, many(20_000, r#"{"a":1,"a":2},"#)),
        format!(r#"{{"name":"x",{}"name":"y"}}"#, many(20_000, r#""home":{"street":1},"#)) + &" ".repeat(100_000),
    ] {
        let _ = put("dog/1", &document);
        let _ = merge_patch(Some(document.as_bytes()), document.as_bytes());
    }
    let deep = many(62, r#"{"street":"a","next":"#) + "{" + &"}".repeat(63);
    assert_eq!(
        put("dog/1", &format!(r#"{{"name":"x","home":{deep}}}"#)).unwrap_err().pointer.matches("next").count(),
        62
    );
}

#[test]
fn an_untyped_table_takes_anything_as_it_is() {
    let (table, key) = table("raw/1");
    for payload in [&b""[..], b"\x00\xff", b"{}", b"\xef\xbb\xbf{}"] {
        let content_type = Some("image/png");
        let normalized = Validator::default().put(table, &key, payload, content_type, NOW, None).unwrap();
        assert_eq!(normalized, Normalized { payload: Cow::Borrowed(payload), expires_at_ms: None });
    }
}

#[test]
fn content_types_are_read_without_their_parameters() {
    for (content_type, accepted) in [
        (None, true),
        (Some(""), true),
        (Some("application/json"), true),
        (Some("Application/JSON; charset=utf-8"), true),
        (Some("application/ld+json"), true),
        (Some("application/merge-patch+json"), false),
        (Some("application/json-patch+json"), false),
        (Some("application/cbor"), true),
        (Some("application/x-msgpack"), true),
        (Some("application/MsgPack"), true),
        (Some("text/plain"), false),
        (Some("application/jsonx"), false),
    ] {
        let result = Format::of(content_type);
        assert_eq!(result.is_ok(), accepted, "{content_type:?}");
        if let Err(refusal) = result {
            assert_eq!(refusal.kind, RefusalKind::MediaType);
        }
    }
    assert_eq!(
        Format::of(Some("text/plain; x=y")).unwrap_err().to_string(),
        "payload: expected content type application/json, application/cbor or application/msgpack, found `text/plain`"
    );
}

#[test]
fn the_created_time_stays_and_the_updated_time_moves() {
    let (table, key) = table("stamped/a");
    let first = put("stamped/a", "{}").unwrap();
    let created = created_ms(table, &first.payload);
    assert_eq!(created, Some(NOW));
    let second = Validator::default().put(table, &key, b"{}", None, NOW + 1, created).unwrap();
    let kept = r#"{"key":"a","made":1770091506789,"changed":"2026-02-03T04:05:06.790Z"}"#;
    assert_eq!(second.payload, Cow::<[u8]>::Borrowed(kept.as_bytes()));
    assert_eq!(created_ms(table, b"{}"), None);
    assert_eq!(created_ms(table, b"not JSON"), None);
}

#[test]
fn a_record_expires_when_it_says_or_else_when_its_table_says() {
    for (topic, document, expires) in [
        ("leased/1", r#"{"until":1770091500000}"#, Some(1_770_091_500_000)),
        ("leased/1", r#"{"until":1.5e12}"#, Some(1_500_000_000_000)),
        ("leased/1", r#"{"until":-1}"#, Some(0)),
        ("leased/1", r#"{"until":null}"#, Some(NOW + 60_000)),
        ("leased/1", r#"{}"#, Some(NOW + 60_000)),
        ("leased/1", r#"{"until":5,"until":null}"#, Some(NOW + 60_000)),
        ("dated/1", r#"{"until":"2026-02-03T04:05:06.789Z"}"#, Some(NOW)),
        ("dated/1", r#"{"until":1770091506789}"#, Some(NOW)),
        ("dated/1", r#"{"until":"1960-01-01"}"#, Some(0)),
        ("dated/1", "{}", None),
        ("anytime/1", r#"{"until":"2026-02-03"}"#, Some(1_770_076_800_000)),
        ("anytime/1", r#"{"until":1770091506789.5}"#, Some(NOW)),
        ("anytime/1", r#"{"until":"1770091506789"}"#, Some(NOW)),
        ("anytime/1", r#"{"until":1e999}"#, Some(i64::MAX as u64)),
        ("stamped/1", "{}", Some(NOW + 60_000)),
        ("free/1", "{}", None),
    ] {
        let normalized = put(topic, document).unwrap_or_else(|refusal| panic!("{document}: {refusal}"));
        assert_eq!(expires_at_ms(table(topic).0, &normalized, NOW), expires, "{topic} {document}");
    }
}

#[test]
fn the_key_of_an_insert_is_looked_for_inside() {
    for (topic, document, key) in [
        ("dog/1", r#"{"id":"a/b"}"#, Ok(Some("a/b"))),
        ("dog/1", r#"{"id":"x","id":"y"}"#, Ok(Some("y"))),
        ("dog/1", r#"{"\u0069d":7}"#, Ok(Some("7"))),
        ("dog/1", r#"{"id":null}"#, Ok(None)),
        ("dog/1", r#"{"name":"id"}"#, Ok(None)),
        ("stamped/1", r#"{"id":"no","key":"yes"}"#, Ok(Some("yes"))),
        ("counter/1", r#"{"id":"007"}"#, Ok(Some("7"))),
        ("raw/1", r#"{"id":"7"}"#, Ok(None)),
        ("counter/1", r#"{"id":"x"}"#, Err("attribute `id`: expected a whole number of 32 bits (Int), found \"x\"")),
        ("dog/1", r#"{"id":""}"#, Err("attribute `id`: expected a key, but the key is empty, found \"\"")),
        ("dog/1", r#"{"id":{}}"#, Err("attribute `id`: expected text, found an object")),
        ("dog/1", "[1]", Err("payload: expected a JSON object, found an array")),
        ("dog/1", "{", Err("payload: expected a name in double quotes at byte 1, found nothing")),
    ] {
        let found = key_in(table(topic).0, document.as_bytes(), None);
        let found = found.map(|key| key.map(|key| key.to_string())).map_err(|refusal| refusal.to_string());
        assert_eq!(found.as_ref().map(Option::as_deref).map_err(String::as_str), key, "{document}");
    }
}

#[test]
fn one_attribute_of_a_document_is_found() {
    let document = br#" {"a":1,"b":{"a":2},"\u0061":[3],"c":null} "#;
    assert_eq!(attribute(document, "a"), Some("[3]"));
    assert_eq!(attribute(document, "b"), Some(r#"{"a":2}"#));
    assert_eq!(attribute(document, "c"), Some("null"));
    assert_eq!(attribute(document, "d"), None);
    assert_eq!(attribute(b"[]", "a"), None);
    assert_eq!(attribute(b"{\"a\":1", "a"), None);
}

#[test]
fn a_document_is_sent_and_read_in_other_formats() {
    let (table, key) = table("all/1");
    let document = concat!(
        r#"{"id":"1","bytes":"/+8=","text":"/+8=","big":-123456789012345678901234567890,"float":1.5,"#,
        r#""date":"2026-02-03T04:05:06.789Z","any":[null,true,-1,{"é":""}]}"#
    );
    for (format, bytes) in
        [(Format::Cbor, &b"ebytesB\xff\xef"[..]), (Format::MessagePack, b"\xa5bytes\xc4\x02\xff\xef")]
    {
        let encoded = format.encode(table, document.as_bytes()).unwrap();
        assert!(encoded.windows(bytes.len()).any(|window| window == bytes), "{encoded:x?}");
        let content_type = Some(format.content_type());
        let kept = Validator::default().put(table, &key, &encoded, content_type, NOW, None).unwrap();
        assert_eq!(std::str::from_utf8(&kept.payload).unwrap(), document);
        assert_eq!(key_in(table, &encoded, content_type).unwrap().unwrap(), key);

        let cut = Validator::default().put(table, &key, &encoded[..encoded.len() - 1], content_type, NOW, None);
        let words = format!("payload: expected more bytes at byte {}, found nothing", encoded.len() - 1);
        assert_eq!(cut.unwrap_err().to_string(), words);
        assert!(format.encode(table, b"not JSON").is_none());
    }
    let raw = |payload, format: Format| {
        Validator::default()
            .put(table, &key, payload, Some(format.content_type()), NOW, None)
            .map(|it| it.payload.into_owned())
    };
    let twice = raw(b"\xa2cint\x61acint\x05", Format::Cbor).unwrap();
    assert_eq!(std::str::from_utf8(&twice).unwrap(), r#"{"id":"1","int":5}"#);
    assert_eq!(
        raw(b"\xa1cint\x61a", Format::Cbor).unwrap_err().to_string(),
        r#"attribute `int`: expected Int, found "a""#
    );
    assert_eq!(
        raw(b"\x81\xa3int\xc1", Format::MessagePack).unwrap_err().to_string(),
        "payload: expected a type MessagePack knows before this at byte 6, found nothing"
    );
    assert_eq!(
        raw(b"\x91\x01", Format::MessagePack).unwrap_err().to_string(),
        "payload: expected a JSON object, found an array"
    );
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        "[\u{0}-\u{1f}\"\\\\/é😀]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec(("[a-d]{0,2}|\\PC{0,3}", inner), 0..24)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_kept_means_what_was_sent(value in json()) {
        for document in [serde_json::to_string(&value).unwrap(), serde_json::to_string_pretty(&value).unwrap()] {
            let Value::Object(mut expected) = value.clone() else {
                prop_assert!(put("free/1", &document).is_err());
                continue;
            };
            expected.remove("id");
            let document = serde_json::to_string(&expected).unwrap();
            let kept = put("free/1", &document).unwrap().payload;
            expected.insert("id".to_owned(), Value::from("1"));
            prop_assert_eq!(serde_json::from_slice::<Value>(&kept).unwrap(), Value::Object(expected));
            for format in [Format::Cbor, Format::MessagePack] {
                let encoded = format.encode(table("free/1").0, &kept).unwrap();
                let decoded = format.decode(&encoded).unwrap();
                let [before, after] = [&kept, &decoded].map(|json| serde_json::from_slice::<Value>(json).unwrap());
                prop_assert!(means_the_same(&before, &after), "{} {}", before, after);
            }
        }
    }

    /// Texts that are almost JSON: what another parser accepts, and only that, is accepted, and means the same.
    #[test]
    fn we_and_another_parser_accept_the_same(text in r#"\{("(a|b|\\u00[46]1|\\ud83d|\\ude00|id)*": ?("[a\\"]{0,3}"|-?[01]{1,2}(\.[0-9]?)?([eE][+-]?[0-9]?)?|\[\]|\[1,?\]|null|tru[ef]),?){0,4}\}"#) {
        let ours = pass::check_object(text.as_bytes());
        let theirs = serde_json::from_str::<Value>(&text);
        prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{}: {:?} {:?}", text, ours, theirs);
        if let Ok(Value::Object(mut expected)) = theirs
            && expected.get("id").is_none_or(|id| id == "1")
        {
            let kept = put("free/1", &text).unwrap().payload;
            expected.insert("id".to_owned(), Value::from("1"));
            prop_assert_eq!(serde_json::from_slice::<Value>(&kept).unwrap(), Value::Object(expected));
            prop_assert_eq!(serde_json::from_slice::<serde_json::Map<String, Value>>(&kept).unwrap().len(), count_members(&kept));
        }
    }

    /// What is kept is in its final form.
    #[test]
    fn what_is_kept_is_kept_as_it_is(members in prop::collection::vec((
        prop::sample::select(vec!["text", "code", "int", "long", "big", "float", "flag", "date", "any", "bytes"]),
        prop::sample::select(vec![
            "null", "true", "5", "-0", "5.0", "0.5", "1e3", "9007199254740992", "123456789012345678901234567890",
            r#""""#, r#""a""#, r#""12""#, r#""YQ""#, r#""_-8=""#, r#""2026-02-03""#, "[1]", r#"{"a":1,"a":2}"#,
        ]),
    ), 0..8)) {
        let members: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
        let document = format!("{{ {} }}", members.join(" ,\n"));
        if let Ok(kept) = put("all/1", &document) {
            let text = std::str::from_utf8(&kept.payload).unwrap();
            let again = put("all/1", text).unwrap().payload;
            prop_assert!(matches!(again, Cow::Borrowed(_)), "{} -> {}", document, text);
            prop_assert_eq!(&again, &kept.payload);
        }
    }

    /// A document is refused, or kept, as one that never had what comes again later.
    #[test]
    fn what_comes_again_might_as_well_not_have_been_sent(members in prop::collection::vec((
        prop::sample::select(vec!["id", "int", "\\u0069nt", "long", "big", "date", "any", "a", "\\u0061", "b", "eleven like it"]),
        prop::sample::select(vec![
            "null", "5", "-5.0", "1e3", r#""1""#, r#""12""#, r#""2026-02-03""#, r#"{"a":[{"b":1,"b":2}],"c":5.0,"a":2}"#,
        ]),
    ), 0..24)) {
        let name = |written: &str| serde_json::from_str::<String>(&format!("\"{written}\"")).unwrap();
        let comes_again = |place: usize| members[place + 1..].iter().any(|later| name(later.0) == name(members[place].0));
        let document = |places: &mut dyn Iterator<Item = usize>| {
            let members: Vec<_> = places.map(|place| format!("\"{}\": {}", members[place].0, members[place].1)).collect();
            format!("{{ {} }}", members.join(" , "))
        };
        let (whole, left) = (document(&mut (0..members.len())), document(&mut (0..members.len()).filter(|&place| !comes_again(place))));
        prop_assert_eq!(put("all/1", &whole).map(owned), put("all/1", &left).map(owned), "{}", whole);
    }

    #[test]
    fn a_merge_patch_does_what_the_rfc_says(record in almost_json(), patch in almost_json()) {
        let merged = merge_patch(Some(record.as_bytes()), patch.as_bytes()).unwrap();
        let [mut expected, change, merged] =
            [record.as_bytes(), patch.as_bytes(), &merged].map(|json| serde_json::from_slice::<Value>(json).unwrap());
        merge(&mut expected, change);
        prop_assert_eq!(merged, expected, "{} onto {}", patch, record);
    }

    #[test]
    fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..64), text in r#"[\[\]{}",:\\u0-9a-f \ud7ff]{0,40}"#) {
        for payload in [&bytes[..], text.as_bytes()] {
            let (table, key) = table("all/1");
            let _ = Validator::default().put(table, &key, payload, None, NOW, None);
            let _ = key_in(table, payload, None);
            let _ = merge_patch(Some(payload), payload);
            let _ = attribute(payload, "a");
            for format in [Format::Cbor, Format::MessagePack] {
                if let Ok(json) = format.decode(payload) {
                    prop_assert!(serde_json::from_slice::<Value>(&json).is_ok(), "{:?} {:x?}", format, payload);
                }
            }
        }
    }
}

/// A document with names that come again and nulls.
fn almost_json() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec!["null", "1", "[1, {\"a\":null}]", "\"b\""]).prop_map(str::to_owned);
    leaf.prop_recursive(4, 64, 12, |inner| {
        prop::collection::vec(("a|b|c|\\\\u0061|eleven like( it)?", inner), 0..12).prop_map(|members| {
            let members: Vec<_> = members.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
            format!("{{{}}}", members.join(" ,"))
        })
    })
}

/// The algorithm of RFC 7396 §2.
fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Some(members) = target.as_object_mut() else { return };
    for (name, value) in patch {
        if value.is_null() {
            members.remove(&name);
        } else {
            merge(members.entry(name).or_insert(Value::Null), value);
        }
    }
}

fn owned(normalized: Normalized<'_>) -> (String, Option<u64>) {
    (String::from_utf8_lossy(&normalized.payload).into_owned(), normalized.expires_at_ms)
}

/// Numbers may be written otherwise.
fn means_the_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.to_string() == b.to_string() || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| means_the_same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| means_the_same(a, b)))
        }
        _ => a == b,
    }
}

fn count_members(document: &[u8]) -> usize {
    let mut scanner = Scanner::new(document).unwrap();
    scanner.kind().unwrap();
    let mut elements = scanner.open().unwrap();
    let mut count = 0;
    while scanner.next_member(&mut elements).unwrap().is_some() {
        scanner.value(&mut ()).unwrap();
        count += 1;
    }
    count
}

fn table(topic: &str) -> (&'static Table, Key<'_>) {
    static CATALOG: std::sync::LazyLock<Catalog> = std::sync::LazyLock::new(|| {
        Catalog::new(Schema::parse(&[Source::new("schema.graphql", SCHEMA)]).expect("the schema is right"))
    });
    match CATALOG.resolve(topic) {
        Resolved::Record { table, key } => (table, key),
        other => panic!("{topic} is no record: {other:?}"),
    }
}

fn put<'p>(topic: &str, document: &'p str) -> Result<Normalized<'p>, Refusal> {
    let (table, key) = table(topic);
    Validator::default().put(table, &key, document.as_bytes(), None, NOW, None)
}

#[test]
fn an_accept_picks_the_format_it_likes_best() {
    use Format::{Cbor, Json, MessagePack};
    for (accept, format) in [
        ("application/cbor", Some(Cbor)),
        ("application/x-msgpack", Some(MessagePack)),
        ("Application/JSON; charset=utf-8", Some(Json)),
        ("application/vnd.dogs+json", Some(Json)),
        ("*/*", Some(Json)),
        ("text/html, application/*", Some(Json)),
        ("application/cbor, application/json", Some(Json)),
        ("application/json;q=0.5, application/cbor", Some(Cbor)),
        ("application/json;q=0.5, application/msgpack ; Q=0.9, application/cbor;q=0.8", Some(MessagePack)),
        ("application/cbor;q=0", None),
        ("application/cbor;q=2", None),
        ("application/cbor;q=x", None),
        ("application/merge-patch+json", None),
        ("text/html", None),
        ("", None),
        (",;,", None),
    ] {
        assert_eq!(Format::accepted(accept), format, "{accept}");
    }
    assert_eq!(
        Format::accepted(&format!("{}application/cbor", "text/html,".repeat(100))),
        None,
        "it is too far behind"
    );
}
