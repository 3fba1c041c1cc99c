//! `rowcast check`.

use super::serve::Settings;
use super::{GREEN, YELLOW, shown};
use crate::application;
use crate::config::{Listen, LoadError, Loaded, Mode, load};
use clap::Args;
use rowcast_core::schema::Schema;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// What to check.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  rowcast check\n  rowcast check kennel --config staging.yaml")]
pub(super) struct Check {
    /// The application folder
    #[arg(default_value = ".", value_name = "DIR")]
    folder: PathBuf,
    #[command(flatten)]
    settings: Settings,
}

impl Check {
    /// Shows every mistake of every file before it says whether there was one.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let loaded = load(Mode::Run, &self.settings.given(self.folder.clone()));
        if let Err(error @ LoadError::NoFolder(_)) = loaded {
            return Err(error.into());
        }
        let schema = application::read_schema(&self.folder);
        if let Ok(Loaded { warnings, .. }) = &loaded {
            for warning in warnings.iter().chain(&application::unread_files(&self.folder)) {
                anstream::eprintln!("{YELLOW}warning{YELLOW:#}: {warning}");
            }
        }
        match (loaded, schema) {
            (Ok(loaded), Ok(schema)) => {
                anstream::print!("{}", summary(&loaded, &schema));
                Ok(ExitCode::SUCCESS)
            }
            (loaded, schema) => {
                let errors = [schema.err().map(anyhow::Error::from), loaded.err().map(anyhow::Error::from)];
                let errors: Vec<String> = errors.iter().flatten().map(shown).collect();
                anstream::eprintln!("{}", errors.join("\n\n"));
                Ok(ExitCode::FAILURE)
            }
        }
    }
}

fn summary(loaded: &Loaded, schema: &Schema) -> String {
    let mut out = String::new();
    let config = &loaded.config;
    let file = loaded.file.as_ref().map_or("defaults".to_owned(), |path| path.display().to_string());
    let mut row = |name: &str, text: String| {
        let _ = writeln!(out, "{GREEN}ok{GREEN:#} {name:<14} {text}");
    };
    for table in &schema.tables {
        let attributes: Vec<String> =
            table.attributes.iter().map(|attribute| format!("{}: {}", attribute.name, attribute.ty)).collect();
        let attributes = if attributes.is_empty() { "any payload".to_owned() } else { attributes.join(", ") };
        let topic = match &table.export {
            Some(export) => format!("{}/{{{}}}", export.name, table.key.name),
            None => "not exported".to_owned(),
        };
        row(&table.name, format!("{topic:<20} {attributes}"));
    }
    row("configuration", file);
    row("MQTT", show_listen(&config.mqtt.listen));
    row("HTTP", show_listen(&config.http.listen));
    row("data", config.storage.path.display().to_string());
    out
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
    use rowcast_core::schema::Source;

    #[test]
    fn a_summary_names_tables_and_doors() {
        let text = "type Dog @table @export { id: ID @id name: String! }\ntype Raw @table @export(name: \"raw\")\ntype Own @table { id: Int @id }";
        let schema = Schema::parse(&[Source::new("schema.graphql", text)]).expect("a schema");
        let mut config = Config::new(Mode::Run, "/app".into());
        config.http.listen = Listen::Shut;
        let loaded = Loaded { config, file: None, warnings: vec![] };
        let plain = anstream::adapter::strip_str(&summary(&loaded, &schema)).to_string();
        assert_eq!(
            plain,
            "\
ok Dog            Dog/{id}             id: ID, name: String!
ok Raw            raw/{id}             any payload
ok Own            not exported         id: Int
ok configuration  defaults
ok MQTT           port 1883
ok HTTP           shut
ok data           /app/data
"
        );
    }
}
