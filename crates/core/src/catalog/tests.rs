use super::*;
use crate::schema::Source;

const SCHEMA: &str = r#"
    type Dog @table @export
    type Counter @table @export { id: Int @id }
    type Mixed @table @export { id: Any @id }
    type Secret @table @export(mqtt: false)
    type Plan @table
    type Barn @table @export(name: "farm/barn")
    type Animal @table @export(name: "farm/barn/animal")
    type Cat @table @export
    type Kitten @table @export(name: "cat/kitten")
    type Bird @table @export
    type bird @table(table: "bird2") @export
"#;

#[test]
fn a_topic_is_a_record_of_the_table_it_names() {
    for (topic, expected) in [
        ("Dog/123", "Dog 123"),
        ("dog/123", "Dog 123"),
        ("dog/a/b//c/", "Dog a/b//c/"),
        ("dog//x", "Dog /x"),
        ("dog/?", "Dog ?"),
        ("counter/01", "Counter 1"),
        ("counter/-0", "Counter 0"),
        ("mixed/01", "Mixed 01"),
        ("mixed/1", "Mixed 1"),
        ("farm/barn/1", "Barn 1"),
        ("farm/barn/animal/1", "Animal 1"),
        ("farm/barn/animals/1", "Barn animals/1"),
        ("Bird/1", "Bird 1"),
        ("bird/1", "bird 1"),
        ("Cat/kitten/1", "Cat kitten/1"),
        ("cat/kitten/1", "Kitten 1"),
    ] {
        check(topic, expected);
    }
}

#[test]
fn a_topic_is_a_channel_an_open_topic_or_nothing() {
    for (topic, expected) in [
        ("dog", "channel of Dog"),
        ("Dog/", "channel of Dog"),
        ("farm/barn", "channel of Barn"),
        ("farm/barn/animal/", "channel of Animal"),
        ("farm", "open"),
        ("farm/", "open"),
        ("dogs/1", "open"),
        ("DOG/1", "open"),
        ("/dog/1", "open"),
        ("plan/1", "open"),
        ("Plan/1", "open"),
        ("barn/1", "open"),
        ("Farm/barn/1", "open"),
        ("cat/1", "open"), // `cat/kitten` claims the level, so `cat` is no alias of `Cat`.
        ("", "open"),
        ("/", "open"),
        ("secret/1", "Secret is closed"),
        ("Secret", "Secret is closed"),
        ("counter/x", "Counter: the key is not a whole number of 32 bits (Int)"),
        ("counter/1/", "Counter: the key is not a whole number of 32 bits (Int)"),
    ] {
        check(topic, expected);
    }
    check(&format!("dog/{}", "x".repeat(5000)), "Dog: the key has 5000 bytes, more than 4096");
    check(&"/".repeat(65_535), "open");
}

#[test]
fn a_filter_is_brought_to_the_exact_name_and_remembers_its_spelling() {
    for (filter, expected) in [
        ("dog/#", "Dog/# as dog"),
        ("Dog/#", "Dog/# as Dog"),
        ("dog", "Dog as dog"),
        ("dog/", "Dog as dog"),
        ("dog/+", "Dog/+ as dog"),
        ("dog/+/x", "Dog/+/x as dog"),
        ("dog/a/#", "Dog/a/# as dog"),
        ("counter/01", "Counter/1 as counter"),
        ("counter/01/#", "Counter/1/# as counter"),
        ("counter/x/#", "Counter/x/# as counter"),
        ("counter/+", "Counter/+ as counter"),
        ("counter/#", "Counter/# as counter"),
        ("mixed/01", "Mixed/01 as mixed"),
        ("farm/barn/+", "farm/barn/+ as farm/barn"),
        ("farm/barn/#", "farm/barn/# as farm/barn"),
        ("farm/barn/animal/7", "farm/barn/animal/7 as farm/barn/animal"),
        ("bird/1", "bird/1 as bird"),
        ("dog/?breed=Lab&age=gt=3", "Dog/# as dog where breed=Lab&age=gt=3"),
        ("dog/a/?", "Dog/a/# as dog where "),
        ("dog/a?b", "Dog/a?b as dog"),
        ("counter/?x=1?2", "Counter/# as counter where x=1?2"),
        ("farm/+/1", "other"),
        ("farm/#", "other"),
        ("+/123", "other"),
        ("#", "other"),
        ("home/dog/1", "other"),
        ("home/?x=1", "other"),
        ("secret/#", "Secret is closed"),
        ("counter/x", "Counter: the key is not a whole number of 32 bits (Int)"),
        ("counter/1/2", "Counter: the key is not a whole number of 32 bits (Int)"),
    ] {
        assert_eq!(describe_filter(filter), expected, "{filter}");
    }
}

#[test]
fn a_filter_selects_records_of_every_table_below_its_wildcards() {
    for (filter, expected) in [
        ("#", "Dog # Counter # Mixed # Barn # Animal # Cat # Kitten # Bird # bird #"),
        ("+/1", "Dog 1 Counter 1 Mixed 1 Cat 1 Bird 1 bird 1"),
        ("+/+/1", "Dog +/1 Counter +/1 Mixed +/1 Barn 1 Cat +/1 Kitten 1 Bird +/1 bird +/1"),
        ("Dog/#", "Dog #"),
        ("Dog", ""),
        ("+", ""),
        ("farm/#", "Barn # Animal #"),
        ("farm/barn/#", "Barn # Animal #"),
        ("farm/barn/+/1", "Barn +/1 Animal 1"),
        ("Secret/#", ""),
        ("nothing/#", ""),
    ] {
        let catalog = catalog();
        let selected: Vec<_> =
            catalog.selected_tables(filter).map(|it| format!("{} {}", it.table.name, it.keys)).collect();
        assert_eq!(selected.join(" "), expected, "{filter}");
    }
}

#[test]
fn a_record_has_one_canonical_topic_and_is_delivered_as_spelled() {
    let catalog = catalog();
    let Resolved::Record { table, key } = catalog.resolve("counter/007") else { panic!("a record") };
    let topic = catalog.canonical_topic(table, &key).unwrap();
    assert_eq!(topic, "Counter/7");
    assert_eq!(respell(&topic, table, "counter"), "counter/7");
    assert_eq!(respell(&topic, table, "Counter"), "Counter/7");
    assert_eq!(respell("Counter", table, "counter"), "counter");
    assert_eq!(catalog.spellings(table), ["Counter".into(), "counter".into()]);
    let exported = |name: &str| catalog.exported(name).map(|table| catalog.spellings(table).join(" "));
    assert_eq!(exported("cat"), None);
    assert_eq!(exported("Bird").as_deref(), Some("Bird"));
    assert_eq!(exported("farm/barn").as_deref(), Some("farm/barn"));
    assert_eq!(exported("secret").as_deref(), Some("Secret secret"));
    let plan = catalog.tables().iter().find(|table| &*table.name == "Plan").unwrap();
    assert!(catalog.spellings(plan).is_empty() && catalog.canonical_topic(plan, &key).is_none());
    let open = catalog.open_topics();
    let key = Key::parse("a/b", open.key.key_type).unwrap();
    assert_eq!(catalog.canonical_topic(open, &key).as_deref(), Some("a/b"));
    assert_eq!(catalog[open.index].name, open.name);
}

#[test]
fn every_canonical_topic_resolves_to_its_record() {
    let catalog = catalog();
    for table in catalog.tables().iter().filter(|table| is_open_to_mqtt(table)) {
        let key = Key::parse("7", table.key.key_type).unwrap();
        let topic = catalog.canonical_topic(table, &key).unwrap();
        for spelling in catalog.spellings(table) {
            let spelled = respell(&topic, table, spelling).into_owned();
            let Resolved::Record { table: found, key: found_key } = catalog.resolve(&spelled) else {
                panic!("{spelled} is a record")
            };
            assert_eq!((found.index, &found_key), (table.index, &key), "{spelled}");
        }
    }
}

#[test]
fn no_two_records_have_one_topic() {
    let catalog = catalog_of(
        r#"
        type Farm @table @export
        type Barn @table @export(name: "Farm/barn")
        type Stall @table @export(name: "Farm/barn/1") { id: Int @id }
        type Web @table @export(name: "Farm/web", mqtt: false)
        type Count @table @export { id: Int @id }
        type One @table @export(name: "Count/1")
        type Farms @table @export
        type Plan @table
        "#,
    );
    let table = |name: &str| match name {
        "open" => catalog.open_topics(),
        name => catalog.tables().iter().find(|table| &*table.name == name).unwrap(),
    };
    for (of, key, taken_by) in [
        ("Farm", "1", None),
        ("Farm", "barns/1", None),
        ("Farm", "Barn/1", None),
        ("Farm", "barn", Some("Barn")),
        ("Farm", "barn/", Some("Barn")),
        ("Farm", "barn/9", Some("Barn")),
        ("Farm", "barn/1/x", Some("Stall")),
        ("Farm", "web/1", Some("Web")),
        ("Barn", "1", Some("Stall")),
        ("Barn", "2", None),
        ("Stall", "1", None),
        ("Count", "1", Some("One")),
        ("Count", "2", None),
        ("Farms", "barn/1", None),
        ("Plan", "barn/1", None),
        ("open", "farm/1", Some("Farm")),
        ("open", "Farm", Some("Farm")),
        ("open", "farm/barn/2", Some("Barn")),
        ("open", "Plan/1", None),
        ("open", "FARM/1", None),
        ("open", "x/Farm/1", None),
    ] {
        let key = Key::parse(key, table(of).key.key_type).unwrap();
        let topic = catalog.canonical_topic(table(of), &key).unwrap_or_default();
        let found = catalog.taken_by(table(of), &topic).map(|table| &*table.name);
        assert_eq!(found, taken_by, "{of} {key}");
    }
    // Nor by way of an alias.
    for (topic, expected) in [
        ("farm/1", "Farm 1"),
        ("farm/barn", "Barn"),
        ("farm/barn/2", "Barn 2"),
        ("farm/barn/1/2", "Stall 2"),
        ("farm/barns/2", "Farm barns/2"),
        ("count/1/2", "One 2"),
        ("farms/barn/2", "Farms barn/2"),
    ] {
        let found = match catalog.resolve(topic) {
            Resolved::Record { table, key } => format!("{} {key}", table.name),
            Resolved::Channel { table } => table.name.to_string(),
            other => panic!("{topic}: {other:?}"),
        };
        assert_eq!(found, expected, "{topic}");
    }
    for (of, spellings) in
        [("Farm", "Farm farm"), ("Barn", "Farm/barn farm/barn"), ("Stall", "Farm/barn/1 farm/barn/1")]
    {
        assert_eq!(catalog.spellings(table(of)).join(" "), spellings);
    }
    let ResolvedFilter::Table { filter, spelling, .. } = catalog.resolve_filter("farm/barn/+") else {
        panic!("a table")
    };
    assert_eq!((&*filter, spelling), ("Farm/barn/+", "farm/barn"));
}

#[test]
fn a_new_schema_is_compared_table_by_table() {
    for (old, new, expected) in [
        ("type A @table { a: Int }", "type A @table { a: Int }", ""),
        ("", "type A @table", "table `A` is new"),
        ("type A @table", "", "table `A` is no longer in the schema; its records are kept, out of reach"),
        ("type A @table(table: \"t\")", "type B @table(table: \"t\")", ""),
        (
            "type A @table { a: Int b: ID @indexed c: Int }",
            "type A @table { a: Long b: ID c: Int @indexed d: Int @indexed }",
            "attribute `A.a` is Long instead of Int; records change when put again\n\
             `A.b` is no longer indexed\n\
             `A.c` is to be indexed\n\
             attribute `A.d` is new\n\
             `A.d` is to be indexed",
        ),
        (
            "type A @table { a: Int @indexed b: Int }",
            "type A @table { b: Int }",
            "attribute `A.a` is no longer declared; its values stay in the records\n`A.a` is no longer indexed",
        ),
        (
            "type A @table",
            "type A @table { a: Int }",
            "table `A` takes other payloads than before; records stay as they are until put again",
        ),
        (
            "type A @table { id: ID }",
            "type A @table { id: Int @id }",
            "refused: the key of `A` cannot change from `id`, text, to `id`, a whole number of 32 bits (Int): \
             it would orphan the stored records\n\
             attribute `A.id` is Int instead of ID; records change when put again",
        ),
        (
            "type A @table { a: ID @id }",
            "type A @table { b: ID @id }",
            "refused: the key of `A` cannot change from `a`, text, to `b`, text: it would orphan the stored \
             records\n\
             attribute `A.a` is no longer declared; its values stay in the records\n\
             attribute `A.b` is new",
        ),
    ] {
        let changes = catalog_of(new).changes_from(&catalog_of(old));
        let lines: Vec<_> = changes
            .iter()
            .map(|change| format!("{}{change}", if change.is_refused() { "refused: " } else { "" }))
            .collect();
        assert_eq!(lines.join("\n"), expected, "{old} -> {new}");
    }
}

fn catalog() -> Catalog {
    catalog_of(SCHEMA)
}

fn catalog_of(schema: &str) -> Catalog {
    Catalog::new(Schema::parse(&[Source::new("schema.graphql", schema)]).unwrap())
}

#[track_caller]
fn check(topic: &str, expected: &str) {
    let found = match catalog().resolve(topic) {
        Resolved::Record { table, key } => format!("{} {key}", table.name),
        Resolved::Channel { table } => format!("channel of {}", table.name),
        Resolved::Open => "open".to_owned(),
        Resolved::Closed { table } => format!("{} is closed", table.name),
        Resolved::BadKey { table, error } => format!("{}: {error}", table.name),
    };
    assert_eq!(found, expected, "{topic:.80}");
}

fn describe_filter(filter: &str) -> String {
    match catalog().resolve_filter(filter) {
        ResolvedFilter::Table { filter, spelling, query: None, .. } => format!("{filter} as {spelling}"),
        ResolvedFilter::Table { filter, spelling, query: Some(query), .. } => {
            format!("{filter} as {spelling} where {query}")
        }
        ResolvedFilter::Other => "other".to_owned(),
        ResolvedFilter::Closed { table } => format!("{} is closed", table.name),
        ResolvedFilter::BadKey { table, error } => format!("{}: {error}", table.name),
    }
}
