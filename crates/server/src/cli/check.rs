//! `rowcast check`.

use super::serve::Settings;
use super::{GREEN, YELLOW, shown};
use crate::application::{self, Application};
use crate::config::{Config, Holds, Listen, LoadError, Loaded, Mode, list, load};
use crate::data_folder;
use crate::entrance::Secure;
use clap::Args;
use rowcast_core::policy::{Role, TableGrant};
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// What to check.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  rowcast check\n  rowcast check kennel --config staging.yaml\n  rowcast check --keys"
)]
pub(super) struct Check {
    /// The application folder
    #[arg(default_value = ".", value_name = "DIR")]
    folder: PathBuf,
    #[command(flatten)]
    settings: Settings,
    /// List every key of the configuration instead, with its default and what it means
    #[arg(long)]
    keys: bool,
}

impl Check {
    /// Shows every mistake of every file before it says whether there was one.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        if self.keys {
            anstream::print!("{}", keys());
            return Ok(ExitCode::SUCCESS);
        }
        let loaded = self.settings.given(self.folder.clone()).and_then(|given| load(Mode::Run, &given));
        if let Err(error @ LoadError::NoFolder(_)) = loaded {
            return Err(error.into());
        }
        let application = application::read(&self.folder);
        if let Ok(Loaded { warnings, .. }) = &loaded {
            for warning in warnings.iter().chain(&application::unread_files(&self.folder)) {
                anstream::eprintln!("{YELLOW}warning{YELLOW:#}: {warning}");
            }
        }
        let errors = loaded.as_ref().map_or(Vec::new(), |loaded| unusable(&loaded.config));
        match (loaded, application, errors) {
            (Ok(loaded), Ok(application), errors) if errors.is_empty() => {
                anstream::print!("{}", summary(&loaded, &application));
                Ok(ExitCode::SUCCESS)
            }
            (loaded, application, mut errors) => {
                errors.splice(0..0, loaded.err().map(Into::into));
                errors.splice(0..0, application.err().map(Into::into));
                let errors: Vec<String> = errors.iter().map(shown).collect();
                anstream::eprintln!("{}", errors.join("\n\n"));
                Ok(ExitCode::FAILURE)
            }
        }
    }
}

/// What a start could not use of what the configuration names: the data folder, and files with keys and certificates.
fn unusable(config: &Config) -> Vec<anyhow::Error> {
    let data = data_folder::check_own(&config.storage.path).map_err(anyhow::Error::from);
    let secure = Secure::of_files(config, &config.storage.path.join("keys"));
    let certificates = secure.load().map(drop).map_err(anyhow::Error::from);
    let token_keys = config.token_rules().load().map(drop).map_err(anyhow::Error::from);
    [data, certificates, token_keys].into_iter().filter_map(Result::err).collect()
}

/// Every key there is.
fn keys() -> String {
    let mut out = String::new();
    for key in list(Mode::Run).iter().filter(|key| key.not_yet.is_none()) {
        let _ = writeln!(out, "{GREEN}{}{GREEN:#}: {}", key.path, key.default);
        let end = match key.holds {
            Holds::AtOnce => "",
            Holds::NextStart => " From the next start on.",
        };
        let _ = writeln!(out, "    {}{end}\n    {}", key.meaning, key.words);
        for member in &key.members {
            let _ = writeln!(out, "    {GREEN}{}.{}{GREEN:#}: {}", key.path, member.path, member.default);
            let _ = writeln!(out, "        {}\n        {}", member.meaning, member.words);
        }
    }
    out
}

fn summary(loaded: &Loaded, application: &Application) -> String {
    let mut out = String::new();
    let config = &loaded.config;
    let file = loaded.file.as_ref().map_or("defaults".to_owned(), |path| path.display().to_string());
    let mut row = |name: &str, text: String| {
        let _ = writeln!(out, "{GREEN}ok{GREEN:#} {name:<14} {text}");
    };
    for table in application.catalog.tables() {
        let attributes: Vec<String> =
            table.attributes.iter().map(|attribute| format!("{}: {}", attribute.name, attribute.ty)).collect();
        let attributes = if attributes.is_empty() { "any payload".to_owned() } else { attributes.join(", ") };
        let topic = match &table.export {
            Some(export) => format!("{}/{{{}}}", export.name, table.key.name),
            None => "not exported".to_owned(),
        };
        row(&table.name, format!("{topic:<20} {attributes}"));
    }
    for (name, role) in &application.roles {
        row("role", format!("{name:<20} {}", show_role(role)));
    }
    row("configuration", file);
    row("MQTT", show_listen(&config.mqtt.listen));
    row("MQTT over TLS", show_listen(&config.mqtt.secure_listen));
    row("HTTP", show_listen(&config.http.listen));
    row("HTTPS", show_listen(&config.http.secure_listen));
    row("data", config.storage.path.display().to_string());
    out
}

/// What a role may do, in a line.
fn show_role(role: &Role) -> String {
    if role.super_user {
        return "everything".to_owned();
    }
    let words = |flags: &[(bool, &'static str)]| {
        let given: Vec<&str> = flags.iter().filter(|(given, _)| *given).map(|&(_, word)| word).collect();
        given.join(", ")
    };
    let tables = role.tables.iter().map(|grant| {
        let TableGrant { read, insert, update, delete, publish, .. } = *grant;
        let flags = [(read, "read"), (insert, "insert"), (update, "update"), (delete, "delete"), (publish, "publish")];
        let attributes = if grant.attributes.is_some() { " (some attributes)" } else { "" };
        format!("{}{attributes}: {}", grant.table, words(&flags))
    });
    let topics = role
        .topics
        .iter()
        .map(|grant| format!("{}: {}", grant.filter, words(&[(grant.read, "read"), (grant.publish, "publish")])));
    let all: Vec<String> = tables.chain(topics).collect();
    if all.is_empty() { "nothing".to_owned() } else { all.join("; ") }
}

fn show_listen(listen: &Listen) -> String {
    use crate::config::Host;
    match listen {
        Listen::Shut => "shut".to_owned(),
        Listen::Tcp { host: Host::Any, port } => format!("port {port}"),
        Listen::Tcp { host: Host::Loopback, port } => format!("port {port} of this machine only"),
        Listen::Tcp { host: Host::Named(name), port } => format!("port {port} of {name}"),
        Listen::Unix(path) => path.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use rowcast_core::catalog::Catalog;
    use rowcast_core::schema::{Schema, Source};

    #[test]
    fn every_key_is_listed_with_its_default() {
        let plain = anstream::adapter::strip_str(&keys()).to_string();
        assert!(plain.contains("mqtt.openTopics: true\n    Topics that name no table"), "{plain}");
        assert!(plain.contains("    http.mtls.required: false\n"), "{plain}");
    }

    #[test]
    fn a_summary_names_tables_and_doors() {
        let text = "type Dog @table @export { id: ID @id name: String! }\ntype Raw @table @export(name: \"raw\")\ntype Own @table { id: Int @id }";
        let schema = Schema::parse(&[Source::new("schema.graphql", text)]).expect("a schema");
        let catalog = Catalog::new(schema);
        let roles = "admin: { super_user: true }\nnobody:\nreader:\n  tables: { Dog: { read: true, delete: true, attributes: { name: {} } } }\n  topics: [{ filter: 'a/#', publish: true }]";
        let roles = crate::roles::read(&Source::new("roles.yaml", roles), &catalog).expect("roles");
        let application = Application { catalog, roles };
        let mut config = Config::new(Mode::Run, "/app".into());
        config.http.listen = Listen::Shut;
        let loaded = Loaded { config, file: None, warnings: vec![] };
        let plain = anstream::adapter::strip_str(&summary(&loaded, &application)).to_string();
        assert_eq!(
            plain,
            "\
ok Dog            Dog/{id}             id: ID, name: String!
ok Raw            raw/{id}             any payload
ok Own            not exported         id: Int
ok role           admin                everything
ok role           nobody               nothing
ok role           reader               Dog (some attributes): read, delete; a/#: publish
ok configuration  defaults
ok MQTT           port 1883
ok MQTT over TLS  port 8883
ok HTTP           shut
ok HTTPS          shut
ok data           /app/data
"
        );
    }
}
