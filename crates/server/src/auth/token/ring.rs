//! The cryptography of tokens by `ring`, which TLS brings along anyway.

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result, new_error};
use jsonwebtoken::signature::{Error, Signer, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::signature::{self, Ed25519KeyPair, RsaParameters, RsaPublicKeyComponents, VerificationAlgorithm};
use ring::{hmac, signature as algorithms};

/// Has the library compute with this from here on.
pub(super) fn install() {
    // Whoever came first installed the same.
    let _ = PROVIDER.install_default();
}

static PROVIDER: CryptoProvider =
    CryptoProvider { signer_factory: signer, verifier_factory: verifier, key_utils: KeyUtils::new_unimplemented() };

enum Signing {
    Hmac(hmac::Key),
    Ed25519(Box<Ed25519KeyPair>),
}

struct Verifying {
    algorithm: Algorithm,
    key: DecodingKey,
}

/// What is signed here: [`TokenAlgorithm`](super::TokenAlgorithm).
fn signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>> {
    if key.family() != algorithm.family() {
        return Err(new_error(ErrorKind::InvalidKeyFormat));
    }
    let signing = match algorithm {
        Algorithm::HS256 => Signing::Hmac(hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes())),
        Algorithm::EdDSA => {
            let pair = Ed25519KeyPair::from_pkcs8(key.as_bytes());
            Signing::Ed25519(Box::new(pair.map_err(|_| new_error(ErrorKind::InvalidEddsaKey))?))
        }
        _ => return Err(new_error(ErrorKind::UnsupportedAlgorithm)),
    };
    Ok(Box::new(signing))
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    if key.family() != algorithm.family() {
        return Err(new_error(ErrorKind::InvalidAlgorithm));
    }
    Ok(Box::new(Verifying { algorithm: *algorithm, key: key.clone() }))
}

impl Signer<Vec<u8>> for Signing {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, Error> {
        Ok(match self {
            Signing::Hmac(key) => hmac::sign(key, message).as_ref().to_vec(),
            Signing::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        })
    }
}

impl JwtSigner for Signing {
    fn algorithm(&self) -> Algorithm {
        match self {
            Signing::Hmac(_) => Algorithm::HS256,
            Signing::Ed25519(_) => Algorithm::EdDSA,
        }
    }
}

impl Verifying {
    fn hmac(&self, algorithm: hmac::Algorithm, message: &[u8], signature: &[u8]) -> Option<()> {
        let key = hmac::Key::new(algorithm, self.key.try_get_as_bytes().ok()?);
        hmac::verify(&key, message, signature).ok()
    }

    fn rsa(&self, parameters: &'static RsaParameters, message: &[u8], signature: &[u8]) -> Option<()> {
        let DecodingKeyKind::RsaModulusExponent { n, e } = self.key.kind() else { return None };
        RsaPublicKeyComponents { n, e }.verify(parameters, message, signature).ok()
    }

    fn curve(&self, algorithm: &'static dyn VerificationAlgorithm, message: &[u8], signature: &[u8]) -> Option<()> {
        let key = self.key.try_get_as_bytes().ok()?;
        signature::UnparsedPublicKey::new(algorithm, key).verify(message, signature).ok()
    }
}

impl Verifier<Vec<u8>> for Verifying {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), Error> {
        let fits = match self.algorithm {
            Algorithm::HS256 => self.hmac(hmac::HMAC_SHA256, message, signature),
            Algorithm::HS384 => self.hmac(hmac::HMAC_SHA384, message, signature),
            Algorithm::HS512 => self.hmac(hmac::HMAC_SHA512, message, signature),
            Algorithm::RS256 => self.rsa(&algorithms::RSA_PKCS1_2048_8192_SHA256, message, signature),
            Algorithm::RS384 => self.rsa(&algorithms::RSA_PKCS1_2048_8192_SHA384, message, signature),
            Algorithm::RS512 => self.rsa(&algorithms::RSA_PKCS1_2048_8192_SHA512, message, signature),
            Algorithm::PS256 => self.rsa(&algorithms::RSA_PSS_2048_8192_SHA256, message, signature),
            Algorithm::PS384 => self.rsa(&algorithms::RSA_PSS_2048_8192_SHA384, message, signature),
            Algorithm::PS512 => self.rsa(&algorithms::RSA_PSS_2048_8192_SHA512, message, signature),
            Algorithm::ES256 => self.curve(&algorithms::ECDSA_P256_SHA256_FIXED, message, signature),
            Algorithm::ES384 => self.curve(&algorithms::ECDSA_P384_SHA384_FIXED, message, signature),
            Algorithm::EdDSA => self.curve(&algorithms::ED25519, message, signature),
            _ => None,
        };
        fits.ok_or_else(Error::new)
    }
}

impl JwtVerifier for Verifying {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}
