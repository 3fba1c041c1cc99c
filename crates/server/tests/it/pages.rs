//! Pages that say "type this, and you see that": typed, and seen.

use crate::server::{Application, Server};
use crate::tools::repository;
use std::process::Command;

/// A command of a page, and what it prints there.
struct Example {
    line: usize,
    command: String,
    printed: String,
}

#[test]
fn what_the_page_about_mqtt_shows_is_what_happens() {
    let application = Application::dogs();
    application.copy_example();
    let server = application.start();
    let page = std::fs::read_to_string(repository().join("docs/mqtt.md")).expect("the page");
    let examples = examples(&page);
    assert!(examples.len() > 20, "{} commands", examples.len());
    let mut mistakes = String::new();
    for Example { line, command, printed } in examples {
        let seen = paste(&server, &command);
        if steady(&seen) != steady(&printed) {
            mistakes += &format!("line {line}: {command}\nprints\n{seen}instead of\n{printed}\n");
        }
    }
    assert!(mistakes.is_empty(), "docs/mqtt.md\n{mistakes}");
}

/// What stands in the blocks marked `console`.
fn examples(page: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let mut is_block = false;
    for (index, line) in page.lines().enumerate() {
        if line.starts_with("```") {
            is_block = line == "```console";
        } else if let (true, Some(command)) = (is_block, line.strip_prefix("$ ")) {
            examples.push(Example { line: index + 1, command: command.to_owned(), printed: String::new() });
        } else if let (true, Some(example)) = (is_block, examples.last_mut()) {
            example.printed += line;
            example.printed.push('\n');
        }
    }
    examples
}

/// Runs a line as a shell does for whoever sits before it: only the ports are others.
fn paste(server: &Server, command: &str) -> String {
    let functions = "\
mosquitto_pub() { command mosquitto_pub -p $MQTT_PORT \"$@\"; }
mosquitto_sub() { command mosquitto_sub -p $MQTT_PORT -W 60 \"$@\"; }
mosquitto_rr() { command mosquitto_rr -p $MQTT_PORT -W 60 \"$@\"; }
rowcast() { action=$1; shift; command \"$ROWCAST\" $action -p $MQTT_PORT \"$@\"; }
";
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("{functions}{{ {command}\n}} 2>&1"));
    shell.env("MQTT_PORT", server.mqtt().to_string()).env("ROWCAST", crate::server::binary()).env("NO_COLOR", "1");
    let output = shell.output().expect("a shell");
    String::from_utf8(output.stdout).expect("text")
}

/// A text without what is another each time: versions and times.
fn steady(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, number) = rest.split_at(at);
        out += before;
        let changes = before.ends_with("rowcast-version:") || before.ends_with("\"seen\":\"");
        let is_part = |c: char| c.is_ascii_digit() || (changes && matches!(c, '-' | ':' | '.' | 'T' | 'Z'));
        let end = number.find(|c: char| !is_part(c)).unwrap_or(number.len());
        out += if changes { "*" } else { &number[..end] };
        rest = &number[end..];
    }
    out + rest
}
