use super::*;
use crate::catalog::Catalog;
use crate::proposal::Durability;
use crate::schema::{Schema, Source};

const SCHEMA: &str = r#"
    type Dog @table @export { id: ID @id name: String breed: String secret: String born: Long @createdTime }
    type Cat @table @export { id: ID @id name: String }
    type Note @table @export
    type Farm @table @export(name: "farm/animals") { id: ID @id }
    type FarmDog @table @export(name: "farm/animals/dogs") { id: ID @id }
    type Web @table @export(mqtt: false) { id: ID @id }
"#;

fn tables() -> Tables {
    let schema = Schema::parse(&[Source::new("schema.graphql", SCHEMA)]).expect("a schema");
    Tables::new(Catalog::new(schema), Durability::Sync, |table| TableId(64 + table.index.0))
}

fn id(name: &str) -> TableId {
    let tables = tables();
    tables.id(tables.catalog().tables().iter().find(|table| &*table.name == name).expect("a table"))
}

fn read(table: &str) -> TableGrant {
    TableGrant { table: table.into(), read: true, ..TableGrant::default() }
}

fn attribute(name: &str, flags: &str) -> AttributeGrant {
    let has = |flag| flags.contains(flag);
    AttributeGrant { name: name.into(), read: has('r'), insert: has('i'), update: has('u') }
}

fn topic(filter: &str, flags: &str) -> TopicGrant {
    TopicGrant { filter: filter.into(), read: flags.contains('r'), publish: flags.contains('p') }
}

fn rights(role: Role) -> Rights {
    let policy = Policy::new(&BTreeMap::from([("r".into(), role)]), &tables());
    policy.rights(&principal("r"), "c")
}

fn principal(role: &str) -> Principal {
    Principal { user: Some("rex".into()), role: role.into(), ..Principal::default() }
}

#[test]
fn nobody_may_anything_that_no_role_grants() {
    let policy = Policy::new(&BTreeMap::from([("r".into(), Role::default())]), &tables());
    for role in ["r", "none", ""] {
        let rights = policy.rights(&principal(role), "c");
        assert!(!rights.is_everything());
        for operation in [Operation::Read, Operation::Insert, Operation::Put, Operation::Delete, Operation::Publish] {
            assert!(!rights.may(operation, id("Dog"), "Dog/1"), "{role}: {operation:?}");
            assert!(!rights.may(operation, TableId::TOPICS, "home/x"), "{role}: {operation:?}");
            assert!(!rights.may(operation, TableId::USERS, "rex"), "{role}: {operation:?}");
        }
        assert_eq!(rights.view(id("Dog"), "Dog/1"), View::Nothing);
        assert_eq!(rights.sight(&tables(), "#"), Sight::Nothing);
        assert_eq!(rights.sight_of_topics("#"), Sight::Nothing);
        assert!(rights.writing(id("Dog")).patch(&tables().catalog().tables()[0], b"{}", None).is_err());
    }
    let super_user = Principal { super_user: true, ..Principal::default() };
    assert!(policy.rights(&super_user, "c").is_everything());
}

#[test]
fn each_operation_is_granted_for_itself() {
    type Case = (&'static str, fn(&mut TableGrant), &'static [Operation]);
    let grants: [Case; 5] = [
        ("read", |grant| grant.read = true, &[Operation::Read]),
        ("insert", |grant| grant.insert = true, &[Operation::Insert, Operation::Put]),
        ("update", |grant| grant.update = true, &[Operation::Put]),
        ("delete", |grant| grant.delete = true, &[Operation::Delete]),
        ("publish", |grant| grant.publish = true, &[Operation::Publish]),
    ];
    for (name, give, allowed) in grants {
        let mut grant = TableGrant { table: "Dog".into(), ..TableGrant::default() };
        give(&mut grant);
        let rights = rights(Role { tables: vec![grant], ..Role::default() });
        for operation in [Operation::Read, Operation::Insert, Operation::Put, Operation::Delete, Operation::Publish] {
            assert_eq!(rights.may(operation, id("Dog"), "Dog/1"), allowed.contains(&operation), "{name} {operation:?}");
            assert!(!rights.may(operation, id("Cat"), "Cat/1"), "{name} of another table");
        }
    }
}

#[test]
fn a_filter_shows_all_some_or_nothing() {
    let role = Role {
        tables: vec![
            read("Dog"),
            read("Farm"),
            read("Web"),
            TableGrant { attributes: Some(vec![attribute("name", "r")]), ..read("Cat") },
            TableGrant { publish: true, read: false, ..read("FarmDog") },
        ],
        topics: vec![topic("home/%u/#", "rp"), topic("$SYS/broker/#", "r"), topic("out/#", "p")],
        ..Role::default()
    };
    let (rights, tables) = (rights(role), tables());
    for (filter, expected) in [
        ("Dog/#", Sight::All),
        ("Dog/+", Sight::All),
        ("Dog/1", Sight::All),
        ("Dog", Sight::All),
        ("Cat/#", Sight::Part),
        ("Cat/1", Sight::Part),
        ("Note/#", Sight::Nothing),
        ("Note/1", Sight::Nothing),
        ("Web/1", Sight::All), // Right it is; that MQTT is shut is for another to say.
        ("#", Sight::Part),
        ("+/1", Sight::Part),
        ("+", Sight::Part),
        ("farm/animals/#", Sight::Part),
        ("farm/animals/x", Sight::All),
        ("farm/animals/dogs/1", Sight::Nothing),
        ("farm/animals/dogs/+", Sight::Part), // Keys of Farm can have slashes.
        ("farm/x", Sight::Nothing),
        ("home/rex/#", Sight::All),
        ("home/rex", Sight::All),
        ("home/rex/a/+", Sight::All),
        ("home/+/a", Sight::Part),
        ("home/eve/#", Sight::Nothing),
        ("home/eve", Sight::Nothing),
        ("$SYS/broker/uptime", Sight::All),
        ("$SYS/#", Sight::Part),
        ("$SYS/other/#", Sight::Nothing),
        ("out/#", Sight::Nothing),
        ("dgo/1", Sight::Nothing),
    ] {
        assert_eq!(rights.sight(&tables, filter), expected, "{filter}");
    }
    for (filter, expected) in [
        ("#", Sight::Part),
        ("home/rex/#", Sight::All),
        ("home/eve/#", Sight::Nothing),
        ("out/#", Sight::Nothing),
        ("Dog/#", Sight::Nothing),
    ] {
        assert_eq!(rights.sight_of_topics(filter), expected, "{filter} among topics");
    }
    assert!(rights.may(Operation::Publish, TableId::TOPICS, "out/x"));
    assert!(rights.may(Operation::Delete, TableId::TOPICS, "home/rex/x"));
    assert!(!rights.may(Operation::Publish, TableId::TOPICS, "$SYS/broker/x"));
    assert!(!rights.may(Operation::Publish, TableId::TOPICS, "home/eve/x"));
}

#[test]
fn roles_that_show_the_same_share_what_is_made_of_it() {
    let shows = |names: &[&str]| Role {
        tables: vec![TableGrant {
            attributes: Some(names.iter().map(|name| attribute(name, "r")).collect()),
            ..read("Dog")
        }],
        ..Role::default()
    };
    let roles = BTreeMap::from([
        ("a".into(), shows(&["name", "breed"])),
        ("b".into(), shows(&["breed", "name"])),
        ("c".into(), shows(&["name"])),
    ]);
    let policy = Policy::new(&roles, &tables());
    let shown = |role: &str| match policy.rights(&principal(role), "").view(id("Dog"), "Dog/1") {
        View::Only(shown) => Arc::as_ptr(shown),
        view => panic!("{view:?}"),
    };
    assert_eq!(shown("a"), shown("b"));
    assert_ne!(shown("a"), shown("c"));
}

// What is written ------------------------------------------------------------------------------------------------------

fn writing(insert: bool, update: bool, attributes: Option<Vec<AttributeGrant>>) -> Writing {
    let grant = TableGrant { table: "Dog".into(), insert, update, attributes, ..TableGrant::default() };
    rights(Role { tables: vec![grant], ..Role::default() }).writing(id("Dog"))
}

#[track_caller]
fn check_put(writing: &Writing, payload: &str, current: Option<&str>, expected: Result<&str, &str>) {
    let tables = tables();
    let dog = &tables.catalog().tables()[0];
    let put = writing.put(dog, payload.as_bytes(), None, current.map(str::as_bytes));
    let put = put.map(|(payload, _)| String::from_utf8(payload.into_owned()).expect("text"));
    let put = put.map_err(|denied| denied.to_string());
    assert_eq!(put, expected.map(str::to_owned).map_err(str::to_owned), "{payload} onto {current:?}");
}

#[test]
fn a_put_is_an_insert_or_an_update() {
    let there = Some(r#"{"id":"1","name":"Old"}"#);
    for (insert, update) in [(false, true), (true, false)] {
        let writing = writing(insert, update, None);
        assert!(!writing.is_free());
        let expected = |allowed| if allowed { Ok("{}") } else { Err("not allowed") };
        check_put(&writing, "{}", None, expected(insert));
        check_put(&writing, "{}", there, expected(update));
    }
    assert!(writing(true, true, None).is_free());
    assert!(!writing(true, true, Some(Vec::new())).is_free());
}

#[test]
fn what_may_not_be_changed_stays_and_is_not_to_be_sent() {
    let writing = writing(true, true, Some(vec![attribute("name", "iu"), attribute("breed", "ri")]));
    let dog = r#"{"id":"1","name":"Rex","breed":"Lab","secret":"s","own":[1.50],"born":5}"#;
    let kept = r#""breed":"Lab","secret":"s","own":[1.50]"#;
    check_put(&writing, r#"{"name":"Max"}"#, Some(dog), Ok(&format!(r#"{{"name":"Max",{kept}}}"#)));
    check_put(&writing, "{}", Some(dog), Ok(&format!("{{{kept}}}")));
    check_put(&writing, r#"{"id":"1","born":7}"#, Some(dog), Ok(&format!(r#"{{"id":"1","born":7,{kept}}}"#)));
    check_put(&writing, r#"{"breed":"Lab"}"#, Some(dog), Err("attribute breed: not allowed"));
    check_put(&writing, r#"{"breed":null}"#, Some(dog), Err("attribute breed: not allowed"));
    check_put(&writing, r#"{"s\u0065cret":1}"#, Some(dog), Err("attribute secret: not allowed"));
    check_put(&writing, r#"{"other":1}"#, Some(dog), Err("attribute other: not allowed"));
    check_put(&writing, r#"{"name":"Max","breed":"Lab"}"#, None, Ok(r#"{"name":"Max","breed":"Lab"}"#));
    check_put(&writing, r#"{"secret":"s"}"#, None, Err("attribute secret: not allowed"));
    // For the validator to refuse.
    for payload in ["", "[]", "{", "null"] {
        check_put(&writing, payload, None, Ok(payload));
        check_put(&writing, payload, Some(dog), Ok(payload));
    }
}

#[test]
fn other_formats_hide_nothing() {
    let writing = writing(true, true, Some(vec![attribute("name", "iu")]));
    let tables = tables();
    let dog = &tables.catalog().tables()[0];
    let cbor = b"\xa1\x66secret\x61s"; // {"secret": "s"}
    let put = writing.put(dog, cbor, Some("application/cbor"), None);
    assert_eq!(put, Err(Denied::Attribute("secret".to_owned())));
    let cbor = b"\xa1\x64name\x63Max";
    let (payload, content_type) =
        writing.put(dog, cbor, Some("application/cbor"), Some(br#"{"secret":"s"}"#)).expect("allowed");
    assert_eq!((&*payload, content_type), (&br#"{"name":"Max","secret":"s"}"#[..], None));
}

#[test]
fn a_patch_touches_what_it_names() {
    let writing = writing(false, true, Some(vec![attribute("name", "iu")]));
    let tables = tables();
    let dog = &tables.catalog().tables()[0];
    let patch = |patch: &str, current: Option<&str>| {
        writing.patch(dog, patch.as_bytes(), current.map(str::as_bytes)).map_err(|denied| denied.to_string())
    };
    assert_eq!(patch(r#"{"name":null}"#, Some("{}")), Ok(()));
    assert_eq!(patch("{}", Some("{}")), Ok(()));
    assert_eq!(patch(r#"{"name":"x"}"#, None), Err("not allowed".to_owned()));
    assert_eq!(patch(r#"{"name":"x","secret":null}"#, Some("{}")), Err("attribute secret: not allowed".to_owned()));
}

#[test]
fn attributes_of_what_has_none_are_not_granted() {
    let grant =
        TableGrant { insert: true, publish: true, attributes: Some(vec![attribute("name", "riu")]), ..read("Note") };
    let rights = rights(Role { tables: vec![grant], ..Role::default() });
    assert_eq!(rights.view(id("Note"), "Note/1"), View::Nothing);
    assert!(!rights.may(Operation::Put, id("Note"), "Note/1"));
    assert!(rights.may(Operation::Publish, id("Note"), "Note/1"));
}
