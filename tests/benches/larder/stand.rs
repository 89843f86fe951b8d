//! What is measured on: a table of users with 30 float32 features each, views and feature services over it, models, and the servers.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use end_to_end::env::{program, required, root};
use end_to_end::postgres::{self, Database};
use end_to_end::redis_server::RedisServer;
use end_to_end::servers::Server;
use ort::environment::Environment;
use ort::session::Session;
use ort::value::TensorRef;
use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use sqlx::AssertSqlSafe;

use crate::load::Load;

/// The features of a user.
pub(crate) const FEATURES: usize = 30;
/// Over how many views a service spreads them: each of them is a feature service and, with the GBDT, a model.
pub(crate) const VIEWS: [usize; 4] = [1, 3, 5, 15];
/// More views than features: each has one of them, some features are in two, and the model looks at as many as always.
pub(crate) const MANY_VIEWS: usize = 50;
/// The first users, who alone have values in these.
pub(crate) const FEW: usize = 10_000;
/// The aggregate view.
pub(crate) const MEANS: &str = "means";
const PROJECT: &str = "bench";
const TIMES: &str = "event_timestamp = \"happened_at\"\ncreated_timestamp = \"created_at\"\n";
/// What the slow model is to take.
const SLOW: Duration = Duration::from_millis(5);
/// Of how many products it is at first, to see what they take.
const FIRST_PRODUCTS: usize = 10;

/// A database, a Redis, definitions and models of the benchmark's own.
pub(crate) struct Stand {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) database: Database,
    pub(crate) redis: RedisServer,
    pub(crate) users: usize,
    runtime: Environment,
}

impl Stand {
    /// With nothing materialized yet.
    pub(crate) async fn new(users: usize) -> Result<Self> {
        let stand = Self {
            dir: tempfile::tempdir()?,
            database: postgres::empty().await?,
            redis: RedisServer::start()?,
            users,
            runtime: ort::init_from(required("LARDER_ONNXRUNTIME"))?
                .with_telemetry(false)
                .build()?,
        };
        fill(&stand.database, users).await?;
        std::fs::create_dir(stand.dir.path().join("features"))?;
        std::fs::write(stand.dir.path().join("features/bench.toml"), definitions())?;
        let few = format!("SELECT * FROM events WHERE user_id <= {FEW}");
        std::fs::write(stand.dir.path().join("features/few.sql"), few)?;
        stand.models()?;
        stand.feature_server(&["migrate"])?;
        Ok(stand)
    }

    /// A command line of the feature server's, run to its end.
    pub(crate) fn feature_server(&self, args: &[&str]) -> Result<()> {
        let status = self.command("feature-server").args(args).status()?;
        ensure!(status.success(), "feature-server {args:?}: {status}");
        Ok(())
    }

    /// A program with what it needs to know of this stand.
    pub(crate) fn command(&self, name: &str) -> Command {
        let mut command = Command::new(program(name));
        command
            .envs(self.variables(&self.redis))
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    /// A running predictor.
    pub(crate) async fn predictor(&self) -> Result<Server> {
        Server::start("predictor", self.dir.path(), &self.variables(&self.redis)).await
    }

    /// The variables that tell a program of this stand, and of a Redis.
    pub(crate) fn variables(&self, redis: &RedisServer) -> [(&'static str, String); 6] {
        let folder = |name: &str| self.dir.path().join(name).display().to_string();
        [
            ("DATABASE_URL", self.database.url.clone()),
            ("REDIS_URL", redis.url()),
            ("LARDER_FEATURES", folder("features")),
            ("LARDER_MODELS", folder("models")),
            ("LARDER_ONNXRUNTIME", required("LARDER_ONNXRUNTIME")),
            ("LARDER_LOG", "warn".to_owned()),
        ]
    }

    /// The keys of a user's values in a service of so many views, as `redis-cli` would be given them.
    pub(crate) fn keys(&self, views: usize) -> Arc<Vec<Vec<String>>> {
        let key = |user: usize, view: usize| format!("larder:{PROJECT}:v{views}_{view}:{{user_id={user}}}");
        Arc::new(
            (1..=self.users)
                .map(|user| (0..views).map(|view| key(user, view)).collect())
                .collect(),
        )
    }

    /// A connection to its Redis as fast as the client makes them.
    pub(crate) async fn connection(&self) -> Result<MultiplexedConnection> {
        connection_to(&self.redis.url()).await
    }

    /// The model of a file, in this process, on one thread.
    pub(crate) fn session(&self, model: &str) -> Result<Session> {
        let path = self.dir.path().join(format!("{model}.onnx"));
        let builder = || -> ort::Result<Session> {
            Session::builder(&self.runtime)?
                .with_intra_threads(1)?
                .commit_from_file(&path)
        };
        builder().map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))
    }

    fn models(&self) -> Result<()> {
        self.write_models(FIRST_PRODUCTS)?;
        // Machines differ: on each, it is to take as long.
        let nanos = |time: Duration| usize::try_from(time.as_nanos());
        let took = nanos(self.run_of("slow")?)?.max(1);
        self.write_models((FIRST_PRODUCTS * nanos(SLOW)?).div_ceil(took))?;
        for views in VIEWS {
            let service = format!("feature_service = \"s{views}\"\n");
            self.model(&format!("gbdt_{views}"), "gbdt", "off", &service)?;
        }
        let many = format!("feature_service = \"s{MANY_VIEWS}\"\n");
        self.model(
            &format!("gbdt_{MANY_VIEWS}"),
            &format!("gbdt_of_{MANY_VIEWS}"),
            "off",
            &many,
        )?;
        let five = "feature_service = \"s5\"\n";
        self.model("sum", "sum", "off", five)?;
        self.model("gbdt_kept", "gbdt", "memory", five)?;
        self.model("slow", "slow", "off", five)?;
        self.model("slow_kept", "slow", "memory", five)?;
        self.model("gbdt_tensors", "gbdt", "off", "")?;
        self.model("mlp_tensors", "mlp", "off", "")
    }

    /// Writes the files of the models; the slow one is of so many products of matrices a row.
    fn write_models(&self, products: usize) -> Result<()> {
        let status = Command::new("python3")
            .arg(root().join("tests/python/bench_models.py"))
            .arg(self.dir.path())
            .arg(products.to_string())
            .env("PYTHONPATH", required("LARDER_TEST_PYTHONPATH"))
            .status()
            .context("python3 makes the models")?;
        ensure!(status.success(), "bench_models.py: {status}");
        Ok(())
    }

    /// How long a model runs, at the median.
    fn run_of(&self, model: &str) -> Result<Duration> {
        let mut session = self.session(model)?;
        let load = Load::of(Duration::from_millis(500), |_| {
            let row = TensorRef::from_array_view(([1, FEATURES], &[0.5_f32; FEATURES][..]))?;
            session.run(ort::inputs![row])?;
            Ok(())
        })?;
        Ok(Duration::from_secs_f64(load.percentile(50) / 1e6))
    }

    fn model(&self, name: &str, file: &str, cache: &str, service: &str) -> Result<()> {
        let folder = self.dir.path().join("models").join(name);
        let version = folder.join("1");
        std::fs::create_dir_all(&version)?;
        std::fs::copy(self.dir.path().join(format!("{file}.onnx")), version.join("model.onnx"))?;
        std::fs::write(
            folder.join("model.toml"),
            format!("deadline = \"10s\"\ncache = {{ tier = \"{cache}\" }}\nbatching = {{ max_waiting = 1000 }}\n"),
        )?;
        let uses = match service {
            "" => "batch = true\n".to_owned(),
            service => format!(
                "{service}inputs = {{ features = \"float32\" }}\noutputs = {{ prediction = {{ tensor = \"prediction\" }} }}\n"
            ),
        };
        Ok(std::fs::write(version.join("version.toml"), uses)?)
    }
}

/// A connection to a Redis as fast as the client makes them.
pub(crate) async fn connection_to(redis: &str) -> Result<MultiplexedConnection> {
    let info = redis::IntoConnectionInfo::into_connection_info(redis)?;
    let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let client = redis::Client::open(info)?;
    Ok(client.get_multiplexed_async_connection_with_config(&config).await?)
}

/// Where a server listens.
pub(crate) fn address(server: &Server) -> Result<SocketAddr> {
    let address = server.base.trim_start_matches("http://");
    Ok(address.parse()?)
}

async fn fill(database: &Database, users: usize) -> Result<()> {
    let columns = (0..FEATURES).fold(String::new(), |mut text, i| {
        _ = write!(text, ", f{i} float4");
        text
    });
    let values = (0..FEATURES).fold(String::new(), |mut text, i| {
        // Different for every user and feature, and between 0 and 1, as the models' thresholds are.
        _ = write!(text, ", (hashint8(g * {FEATURES} + {i}) & 16777215) / 16777216.0");
        text
    });
    let statements = [
        format!(
            "CREATE UNLOGGED TABLE events (user_id int8, happened_at timestamptz, created_at timestamptz{columns})"
        ),
        format!(
            "INSERT INTO events SELECT g, now() - interval '1 hour' + g % 3000 * interval '1 second', now(){values}
             FROM generate_series(1::int8, {users}) AS g"
        ),
        "CREATE INDEX ON events (user_id, happened_at)".to_owned(),
        "CREATE INDEX ON events (created_at)".to_owned(),
        "CREATE INDEX ON events (happened_at)".to_owned(),
        "VACUUM ANALYZE events".to_owned(),
    ];
    for statement in statements {
        sqlx::query(AssertSqlSafe(statement)).execute(&database.pool).await?;
    }
    Ok(())
}

/// All features of a user, over so many views, for each of [`VIEWS`]; one feature of the first users in each of many views; and
/// the mean of each feature.
fn definitions() -> String {
    let mut text = format!(
        "format = 1\nproject = \"{PROJECT}\"\n\n\
         [[entity]]\nname = \"user\"\njoin_keys = [{{ name = \"user_id\", type = \"int64\" }}]\n\n\
         [[source]]\nname = \"events\"\ntable = \"events\"\n{TIMES}\n\
         [[source]]\nname = \"few\"\nsql = \"few.sql\"\n{TIMES}"
    );
    for views in VIEWS {
        let of_view = |view: usize| (view * FEATURES / views..(view + 1) * FEATURES / views).collect();
        text += &spread(views, "events", of_view);
    }
    text += &spread(MANY_VIEWS, "few", |view| vec![view % FEATURES]);
    let means: Vec<String> = (0..FEATURES)
        .map(|i| format!("{{ name = \"f{i}\", function = \"mean\", column = \"f{i}\", windows = [\"30d\"] }}"))
        .collect();
    _ = write!(
        text,
        "\n[[feature_view]]\nname = \"{MEANS}\"\nentity = \"user\"\nsource = \"events\"\naggregate = [{}]\n",
        means.join(", ")
    );
    text
}

/// So many views, each of these features, and the feature service of all.
fn spread(views: usize, source: &str, features: impl Fn(usize) -> Vec<usize>) -> String {
    let (mut text, mut inputs) = (String::new(), Vec::new());
    for view in 0..views {
        let features: Vec<String> = features(view)
            .into_iter()
            .map(|feature| format!("f{feature}"))
            .collect();
        inputs.extend(features.iter().map(|feature| format!("\"v{views}_{view}:{feature}\"")));
        let fields = features
            .iter()
            .map(|f| format!("{{ name = \"{f}\", type = \"float32\" }}"));
        _ = write!(
            text,
            "\n[[feature_view]]\nname = \"v{views}_{view}\"\nentity = \"user\"\nsource = \"{source}\"\nttl = \"30d\"\nfeatures = [{}]\n",
            fields.collect::<Vec<_>>().join(", ")
        );
    }
    _ = write!(
        text,
        "\n[[feature_service]]\nname = \"s{views}\"\nfeatures = [{}]\n",
        inputs.join(", ")
    );
    text
}

/// Creates a file's folder if there is none.
pub(crate) fn folder_of(path: &Path) -> Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => Ok(std::fs::create_dir_all(folder)?),
        _ => Ok(()),
    }
}
