//! Makes the first user of a server that asks for a login, logs in by each mechanism, and is refused what a user may not.

use mongodb::Client;
use mongodb::bson::{Document, doc};
use mongodb::options::{AuthMechanism, ClientOptions, Credential};

use crate::error::{Result, refusal};

const PASSWORD: &str = "pass, =w\u{f6}rd/:@";

struct Server<'a> {
    address: &'a str,
}

impl Server<'_> {
    async fn nobody(&self) -> Result<Client> {
        let options = ClientOptions::parse(format!("mongodb://{}/?directConnection=true", self.address)).await?;
        Ok(Client::with_options(options)?)
    }

    async fn user(&self, name: &str, password: &str, mechanism: Option<AuthMechanism>) -> Result<Client> {
        let mut options = ClientOptions::parse(format!("mongodb://{}/?directConnection=true", self.address)).await?;
        let mut credential = Credential::builder()
            .username(name.to_owned())
            .password(password.to_owned())
            .source("admin".to_owned())
            .build();
        credential.mechanism = mechanism;
        options.credential = Some(credential);
        Ok(Client::with_options(options)?)
    }
}

/// With which number finding an order is refused, if it is.
async fn find(client: &Client) -> Option<i32> {
    refusal(
        client
            .database("shop")
            .collection::<Document>("orders")
            .find_one(doc! {})
            .await,
    )
}

pub(crate) async fn check(address: &str) -> Result<()> {
    let server = Server { address };
    let nobody = server.nobody().await?;
    assert_eq!(find(&nobody).await, Some(13));
    nobody
        .database("admin")
        .run_command(doc! { "createUser": "root", "pwd": PASSWORD, "roles": ["root"] })
        .await?;
    assert_eq!(find(&nobody).await, Some(13));

    for mechanism in [Some(AuthMechanism::ScramSha256), Some(AuthMechanism::ScramSha1), None] {
        assert_eq!(
            find(&server.user("root", PASSWORD, mechanism.clone()).await?).await,
            None
        );
        assert_eq!(
            find(&server.user("root", "wrong", mechanism.clone()).await?).await,
            Some(18)
        );
        assert_eq!(
            find(&server.user("unknown", PASSWORD, mechanism).await?).await,
            Some(18)
        );
    }

    let root = server.user("root", PASSWORD, None).await?;
    let resource = doc! { "db": "shop", "collection": "orders" };
    let privileges = [doc! { "resource": resource, "actions": ["find", "changeStream"] }].to_vec();
    let admin = root.database("admin");
    admin
        .run_command(doc! { "createRole": "watchOrders", "privileges": privileges, "roles": [] })
        .await?;
    admin
        .run_command(doc! { "createUser": "watcher", "pwd": "w", "roles": ["watchOrders"] })
        .await?;

    let watcher = server.user("watcher", "w", None).await?;
    let shop = watcher.database("shop");
    let (orders, people) = (
        shop.collection::<Document>("orders"),
        shop.collection::<Document>("people"),
    );
    assert_eq!(find(&watcher).await, None);
    assert_eq!(refusal(orders.insert_one(doc! {}).await), Some(13));
    assert_eq!(refusal(orders.watch().await), None);
    assert_eq!(refusal(people.watch().await), Some(13));
    assert_eq!(refusal(shop.watch().await), Some(13));
    assert_eq!(refusal(watcher.watch().await), Some(13));
    Ok(())
}
