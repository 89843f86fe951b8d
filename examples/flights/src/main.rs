//! `flights`: loads the demo's data, writes labels, feeds events as they happen.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use feature_defs::time::{Clock, Span, SystemClock, Timestamp};
use flights::{Dataset, Ingested, LabelRange, Moment, Replay, Shift, write_labels};
use sqlx::postgres::{PgConnectOptions, PgPool};
use tokio_util::sync::CancellationToken;

/// Every flight out of New York in 2013, happening again.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Where flights.csv, weather.csv, planes.csv, airports.csv and airlines.csv are; `fetch.py` gets them
    #[arg(long, env = "LARDER_FLIGHTS_DATA")]
    data: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Load the tables: what is known beforehand, and all events up to a moment of 2013
    Load {
        /// The Postgres database; its schema `flights` is used
        #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
        database_url: String,
        /// Leave out events up to this moment of 2013
        #[arg(long)]
        after: Option<Timestamp>,
        /// The last moment of 2013 whose events are loaded
        #[arg(long, default_value = "2014-01-03T00:00:00Z")]
        until: Timestamp,
        /// Move all times so that `until` is now; without it, 2013 stays 2013
        #[arg(long)]
        now: bool,
        /// Remove what is in the schema `flights` first
        #[arg(long)]
        replace: bool,
        /// Leave out the last of them, such as 1h: `feed` brings them later
        #[arg(long, value_name = "TIME", default_value = "0s")]
        withhold: Span,
    },
    /// Go on where `load` ended: insert the events that have happened since, then later ones at their own time
    Feed {
        /// The Postgres database that was loaded
        #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
        database_url: String,
        /// Stop when all that has happened is there
        #[arg(long)]
        once: bool,
    },
    /// Print what an application asks the predictor about a flight, moved as the loaded ones are
    Instance {
        /// The flight's number in the data, as in `flight_id`
        flight_id: i64,
        /// The Postgres database that was loaded
        #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
        database_url: String,
    },
    /// Write the labels of a training set: when to predict, join keys, request features, and what came of the flight
    Labels {
        /// The first scheduled departure
        #[arg(long, default_value = "2013-01-29T05:00:00Z")]
        from: Timestamp,
        /// The end of scheduled departures
        #[arg(long, default_value = "2014-01-01T05:00:00Z")]
        until: Timestamp,
        /// Look features up as of the full hour before each prediction, as an hourly materialization leaves them
        #[arg(long)]
        hourly: bool,
        /// The file to write
        #[arg(long)]
        out: PathBuf,
    },
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let dataset = Dataset::read(&args.data)?;
    match args.command {
        Command::Load {
            database_url,
            until,
            now,
            replace,
            withhold,
        } => {
            let pool = connect(&database_url).await?;
            if replace {
                Replay::remove(&pool).await?;
            }
            let shift = if now {
                Shift::bringing(until, SystemClock.now())
            } else {
                Shift::NONE
            };
            let replay = Replay::new(dataset, shift, Ingested::AtInsertion);
            let until = shift.apply(until.minus(withhold));
            let loaded = replay.start(&pool, until).await?;
            println!("{} events up to {until} are in schema `flights`", loaded.total());
        }
        Command::Feed { database_url, once } => {
            let pool = connect(&database_url).await?;
            let shift = Replay::loaded_shift(&pool).await?;
            let replay = Replay::new(dataset, shift, Ingested::AtInsertion);
            let (after, now) = (Replay::loaded_until(&pool).await?, SystemClock.now());
            let loaded = replay.load(&pool, after, now).await?;
            println!(
                "{} flights left, {} arrived and {} were cancelled between {after} and {now}",
                loaded.departures, loaded.arrivals, loaded.cancellations
            );
            if !once {
                println!("feeding later events at their own time; Ctrl-C stops");
                feed_until_interrupted(&replay, &pool, now).await?;
            }
        }
        Command::Instance {
            flight_id,
            database_url,
        } => {
            let shift = Replay::loaded_shift(&connect(&database_url).await?).await?;
            let mut flights = dataset.flights.iter();
            let flight = flights.find(|flight| flight.id == flight_id);
            let flight = flight.with_context(|| format!("there is no flight {flight_id}"))?;
            println!("{}", serde_json::Value::from(flight.instance(shift)));
        }
        Command::Labels {
            from,
            until,
            hourly,
            out,
        } => {
            let moment = if hourly { Moment::HourBefore } else { Moment::Exact };
            let file = File::create(&out).with_context(|| format!("creating {}", out.display()))?;
            let mut file = BufWriter::new(file);
            let rows = write_labels(&dataset, LabelRange { from, until }, moment, Shift::NONE, &mut file)?;
            file.flush().with_context(|| format!("writing {}", out.display()))?;
            println!("{rows} flights that arrived are in {}", out.display());
        }
    }
    Ok(())
}

async fn connect(database_url: &str) -> Result<PgPool> {
    let options: PgConnectOptions = database_url.parse().context("the database URL is not one")?;
    let database = options
        .get_database()
        .unwrap_or_else(|| options.get_username())
        .to_owned();
    let place = format!("{}:{}/{database}", options.get_host(), options.get_port());
    PgPool::connect_with(options)
        .await
        .with_context(|| format!("connecting to Postgres at {place}: is it running?"))
}

async fn feed_until_interrupted(replay: &Replay, pool: &PgPool, after: Timestamp) -> Result<()> {
    let stop = CancellationToken::new();
    let feeding = replay.feed(pool, &SystemClock, after, &stop);
    tokio::pin!(feeding);
    tokio::select! {
        fed = &mut feeding => fed,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted.context("waiting for Ctrl-C")?;
            stop.cancel();
            feeding.await
        }
    }
}
