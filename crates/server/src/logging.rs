//! Where log lines go, and what they look like.

use crate::config::{Level, LogFormat, Logging};
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write, stderr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry, fmt, reload};

/// The log of a running program.
#[derive(Clone, Debug)]
pub struct Log {
    filter: reload::Handle<Targets, Registry>,
    output: Output,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The file cannot be opened.
    #[error("cannot write the log to {}: {error}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Something logs already.
    #[error("logging is set up already")]
    Twice,
}

/// Sends log lines to where `logging` says, from now on and for the whole process.
pub fn start(logging: &Logging) -> Result<Log, LoggingError> {
    let (filter, handle) = reload::Layer::new(filter(logging.level));
    let registry = tracing_subscriber::registry().with(filter);
    let file = logging.path.as_deref().map(open).transpose()?;
    let look = Look::of(logging.format, file.is_none() && stderr().is_terminal());
    let output = Output { path: logging.path.clone(), file: Arc::new(Mutex::new(file)) };
    let writer = output.clone();
    install(registry.with(lines(look, move || writer.clone())))?;
    Ok(Log { filter: handle, output })
}

fn open(path: &Path) -> Result<File, LoggingError> {
    let failed = |error| LoggingError::File { path: path.to_owned(), error };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    OpenOptions::new().create(true).append(true).open(path).map_err(failed)
}

impl Log {
    /// From now on, that much.
    pub fn set(&self, level: Level) {
        // Fails only if nothing logs any more.
        let _ = self.filter.modify(|targets| *targets = filter(level));
    }

    /// Opens the file anew: the one of before may have been moved away, to be kept or packed.
    pub fn reopen(&self) -> Result<(), LoggingError> {
        if let Some(path) = &self.output.path {
            *self.output.lock() = Some(open(path)?);
        }
        Ok(())
    }
}

/// Where lines go: a file, or standard error.
#[derive(Clone, Debug)]
struct Output {
    path: Option<PathBuf>,
    file: Arc<Mutex<Option<File>>>,
}

impl Output {
    /// A line is written whole, so a panic elsewhere spoils nothing.
    fn lock(&self) -> MutexGuard<'_, Option<File>> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Output {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match &mut *self.lock() {
            Some(file) => file.write(line),
            None => stderr().write(line),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut *self.lock() {
            Some(file) => file.flush(),
            None => stderr().flush(),
        }
    }
}

fn install(subscriber: impl Subscriber + Send + Sync) -> Result<(), LoggingError> {
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LoggingError::Twice)
}

/// What a line looks like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Look {
    Text,
    Coloured,
    Json,
}

impl Look {
    fn of(format: LogFormat, terminal: bool) -> Look {
        let colours = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        match (format, terminal) {
            (LogFormat::Json, _) | (LogFormat::Auto, false) => Look::Json,
            _ if colours => Look::Coloured,
            _ => Look::Text,
        }
    }
}

/// One line an event. As JSON: `timestamp`, `level`, `target`, `message`, and the event's own fields beside them.
fn lines<S, W>(look: Look, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'s> LookupSpan<'s>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = fmt::layer().with_writer(writer);
    match look {
        Look::Json => Box::new(layer.json().flatten_event(true).with_current_span(false).with_span_list(false)),
        Look::Text => Box::new(layer.compact().with_ansi(false).with_target(false)),
        Look::Coloured => Box::new(layer.compact().with_ansi(true).with_target(false)),
    }
}

/// Our own lines at the level; those of libraries only where something is wrong.
fn filter(level: Level) -> Targets {
    let ours = match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    Targets::new().with_default(ours.min(LevelFilter::WARN)).with_target("rowcast", ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_lines_have_stable_fields() {
        let line =
            logged(Look::Json, Level::Info, || tracing::info!(target: "rowcast::mqtt", client = "c1", "connected"));
        let value: serde_json::Value = serde_json::from_str(&line).expect("one JSON object");
        let field = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        assert_eq!(field("level"), "INFO");
        assert_eq!(field("target"), "rowcast::mqtt");
        assert_eq!(field("message"), "connected");
        assert_eq!(field("client"), "c1");
        assert!(field("timestamp").ends_with('Z'), "{line}");
    }

    #[test]
    fn text_is_for_people() {
        let line =
            logged(Look::Text, Level::Info, || tracing::warn!(target: "rowcast::mqtt", client = "c1", "refused"));
        assert!(line.ends_with(" WARN refused client=\"c1\"\n"), "{line:?}");
    }

    #[test]
    fn the_level_is_ours_and_libraries_only_warn() {
        for (level, target, shown) in [
            (Level::Info, "rowcast::net", true),
            (Level::Warn, "rowcast::net", false),
            (Level::Trace, "hyper::proto", false),
            (Level::Info, "hyper::proto", false),
        ] {
            let line = logged(Look::Text, level, || match target {
                "rowcast::net" => tracing::info!(target: "rowcast::net", "heard"),
                _ => tracing::info!(target: "hyper::proto", "heard"),
            });
            assert_eq!(!line.is_empty(), shown, "{level:?} {target}");
        }
        let line = logged(Look::Text, Level::Error, || tracing::warn!(target: "hyper::proto", "heard"));
        assert_eq!(line, "");
    }

    #[test]
    fn the_format_depends_on_the_terminal_unless_it_is_said() {
        assert_eq!(Look::of(LogFormat::Auto, false), Look::Json);
        assert_ne!(Look::of(LogFormat::Auto, true), Look::Json);
        assert_eq!(Look::of(LogFormat::Text, false), Look::Text);
        assert_eq!(Look::of(LogFormat::Json, true), Look::Json);
    }

    #[test]
    fn a_file_that_was_moved_away_is_made_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log/rowcast.log");
        let file = Arc::new(Mutex::new(Some(open(&path).expect("a file"))));
        let mut output = Output { path: Some(path.clone()), file };
        output.write_all(b"one\n").expect("written");
        std::fs::rename(&path, path.with_extension("old")).expect("moved");
        output.write_all(b"two\n").expect("written");
        *output.lock() = Some(open(&path).expect("a file"));
        output.write_all(b"three\n").expect("written");
        let text = |path: &Path| std::fs::read_to_string(path).expect("a file");
        assert_eq!((&*text(&path.with_extension("old")), &*text(&path)), ("one\ntwo\n", "three\n"));
    }

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("one thread").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(look: Look, level: Level, log: impl FnOnce()) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let subscriber = tracing_subscriber::registry().with(filter(level)).with(lines(look, move || writer.clone()));
        tracing::subscriber::with_default(subscriber, log);
        String::from_utf8(buffer.0.lock().expect("one thread").clone()).expect("text")
    }
}
