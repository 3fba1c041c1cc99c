//! The client's side of an exchange.

use super::{Key, attribute, client_key, hmac, is_nonce, new_nonce, salted_password, server_key, xor};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::digest::CtOutput;
use sha2::{Digest, Sha256};
use std::fmt;

/// Proves to a server that it knows a password, and that the server does.
pub struct ScramClient {
    first_bare: String,
    nonce: String,
    password: Vec<u8>,
    /// What the server has to say in the end.
    signature: Option<Key>,
}

/// Why a server's message does not do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ClientError {
    /// It is none of SCRAM's, or not of this exchange.
    #[error("the server's part of the sign-in is malformed")]
    Malformed,
    /// The server asks for more than is reasonable.
    #[error("the server asks for {0} iterations of the password's hash, more than {ITERATIONS_MAX}")]
    TooManyIterations(u32),
    /// The server does not know the password either: it is another one.
    #[error("the server does not prove that it knows the password")]
    NotTheServer,
}

impl ScramClient {
    /// An exchange, and its first message.
    #[must_use]
    pub fn new(user: &str, password: &[u8]) -> (ScramClient, Vec<u8>) {
        ScramClient::with_nonce(user, password, new_nonce())
    }

    fn with_nonce(user: &str, password: &[u8], nonce: String) -> (ScramClient, Vec<u8>) {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        let first_bare = format!("n={user},r={nonce}");
        let first = format!("{GS2_HEADER}{first_bare}").into_bytes();
        (ScramClient { first_bare, nonce, password: password.to_vec(), signature: None }, first)
    }

    /// Answers the server's first message. Takes as long as the server's iterations do.
    pub fn answer(&mut self, server_first: &[u8]) -> Result<Vec<u8>, ClientError> {
        let server_first = std::str::from_utf8(server_first).map_err(|_| ClientError::Malformed)?;
        let mut rest = Some(server_first);
        let nonce = attribute(&mut rest, 'r').filter(|nonce| is_nonce(nonce)).ok_or(ClientError::Malformed)?;
        let salt = attribute(&mut rest, 's').and_then(|salt| BASE64_STANDARD.decode(salt).ok());
        let salt = salt.filter(|salt| !salt.is_empty()).ok_or(ClientError::Malformed)?;
        let iterations = attribute(&mut rest, 'i').and_then(|iterations| iterations.parse().ok());
        let iterations = iterations.filter(|&iterations| iterations > 0).ok_or(ClientError::Malformed)?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(ClientError::Malformed);
        }
        if iterations > ITERATIONS_MAX {
            return Err(ClientError::TooManyIterations(iterations));
        }
        let salted = salted_password(&self.password, &salt, iterations);
        let without_proof = format!("c={},r={nonce}", BASE64_STANDARD.encode(GS2_HEADER));
        let said = format!("{},{server_first},{without_proof}", self.first_bare);
        let key = client_key(&salted);
        let proof = xor(&key, &hmac(&Sha256::digest(key).into(), said.as_bytes()));
        self.signature = Some(hmac(&server_key(&salted), said.as_bytes()));
        Ok(format!("{without_proof},p={}", BASE64_STANDARD.encode(proof)).into_bytes())
    }

    /// Checks the server's last message.
    pub fn finish(self, server_final: &[u8]) -> Result<(), ClientError> {
        let text = std::str::from_utf8(server_final).map_err(|_| ClientError::Malformed)?;
        let signature = attribute(&mut Some(text), 'v').and_then(|signature| BASE64_STANDARD.decode(signature).ok());
        let signature = signature.and_then(|signature| Key::try_from(signature).ok()).ok_or(ClientError::Malformed)?;
        let expected = self.signature.ok_or(ClientError::NotTheServer)?;
        if CtOutput::<Sha256>::new(signature.into()) == CtOutput::new(expected.into()) {
            Ok(())
        } else {
            Err(ClientError::NotTheServer)
        }
    }
}

impl fmt::Debug for ScramClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ScramClient(..)")
    }
}

/// No channel binding, and nobody else to act for.
const GS2_HEADER: &str = "n,,";

/// Some seconds of work: a server that is none must not keep the client busy for hours.
const ITERATIONS_MAX: u32 = 10_000_000;

#[cfg(test)]
mod tests {
    use super::super::{ScramServer, Verifier};
    use super::*;

    const SERVER_FIRST: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const SERVER_FINAL: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    fn pencil() -> ScramClient {
        ScramClient::with_nonce("user", b"pencil", "rOprNGfwEbeRWgbNEkqO".to_owned()).0
    }

    #[test]
    fn the_example_of_the_standard_is_followed() {
        // RFC 7677 §3
        let mut client = pencil();
        let last = client.answer(SERVER_FIRST.as_bytes()).expect("an answer");
        let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let expected = format!("c=biws,r={nonce},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        assert_eq!(last, expected.as_bytes());
        assert_eq!(client.finish(SERVER_FINAL.as_bytes()), Ok(()));
    }

    #[test]
    fn client_and_server_agree_on_the_right_password_only() {
        for (user, password, other) in [("rex", "bone", "bones"), ("a,=b", "=,", ""), ("Ünal", "pässwörd", "passwort")]
        {
            for (tried, right) in [(password, true), (other, false)] {
                let (mut client, first) = ScramClient::new(user, tried.as_bytes());
                let verifier = Verifier::new(password.as_bytes(), 3);
                let (challenged, answer) = ScramServer::challenge(&first, |_| verifier).expect("a first message");
                let last = client.answer(answer.as_bytes()).expect("an answer");
                let proof = challenged.proof(&last).expect("a last message");
                assert_eq!((proof.is_right(), &*proof.user), (right, user), "{tried}");
                let finished = client.finish(proof.answer().as_bytes());
                assert_eq!(finished, if right { Ok(()) } else { Err(ClientError::NotTheServer) });
            }
        }
    }

    #[test]
    fn servers_that_are_none_are_not_answered() {
        for (first, expected) in [
            ("", ClientError::Malformed),
            ("r=rOprNGfwEbeRWgbNEkqO,s=c2FsdA==,i=1", ClientError::Malformed), // No nonce of its own.
            ("r=stolen,s=c2FsdA==,i=1", ClientError::Malformed),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=,i=1", ClientError::Malformed),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=c2FsdA==,i=0", ClientError::Malformed),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=c2FsdA==", ClientError::Malformed),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=c2FsdA==,i=4000000000", ClientError::TooManyIterations(4_000_000_000)),
        ] {
            assert_eq!(pencil().answer(first.as_bytes()), Err(expected), "{first}");
        }
        for last in ["", "e=other-error", "v=", "v=AAAA", "x=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="] {
            let mut client = pencil();
            client.answer(SERVER_FIRST.as_bytes()).expect("an answer");
            assert_eq!(client.finish(last.as_bytes()), Err(ClientError::Malformed), "{last}");
        }
        assert_eq!(
            pencil().finish(SERVER_FINAL.as_bytes()),
            Err(ClientError::NotTheServer),
            "not before the challenge"
        );
    }
}
