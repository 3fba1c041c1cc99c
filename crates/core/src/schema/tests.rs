use super::*;
use crate::value::KeyType;

#[test]
fn the_dog_of_the_front_page_is_a_table() {
    let schema = accept("type Dog @table @export {\n\tid: ID @id\n\tname: String\n\tbreed: String\n}\n");
    let [dog] = &schema.tables[..] else { panic!("one table") };
    assert_eq!((&*dog.name, &*dog.table, &*dog.database), ("Dog", "Dog", "data"));
    assert_eq!(dog.export.as_ref().unwrap(), &Export { name: "Dog".into(), named: false, doors: Doors::OPEN });
    assert_eq!((&*dog.key.name, dog.key.key_type), ("id", KeyType::Text));
    assert_eq!(dog.attributes.iter().map(|attribute| &*attribute.name).collect::<Vec<_>>(), ["id", "name", "breed"]);
    assert!(dog.is_typed() && dog.replicate && !dog.sealed && !dog.audit && !dog.needs_previous());
}

#[test]
fn a_table_without_attributes_takes_any_payload() {
    let schema = accept("type MyTopic @table @export");
    assert!(!schema.tables[0].is_typed());
    assert_eq!(schema.tables[0].key.key_type, KeyType::Text);
    // A declared key makes a table typed, though open to all other attributes.
    assert!(accept("type MyTopic @table @export { id: ID }").tables[0].is_typed());
}

#[test]
fn every_directive_is_read() {
    let schema = accept(
        r#"
        """ Everything at once. """
        type Order @table(table: "orders", database: "shop", expiration: 3600, eviction: 0, audit: true,
                          replicate: false, durability: flush)
                   @export(name: "shop/orders", mqtt: true, rest: false, sse: false, ws: true) @sealed @hidden {
            "The number on the invoice."
            number: Long @primaryKey
            made: Long @createdTime
            changed: Date! @updatedTime
            until: Float @expiresAt
            customerId: ID! @indexed
            customer: Customer @relationship(from: customerId)
            items: [Item!]! @hidden
            total: Float @computed(from: "items.length") @indexed
        }
        type Customer @table(durability: "memory") { orders: [Order] @relationship(to: "customerId") }
        type Item @sealed { name: String! parts: [Item] }
        "#,
    );
    let order = &schema.tables[0];
    assert_eq!((&*order.table, &*order.database), ("orders", "shop"));
    assert_eq!((order.expiration_secs, order.eviction_secs), (Some(3600), Some(0)));
    assert_eq!((order.audit, order.replicate, order.sealed, order.hidden), (true, false, true, true));
    assert_eq!((order.durability, schema.tables[1].durability), (Some(Durability::Flush), Some(Durability::Memory)));
    let doors = Doors { mqtt: true, rest: false, sse: false, ws: true };
    assert_eq!(order.export, Some(Export { name: "shop/orders".into(), named: true, doors }));
    assert_eq!((&*order.key.name, order.key.key_type), ("number", KeyType::Long));
    assert_eq!(order.docs.as_deref(), Some("Everything at once."));
    assert_eq!(order.attributes[0].docs.as_deref(), Some("The number on the invoice."));
    assert!(order.needs_previous());
    let described: Vec<_> = order.attributes.iter().map(|it| format!("{}: {} {:?}", it.name, it.ty, it.role)).collect();
    assert_eq!(
        described,
        [
            "number: Long Key",
            "made: Long CreatedTime",
            "changed: Date! UpdatedTime",
            "until: Float ExpiresAt",
            "customerId: ID! Plain",
            "customer: Customer Relationship { from: Some(\"customerId\"), to: None }",
            "items: [Item!]! Plain",
            "total: Float Computed { from: \"items.length\" }",
        ]
    );
    let indexed: Vec<_> = order.attributes.iter().filter(|it| it.indexed).map(|it| &*it.name).collect();
    assert_eq!(indexed, ["customerId", "total"]);
    assert!(order.attributes.get("items").unwrap().hidden && schema.types[2].sealed);
    assert!(schema.tables[1].export.is_none());
}

#[test]
fn a_key_is_found_or_implied() {
    for (fields, name, key_type, attributes) in [
        ("name: String", "id", KeyType::Text, 2),
        ("id: ID", "id", KeyType::Text, 1),
        ("id: ID! name: String", "id", KeyType::Text, 2),
        ("id: Int @primaryKey", "id", KeyType::Int, 1),
        ("id: Any @id @primaryKey", "id", KeyType::Any, 1),
        ("id: Float n: Int @id", "n", KeyType::Int, 2),
        ("n: String @id", "n", KeyType::Text, 1),
    ] {
        let schema = accept(&format!("type T @table {{ {fields} }}"));
        let table = &schema.tables[0];
        assert_eq!((&*table.key.name, table.key.key_type), (name, key_type), "{fields}");
        assert_eq!(table.attributes.len(), attributes, "{fields}");
    }
}

#[test]
fn several_files_are_one_schema() {
    let sources = [
        Source::new("a.graphql", "type Dog @table { home: Address }"),
        Source::new("empty.graphql", "\n # nothing yet\n"),
        Source::new("b.graphql", "type Address { street: String }"),
    ];
    let schema = Schema::parse(&sources).unwrap();
    assert_eq!((schema.tables.len(), schema.types.len()), (1, 2));
    assert!(Schema::parse(&[]).unwrap().tables.is_empty());

    let sources = [sources[0].clone(), Source::new("c.graphql", "\ntype Dog @table")];
    check_sources(
        &sources,
        "
error: there is no type `Address`
 --> a.graphql:1:25
  |
1 | type Dog @table { home: Address }
  |                         ^^^^^^^
  |
  = help: built-in types are ID, String, Int, Long, BigInt, Float, Boolean, Date, Any, Bytes

error: the type `Dog` is declared twice
 --> c.graphql:2:6
  |
2 | type Dog @table
  |      ^^^
  |
  = help: the first is at a.graphql:1:6",
    );
}

#[test]
fn mistakes_show_their_line_and_what_was_probably_meant() {
    check(
        "type Dog @tabel @export(nam: \"x\", mqtt: \"false\") {\n\tid: ID @primarykey\n\tbreed: Sting\n\tbreed: String\n}\n",
        "
error: there is no directive `@tabel`
 --> schema.graphql:1:10
  |
1 | type Dog @tabel @export(nam: \"x\", mqtt: \"false\") {
  |          ^^^^^^
  |
  = help: did you mean `@table`?

error: `@export` has no argument `nam`
 --> schema.graphql:1:25
  |
1 | type Dog @tabel @export(nam: \"x\", mqtt: \"false\") {
  |                         ^^^
  |
  = help: did you mean `name`?

error: `mqtt` takes `true` or `false`
 --> schema.graphql:1:41
  |
1 | type Dog @tabel @export(nam: \"x\", mqtt: \"false\") {
  |                                         ^^^^^^^
  |
  = help: write it without quotes: `false`

error: there is no directive `@primarykey`
 --> schema.graphql:2:9
  |
2 |     id: ID @primarykey
  |            ^^^^^^^^^^^
  |
  = help: did you mean `@primaryKey`?

error: there is no type `Sting`
 --> schema.graphql:3:9
  |
3 |     breed: Sting
  |            ^^^^^
  |
  = help: did you mean `String`?

error: the field `breed` is declared twice
 --> schema.graphql:4:2
  |
4 |     breed: String
  |     ^^^^^",
    );
}

#[test]
fn one_mistake_is_told_once() {
    check(
        "type Dog @tabel @export { id: ID @id made: Long @createdTime }",
        "
error: there is no directive `@tabel`
 --> schema.graphql:1:10
  |
1 | type Dog @tabel @export { id: ID @id made: Long @createdTime }
  |          ^^^^^^
  |
  = help: did you mean `@table`?",
    );
}

#[test]
fn a_mistake_after_letters_of_several_bytes_is_pointed_at() {
    check(
        "\"\"\"Überhunde 🐕\"\"\" type Dog @tabel",
        "
error: there is no directive `@tabel`
 --> schema.graphql:1:28
  |
1 | \"\"\"Überhunde 🐕\"\"\" type Dog @tabel
  |                             ^^^^^^
  |
  = help: did you mean `@table`?",
    );
}

#[test]
fn syntax_errors_are_told_once_for_each_definition() {
    check(
        "type Dog @table {\n  name String\n  breed: String\n}\n\ntype Cat @table {}\n\ntype Cow @table @export(name: 'x')\n",
        "
error: expected `:` and a type, as in `name: String`, found `String`
 --> schema.graphql:2:8
  |
2 |   name String
  |        ^^^^^^

error: expected a field, found `}`
 --> schema.graphql:6:18
  |
6 | type Cat @table {}
  |                  ^
  |
  = help: a table without attributes is declared without braces, as in `type MyTopic @table @export`

error: expected double quotes around texts, found `'`
 --> schema.graphql:8:31
  |
8 | type Cow @table @export(name: 'x')
  |                               ^",
    );
}

#[test]
fn what_is_not_a_schema_is_refused() {
    for (text, message) in [
        ("typ Dog @table", "expected a type definition, found `typ`"),
        ("{ dogs { name } }", "there is no `{` in a schema"),
        ("type", "expected a name, found the end of the file"),
        ("type Dog @table { name: String", "expected `}` or another field, found the end of the file"),
        ("type Dog @table { name: [String }", "expected `]`, found `}`"),
        ("type Dog @table { é: String }", "expected letters, digits and `_` only in names, found `é`"),
        ("type Dog @table(table: ) ", "expected a value, found `)`"),
        ("type Dog @table(table: \"x)\n", "this text has no closing quote"),
        ("\"\"\"docs\"\"\"", "no type follows this description"),
        ("enum Color { RED }", "there is no `enum` in a schema"),
        ("extend type Dog { a: Int }", "there is no `extend` in a schema"),
        ("scalar Color", "there is no `scalar` in a schema"),
        ("type Dog implements Animal @table", "types implement nothing here"),
        ("type Dog @table { name(short: Boolean): String }", "fields take no arguments here"),
    ] {
        check_first(text, message);
    }
    check_first(&"[".repeat(100_000), "expected a type definition, found `[`");
    check_first(&" ".repeat(SCHEMA_BYTES_MAX + 1), "a schema has at most 1048576 bytes, all files together");
    check_first(
        &format!("type D @table {{ a: {}Int{} }}", "[".repeat(200), "]".repeat(200)),
        "parser recursion limit reached",
    );
}

#[test]
fn what_a_directive_does_not_take_is_refused() {
    for (text, message) in [
        ("type D @table @table", "`@table` is there twice"),
        ("type D @indexed", "`@indexed` is for fields, not for types"),
        ("type D { a: Int @sealed }", "`@sealed` is for types, not for fields"),
        ("type D @foreign", "there is no directive `@foreign`"),
        ("type D @table(table: x)", "`table` takes text in double quotes"),
        ("type D @table(table: \"x\", table: \"y\")", "`table` is there twice"),
        ("type D @table(table: \"../x\")", "`../x` cannot be the name of a table"),
        ("type D @table(database: \"\")", "`` cannot be the name of a database"),
        ("type D @table(expiration: 0)", "`expiration` takes a whole number of seconds from 1 to 4294967295"),
        ("type D @table(expiration: -5)", "`expiration` takes a whole number of seconds from 1 to 4294967295"),
        ("type D @table(expiration: 1.5)", "`expiration` takes a whole number of seconds from 1 to 4294967295"),
        ("type D @table(expiration: \"60\")", "`expiration` takes a whole number of seconds from 1 to 4294967295"),
        ("type D @table(expiration: 4294967296)", "`expiration` takes a whole number of seconds from 1 to 4294967295"),
        ("type D @table(eviction: -1)", "`eviction` takes a whole number of seconds from 0 to 4294967295"),
        ("type D @table(audit: 1)", "`audit` takes `true` or `false`"),
        ("type D @table(durability: snc)", "`durability` takes `sync`, `flush` or `memory`"),
        ("type D @table(replicate: null)", "`replicate` takes `true` or `false`"),
        ("type D @table @sealed(x: 1) { a: Int }", "`@sealed` has no argument `x`"),
        ("type D @table @sealed", "`D` has no attributes, and takes any payload as it is"),
        ("type D @export { a: Int }", "only tables can be exported"),
        ("type D @table { a: D @relationship }", "`@relationship` needs `from:` or `to:`"),
        ("type D @table { a: Int @computed }", "`@computed` needs `from:`"),
        ("type D @table { a: Int @computed(from: \" \") }", "the expression is empty"),
    ] {
        check_first(text, message);
    }
}

#[test]
fn what_does_not_go_together_is_refused() {
    for (text, message) in [
        ("type String { a: Int }", "`String` is a built-in type"),
        ("type D { a: Int } type D { b: Int }", "the type `D` is declared twice"),
        ("type D @table { a: Int a: Int }", "the field `a` is declared twice"),
        ("type D @table { a: ID @id b: ID @primaryKey }", "two fields are the key: `a` and `b`"),
        ("type D @table { a: Long @createdTime b: Long @createdTime }", "two fields are `@createdTime`: `a` and `b`"),
        ("type D @table { a: Float @id }", "a key cannot be of type `Float`"),
        ("type D @table { a: [ID] @id }", "a key cannot be of type `[ID]`"),
        ("type D @table { a: E @id } type E { b: Int }", "a key cannot be of type `E`"),
        ("type D @table { id: Int }", "`id` is the key where no field has `@primaryKey`, and must be an ID then"),
        (
            "type D @table { id: ID @computed(from: \"1\") }",
            "`id` is the key where no field has `@primaryKey`, and must be an ID then",
        ),
        ("type D @table { a: Int @createdTime }", "`a` holds a time, for which `Int` is no type"),
        ("type D @table { a: String @expiresAt }", "`a` holds a time, for which `String` is no type"),
        (
            "type D @table { a: Long @createdTime @updatedTime }",
            "a field cannot be both `@createdTime` and `@updatedTime`",
        ),
        ("type D { a: ID @id }", "`@id` is for fields of tables"),
        ("type D { a: Int @indexed }", "`@indexed` is for fields of tables"),
        (
            "type D @table { a: E @indexed } type E { b: Int }",
            "`a` cannot be indexed: only built-in types and lists of them can",
        ),
        ("type D @table { a: E } type E @table", "`E` is a table, and records do not hold records"),
        (
            "type D @table { a: [Int] @relationship(from: b) b: ID }",
            "a relationship leads to a table, and `[Int]` is none",
        ),
        ("type D @table { a: E @relationship(from: c) b: ID } type E @table", "`D` has no stored attribute `c`"),
        ("type D @table { a: [E] @relationship(to: c) } type E @table { b: ID }", "`E` has no stored attribute `c`"),
        ("type A { b: B! } type B { a: A! }", "no document could ever be complete: `A` requires `B` requires `A`"),
        ("type T @table { a: A! } type A { a: A! }", "no document could ever be complete: `A` requires `A`"),
        ("type D @table type E @table(table: \"D\")", "`D` and `E` are stored as one table, `D`"),
        ("type D @table @export type E @table @export(name: \"D\")", "`D` and `E` are both exported as `D`"),
    ] {
        check_first(text, message);
    }
    check_first(
        &format!("type D @table {{ {} }}", (0..1025).map(|n| format!("a{n}: Int ")).collect::<String>()),
        "a type has at most 1024 fields",
    );
    check_first(&format!("type D @table {{ a: {}Int{} }}", "[".repeat(9), "]".repeat(9)), "lists nest at most 8 deep");
}

#[test]
fn types_may_nest_in_themselves_where_that_can_end() {
    accept("type T @table { a: A } type A { a: A }");
    accept("type T @table { a: A! } type A { a: [A!]! }");
    accept("type A { b: B! } type B { a: A }");
    accept("type D @table { a: E @relationship(from: b) b: ID } type E @table { d: [D] @relationship(to: b) }");
}

#[test]
fn names_the_server_needs_and_names_no_topic_can_have_are_refused() {
    for name in ["dogs", "farm/animals/dogs", "Hunde und Katzen", "é", "a.b", "x$", "healthy", "farm/health"] {
        accept(&format!("type D @table @export(name: \"{name}\")"));
    }
    for (name, message) in [
        ("", "nothing can be exported as ``: the name is empty"),
        ("a+", "nothing can be exported as `a+`: '+' cannot be in it"),
        ("a/#", "nothing can be exported as `a/#`: '#' cannot be in it"),
        ("a?", "nothing can be exported as `a?`: '?' cannot be in it"),
        ("/a", "nothing can be exported as `/a`: a level of it is empty"),
        ("a/", "nothing can be exported as `a/`: a level of it is empty"),
        ("a//b", "nothing can be exported as `a//b`: a level of it is empty"),
        ("a/b/c/d/e/f/g/h/i", "nothing can be exported as `a/b/c/d/e/f/g/h/i`: it has more than 8 levels"),
        ("health", "`health` is a name of the server's own"),
        ("health/x", "`health` is a name of the server's own"),
        ("openapi.json", "`openapi.json` is a name of the server's own"),
        ("$topics", "`$topics` is a name of the server's own"),
        ("$x/y", "`$x` is a name of the server's own"),
    ] {
        check_first(&format!("type D @table @export(name: \"{name}\")"), message);
    }
    for name in ["health", "ready", "metrics", "console"] {
        check_first(&format!("type {name} @table @export"), &format!("`{name}` is a name of the server's own"));
    }
    // Its alias would be `console`.
    check_first("type Console @table @export", "`console` is a name of the server's own");
    accept("type Console @table @export(name: \"Console\")");
    accept("type Console @table");
    check_first("type D @table @export(name: \"\\u0000\")", "nothing can be exported as `\0`: '\\0' cannot be in it");
    check_first(
        &format!("type D @table @export(name: \"{}\")", "x".repeat(257)),
        &format!("nothing can be exported as `{}`: it has more than 256 bytes", "x".repeat(257)),
    );
}

#[test]
fn colour_is_only_there_when_asked_for() {
    let mistakes = Schema::parse(&[Source::new("s", "type D @tabel")]).unwrap_err();
    assert!(!render(&mistakes, Color::Never).contains('\x1b'));
    assert!(render(&mistakes, Color::Ansi).contains('\x1b'));
}

#[track_caller]
fn accept(text: &str) -> Schema {
    let parsed = Schema::parse(&[Source::new("schema.graphql", text)]);
    parsed.unwrap_or_else(|mistakes| panic!("{}", render(&mistakes, Color::Never)))
}

/// The text must be refused with exactly this on the terminal.
#[track_caller]
fn check(text: &str, rendered: &str) {
    check_sources(&[Source::new("schema.graphql", text)], rendered);
}

#[track_caller]
fn check_sources(sources: &[Source], rendered: &str) {
    let mistakes = Schema::parse(sources).expect_err("this should be refused");
    let found = render(&mistakes, Color::Never);
    assert!(found == rendered.trim_start(), "found:\n{found}\nexpected:{rendered}");
}

/// The first mistake found must be this one.
#[track_caller]
fn check_first(text: &str, message: &str) {
    let Err(mistakes) = Schema::parse(&[Source::new("schema.graphql", text)]) else {
        panic!("{text} should be refused: {message}")
    };
    assert_eq!(mistakes[0].message, message, "{}", render(&mistakes, Color::Never));
    for mistake in &mistakes {
        assert!(mistake.source.text.get(mistake.span.clone()).is_some(), "{mistake:?}");
    }
}
