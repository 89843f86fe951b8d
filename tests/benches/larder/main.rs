//! `cargo xtask bench`: what Larder costs, beside what its parts cost alone, in one run.

#![expect(clippy::cast_precision_loss, reason = "figures are for reading")]

mod arm;
mod echo;
mod growth;
mod load;
mod materialize;
mod peers;
mod plain;
mod process;
mod report;
mod serving;
mod stand;
mod training;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, ValueEnum};

use crate::arm::Rounds;
use crate::plain::Way;
use crate::report::Report;
use crate::stand::Stand;

/// As the programs have it: the yardsticks are not to be slower for their allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Cli {
    /// What to measure; everything unless told
    groups: Vec<Group>,
    /// How often each figure is taken, its arms in turn; the median counts
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long each time, in milliseconds
    #[arg(long, default_value_t = 1_000)]
    millis: u64,
    /// How many users have features
    #[arg(long, default_value_t = 300_000)]
    users: usize,
    /// Up to how many entities are put into Redis for the growth table: 10 million take 3 GB
    #[arg(long, default_value_t = 3_000_000)]
    entities: usize,
    /// Also the same work by Feast and MLServer
    #[arg(long)]
    peers: bool,
    /// Where the figures are written, as JSON
    #[arg(long, value_name = "FILE", default_value = ".larder/bench.json")]
    out: PathBuf,
    /// Figures of an earlier run, to be compared with
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// Be the echo, at this address
    #[arg(long, hide = true, requires = "answer")]
    echo: Option<SocketAddr>,
    #[arg(long, hide = true)]
    answer: Option<PathBuf>,
    /// Be the yardstick of materialization, on the stand of the variables
    #[arg(long, hide = true)]
    plain: Option<Way>,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Group {
    /// Predictions over HTTP
    Serving,
    /// Materialization, its readers, and memory
    Materialize,
    /// Training sets
    Training,
    /// How cost grows with rows, views, entities and processes
    Growth,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    if let (Some(address), Some(answer)) = (cli.echo, &cli.answer) {
        return echo::serve(address, answer);
    }
    if let Some(way) = cli.plain {
        return way.go(cli.users);
    }
    // One thread for all clients: more would take the cores from what they measure.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(&cli))
}

async fn run(cli: &Cli) -> Result<()> {
    let earlier = cli.compare.as_deref().map(Report::read).transpose()?;
    let rounds = Rounds {
        count: cli.rounds,
        lasts: Duration::from_millis(cli.millis),
    };
    let wanted = |group: Group| cli.groups.is_empty() || cli.groups.contains(&group);
    let stand = Stand::new(cli.users).await?;
    let mut report = Report::default();
    if wanted(Group::Serving) {
        stand.feature_server(&["materialize"])?;
        report.tables.extend(serving::tables(&stand, rounds).await?);
    }
    if wanted(Group::Materialize) {
        report.tables.extend(materialize::tables(&stand, cli.rounds).await?);
    }
    if wanted(Group::Training) {
        report.tables.extend(training::tables(&stand, cli.rounds).await?);
    }
    if wanted(Group::Growth) {
        stand.flush().await?;
        stand.feature_server(&["materialize"])?;
        report
            .tables
            .extend(growth::tables(&stand, rounds, cli.entities).await?);
    }
    if cli.peers {
        stand.flush().await?;
        report.tables.extend(peers::tables(&stand, rounds).await?);
    }
    stand::folder_of(&cli.out)?;
    report.write(&cli.out)?;
    println!("\nWritten to {}", cli.out.display());
    if let Some(earlier) = earlier {
        print!("{}", report.compared(&earlier));
    }
    Ok(())
}
