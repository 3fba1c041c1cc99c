use super::*;
use rowcast_core::schema::Schema;

const SCHEMA: &str = r#"
type Dog @table @export { id: ID @id name: String breed: String }
type Cat @table(database: "felines", table: "cats") @export { id: ID @id name: String }
type Note @table @export
type Web @table @export(mqtt: false) { id: ID @id }
"#;

fn parse(text: &str) -> Result<Roles, Vec<Diagnostic>> {
    let schema = Schema::parse(&[Source::new("schema.graphql", SCHEMA)]).expect("a schema");
    read(&Source::new("roles.yaml", text), &Catalog::new(schema))
}

fn dog(give: impl FnOnce(&mut TableGrant)) -> TableGrant {
    let mut grant = TableGrant { table: "Dog".into(), ..TableGrant::default() };
    give(&mut grant);
    grant
}

fn named(name: &str, read: bool, update: bool) -> AttributeGrant {
    AttributeGrant { name: name.into(), read, insert: false, update }
}

#[test]
fn roles_are_what_the_manual_shows() {
    let roles = parse(
        r#"
reader:
  tables:
    Dog: { read: true }
kennel:
  tables:
    Dog:
      read: true
      insert: true
      update: true
      delete: false
      publish: true                 # events
      attributes:
        name: { read: true, update: true }
        breed: { read: true }
    Web: { delete: true }
  topics:
    - { filter: "home/%u/#", read: true, publish: true }
    - { filter: "$SYS/#", read: true }
    - filter: "+/x"
nothing:
admin: { super_user: true }
"#,
    );
    let roles = roles.expect("roles");
    assert_eq!(roles.keys().map(|name| &**name).collect::<Vec<_>>(), ["admin", "kennel", "nothing", "reader"]);
    assert_eq!(roles["reader"], Role { tables: vec![dog(|grant| grant.read = true)], ..Role::default() });
    assert_eq!(roles["nothing"], Role::default());
    assert_eq!(roles["admin"], Role { super_user: true, ..Role::default() });
    let kennel = &roles["kennel"];
    let expected = dog(|grant| {
        (grant.read, grant.insert, grant.update, grant.publish) = (true, true, true, true);
        grant.attributes = Some(vec![named("name", true, true), named("breed", true, false)]);
    });
    assert_eq!(kennel.tables[0], expected);
    let topic = |filter: &str, read, publish| TopicGrant { filter: filter.into(), read, publish };
    assert_eq!(
        kennel.topics,
        [topic("home/%u/#", true, true), topic("$SYS/#", true, false), topic("+/x", false, false)]
    );
}

#[test]
fn harpers_form_means_the_same() {
    for database in ["data", "database"] {
        let text = format!(
            r#"
role:
  super_user: false
  structure_user: false
  {database}:
    tables:
      Dog:
        read: true
        update: true
        attribute_permissions:
          - {{ attribute_name: name, read: true, insert: false, update: true, delete: true }}
      Note: {{ read: true, attribute_permissions: [] }}
  felines:
    tables:
      cats: {{ read: true }}
"#
        );
        let role = &parse(&text).expect("a role")["role"];
        let expected = dog(|grant| {
            (grant.read, grant.update) = (true, true);
            grant.attributes = Some(vec![named("name", true, true)]);
        });
        let read = |table: &str| TableGrant { table: table.into(), read: true, ..TableGrant::default() };
        assert_eq!(role.tables, [expected, read("Note"), read("Cat")]);
    }
}

// [hostile 58] [hostile 60]
#[test]
fn nothing_grants_nothing() {
    for text in ["", "# reader: { super_user: true }\n", "---\n", "null\n", "{}\n", "\n\n"] {
        assert_eq!(parse(text).expect("no roles"), Roles::new(), "{text:?}");
    }
}

// [hostile 60]
#[test]
fn what_is_not_understood_is_shown_where_it_stands() {
    for (text, place, words) in [
        ("reader", "1:1", "expected roles"),
        ("- reader", "1:1", "expected roles"),
        ("reader: true", "1:9", "expected what the role may do"),
        ("a: { super_user: yes }", "1:18", "expected true or false, found \"yes\""),
        ("a: { superuser: true }", "1:6", "did you mean `super_user`?"),
        ("a: { table: {} }", "1:6", "did you mean `tables`?"),
        ("a: { staff: {} }", "1:6", "there are: super_user, tables, topics"),
        ("a:\n  tables:\n    Dgo: { read: true }", "3:5", "did you mean `Dog`?"),
        ("a:\n  tables:\n    dog: { read: true }", "3:5", "did you mean `Dog`?"),
        ("a: { tables: { cats: { read: true } } }", "1:16", "there is no table `cats`"),
        ("a: { felines: { tables: { Dog: {} } } }", "1:27", "there is no table `Dog`"),
        ("a: { felines: { cats: {} } }", "1:17", "there is no key `cats`"),
        ("a: { tables: [Dog] }", "1:14", "expected tables by their names"),
        ("a: { tables: { Dog: read } }", "1:21", "expected operations"),
        ("a: { tables: { Dog: { raed: true } } }", "1:23", "did you mean `read`?"),
        ("a: { tables: { Dog: { read: 1 } } }", "1:29", "expected true or false, found 1"),
        ("a: { tables: { Dog: {} }, data: { tables: { Dog: {} } } }", "1:45", "is said twice"),
        ("a: { tables: { Dog: { attributes: { nmae: {} } } } }", "1:37", "did you mean `name`?"),
        ("a: { tables: { Dog: { attributes: { colour: {} } } } }", "1:37", "declare it in the schema"),
        ("a: { tables: { Dog: { attributes: { name: { delete: true, write: true } } } } }", "1:59", "no key `write`"),
        ("a: { tables: { Dog: { attributes: [name] } } }", "1:35", "expected attributes by their names"),
        ("a: { tables: { Note: { attributes: {} } } }", "1:36", "declares no attributes"),
        ("a: { tables: { Dog: { attributes: {}, attribute_permissions: [] } } }", "1:39", "given twice"),
        ("a: { tables: { Dog: { attribute_permissions: { name: {} } } } }", "1:46", "expected a list"),
        ("a: { tables: { Dog: { attribute_permissions: [{ read: true }] } } }", "1:47", "no `attribute_name`"),
        ("a: { topics: { filter: x } }", "1:14", "expected a list"),
        ("a: { topics: [x] }", "1:15", "expected `filter:`"),
        ("a: { topics: [{ read: true }] }", "1:15", "there is no `filter`"),
        ("a: { topics: [{ filter: 1 }] }", "1:25", "expected a topic filter"),
        ("a: { topics: [{ filter: 'a/#/b' }] }", "1:25", "is no topic filter"),
        ("a: { topics: [{ filter: '$share/g/x' }] }", "1:25", "behind `$share/GROUP/`"),
        ("a: { topics: [{ filter: 'dog/#', read: true }] }", "1:25", "topics of the table Dog"),
        ("a: { topics: [{ filter: 'web/1', read: true }] }", "1:25", "topics of the table Web"),
        ("a: { topics: [{ filter: x, insert: true }] }", "1:28", "there are: filter, read, publish"),
        ("admin: { tables: {} }", "1:1", "may do everything"),
        ("a: {}\na: { super_user: true }", "2:1", "`a` is given twice"),
        ("a: { tables: { Dog: { read: false, read: true } } }", "1:36", "`read` is given twice"),
        ("a: {", "1:1", "unclosed"),
    ] {
        let mistakes = parse(text).expect_err(text);
        let first = &mistakes[0];
        let shown = format!("{} {}", first.message, first.help.as_deref().unwrap_or_default());
        assert!(shown.contains(words), "{text}: {shown}");
        assert_eq!(first.source.place(first.span.start), format!("roles.yaml:{place}"), "{text}: {shown}");
    }
}

#[test]
fn a_role_that_is_shown_is_the_same_when_it_is_read() {
    let written = "a: { tables: { Dog: { read: true, attributes: { name: { read: true } } }, Note: { publish: true } }, \
                   topics: [{ filter: \"home/%u/#\", read: true }] }\nb: { super_user: true }\nc:\n";
    let roles = parse(written).expect("roles");
    let shown = |roles: &Roles| -> serde_json::Value {
        roles.iter().map(|(name, role)| (name.to_string(), to_json(role))).collect()
    };
    assert_eq!(parse(&shown(&roles).to_string()).expect("roles again"), roles);
}
