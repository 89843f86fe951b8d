//! `flights`: loads the demo's data, writes labels, feeds events as they happen.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use feature_defs::time::{Clock, SystemClock, Timestamp};
use flights::{Dataset, Ingested, LabelRange, Moment, Replay, Shift, Story, write_labels};
use sqlx::postgres::{PgConnectOptions, PgPool};
use tokio_util::sync::CancellationToken;

/// Every flight out of New York in 2013, happening again.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Where flights.csv, weather.csv, planes.csv, airports.csv and airlines.csv are; `fetch.py` gets them
    #[arg(long, env = "LARDER_FLIGHTS_DATA")]
    data: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Load the tables: what is known beforehand, and events up to a moment of 2013
    Load(LoadArguments),
    /// Load what the demo's story begins with: all times moved to the present, the last hour left out
    Begin(DatabaseArguments),
    /// Go on where loading ended: insert what has happened since, then later events at their own time
    Feed(FeedArguments),
    /// Print what an application asks the predictor about the story's flight
    Instance,
    /// Write the labels of a training set: when to predict, join keys, request features, and what came of the flight
    Labels(LabelsArguments),
}

#[derive(Args)]
struct DatabaseArguments {
    /// The Postgres database; its schema `flights` is used
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
}

#[derive(Args)]
struct LoadArguments {
    #[command(flatten)]
    database: DatabaseArguments,
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
}

#[derive(Args)]
struct FeedArguments {
    #[command(flatten)]
    database: DatabaseArguments,
    /// Stop when all that has happened is there
    #[arg(long)]
    once: bool,
}

#[derive(Args)]
struct LabelsArguments {
    /// The first scheduled departure
    #[arg(long, default_value = "2013-01-29T05:00:00Z")]
    from: Timestamp,
    /// The end of scheduled departures
    #[arg(long, default_value = "2014-01-01T05:00:00Z")]
    until: Timestamp,
    /// Look features up as of the full hour before each prediction, as an hourly materialization leaves them
    #[arg(long)]
    hourly: bool,
    /// Move their times as those in this database are, whose features the labels are for; without it, 2013 stays 2013
    #[arg(long)]
    moved: bool,
    /// The database that `--moved` asks
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// The file to write
    #[arg(long)]
    out: PathBuf,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let dataset = Dataset::read(&arguments.data)?;
    match arguments.command {
        Command::Load(arguments) => load(dataset, arguments).await,
        Command::Begin(arguments) => begin(dataset, &arguments).await,
        Command::Feed(arguments) => feed(dataset, arguments).await,
        Command::Instance => {
            println!("{}", serde_json::Value::from(Story::flight(&dataset).instance()));
            Ok(())
        }
        Command::Labels(arguments) => labels(&dataset, &arguments).await,
    }
}

async fn load(dataset: Dataset, arguments: LoadArguments) -> Result<()> {
    let LoadArguments {
        database,
        after,
        until,
        now,
        replace,
    } = arguments;
    let pool = connect(&database.database_url).await?;
    if replace {
        Replay::remove(&pool).await?;
    }
    let shift = if now {
        Shift::bringing(until, SystemClock.now())
    } else {
        Shift::NONE
    };
    let replay = Replay::new(Arc::new(dataset), shift, Ingested::AtInsertion);
    let (after, until) = (
        after.map_or(Replay::BEGINNING, |after| shift.apply(after)),
        shift.apply(until),
    );
    let loaded = replay.start(&pool, after, until).await?;
    println!("{} events up to {until} are new in schema `flights`", loaded.total());
    Ok(())
}

async fn begin(dataset: Dataset, arguments: &DatabaseArguments) -> Result<()> {
    let pool = connect(&arguments.database_url).await?;
    Replay::remove(&pool).await?;
    let shift = Shift::bringing(Story::NOW, SystemClock.now());
    let (after, until) = (Story::NOW.minus(Story::HISTORY), Story::NOW.minus(Story::BEHIND));
    let replay = Replay::new(Arc::new(dataset), shift, Ingested::AtInsertion);
    let loaded = replay.start(&pool, shift.apply(after), shift.apply(until)).await?;
    println!(
        "{} departures, {} arrivals, {} cancellations and {} weather observations, the last of them an hour ago",
        loaded.departures, loaded.arrivals, loaded.cancellations, loaded.observations
    );
    Ok(())
}

async fn feed(dataset: Dataset, arguments: FeedArguments) -> Result<()> {
    let pool = connect(&arguments.database.database_url).await?;
    let replay = Replay::new(
        Arc::new(dataset),
        Replay::loaded_shift(&pool).await?,
        Ingested::AtInsertion,
    );
    let (after, now) = (Replay::loaded_until(&pool).await?, SystemClock.now());
    let loaded = replay.load(&pool, after, now).await?;
    println!(
        "{} flights have left, {} have arrived and {} were cancelled since",
        loaded.departures, loaded.arrivals, loaded.cancellations
    );
    if !arguments.once {
        println!("feeding later events at their own time; Ctrl-C stops");
        feed_until_interrupted(&replay, &pool, now).await?;
    }
    Ok(())
}

async fn labels(dataset: &Dataset, arguments: &LabelsArguments) -> Result<()> {
    let &LabelsArguments {
        from,
        until,
        hourly,
        moved,
        ref database_url,
        ref out,
    } = arguments;
    let shift = if moved {
        let url = database_url.as_deref().context("--moved needs DATABASE_URL")?;
        Replay::loaded_shift(&connect(url).await?).await?
    } else {
        Shift::NONE
    };
    let moment = if hourly { Moment::FullHour } else { Moment::Exact };
    let file = File::create(out).with_context(|| format!("creating {}", out.display()))?;
    let mut file = BufWriter::new(file);
    let rows = write_labels(dataset, LabelRange { from, until }, moment, shift, &mut file)?;
    file.flush().with_context(|| format!("writing {}", out.display()))?;
    println!("{rows} flights that arrived are in {}", out.display());
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
