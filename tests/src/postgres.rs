//! A database of the test's own on the private Postgres.

use std::str::FromStr;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

use crate::env;

/// A database that is dropped with its test's process; the server itself is thrown away after the run.
#[derive(Debug, Clone)]
pub struct Database {
    /// Its URL, password included.
    pub url: String,
    /// Connections to it.
    pub pool: PgPool,
}

/// A name no other test uses.
pub fn unique(prefix: &str) -> String {
    let id = uuid::Uuid::new_v4().simple().to_string();
    format!("{prefix}{}", &id[..12])
}

/// Makes an empty database.
///
/// # Errors
/// If Postgres can't be reached.
pub async fn empty() -> anyhow::Result<Database> {
    create("").await
}

/// Makes a copy of the database `template`, which nobody may be connected to.
///
/// # Errors
/// If Postgres can't be reached or has no such database.
pub async fn copy_of(template: &str) -> anyhow::Result<Database> {
    create(&format!(" TEMPLATE {template}")).await
}

async fn create(suffix: &str) -> anyhow::Result<Database> {
    let name = unique("t");
    let server = server_url();
    let mut admin = PgConnectOptions::from_str(&server)?.connect().await?;
    sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}{suffix}")))
        .execute(&mut admin)
        .await?;
    admin.close().await?;
    let url = url_of(&name);
    let pool = PgPoolOptions::new().max_connections(8).connect(&url).await?;
    Ok(Database { url, pool })
}

/// The URL of the private server's own database.
pub fn server_url() -> String {
    env::required("LARDER_TEST_DATABASE_URL")
}

/// The URL of a database on the private server.
pub fn url_of(name: &str) -> String {
    let server = server_url();
    let (base, _) = server.rsplit_once('/').expect("a database URL ends in /name");
    format!("{base}/{name}")
}
