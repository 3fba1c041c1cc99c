use super::*;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

pub(super) const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
pub(super) const RULES: Rules = Rules {
    authorize_local: false,
    require_authentication: true,
    cache_ttl: Duration::from_secs(30),
    tokens_as_passwords: true,
};
pub(super) const TOKENS: TokenRules = TokenRules {
    algorithm: TokenAlgorithm::Hs256,
    timeout: Duration::from_secs(100),
    refresh_timeout: Duration::from_secs(1000),
    issuer: None,
};

#[derive(Default)]
pub(super) struct Kept {
    accounts: Mutex<HashMap<String, Account>>,
    asked: AtomicUsize,
}

impl Accounts for Kept {
    fn find(&self, name: &str) -> Option<Account> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        lock(&self.accounts).get(name).cloned()
    }
}

impl Kept {
    pub(super) fn remove(&self, name: &str) {
        lock(&self.accounts).remove(name);
    }

    pub(super) fn change(&self, name: &str, change: impl FnOnce(&mut Account)) {
        change(lock(&self.accounts).get_mut(name).expect(name));
    }
}

pub(super) fn kept() -> Arc<Kept> {
    let kept = Kept::default();
    for (name, password, super_user, active) in
        [("rex", "bone", false, true), ("admin", "secret", true, true), ("gone", "old", false, false)]
    {
        let password = Hasher::cheap().keep(password.as_bytes()).expect("hashed");
        let role = if super_user { Account::ADMIN } else { "kennel" };
        let account = Account { name: name.to_owned(), password, role: role.to_owned(), super_user, active };
        lock(&kept.accounts).insert(name.to_owned(), account);
    }
    Arc::new(kept)
}

pub(super) fn authenticator(accounts: &Arc<Kept>, rules: Rules) -> Authenticator {
    let keys = tempfile::tempdir().expect("a folder");
    with_tokens(accounts, rules, TOKENS, keys.path())
}

pub(super) fn with_tokens(accounts: &Arc<Kept>, rules: Rules, tokens: TokenRules, keys: &Path) -> Authenticator {
    Authenticator::with_hasher(accounts.clone(), rules, tokens, keys, Hasher::cheap()).expect("it starts")
}

pub(super) fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime").block_on(future)
}

fn hashed(authenticator: &Authenticator) -> u64 {
    authenticator.shared.hashed.load(Ordering::Relaxed)
}

/// Who is let in without hashing.
fn recognise(authenticator: &Authenticator, user: &str, password: &[u8]) -> Option<Principal> {
    let before = hashed(authenticator);
    let known = run(authenticator.verify(user, password, HOME)).ok()?;
    (hashed(authenticator) == before).then_some(known.principal)
}

#[test]
fn only_the_right_password_of_an_active_account_opens() {
    let accounts = kept();
    let authenticator = authenticator(&accounts, RULES);
    let refused = Err(AuthError::Refused);
    let of = |name: &str| Ok(Principal::by_password(&accounts.find(name).expect(name)));
    let cases = [
        ("rex", "bone", of("rex")),
        ("admin", "secret", of("admin")),
        ("rex", "secret", refused.clone()),
        ("rex", "", refused.clone()),
        ("rex", "Bone", refused.clone()),
        ("Rex", "bone", refused.clone()),
        ("gone", "old", refused.clone()),
        ("nobody", "bone", refused.clone()),
        ("anonymous", "", refused.clone()),
        ("", "", refused),
    ];
    for (host, (user, password, expected)) in (0..).zip(cases) {
        let peer = IpAddr::from([192, 0, 2, host]);
        // Twice: the second time may come from the cache.
        for _ in 0..2 {
            let answer = run(authenticator.verify(user, password.as_bytes(), peer));
            assert_eq!(answer.map(|known| known.principal), expected, "{user} {password}");
        }
    }
}

#[test]
fn a_right_password_is_recognised_until_anything_changes() {
    let accounts = kept();
    let authenticator = authenticator(&accounts, RULES);
    assert_eq!(recognise(&authenticator, "rex", b"bone"), None);
    let signed_in = run(authenticator.verify("rex", b"bone", HOME)).expect("right");
    assert_eq!(recognise(&authenticator, "rex", b"bone").expect("recognised").role, "kennel".into());
    assert_eq!(recognise(&authenticator, "rex", b"bones"), None);
    assert_eq!(recognise(&authenticator, "admin", b"bone"), None);

    let change = |change: &dyn Fn(&mut Account)| {
        accounts.change("rex", |account| change(account));
        recognise(&authenticator, "rex", b"bone")
    };
    let role = change(&|account| account.role = "reader".to_owned());
    assert_eq!(role.expect("still right").role, "reader".into(), "a role acts at once");
    assert_eq!(change(&|account| account.active = false), None);
    assert_eq!(
        change(&|account| {
            account.active = true;
            account.password = Hasher::cheap().keep(b"ball").expect("hashed");
        }),
        None
    );
    accounts.remove("rex");
    assert_eq!(run(authenticator.verify("rex", b"bone", HOME)).err(), Some(AuthError::Refused));
    drop(signed_in);
}

#[test]
fn nothing_is_recognised_without_a_cache() {
    let authenticator = authenticator(&kept(), Rules { cache_ttl: Duration::ZERO, ..RULES });
    let _signed_in = run(authenticator.verify("rex", b"bone", HOME)).expect("right");
    assert_eq!(recognise(&authenticator, "rex", b"bone"), None);
}

#[test]
fn other_rules_hold_for_who_comes_then() {
    let authenticator = authenticator(&kept(), RULES);
    assert_eq!(authenticator.without_credentials(HOME), Err(AuthError::Required));
    let tokens = || TOKENS.load().expect("no file");
    authenticator.set_rules(Rules { require_authentication: false, ..RULES }, tokens());
    assert_eq!(authenticator.without_credentials(HOME), Ok(Principal::anonymous()));
    authenticator.set_rules(RULES, tokens());
    assert_eq!(authenticator.without_credentials(HOME), Err(AuthError::Required));
}

#[test]
fn without_credentials_the_rules_decide() {
    let local: Vec<IpAddr> =
        ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"].map(|ip| ip.parse().expect("one")).to_vec();
    let remote: Vec<IpAddr> =
        ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1", "0.0.0.0"].map(|ip| ip.parse().expect("one")).to_vec();
    for (authorize_local, require_authentication, at_home, abroad) in [
        (false, true, Err(AuthError::Required), Err(AuthError::Required)),
        (false, false, Ok(Principal::anonymous()), Ok(Principal::anonymous())),
        (true, true, Ok(Principal::local()), Err(AuthError::Required)),
        (true, false, Ok(Principal::local()), Ok(Principal::anonymous())),
    ] {
        let rules = Rules { authorize_local, require_authentication, ..RULES };
        let authenticator = authenticator(&kept(), rules);
        for peer in &local {
            assert_eq!(authenticator.without_credentials(*peer), at_home, "{rules:?} {peer}");
        }
        for peer in &remote {
            assert_eq!(authenticator.without_credentials(*peer), abroad, "{rules:?} {peer}");
        }
    }
}

#[test]
fn who_keeps_being_wrong_is_turned_away_and_others_are_not() {
    let authenticator = authenticator(&kept(), RULES);
    run(authenticator.verify("rex", b"bone", HOME)).expect("right");
    let attempts = async {
        let mut answers = Vec::new();
        for guess in 0..120 {
            let password = format!("guess {guess}");
            let attempt = authenticator.verify("admin", password.as_bytes(), HOME);
            match tokio::time::timeout(Duration::from_millis(20), attempt).await {
                Ok(answer) => answers.push(answer),
                Err(_slowed) => answers.push(Err(AuthError::Overloaded)),
            }
        }
        answers
    };
    let answers = run(attempts);
    assert!(matches!(answers.last(), Some(Err(AuthError::Throttled { .. }))), "{:?}", answers.last());
    run(authenticator.verify("rex", b"bone", HOME)).expect("known and right, from the same address");
    let elsewhere: IpAddr = "2001:db8::1".parse().expect("an address");
    run(authenticator.verify("rex", b"bone", elsewhere)).expect("right");
}

/// Everyone at once from one address: what came of each, in order.
fn storm(
    authenticator: &Authenticator,
    credentials: impl Iterator<Item = (String, String)>,
) -> Vec<Result<SignedIn, AuthError>> {
    run(async {
        let mut attempts = Vec::new();
        for (user, password) in credentials {
            let authenticator = authenticator.clone();
            let attempt = async move { authenticator.verify(&user, password.as_bytes(), HOME).await };
            attempts.push(tokio::spawn(attempt));
        }
        let mut answers = Vec::new();
        for attempt in attempts {
            answers.push(attempt.await.expect("no panic"));
        }
        answers
    })
}

/// Many users, `u7` with the password `p7`.
fn many(users: usize) -> Arc<Kept> {
    let kept = kept();
    for number in 0..users {
        let (name, password) = (format!("u{number}"), format!("p{number}"));
        let password = Hasher::cheap().keep(password.as_bytes()).expect("hashed");
        let account = Account::new(&name, password, "kennel").expect("a name");
        lock(&kept.accounts).insert(name, account);
    }
    kept
}

fn device(number: usize) -> (String, String) {
    (format!("u{number}"), format!("p{number}"))
}

#[test]
fn ten_thousand_clients_of_one_user_at_once_are_one_hash() {
    let authenticator = authenticator(&kept(), RULES);
    for expected in [1, 1] {
        let answers = storm(&authenticator, (0..10_000).map(|_| ("rex".to_owned(), "bone".to_owned())));
        assert!(answers.iter().all(Result::is_ok));
        assert_eq!(hashed(&authenticator), expected);
    }
}

#[test]
fn a_crowd_of_a_few_users_is_one_hash_each() {
    let authenticator = authenticator(&many(100), RULES);
    let answers = storm(&authenticator, (0..10_000).map(|client| device(client % 100)));
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(hashed(&authenticator), 100);
}

#[test]
fn a_wrong_password_that_many_bring_at_once_is_one_hash_and_one_failure() {
    let authenticator = authenticator(&kept(), RULES);
    for _ in 0..2 {
        let answers = storm(&authenticator, (0..1000).map(|_| ("rex".to_owned(), "ball".to_owned())));
        assert!(answers.iter().all(|answer| answer.as_ref().err() == Some(&AuthError::Refused)));
        assert_eq!(hashed(&authenticator), 1);
    }
    let nobody = storm(&authenticator, (0..1000).map(|_| ("nobody".to_owned(), "ball".to_owned())));
    assert!(nobody.iter().all(|answer| answer.as_ref().err() == Some(&AuthError::Refused)));
    assert_eq!(hashed(&authenticator), 2);
}

#[test]
fn guesses_that_come_all_at_once_are_worth_no_more_than_one_by_one() {
    let authenticator = authenticator(&kept(), RULES);
    let guesses = (0..WAITING_MAX).map(|guess| ("admin".to_owned(), format!("guess {guess}")));
    let answers = storm(&authenticator, guesses);
    let is_throttled = |answer: &&Result<SignedIn, AuthError>| matches!(answer, Err(AuthError::Throttled { .. }));
    assert!(answers.iter().filter(is_throttled).count() > WAITING_MAX / 2);
    assert!(hashed(&authenticator) <= 20 + threads() as u64, "{}", hashed(&authenticator));
    let elsewhere: IpAddr = "2001:db8::1".parse().expect("an address");
    run(authenticator.verify("rex", b"bone", elsewhere)).expect("right");
}

#[test]
fn of_more_users_than_can_be_hashed_some_are_told_to_come_again_and_none_that_they_are_wrong() {
    const USERS: usize = 2_000;
    let authenticator = authenticator(&many(USERS), RULES);
    let is_wrong = |device: usize| device.is_multiple_of(20);
    let credentials = |number: usize| match device(number) {
        (user, _) if is_wrong(number) => (user, "wrong".to_owned()),
        right => right,
    };
    let mut left: Vec<usize> = (0..USERS).collect();
    let mut signed_in = Vec::new();
    while !left.is_empty() {
        let answers = storm(&authenticator, left.iter().copied().map(credentials));
        let mut again = Vec::new();
        for (number, answer) in left.into_iter().zip(answers) {
            match answer {
                Ok(known) => signed_in.push((number, known)),
                Err(AuthError::Overloaded) => again.push(number),
                Err(AuthError::Refused) => assert!(is_wrong(number), "{number}"),
                Err(error) => panic!("{number}: {error}"),
            }
        }
        left = again;
    }
    assert_eq!(signed_in.len(), USERS - USERS / 20);
    assert_eq!(hashed(&authenticator), USERS as u64);
    // They come back, those that are wrong too.
    let answers = storm(&authenticator, (0..USERS).map(credentials));
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), signed_in.len());
    assert_eq!(hashed(&authenticator), USERS as u64);
}

#[test]
fn a_password_in_use_is_recognised_for_as_long_as_it_is() {
    let rules = Rules { cache_ttl: Duration::from_millis(1), ..RULES };
    let authenticator = authenticator(&kept(), rules);
    let pass = || {
        let begin = Instant::now();
        while begin.elapsed() <= rules.cache_ttl * 2 {
            std::thread::yield_now();
        }
    };
    let first = run(authenticator.verify("rex", b"bone", HOME)).expect("right");
    if first.lease.is_none() {
        return; // It took longer than that to get here.
    }
    pass();
    assert_eq!(recognise(&authenticator, "rex", b"bone").map(|known| known.user), Some("rex".into()));
    drop(first);
    pass();
    assert_eq!(recognise(&authenticator, "rex", b"bone"), None);
}

#[test]
fn a_check_that_nobody_waits_for_is_not_made() {
    let accounts = kept();
    let authenticator = authenticator(&accounts, RULES);
    run(async {
        let verify = authenticator.verify("rex", b"bone", HOME);
        let _ = tokio::time::timeout(Duration::ZERO, verify).await;
    });
    drop(authenticator);
}

#[test]
fn secrets_are_not_shown() {
    let accounts = kept();
    let account = accounts.find("rex").expect("rex");
    let shown = format!("{account:?} {:?} {:?}", authenticator(&accounts, RULES), basic("Basic cmV4OmJvbmU="));
    assert!(!shown.contains("argon2") && !shown.contains("SCRAM") && !shown.contains("bone"), "{shown}");
}
