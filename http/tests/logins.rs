//! Users over HTTP: who is let in, to what, and for how long.

use crate::common;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::Running;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use tailwater_auth::{Identity, RoleName, UserChange, UserName};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Makes a user; the first one is `root`, who makes the others.
fn create(served: &Running, database: &str, name: &str, role: (&str, &str)) {
    let user = UserChange {
        password: Some(format!("{name}:pass").into()),
        roles: Some(vec![RoleName::new(role.0, role.1)]),
        ..UserChange::default()
    };
    let root = UserName::new("admin", "root");
    let by = match served.authority.has_users() {
        true => {
            let attempt = served.authority.admit_login(&root, HERE).unwrap();
            served.authority.verify_password(attempt, "root:pass").unwrap()
        }
        false => Identity::nobody(HERE),
    };
    let name = UserName::new(database, name);
    served.authority.create_user(&by, &name, &user).unwrap();
}

fn login(user: &str, password: &str) -> String {
    format!("Authorization: Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

#[test]
fn users_see_what_their_roles_allow() {
    let served = Running::new();
    assert_eq!(served.get("/v1/stats", &[]).status, 200);
    create(&served, "admin", "root", ("admin", "root"));
    create(&served, "admin", "reader", ("shop", "read"));
    create(&served, "shop", "ada", ("shop", "read"));
    create(&served, "admin", "watcher", ("admin", "clusterMonitor"));
    let (root, reader) = (login("root", "root:pass"), login("reader", "reader:pass"));
    let (ada, watcher) = (login("shop/ada", "ada:pass"), login("watcher", "watcher:pass"));
    let nobody = "X-Nobody: 1".to_owned();
    for (who, target, status) in [
        (&nobody, "/v1/watch/shop/orders", 401),
        (&nobody, "/v1/stats", 401),
        (&nobody, "/metrics", 401),
        (&nobody, "/", 401),
        (&nobody, "/healthz", 200),
        (&nobody, "/readyz", 200),
        (&login("root", "wrong"), "/v1/stats", 401),
        (&login("stranger", "root:pass"), "/v1/stats", 401),
        (&"Authorization: Bearer abc".to_owned(), "/v1/stats", 401),
        (&root, "/", 200),
        (&root, "/metrics", 200),
        (&root, "/v1/watch", 200),
        (&root, "/v1/watch/tailwater", 403),
        (&reader, "/v1/watch/shop/orders", 200),
        (&reader, "/v1/watch/shop", 200),
        (&reader, "/v1/watch/town", 403),
        (&reader, "/v1/watch", 403),
        (&reader, "/v1/stats", 403),
        (&ada, "/v1/watch/shop/orders", 200),
        (&watcher, "/v1/stats", 200),
        (&watcher, "/v1/watch/shop/orders", 403),
    ] {
        let response = served.get(target, &[who]);
        assert_eq!(response.status, status, "{who} {target}");
        if status == 401 {
            assert!(response.header("www-authenticate").unwrap().starts_with("Basic realm="));
        }
    }
}

#[test]
fn a_watch_ends_when_its_user_goes() {
    let served = Running::new();
    create(&served, "admin", "root", ("admin", "root"));
    create(&served, "admin", "reader", ("shop", "read"));
    let reader = login("reader", "reader:pass");
    let mut events = served.get("/v1/watch/shop/orders", &[&reader]);
    served.insert(0..1);
    assert_eq!(events.number(), 0);
    served.authority.drop_user(&UserName::new("admin", "reader")).unwrap();
    served.insert(1..2);
    let problem = events.event().unwrap();
    assert_eq!(problem.event.as_deref(), Some("problem"));
    assert_eq!(problem.data.unwrap()["status"], 401);
    assert!(events.event().is_none());
    // Also where the login was remembered.
    assert_eq!(served.get("/v1/watch/shop/orders", &[&reader]).status, 401);
}

#[test]
fn a_remembered_login_ends_with_its_password() {
    let served = Running::new();
    create(&served, "admin", "root", ("admin", "root"));
    create(&served, "admin", "reader", ("shop", "read"));
    let old = login("reader", "reader:pass");
    assert_eq!(served.get("/v1/watch/shop/orders", &[&old]).status, 200);
    let change = UserChange {
        password: Some("chalk".into()),
        ..UserChange::default()
    };
    let reader = UserName::new("admin", "reader");
    served.authority.update_user(&reader, &change).unwrap();
    assert_eq!(served.get("/v1/watch/shop/orders", &[&old]).status, 401);
    let new = login("reader", "chalk");
    assert_eq!(served.get("/v1/watch/shop/orders", &[&new]).status, 200);
}

/// As many who guess as there are threads, each of whom waits for seconds.
#[test]
fn who_waits_after_failures_holds_up_nobody_else() {
    let served = Running::new();
    create(&served, "admin", "root", ("admin", "root"));
    let names: Vec<String> = (0..4).map(|n| format!("user{n}")).collect();
    for name in &names {
        let name = UserName::new("admin", name);
        // One more would be refused at once.
        for _ in 0..9 {
            let attempt = served.authority.admit_login(&name, HERE).unwrap();
            assert!(served.authority.verify_password(attempt, "guess").is_err());
        }
    }
    let ask = |name: &String| {
        let mut stream = TcpStream::connect(served.address).unwrap();
        let (host, login) = (served.address, login(name, "guess"));
        write!(stream, "GET /v1/stats HTTP/1.1\r\nHost: {host}\r\n{login}\r\n\r\n").unwrap();
        stream
    };
    let waiting: Vec<TcpStream> = names.iter().map(ask).collect();
    assert_eq!(served.get("/readyz", &[]).status, 200);
    let root = login("root", "root:pass");
    assert_eq!(served.get("/v1/stats", &[&root]).status, 200);
    for mut stream in waiting {
        stream.set_nonblocking(true).unwrap();
        let answered = stream.read(&mut [0]);
        let kind = answered.expect_err("a guess was answered first").kind();
        assert_eq!(kind, std::io::ErrorKind::WouldBlock);
    }
}
