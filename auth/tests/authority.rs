//! Users and roles of a store: who may do what, at once and after the store was opened again; and logins.

use std::net::{IpAddr, Ipv4Addr};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tailwater::{INTERNAL_DATABASE, Store};
use tailwater_auth::{
    Action, Actions, Authentication, Authority, Error, Identity, LoginError, Mechanism, Pattern, Privilege, Privileges,
    Resource, Role, RoleName, UserChange, UserName,
};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

const ORDERS: Resource<'static> = Resource::Collection {
    database: "shop",
    collection: "orders",
};

/// An authority over a store in a directory that goes with it.
struct Fixture {
    authority: Authority,
    dir: tempfile::TempDir,
}

impl Fixture {
    fn new(authentication: Authentication) -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let authority = Authority::open(store, authentication).unwrap();
        Fixture { authority, dir }
    }

    /// The same store, opened anew.
    fn reopened(self) -> Fixture {
        drop(self.authority);
        let store = Store::open(self.dir.path()).unwrap();
        let authority = Authority::open(store, Authentication::Required).unwrap();
        Fixture {
            authority,
            dir: self.dir,
        }
    }

    fn make(&self, name: &str, roles: &[RoleName]) -> UserName {
        let name = UserName::new("admin", name);
        self.authority.create_user(&root(), &name, &user(roles)).unwrap();
        name
    }

    fn login(&self, name: &UserName) -> Identity {
        log_in(&self.authority, name, "pencil").unwrap()
    }
}

fn log_in(authority: &Authority, name: &UserName, password: &str) -> Result<Identity, LoginError> {
    let attempt = authority.admit_login(name, HERE)?;
    assert!(
        attempt.wait().is_zero(),
        "too many have failed for a test that does not wait"
    );
    authority.verify_password(attempt, password)
}

/// A user that is not looked up: changes are made by whoever may, which is for others to ask.
fn root() -> Identity {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::open(Store::open(dir.path()).unwrap(), Authentication::Required).unwrap();
    let name = UserName::new("admin", "root");
    authority
        .create_user(&Identity::nobody(HERE), &name, &user(&[]))
        .unwrap();
    log_in(&authority, &name, "pencil").unwrap()
}

fn user(roles: &[RoleName]) -> UserChange {
    UserChange {
        password: Some("pencil".into()),
        roles: Some(roles.to_vec()),
        ..UserChange::default()
    }
}

fn watcher() -> Role {
    let watch = Privilege {
        resource: Pattern::Namespace {
            database: "shop".to_owned(),
            collection: "orders".to_owned(),
        },
        actions: Actions::of(&[Action::Find, Action::ChangeStream]),
    };
    Role {
        name: RoleName::new("shop", "watcher"),
        privileges: Privileges::from_iter([watch]),
        roles: Vec::new(),
    }
}

#[test]
fn before_there_are_users_only_this_machine_can_make_the_first_one() {
    let fixture = Fixture::new(Authentication::Required);
    let authority = &fixture.authority;
    let (here, elsewhere) = (Identity::nobody(HERE), Identity::nobody(ELSEWHERE));
    let admin = Resource::Database("admin");
    assert!(authority.may(&here, Action::CreateUser, admin));
    assert!(!authority.may(&elsewhere, Action::CreateUser, admin));
    assert!(!authority.may(&here, Action::CreateUser, Resource::Database("shop")));
    assert!(!authority.may(&here, Action::Find, ORDERS));
    let first = UserName::new("admin", "first");
    authority.create_user(&here, &first, &user(&[])).unwrap();
    assert!(!authority.may(&here, Action::CreateUser, admin));
    let second = authority.create_user(&here, &UserName::new("admin", "second"), &user(&[]));
    assert!(matches!(second, Err(Error::UserExists(_))));
}

#[test]
fn a_store_without_users_is_open_until_there_is_one_and_does_not_open_again() {
    let fixture = Fixture::new(Authentication::OnceThereAreUsers);
    let (authority, nobody) = (&fixture.authority, Identity::nobody(HERE));
    assert!(authority.may(&nobody, Action::Insert, ORDERS));
    let internal = Resource::Database(INTERNAL_DATABASE);
    assert!(!authority.may(&nobody, Action::Find, internal));
    let ada = fixture.make("ada", &[]);
    assert!(authority.is_required() && !authority.may(&nobody, Action::Insert, ORDERS));
    authority.drop_user(&ada).unwrap();
    assert!(!authority.may(&nobody, Action::Insert, ORDERS));
}

#[test]
fn users_and_roles_are_there_after_the_store_was_opened_again() {
    let fixture = Fixture::new(Authentication::Required);
    fixture.authority.create_role(&watcher()).unwrap();
    let ada = fixture.make("ada", &[RoleName::new("shop", "watcher")]);
    let fixture = fixture.reopened();
    let identity = fixture.login(&ada);
    let may = |action, resource| fixture.authority.may(&identity, action, resource);
    assert!(may(Action::Find, ORDERS) && may(Action::ChangeStream, ORDERS));
    assert!(!may(Action::Insert, ORDERS) && !may(Action::Find, Resource::Database("shop")));
}

#[test]
fn changes_are_in_force_for_whoever_is_logged_in() {
    let fixture = Fixture::new(Authentication::Required);
    let (authority, read) = (&fixture.authority, RoleName::new("shop", "read"));
    let ada = fixture.make("ada", &[]);
    let identity = fixture.login(&ada);
    let may_find = || authority.may(&identity, Action::Find, ORDERS);
    assert!(!may_find());
    authority.grant_roles(&ada, &[read.clone(), read.clone()]).unwrap();
    assert!(may_find());
    assert_eq!(authority.user(&ada).unwrap().roles, std::slice::from_ref(&read));
    authority.revoke_roles(&ada, std::slice::from_ref(&read)).unwrap();
    assert!(!may_find());

    // A role of a role, and the role changed.
    authority.create_role(&watcher()).unwrap();
    let mut outer = watcher();
    outer.name = RoleName::new("shop", "outer");
    (outer.privileges, outer.roles) = (Privileges::default(), vec![watcher().name]);
    authority.create_role(&outer).unwrap();
    authority.grant_roles(&ada, std::slice::from_ref(&outer.name)).unwrap();
    assert!(may_find());
    authority.drop_role(&watcher().name).unwrap();
    assert!(!may_find());
    assert!(authority.role(&outer.name).unwrap().0.roles.is_empty());

    // Dropped, and made again under the same name.
    authority.grant_roles(&ada, std::slice::from_ref(&read)).unwrap();
    authority.drop_user(&ada).unwrap();
    fixture.make("ada", &[read]);
    assert!(!may_find() && !authority.is_known(&identity));
    assert!(authority.may(&fixture.login(&ada), Action::Find, ORDERS));
}

#[test]
fn a_password_is_good_until_it_is_changed() {
    let fixture = Fixture::new(Authentication::Required);
    let (authority, ada) = (&fixture.authority, fixture.make("ada", &[]));
    assert!(log_in(authority, &ada, "pencils").is_err());
    fixture.login(&ada);
    let change = UserChange {
        password: Some("chalk".into()),
        mechanisms: Some(vec![Mechanism::ScramSha1]),
        ..UserChange::default()
    };
    authority.update_user(&ada, &change).unwrap();
    assert!(log_in(authority, &ada, "pencil").is_err());
    log_in(authority, &ada, "chalk").unwrap();
    assert_eq!(authority.mechanisms_of(&ada), [Mechanism::ScramSha1]);
}

#[test]
fn names_of_nobody_have_the_mechanisms_that_users_have() {
    let fixture = Fixture::new(Authentication::Required);
    let authority = &fixture.authority;
    let strangers = || {
        let names = (0..400).map(|n| UserName::new("admin", &format!("stranger{n}")));
        names.map(|name| authority.mechanisms_of(&name)).collect::<Vec<_>>()
    };
    let count = |mechanisms: &[Mechanism]| strangers().iter().filter(|of| *of == mechanisms).count();
    fixture.make("ada", &[]);
    assert_eq!(count(&Mechanism::ALL), 400);
    let old = UserChange {
        mechanisms: Some(vec![Mechanism::ScramSha1]),
        ..user(&[])
    };
    authority
        .create_user(&root(), &UserName::new("admin", "old"), &old)
        .unwrap();
    // Half of the users, so about half of all names; each always the same.
    let of_one = count(&[Mechanism::ScramSha1]);
    assert!((100..300).contains(&of_one), "{of_one}");
    assert_eq!(of_one + count(&Mechanism::ALL), 400);
    assert_eq!(strangers(), strangers());
}

#[test]
fn a_conversation_that_was_begun_with_an_old_password_is_not_ended_with_it() {
    let fixture = Fixture::new(Authentication::Required);
    let (authority, ada) = (&fixture.authority, fixture.make("ada", &[]));
    let prove = |change: &dyn Fn()| {
        let begun = authority.begin_login(Mechanism::ScramSha256, "admin", b"n,,n=ada,r=abc", HERE);
        let (conversation, answer) = begun.unwrap();
        let proof = client_proof("n=ada,r=abc", &answer, "pencil");
        change();
        authority.finish_login(&conversation, proof.as_bytes())
    };
    prove(&|| {}).unwrap();
    let chalk = UserChange {
        password: Some("chalk".into()),
        ..UserChange::default()
    };
    assert!(prove(&|| authority.update_user(&ada, &chalk).unwrap()).is_err());
    // One of the same name and password is another.
    authority.drop_user(&ada).unwrap();
    fixture.make("ada", &[]);
    assert!(
        prove(&|| {
            authority.drop_user(&ada).unwrap();
            fixture.make("ada", &[]);
        })
        .is_err()
    );
}

/// The client's side of a conversation (RFC 5802, section 3).
fn client_proof(first: &str, answer: &str, password: &str) -> String {
    use hmac::{Hmac, KeyInit, Mac};
    use sha2::{Digest, Sha256};
    let hmac = |key: &[u8], data: &[u8]| {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).unwrap();
        mac.update(data);
        mac.finalize().into_bytes()
    };
    let parts: Vec<&str> = answer.splitn(3, ',').map(|part| &part[2..]).collect();
    let mut salted = [0; 32];
    let salt = BASE64_STANDARD.decode(parts[1]).unwrap();
    pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), &salt, parts[2].parse().unwrap(), &mut salted);
    let key = hmac(&salted, b"Client Key");
    let without_proof = format!("c=biws,r={}", parts[0]);
    let signed = format!("{first},{answer},{without_proof}");
    let signature = hmac(&Sha256::digest(key), signed.as_bytes());
    let proof: Vec<u8> = key.iter().zip(signature).map(|(key, byte)| key ^ byte).collect();
    format!("{without_proof},p={}", BASE64_STANDARD.encode(proof))
}

#[test]
fn a_conversation_with_nobody_goes_as_with_a_user_and_always_the_same_way() {
    let fixture = Fixture::new(Authentication::Required);
    fixture.make("ada", &[]);
    let salt = |fixture: &Fixture, user: &str| {
        let first = format!("n,,n={user},r=abc");
        let begun = fixture
            .authority
            .begin_login(Mechanism::ScramSha256, "admin", first.as_bytes(), HERE);
        let (_, answer) = begun.unwrap();
        let (_, salt) = answer.split_once(",s=").unwrap();
        salt.to_owned()
    };
    let (ada, eve) = (salt(&fixture, "ada"), salt(&fixture, "eve"));
    assert_eq!(ada.len(), eve.len());
    assert_ne!(eve, salt(&fixture, "mallory"));
    let fixture = fixture.reopened();
    assert_eq!((salt(&fixture, "ada"), salt(&fixture, "eve")), (ada, eve));
}

#[test]
fn changes_that_cannot_be_are_refused_by_name() {
    let fixture = Fixture::new(Authentication::Required);
    let authority = &fixture.authority;
    let ada = fixture.make("ada", &[]);
    let eve = UserName::new("admin", "eve");
    let nothing = RoleName::new("shop", "nothing");
    authority.create_role(&watcher()).unwrap();
    let without_password = UserChange::default();
    let create = |name: &UserName, change: &UserChange| authority.create_user(&root(), name, change);
    assert!(matches!(create(&ada, &user(&[])), Err(Error::UserExists(_))));
    assert!(matches!(create(&eve, &without_password), Err(Error::EmptyPassword)));
    assert!(matches!(
        create(&eve, &user(std::slice::from_ref(&nothing))),
        Err(Error::NoSuchRole(_))
    ));
    assert!(matches!(
        create(&UserName::new("a.b", "eve"), &user(&[])),
        Err(Error::Name(_))
    ));
    assert!(matches!(
        create(&UserName::new("admin", ""), &user(&[])),
        Err(Error::Name(_))
    ));
    assert!(matches!(authority.drop_user(&eve), Err(Error::NoSuchUser(_))));
    assert!(matches!(authority.drop_role(&nothing), Err(Error::NoSuchRole(_))));
    let read = RoleName::new("shop", "read");
    assert!(matches!(authority.drop_role(&read), Err(Error::BuiltInRole(_))));
    assert!(matches!(authority.create_role(&watcher()), Err(Error::RoleExists(_))));
    let update = |change: fn(&mut Role)| authority.update_role(&watcher().name, change);
    let itself = update(|role| role.roles = vec![role.name.clone()]);
    assert!(matches!(itself, Err(Error::Cycle { .. })));
    let elsewhere = update(|role| role.roles = vec![RoleName::new("blog", "read")]);
    assert!(matches!(elsewhere, Err(Error::OtherDatabase { .. })));
    let cluster = update(|role| role.privileges.add(Pattern::Cluster, Actions::ALL));
    assert!(matches!(cluster, Err(Error::OtherDatabase { .. })));
}

#[test]
fn no_password_and_no_key_shows_when_things_are_printed() {
    let fixture = Fixture::new(Authentication::Required);
    let ada = fixture.make("ada", &[]);
    let printed = format!("{:?} {:?}", fixture.authority.user(&ada).unwrap(), user(&[]));
    assert!(
        !printed.contains("pencil") && !printed.contains("stored_key"),
        "{printed}"
    );
    assert!(!format!("{:?}", fixture.authority).contains("ada"));
}
