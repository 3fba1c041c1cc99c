//! The server's side of an exchange.

use super::{Key, MESSAGE_BYTES_MAX, Verifier, attribute, is_nonce, new_nonce};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// An exchange that waits for the client's next message.
///
/// ```text
/// Begun ─────────client-first──▶ Challenged ─client-final─▶ Over, with a proof to be checked
///   └─nothing─▶ Invited ─┘
/// ```
#[derive(Debug)]
pub(crate) enum ScramServer {
    /// The client has said nothing yet.
    Begun,
    /// The client was told to begin.
    Invited,
    /// The client is to prove that it knows the password.
    Challenged(Box<Challenged>),
    /// There is nothing more to say.
    Over,
}

/// What was said so far, and what the proof is checked against.
#[derive(Debug)]
pub(crate) struct Challenged {
    user: String,
    verifier: Verifier,
    /// The GS2 header as the client sent it, which it has to repeat.
    gs2_header: String,
    /// Of the client and then of the server.
    nonce: String,
    /// `client-first-message-bare,server-first-message`
    said: String,
}

/// A client's last message, which is well-formed and belongs to this exchange.
#[derive(Debug)]
pub(crate) struct Proof {
    pub(crate) user: String,
    pub(crate) verifier: Verifier,
    proof: Key,
    auth_message: String,
}

/// The message is none of SCRAM's, or not of this exchange. What was wrong is not told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Malformed;

impl ScramServer {
    /// Reads the client's first message, and makes the answer. `verifier_of` gives the verifier of a user, or a made-up
    /// one.
    pub(crate) fn challenge(
        message: &[u8],
        verifier_of: impl FnOnce(&str) -> Verifier,
    ) -> Result<(Challenged, String), Malformed> {
        Challenged::begin(message, verifier_of, new_nonce())
    }
}

impl Challenged {
    fn begin(
        message: &[u8],
        verifier_of: impl FnOnce(&str) -> Verifier,
        server_nonce: String,
    ) -> Result<(Challenged, String), Malformed> {
        let message = text(message)?;
        let bare = message.splitn(3, ',').nth(2).ok_or(Malformed)?;
        let gs2_header = &message[..message.len() - bare.len()];
        let (binding, authorized) = gs2_header.split_once(',').ok_or(Malformed)?;
        // `p=`: bound to a channel, which is not offered. `y`: the client could, and believes us that we cannot.
        if binding != "n" && binding != "y" {
            return Err(Malformed);
        }
        let mut rest = Some(bare);
        // `m=` asks for what nobody knows yet, and has to be refused (RFC 5802 §5.1).
        let user = unescape(attribute(&mut rest, 'n').ok_or(Malformed)?)?;
        let client_nonce = attribute(&mut rest, 'r').filter(|nonce| is_nonce(nonce)).ok_or(Malformed)?;
        // Nobody acts for somebody else here.
        match authorized.strip_suffix(',').ok_or(Malformed)? {
            "" => {}
            other if unescape(other.strip_prefix("a=").ok_or(Malformed)?)? == user => {}
            _ => return Err(Malformed),
        }
        let nonce = format!("{client_nonce}{server_nonce}");
        let verifier = verifier_of(&user);
        let salt = BASE64_STANDARD.encode(&verifier.salt);
        let answer = format!("r={nonce},s={salt},i={}", verifier.iterations);
        let said = format!("{bare},{answer}");
        Ok((Challenged { user, verifier, gs2_header: gs2_header.to_owned(), nonce, said }, answer))
    }

    /// Reads the client's last message.
    pub(crate) fn proof(self, message: &[u8]) -> Result<Proof, Malformed> {
        let message = text(message)?;
        let (without_proof, proof) = message.rsplit_once(",p=").ok_or(Malformed)?;
        let mut rest = Some(without_proof);
        let binding = attribute(&mut rest, 'c').and_then(|binding| BASE64_STANDARD.decode(binding).ok());
        if binding.as_deref() != Some(self.gs2_header.as_bytes()) {
            return Err(Malformed);
        }
        if attribute(&mut rest, 'r') != Some(&self.nonce) {
            return Err(Malformed);
        }
        let proof = BASE64_STANDARD.decode(proof).ok().and_then(|proof| Key::try_from(proof).ok()).ok_or(Malformed)?;
        let auth_message = format!("{},{without_proof}", self.said);
        Ok(Proof { user: self.user, verifier: self.verifier, proof, auth_message })
    }
}

impl Proof {
    /// Whether the client knows the password.
    pub(crate) fn is_right(&self) -> bool {
        self.verifier.is_proven_by(&self.proof, self.auth_message.as_bytes())
    }

    /// The server's last message: it knows the password too.
    pub(crate) fn answer(&self) -> String {
        format!("v={}", BASE64_STANDARD.encode(self.verifier.signature(self.auth_message.as_bytes())))
    }
}

fn text(message: &[u8]) -> Result<&str, Malformed> {
    let text = std::str::from_utf8(message).map_err(|_| Malformed)?;
    if message.len() > MESSAGE_BYTES_MAX || text.contains('\0') { Err(Malformed) } else { Ok(text) }
}

/// A name as the client means it: `=2C` is a comma, `=3D` an equals sign, and there is no other `=`.
fn unescape(name: &str) -> Result<String, Malformed> {
    let mut parts = name.split('=');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (escaped, rest) = match part.strip_prefix("2C") {
            Some(rest) => (',', rest),
            None => ('=', part.strip_prefix("3D").ok_or(Malformed)?),
        };
        plain.push(escaped);
        plain.push_str(rest);
    }
    if plain.is_empty() { Err(Malformed) } else { Ok(plain) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";

    fn pencil(_: &str) -> Verifier {
        Verifier::of(b"pencil", &BASE64_STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64"), 4096)
    }

    fn begin(first: &str) -> Result<(Challenged, String), Malformed> {
        Challenged::begin(first.as_bytes(), pencil, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0".to_owned())
    }

    #[test]
    fn the_example_of_the_standard_is_understood() {
        // RFC 7677 §3
        let (challenged, answer) = begin("n,,n=user,r=rOprNGfwEbeRWgbNEkqO").expect("well-formed");
        assert_eq!(answer, format!("r={NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"));
        let last = format!("c=biws,r={NONCE},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        let proof = challenged.proof(last.as_bytes()).expect("well-formed");
        assert!(proof.is_right());
        assert_eq!(proof.user, "user");
        assert_eq!(proof.answer(), "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn names_are_taken_apart_as_they_were_put_together() {
        for (first, user) in [
            ("n,,n=user,r=x", "user"),
            ("y,,n=user,r=x", "user"),
            ("n,a=user,n=user,r=x", "user"),
            ("n,a=a=2Cb,n=a=2Cb,r=x", "a,b"),
            ("n,,n==3D=2C=3D,r=x", "=,="),
            ("n,,n=Rex Müller,r=x", "Rex Müller"),
            ("n,,n=user,r=x,e=tension", "user"),
        ] {
            assert_eq!(begin(first).expect(first).0.user, user, "{first}");
        }
    }

    #[test]
    fn what_is_no_first_message_is_refused() {
        let long = format!("n,,n={},r=x", "u".repeat(MESSAGE_BYTES_MAX));
        for first in [
            "",
            "n",
            "n,",
            "n,,",
            "n,,n=user",
            "n,,n=user,",
            "n,,n=user,r=",
            "n,,n=,r=x",
            "n,,r=x,n=user",
            "n,,n=us=er,r=x",
            "n,,n=us=2cer,r=x",
            "n,,n=user=,r=x",
            "n,,n=user,r=x y",
            "n,,n=user,r=\u{e9}",
            "n,,n=us\0er,r=x",
            "n,,m=must,n=user,r=x",
            "n,a=other,n=user,r=x",
            "n,user,n=user,r=x",
            "p=tls-server-end-point,,n=user,r=x",
            "p=tls-unique,,n=user,r=x",
            "x,,n=user,r=x",
            ",,n=user,r=x",
            &long,
        ] {
            assert!(begin(first).is_err(), "{first}");
        }
        assert!(ScramServer::challenge(b"n,,n=\xff,r=x", pencil).is_err());
    }

    #[test]
    fn what_is_no_last_message_of_the_exchange_is_refused() {
        let proof = "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        for (last, expected) in [
            (format!("c=biws,r={NONCE},{proof}"), Ok(true)),
            (format!("c=biws,r={NONCE},e=xtension,{proof}"), Ok(false)), // Well-formed, but another message.
            (format!("c=biws,r={NONCE},p={}", BASE64_STANDARD.encode([0; 32])), Ok(false)),
            (format!("c=biws,r={NONCE},p={}", BASE64_STANDARD.encode([0; 31])), Err(())),
            (format!("c=biws,r={NONCE},p="), Err(())),
            (format!("c=biws,r={NONCE},p=%%"), Err(())),
            (format!("c=biws,r={NONCE}"), Err(())),
            (format!("c=biws,r={NONCE}x,{proof}"), Err(())),
            (format!("c=biws,r=rOprNGfwEbeRWgbNEkqO,{proof}"), Err(())),
            (format!("c=biws,r=,{proof}"), Err(())),
            (format!("c=eSws,r={NONCE},{proof}"), Err(())), // `y,,`, where `n,,` was said.
            (format!("c=,r={NONCE},{proof}"), Err(())),
            (format!("r={NONCE},c=biws,{proof}"), Err(())),
            (format!("{proof},c=biws,r={NONCE}"), Err(())),
            (String::new(), Err(())),
        ] {
            let (challenged, _) = begin("n,,n=user,r=rOprNGfwEbeRWgbNEkqO").expect("well-formed");
            let outcome = challenged.proof(last.as_bytes()).map(|proof| proof.is_right()).map_err(|Malformed| ());
            assert_eq!(outcome, expected, "{last}");
        }
    }

    #[test]
    fn nobody_proves_to_be_nobody() {
        let nobody = |_: &str| Verifier::of_nobody("user", &[1; 32], 1);
        let (challenged, _) = ScramServer::challenge(b"n,,n=user,r=x", nobody).expect("well-formed");
        let nonce = challenged.nonce.clone();
        // Even who knew the salt could not: no key hashes to this one.
        let last = format!("c=biws,r={nonce},p={}", BASE64_STANDARD.encode([0; 32]));
        assert!(!challenged.proof(last.as_bytes()).expect("well-formed").is_right());
    }
}
