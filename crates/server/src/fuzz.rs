//! What must hold for any text and any bytes that this crate reads: checked here on the corpora and damaged copies of
//! them, and in `fuzz/` on whatever it finds. In no other build.

#[cfg(test)]
#[path = "../../../fuzz/corpus.rs"]
mod corpus;

use crate::auth::scram;
use crate::config;
use crate::net;
use crate::roles;
use crate::websocket;
use rowcast_core::catalog::Catalog;
use rowcast_core::schema::{Color, Diagnostic, Schema, Source, render};

/// A configuration is understood, or its author is shown what is wrong with it.
pub fn config(text: &str) {
    if let Err(mistakes) = config::read_text(text) {
        explained(&mistakes);
    }
}

/// The same for roles.
pub fn roles(text: &str) {
    let schema =
        Schema::parse(&[Source::new("schema.graphql", "type Dog @table @export { id: ID @id, name: String }")]);
    let Ok(schema) = schema else { unreachable!("a good schema") };
    if let Err(mistakes) = roles::read(&Source::new("roles.yaml", text), &Catalog::new(schema)) {
        explained(&mistakes);
    }
}

/// Frames say the same however they are cut into pieces. The first byte is how large the pieces are.
pub fn websocket(input: &[u8]) {
    let Some((&size, stream)) = input.split_first() else { return };
    for role in [websocket::Role::Server, websocket::Role::Client] {
        let whole = websocket::decode(role, stream, stream.len().max(1));
        assert!(whole.payload.len() <= stream.len(), "more came out than went in");
        assert_eq!(websocket::decode(role, stream, usize::from(size).max(1)), whole);
    }
}

/// No message of either side is more than refused.
pub fn scram(input: &[u8]) {
    scram::try_messages(input);
}

/// A header of the PROXY protocol is read to its end and no further, or refused.
pub fn proxy(input: &[u8]) {
    net::proxy::fuzz(input);
}

fn explained(mistakes: &[Diagnostic]) {
    assert!(!mistakes.is_empty(), "refused without a reason");
    for color in [Color::Never, Color::Ansi] {
        assert!(!render(mistakes, color).is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::corpus::with_damaged_copies;

    #[test]
    fn any_configuration_is_read_or_refused_with_reasons() {
        for text in with_damaged_copies("config", 3_000) {
            super::config(&String::from_utf8_lossy(&text));
        }
    }

    #[test]
    fn any_roles_are_read_or_refused_with_reasons() {
        for text in with_damaged_copies("roles", 3_000) {
            super::roles(&String::from_utf8_lossy(&text));
        }
    }

    #[test]
    fn any_frames_say_the_same_however_they_are_cut() {
        for bytes in with_damaged_copies("websocket", 30_000) {
            super::websocket(&bytes);
        }
    }

    #[test]
    fn no_message_of_scram_is_more_than_refused() {
        for bytes in with_damaged_copies("scram", 10_000) {
            super::scram(&bytes);
        }
    }

    #[test]
    fn any_header_of_a_proxy_is_read_to_its_end_or_refused() {
        for bytes in with_damaged_copies("proxy", 30_000) {
            super::proxy(&bytes);
        }
    }
}
