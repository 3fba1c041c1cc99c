//! Sign-ins that take more than one step: AUTH of MQTT 5.

use super::scram::{METHOD, Malformed, ScramServer, Verifier};
use super::{AuthError, Authenticator, Principal, Shared, lock};
use std::net::IpAddr;
use std::time::Instant;

/// A sign-in under way.
#[derive(Debug)]
pub struct Exchange(ScramServer);

/// What a client's data led to.
#[derive(PartialEq, Eq, Debug)]
pub enum Step {
    /// It is to answer this.
    Challenge(Vec<u8>),
    /// It is who it says.
    Known(Principal, Vec<u8>),
}

impl Exchange {
    /// A sign-in by a method. Methods are told apart by every letter.
    pub fn new(method: &str) -> Result<Exchange, AuthError> {
        if method == METHOD { Ok(Exchange(ScramServer::Begun)) } else { Err(AuthError::UnknownMethod) }
    }
}

impl Authenticator {
    /// Takes the client's next data. After `Err` or [`Step::Known`] the exchange is over. Checking a proof takes
    /// microseconds, and longer for who was wrong often; it needs a tokio runtime with time.
    pub async fn advance(&self, exchange: &mut Exchange, data: Option<&[u8]>, peer: IpAddr) -> Result<Step, AuthError> {
        let shared = &*self.shared;
        match std::mem::replace(&mut exchange.0, ScramServer::Over) {
            ScramServer::Begun => {
                let Some(data) = data else {
                    // The client waits for the server to begin (RFC 4422 §5).
                    exchange.0 = ScramServer::Invited;
                    return Ok(Step::Challenge(Vec::new()));
                };
                shared.challenge(exchange, data)
            }
            ScramServer::Invited => shared.challenge(exchange, data.unwrap_or_default()),
            ScramServer::Challenged(challenged) => {
                let proof = challenged.proof(data.unwrap_or_default())?;
                self.wait_for_turn(&proof.user, peer).await?;
                // It may have changed since the challenge.
                let account = shared.accounts.find(&proof.user).filter(|account| account.active);
                let account = account.filter(|account| account.password.verifier.as_ref() == Some(&proof.verifier));
                match account {
                    Some(account) if proof.is_right() => {
                        Ok(Step::Known(Principal::by_password(&account), proof.answer().into_bytes()))
                    }
                    _ => {
                        lock(&shared.throttle).failed(peer, &proof.user, Instant::now());
                        Err(AuthError::Refused)
                    }
                }
            }
            ScramServer::Over => Err(AuthError::Refused),
        }
    }
}

impl Shared {
    fn challenge(&self, exchange: &mut Exchange, data: &[u8]) -> Result<Step, AuthError> {
        let (challenged, answer) = ScramServer::challenge(data, |user| self.verifier(user))?;
        exchange.0 = ScramServer::Challenged(Box::new(challenged));
        Ok(Step::Challenge(answer.into_bytes()))
    }

    /// What a user's proof is checked against. Nobody learns whether there is one.
    fn verifier(&self, user: &str) -> Verifier {
        let verifier = self.accounts.find(user).and_then(|account| account.password.verifier);
        let nobody = Verifier::of_nobody(user, &self.nobody_key, self.hasher.scram_iterations());
        verifier.unwrap_or(nobody)
    }
}

impl From<Malformed> for AuthError {
    fn from(Malformed: Malformed) -> AuthError {
        AuthError::Refused
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{HOME, RULES, authenticator, kept, run};
    use super::*;
    use crate::auth::scram::ScramClient;
    use crate::auth::{Account, Accounts, Hasher};
    use std::time::Duration;

    /// What comes of a whole exchange.
    fn sign_in(authenticator: &Authenticator, user: &str, password: &str) -> Result<Principal, AuthError> {
        let (mut client, first) = ScramClient::new(user, password.as_bytes());
        let mut exchange = Exchange::new(METHOD)?;
        let challenge = run(authenticator.advance(&mut exchange, Some(&first), HOME))?;
        let Step::Challenge(challenge) = challenge else { panic!("{challenge:?}") };
        let last = client.answer(&challenge).expect("a challenge");
        match run(authenticator.advance(&mut exchange, Some(&last), HOME))? {
            Step::Known(principal, answer) => {
                assert_eq!(client.finish(&answer), Ok(()));
                Ok(principal)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_a_proof_of_the_right_password_of_an_active_account_opens() {
        let accounts = kept();
        let authenticator = authenticator(&accounts, RULES);
        let rex = Principal::by_password(&accounts.find("rex").expect("rex"));
        for (user, password, expected) in [
            ("rex", "bone", Ok(rex)),
            ("rex", "stone", Err(AuthError::Refused)),
            ("Rex", "bone", Err(AuthError::Refused)),
            ("gone", "old", Err(AuthError::Refused)),
            ("nobody", "bone", Err(AuthError::Refused)),
        ] {
            assert_eq!(sign_in(&authenticator, user, password), expected, "{user}");
        }
    }

    #[test]
    fn an_account_without_a_verifier_is_refused_like_a_wrong_password() {
        let accounts = kept();
        accounts.change("rex", |account| account.password.verifier = None);
        let authenticator = authenticator(&accounts, RULES);
        assert_eq!(sign_in(&authenticator, "rex", "bone"), Err(AuthError::Refused));
        run(authenticator.verify("rex", b"bone", HOME)).expect("by password as ever");
    }

    #[test]
    fn a_password_changed_in_between_is_not_proven() {
        let accounts = kept();
        let authenticator = authenticator(&accounts, RULES);
        for change in [
            |account: &mut Account| account.active = false,
            |account: &mut Account| account.password = Hasher::cheap().keep(b"bone").expect("hashed"),
        ] {
            let (mut client, first) = ScramClient::new("rex", b"bone");
            let mut exchange = Exchange::new(METHOD).expect("a method");
            let challenge = run(authenticator.advance(&mut exchange, Some(&first), HOME));
            let Ok(Step::Challenge(challenge)) = challenge else { panic!("{challenge:?}") };
            let before = accounts.find("rex").expect("rex");
            accounts.change("rex", change);
            let last = client.answer(&challenge).expect("a challenge");
            let outcome = run(authenticator.advance(&mut exchange, Some(&last), HOME));
            assert_eq!(outcome, Err(AuthError::Refused));
            accounts.change("rex", |account| *account = before);
        }
    }

    #[test]
    fn an_exchange_goes_one_way() {
        let authenticator = authenticator(&kept(), RULES);
        let (_, first) = ScramClient::new("rex", b"bone");
        assert_eq!(Exchange::new("SCRAM-SHA-1").err(), Some(AuthError::UnknownMethod));
        assert_eq!(Exchange::new("scram-sha-256").err(), Some(AuthError::UnknownMethod));
        let mut exchange = Exchange::new(METHOD).expect("a method");
        let advance = |exchange: &mut Exchange, data| run(authenticator.advance(exchange, data, HOME));
        // The server is asked to begin, which it can do once.
        assert_eq!(advance(&mut exchange, None), Ok(Step::Challenge(Vec::new())));
        assert!(matches!(advance(&mut exchange, Some(&first)), Ok(Step::Challenge(_))));
        assert_eq!(advance(&mut exchange, Some(&first)), Err(AuthError::Refused));
        assert_eq!(advance(&mut exchange, Some(&first)), Err(AuthError::Refused));
        let mut exchange = Exchange::new(METHOD).expect("a method");
        assert_eq!(advance(&mut exchange, None), Ok(Step::Challenge(Vec::new())));
        assert_eq!(advance(&mut exchange, None), Err(AuthError::Refused));
    }

    #[test]
    fn who_keeps_proving_wrongly_is_turned_away() {
        let authenticator = authenticator(&kept(), RULES);
        let attempts = async {
            let mut last = Ok(());
            for _ in 0..120 {
                let (mut client, first) = ScramClient::new("rex", b"guess");
                let mut exchange = Exchange::new(METHOD).expect("a method");
                let challenge = authenticator.advance(&mut exchange, Some(&first), HOME).await;
                let Ok(Step::Challenge(challenge)) = challenge else { panic!("{challenge:?}") };
                let proof = client.answer(&challenge).expect("a challenge");
                let outcome = authenticator.advance(&mut exchange, Some(&proof), HOME);
                last = match tokio::time::timeout(Duration::from_millis(20), outcome).await {
                    Ok(outcome) => outcome.map(|_| ()),
                    Err(_slowed) => Ok(()),
                };
            }
            last
        };
        assert!(matches!(run(attempts), Err(AuthError::Throttled { .. })));
    }
}
