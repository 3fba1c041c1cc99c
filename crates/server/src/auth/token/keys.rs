//! Keys of tokens: our own, made when they are first needed, and those of somebody else, read from a file.

use super::TokenAlgorithm;
use crate::private_file;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, EncodingKey};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Checks signatures of one kind, and of no other.
#[derive(Clone)]
pub(super) struct VerifyingKey {
    pub(super) id: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) decoding: DecodingKey,
}

/// A key of ours.
pub(super) struct OwnKey {
    /// From the key itself, so that another key has another.
    pub(super) id: String,
    pub(super) algorithm: Algorithm,
    pub(super) encoding: EncodingKey,
    verifying: VerifyingKey,
}

/// Our keys, in files that are their owner's alone. Without its file, and without need, a key is not there.
pub(super) struct OwnKeys {
    folder: PathBuf,
    found: Mutex<[Option<Arc<OwnKey>>; 2]>,
}

/// Public keys of somebody else.
#[derive(Default)]
pub(super) struct KeySet(Vec<VerifyingKey>);

/// Why a file of keys is not used.
#[derive(Debug, thiserror::Error)]
#[error("the keys for tokens in {} cannot be used: {reason}", .path.display())]
pub struct KeyFileError {
    path: PathBuf,
    reason: String,
}

impl OwnKeys {
    /// Those in `folder`, as far as they are there.
    pub(super) fn new(folder: &Path) -> OwnKeys {
        let found = ALGORITHMS.map(|algorithm| {
            let path = folder.join(file_name(algorithm));
            let key = fs::read(&path).ok().map(|bytes| OwnKey::new(algorithm, &bytes));
            match key {
                Some(None) => {
                    tracing::error!(path = %path.display(), "the key for tokens is damaged: tokens are refused");
                    None
                }
                key => key.flatten().map(Arc::new),
            }
        });
        OwnKeys { folder: folder.to_owned(), found: Mutex::new(found) }
    }

    /// The key to sign with, which is made if it is not there.
    pub(super) fn signing(&self, algorithm: TokenAlgorithm) -> io::Result<Arc<OwnKey>> {
        let mut found = crate::auth::lock(&self.found);
        let place = &mut found[algorithm as usize];
        if let Some(key) = place {
            return Ok(Arc::clone(key));
        }
        let path = self.folder.join(file_name(algorithm));
        let damaged = || io::Error::new(ErrorKind::InvalidData, format!("{} is damaged", path.display()));
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let bytes = new_key(algorithm)?;
                private_file::write(&path, &bytes)?;
                bytes
            }
            Err(error) => return Err(error),
        };
        let key = Arc::new(OwnKey::new(algorithm, &bytes).ok_or_else(damaged)?);
        Ok(Arc::clone(place.insert(key)))
    }

    /// The key of that name, to check with.
    pub(super) fn find(&self, id: &str) -> Option<VerifyingKey> {
        let found = crate::auth::lock(&self.found);
        found.iter().flatten().find(|key| key.id == id).map(|key| key.verifying.clone())
    }
}

impl OwnKey {
    fn new(algorithm: TokenAlgorithm, bytes: &[u8]) -> Option<OwnKey> {
        let (algorithm, encoding, decoding, public) = match algorithm {
            TokenAlgorithm::Hs256 => {
                let secret: [u8; 32] = bytes.try_into().ok()?;
                // Nothing can be learnt from a name about the secret it is made of.
                let name = Sha256::new().chain_update(b"the name of").chain_update(secret).finalize().to_vec();
                let keys = (EncodingKey::from_secret(&secret).ok()?, DecodingKey::from_secret(&secret).ok()?);
                (Algorithm::HS256, keys.0, keys.1, name)
            }
            TokenAlgorithm::EdDsa => {
                let pair = Ed25519KeyPair::from_pkcs8(bytes).ok()?;
                let public = pair.public_key().as_ref().to_vec();
                (Algorithm::EdDSA, EncodingKey::from_ed_der(bytes), DecodingKey::from_ed_der(&public), public)
            }
        };
        let id = BASE64_URL_SAFE_NO_PAD.encode(&Sha256::digest(public)[..9]);
        let verifying = VerifyingKey { id: Some(id.clone()), algorithm, decoding };
        Some(OwnKey { id, algorithm, encoding, verifying })
    }
}

impl KeySet {
    /// The keys of a file that can check tokens. A file without any is a mistake.
    pub(super) fn read(path: &Path) -> Result<KeySet, KeyFileError> {
        let fail = |reason: String| KeyFileError { path: path.to_owned(), reason };
        let length = fs::metadata(path).map_err(|error| fail(error.to_string()))?.len();
        if length > KEY_FILE_BYTES_MAX {
            return Err(fail(format!("it has more than {KEY_FILE_BYTES_MAX} bytes")));
        }
        let text = fs::read(path).map_err(|error| fail(error.to_string()))?;
        KeySet::parse(&text).map_err(fail)
    }

    fn parse(text: &[u8]) -> Result<KeySet, String> {
        #[derive(serde::Deserialize)]
        struct Document {
            keys: Vec<serde_json::Value>,
        }
        // The words of the parser could repeat a key.
        let document: Document = serde_json::from_slice(text)
            .map_err(|error| format!("it is no JWK set (RFC 7517), line {} column {}", error.line(), error.column()))?;
        if document.keys.len() > KEYS_MAX {
            return Err(format!("it has more than {KEYS_MAX} keys"));
        }
        // Sets hold keys for other purposes too, and kinds of later times.
        let keys = document.keys.into_iter().filter_map(|key| verifying(&serde_json::from_value(key).ok()?));
        let keys: Vec<VerifyingKey> = keys.collect();
        if keys.is_empty() {
            return Err("none of its keys can check a token".to_owned());
        }
        Ok(KeySet(keys))
    }

    /// The key of that name. A token that names none means the only one there is.
    pub(super) fn find(&self, id: Option<&str>) -> Option<&VerifyingKey> {
        match (id, &self.0[..]) {
            (Some(id), keys) => keys.iter().find(|key| key.id.as_deref() == Some(id)),
            (None, [only]) => Some(only),
            (None, _) => None,
        }
    }
}

/// A key is good for one algorithm only: the one it names, or the usual one of its kind.
fn verifying(jwk: &Jwk) -> Option<VerifyingKey> {
    if matches!(jwk.common.public_key_use, Some(PublicKeyUse::Encryption)) {
        return None;
    }
    let usual = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => Algorithm::ES256,
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => Algorithm::ES384,
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => Algorithm::EdDSA,
        AlgorithmParameters::OctetKey(_) => Algorithm::HS256,
        _ => return None,
    };
    let algorithm = match &jwk.common.key_algorithm {
        None => usual,
        Some(KeyAlgorithm::HS256) => Algorithm::HS256,
        Some(KeyAlgorithm::HS384) => Algorithm::HS384,
        Some(KeyAlgorithm::HS512) => Algorithm::HS512,
        Some(KeyAlgorithm::RS256) => Algorithm::RS256,
        Some(KeyAlgorithm::RS384) => Algorithm::RS384,
        Some(KeyAlgorithm::RS512) => Algorithm::RS512,
        Some(KeyAlgorithm::PS256) => Algorithm::PS256,
        Some(KeyAlgorithm::PS384) => Algorithm::PS384,
        Some(KeyAlgorithm::PS512) => Algorithm::PS512,
        Some(KeyAlgorithm::ES256) => Algorithm::ES256,
        Some(KeyAlgorithm::ES384) => Algorithm::ES384,
        Some(KeyAlgorithm::EdDSA) => Algorithm::EdDSA,
        Some(_) => return None,
    };
    let is_curve = matches!(jwk.algorithm, AlgorithmParameters::EllipticCurve(_));
    if algorithm.family() != usual.family() || (is_curve && algorithm != usual) {
        return None;
    }
    let decoding = DecodingKey::from_jwk(jwk).ok()?;
    if algorithm.family() == AlgorithmFamily::Hmac && decoding.try_get_as_bytes().ok()?.len() < SECRET_BYTES_MIN {
        return None; // It could be guessed (RFC 7518 §3.2).
    }
    Some(VerifyingKey { id: jwk.common.key_id.clone(), algorithm, decoding })
}

fn new_key(algorithm: TokenAlgorithm) -> io::Result<Vec<u8>> {
    match algorithm {
        TokenAlgorithm::Hs256 => {
            let mut secret = vec![0; 32];
            getrandom::fill(&mut secret).map_err(|error| io::Error::other(error.to_string()))?;
            Ok(secret)
        }
        TokenAlgorithm::EdDsa => {
            let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
            Ok(key.map_err(|_| io::Error::other("the system has no random numbers"))?.as_ref().to_vec())
        }
    }
}

const ALGORITHMS: [TokenAlgorithm; 2] = [TokenAlgorithm::Hs256, TokenAlgorithm::EdDsa];

fn file_name(algorithm: TokenAlgorithm) -> &'static str {
    match algorithm {
        TokenAlgorithm::Hs256 => "token-hs256.key",
        TokenAlgorithm::EdDsa => "token-ed25519.key",
    }
}

const KEY_FILE_BYTES_MAX: u64 = 256 * 1024;
const KEYS_MAX: usize = 100;
const SECRET_BYTES_MIN: usize = 32;
