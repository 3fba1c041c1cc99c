//! What a terminal shows when the application runs: what listens where, which tables there are, and what to try.

use crate::config::Mode;
use crate::net::Door;
use anstyle::{AnsiColor, Style};
use rowcast_core::catalog::Catalog;
use rowcast_core::schema::{Attribute, Role, Scalar, Shape, Table};
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// What there is to say.
#[derive(Clone, Debug)]
pub struct Screen<'a> {
    /// How this program was called: what is to be tried can be typed in the same way.
    pub program: &'a str,
    /// Which command runs.
    pub mode: Mode,
    /// The application folder.
    pub folder: &'a Path,
    /// The data folder.
    pub data: &'a Path,
    /// What is listened for where, as bound: no port is 0.
    pub doors: &'a [(Door, Address)],
    /// The certificate of the authority that was made for this server, if it shows one of that.
    pub authority: Option<&'a Path>,
    /// All tables, with the names they have.
    pub catalog: &'a Catalog,
    /// MQTT is for a proxy, which says who its clients are.
    pub mqtt_proxied: bool,
    /// Clients from this machine need no password.
    pub trusts_local: bool,
    /// The password of `admin`, if it was made up just now: nobody will see it again.
    pub admin_password: Option<&'a str>,
}

/// Where something listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Address {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Screen<'_> {
    /// Where one door is.
    fn at(&self, door: Door) -> impl Iterator<Item = &Address> {
        self.doors.iter().filter(move |(other, _)| *other == door).map(|(_, address)| address)
    }
}

/// The screen as text with colours; printing it through `anstream` leaves them out where there is no terminal.
#[must_use]
pub fn render(screen: &Screen<'_>) -> String {
    let mut out = String::new();
    let command = match screen.mode {
        Mode::Dev => "dev",
        Mode::Run => "run",
    };
    let version = env!("CARGO_PKG_VERSION");
    let _ = writeln!(out, "{TITLE}rowcast {version}{TITLE:#}  {command} {}\n", screen.folder.display());
    for door in [Door::Mqtt, Door::Mqtts, Door::Http, Door::Https] {
        show_door(&mut out, door, screen);
    }
    if let Some(authority) = screen.authority {
        let _ =
            writeln!(out, "  {NAME}ca{NAME:#}      {}  clients that trust it trust this server", authority.display());
    }
    let _ = writeln!(out, "  {NAME}data{NAME:#}    {}", screen.data.display());
    tables(&mut out, screen.catalog);
    if let Some(password) = screen.admin_password {
        let _ = writeln!(out, "\n  {NAME}admin{NAME:#}   password {TITLE}{password}{TITLE:#}  shown this once");
        out.push_str("          `rowcast user password admin` sets another, also when it is lost\n");
    }
    let commands = commands(screen);
    if !commands.is_empty() {
        let _ = writeln!(out, "\n  {NAME}try{NAME:#}");
        for command in commands {
            let _ = writeln!(out, "    {COMMAND}{command}{COMMAND:#}");
        }
    }
    match screen.trusts_local {
        true => out.push_str("\n  Clients on this machine need no password. Ctrl-C stops.\n"),
        false => out.push_str("\n  Ctrl-C stops.\n"),
    }
    out
}

fn show_door(out: &mut String, door: Door, screen: &Screen<'_>) {
    let (name, scheme, is_expected) = match door {
        Door::Mqtt => ("MQTT", "mqtt", true),
        Door::Mqtts => ("MQTTS", "mqtts", false),
        Door::Http => ("HTTP", "http", true),
        Door::Https => ("HTTPS", "https", false),
    };
    let mut addresses = screen.at(door).peekable();
    if is_expected && addresses.peek().is_none() {
        let _ = writeln!(out, "  {NAME}{name:<8}{NAME:#}shut");
    }
    let is_proxied = screen.mqtt_proxied && matches!(door, Door::Mqtt | Door::Mqtts);
    let note = if is_proxied { "  for a proxy that sends PROXY headers" } else { "" };
    for address in addresses {
        let _ = match address {
            Address::Tcp(address) => writeln!(out, "  {NAME}{name:<8}{NAME:#}{scheme}://{address}{note}"),
            Address::Unix(path) => writeln!(out, "  {NAME}{name:<8}{NAME:#}{}{note}", path.display()),
        };
    }
}

fn tables(out: &mut String, catalog: &Catalog) {
    let tables = catalog.tables();
    let shown = &tables[..tables.len().min(TABLES_SHOWN)];
    let rows: Vec<(String, String)> = shown
        .iter()
        .map(|table| {
            let topic = match topic_name(catalog, table) {
                Some(name) => format!("{name}/{{{}}}", table.key.name),
                None => format!("{} (not exported)", table.name),
            };
            let attributes: Vec<&str> = table.attributes.iter().map(|attribute| &*attribute.name).collect();
            let attributes = if attributes.is_empty() { "any payload".to_owned() } else { attributes.join(" ") };
            (topic, attributes)
        })
        .collect();
    let width = rows.iter().map(|(topic, _)| topic.chars().count()).max().unwrap_or(0);
    for (index, (topic, attributes)) in rows.iter().enumerate() {
        let label = if index == 0 { "tables" } else { "" };
        let _ = writeln!(out, "  {NAME}{label:<6}{NAME:#}  {topic:<width$}  {attributes}");
    }
    if tables.len() > shown.len() {
        let _ = writeln!(out, "          and {} more", tables.len() - shown.len());
    }
}

/// Commands to paste, about the first table that is exported.
fn commands(screen: &Screen<'_>) -> Vec<String> {
    let mut tables = screen.catalog.tables().iter();
    let Some((table, name)) = tables.find_map(|table| Some((table, topic_name(screen.catalog, table)?))) else {
        return Vec::new();
    };
    let doors = table.export.as_ref().map(|export| export.doors);
    let record = format!("{name}/1");
    let value = example(table);
    let program = if screen.program.contains(char::is_whitespace) {
        format!("'{}'", screen.program)
    } else {
        screen.program.to_owned()
    };
    let mut commands = Vec::new();
    let has_mqtt = doors.is_some_and(|doors| doors.mqtt) && !screen.mqtt_proxied;
    if let (Some(port), true) = (tcp_port(screen, Door::Mqtt), has_mqtt) {
        let port = if port == 1883 { String::new() } else { format!(" -p {port}") };
        let user = if screen.trusts_local { "" } else { " -u admin" };
        commands.push(format!("{program} sub{port}{user} -v -t '{name}/#'"));
        commands.push(format!("{program} pub{port}{user} -r -t {record} -m '{value}'"));
        commands.push(format!("{program} pub{port}{user} -t {record} -m 'an event: heard, not stored'"));
    }
    if let (Some(port), true) = (tcp_port(screen, Door::Http), doors.is_some_and(|doors| doors.rest)) {
        let url = if port == 9926 { String::new() } else { format!(" --url http://127.0.0.1:{port}") };
        let user = if screen.trusts_local { "" } else { " -u admin" };
        commands.push(format!("{program} get{url}{user} {record}"));
    }
    if !commands.is_empty() && !screen.trusts_local {
        commands.insert(0, "export ROWCAST_PASSWORD=...".to_owned());
    }
    commands
}

fn tcp_port(screen: &Screen<'_>, door: Door) -> Option<u16> {
    screen.at(door).find_map(|address| match address {
        Address::Tcp(address) => Some(address.port()),
        Address::Unix(_) => None,
    })
}

/// As one would type it: with a lower-case first letter, if it has that alias.
fn topic_name<'c>(catalog: &'c Catalog, table: &Table) -> Option<&'c str> {
    catalog.spellings(table).last().map(|name| &**name)
}

/// A value for a record that the table takes: what is required, and a few attributes more.
fn example(table: &Table) -> String {
    if !table.is_typed() {
        return "hello".to_owned();
    }
    let plain = |attribute: &&Attribute| attribute.role == Role::Plain;
    let mut fields = serde_json::Map::new();
    for attribute in table.attributes.iter().filter(plain) {
        if attribute.ty.required || fields.len() < FIELDS_SHOWN {
            match example_value(&attribute.ty.shape, &attribute.name) {
                Some(value) => drop(fields.insert(attribute.name.to_string(), value)),
                None if attribute.ty.required => return "{...}".to_owned(),
                None => {}
            }
        }
    }
    serde_json::Value::Object(fields).to_string()
}

fn example_value(shape: &Shape, name: &str) -> Option<serde_json::Value> {
    match shape {
        Shape::Scalar(Scalar::Id | Scalar::String | Scalar::Any) => Some(format!("a {name}").into()),
        Shape::Scalar(Scalar::Int | Scalar::Long | Scalar::BigInt) => Some(1.into()),
        Shape::Scalar(Scalar::Float) => Some(1.5.into()),
        Shape::Scalar(Scalar::Boolean) => Some(true.into()),
        Shape::Scalar(Scalar::Date) => Some("2030-01-01T00:00:00Z".into()),
        Shape::Scalar(Scalar::Bytes) => Some("AQID".into()),
        Shape::List(item) => Some(vec![example_value(&item.shape, name)?].into()),
        Shape::Object { .. } => None,
    }
}

const TITLE: Style = Style::new().bold();
const NAME: Style = AnsiColor::Cyan.on_default();
const COMMAND: Style = AnsiColor::Green.on_default();

/// A screen is for reading.
const TABLES_SHOWN: usize = 12;
const FIELDS_SHOWN: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use rowcast_core::schema::{Schema, Source};

    #[test]
    fn dev_shows_what_to_try() {
        let schema = "type Dog @table @export { id: ID @id name: String breed: String age: Int }
            type Reading @table @export(name: \"farm/reading\")
            type Secret @table { id: ID @id }";
        check(
            &catalog_of(schema),
            |screen| screen,
            "\
rowcast VERSION  dev /srv/kennel

  MQTT    mqtt://127.0.0.1:1883
  HTTP    http://127.0.0.1:9926
  data    /srv/kennel/data
  tables  dog/{id}               id name breed age
          farm/reading/{id}      any payload
          Secret (not exported)  id

  try
    rowcast sub -v -t 'dog/#'
    rowcast pub -r -t dog/1 -m '{\"name\":\"a name\",\"breed\":\"a breed\"}'
    rowcast pub -t dog/1 -m 'an event: heard, not stored'
    rowcast get dog/1

  Clients on this machine need no password. Ctrl-C stops.
",
        );
    }

    #[test]
    fn run_shows_the_first_password_once() {
        let schema =
            catalog_of("type Dog @table @export { id: ID @id age: Int! born: Date! ok: Boolean! tags: [String]! }");
        let doors = [
            (Door::Mqtt, Address::Tcp(([0, 0, 0, 0], 1884).into())),
            (Door::Mqtt, Address::Unix("/run/mqtt.sock".into())),
            (Door::Mqtts, Address::Tcp(([0, 0, 0, 0], 8883).into())),
        ];
        check(
            &schema,
            |screen| Screen {
                program: "my programs/rowcast",
                mode: Mode::Run,
                doors: &doors,
                authority: Some(Path::new("/srv/kennel/data/keys/ca.pem")),
                trusts_local: false,
                admin_password: Some("abcde-fghij"),
                ..screen
            },
            "\
rowcast VERSION  run /srv/kennel

  MQTT    mqtt://0.0.0.0:1884
  MQTT    /run/mqtt.sock
  MQTTS   mqtts://0.0.0.0:8883
  HTTP    shut
  ca      /srv/kennel/data/keys/ca.pem  clients that trust it trust this server
  data    /srv/kennel/data
  tables  dog/{id}  id age born ok tags

  admin   password abcde-fghij  shown this once
          `rowcast user password admin` sets another, also when it is lost

  try
    export ROWCAST_PASSWORD=...
    'my programs/rowcast' sub -p 1884 -u admin -v -t 'dog/#'
    'my programs/rowcast' pub -p 1884 -u admin -r -t dog/1 -m '{\"age\":1,\"born\":\"2030-01-01T00:00:00Z\",\"ok\":true,\"tags\":[\"a tags\"]}'
    'my programs/rowcast' pub -p 1884 -u admin -t dog/1 -m 'an event: heard, not stored'

  Ctrl-C stops.
",
        );
    }

    #[test]
    fn doors_for_a_proxy_are_marked_and_not_to_be_tried() {
        let catalog = catalog_of("type Dog @table @export { id: ID @id }");
        let shown = plain(&Screen { mqtt_proxied: true, ..screen_of(&catalog) });
        assert!(shown.contains("mqtt://127.0.0.1:1883  for a proxy that sends PROXY headers\n"), "{shown}");
        assert!(!shown.contains("rowcast sub") && shown.contains("rowcast get dog/1"), "{shown}");
    }

    #[test]
    fn a_table_is_shown_under_a_name_it_has() {
        let catalog = catalog_of(
            "type Foo @table @export { id: ID @id } type Bar @table @export(name: \"foo\") { id: ID @id }
            type Cat @table @export { id: ID @id }",
        );
        let shown = plain(&screen_of(&catalog));
        assert!(shown.contains("  tables  Foo/{id}  id\n          foo/{id}  id\n          cat/{id}  id\n"), "{shown}");
        assert!(shown.contains("rowcast get Foo/1"), "{shown}");
    }

    #[test]
    fn many_tables_are_cut_and_no_export_leaves_nothing_to_try() {
        let text: String = (0..15).map(|index| format!("type T{index} @table {{ id: ID @id }}\n")).collect();
        let catalog = catalog_of(&text);
        let shown = plain(&screen_of(&catalog));
        assert!(shown.contains("          and 3 more\n"), "{shown}");
        assert!(!shown.contains("try"), "{shown}");
    }

    fn catalog_of(text: &str) -> Catalog {
        Catalog::new(Schema::parse(&[Source::new("schema.graphql", text)]).expect("a schema"))
    }

    fn screen_of(catalog: &Catalog) -> Screen<'_> {
        const LOOPBACK: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
        static DOORS: [(Door, Address); 2] = [
            (Door::Mqtt, Address::Tcp(SocketAddr::new(LOOPBACK, 1883))),
            (Door::Http, Address::Tcp(SocketAddr::new(LOOPBACK, 9926))),
        ];
        Screen {
            program: "rowcast",
            mode: Mode::Dev,
            folder: Path::new("/srv/kennel"),
            data: Path::new("/srv/kennel/data"),
            doors: &DOORS,
            authority: None,
            catalog,
            mqtt_proxied: false,
            trusts_local: true,
            admin_password: None,
        }
    }

    fn plain(screen: &Screen<'_>) -> String {
        anstream::adapter::strip_str(&render(screen)).to_string().replace(env!("CARGO_PKG_VERSION"), "VERSION")
    }

    #[track_caller]
    fn check<'a>(catalog: &'a Catalog, change: impl FnOnce(Screen<'a>) -> Screen<'a>, expected: &str) {
        assert_eq!(plain(&change(screen_of(catalog))), expected);
    }
}
