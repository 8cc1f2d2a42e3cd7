//! Says whether a server can be used: over an encrypted connection, with an authority's certificate by which the server's is
//! checked, and perhaps a certificate of the client.

use std::path::PathBuf;
use std::time::Duration;

use mongodb::Client;
use mongodb::bson::{Document, doc};
use mongodb::error::ErrorKind;
use mongodb::options::{ClientOptions, Tls, TlsOptions};

use crate::error::Result;

#[expect(clippy::print_stdout, reason = "the test reads it")]
pub(crate) async fn check(address: &str, files: &[&str]) -> Result<()> {
    let mut options = ClientOptions::parse(format!("mongodb://{address}/?directConnection=true")).await?;
    options.server_selection_timeout = Some(Duration::from_secs(3));
    if let Some(authority) = files.first() {
        let mut tls = TlsOptions::builder().ca_file_path(PathBuf::from(authority)).build();
        tls.cert_key_file_path = files.get(1).map(PathBuf::from);
        options.tls = Some(Tls::Enabled(tls));
    }
    match use_it(&Client::with_options(options)?).await {
        Ok(()) => println!("yes"),
        Err(error) if matches!(*error.kind, ErrorKind::ServerSelection { .. } | ErrorKind::Io(_)) => println!("no"),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

async fn use_it(client: &Client) -> mongodb::error::Result<()> {
    client.database("admin").run_command(doc! { "ping": 1 }).await?;
    let orders = client.database("shop").collection::<Document>("orders_rust");
    orders.insert_one(doc! { "text": "x".repeat(1_000_000) }).await?;
    let found = orders.find_one(doc! {}).await?.unwrap_or_default();
    assert_eq!(found.get_str("text").map_or(0, str::len), 1_000_000);
    Ok(())
}
