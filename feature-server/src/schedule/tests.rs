//! Schedules that begin, end and change while others go on undisturbed.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Scheduler, Schedules, State};
use crate::App;
use crate::testing::{CREATED, Ground, arrivals_toml, at};

/// Schedules at work on a ground's views.
struct AtWork {
    ground: Ground,
    scheduler: Scheduler,
    schedules: Arc<Schedules>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl AtWork {
    /// With the schedules of these views.
    async fn new(scheduled: &[(&str, &str)]) -> Self {
        let mut ground = Ground::arrivals().await;
        ground.arrival("UA", "11:30", "11:30", "10").await;
        ground.redefine(&toml(scheduled));
        Self::on(ground)
    }

    fn on(ground: Ground) -> Self {
        let (schedules, tasks, stop) = (Arc::default(), TaskTracker::new(), CancellationToken::new());
        let mut scheduler = Scheduler::new(&schedules, 2, &tasks, &stop);
        scheduler.follow(&ground.app);
        Self {
            ground,
            scheduler,
            schedules,
            tasks,
            stop,
        }
    }

    fn follow(&mut self, toml: &str) {
        self.ground.redefine(toml);
        self.scheduler.follow(&self.ground.app);
    }

    /// The view's runs so far.
    async fn runs(&self, view: &str) -> usize {
        self.ground.app.store().runs(Some(view), 99).await.unwrap().len()
    }

    async fn until_runs(&self, view: &str, count: usize) {
        while self.runs(view).await < count {
            tokio::task::yield_now().await;
        }
    }

    /// Waits until the view's schedule stands so.
    async fn until(&self, view: &str, stands: impl Fn(&State) -> bool) -> State {
        let name = view.parse().unwrap();
        loop {
            if let Some(state) = self.schedules.of(&name).filter(&stands) {
                return state;
            }
            tokio::task::yield_now().await;
        }
    }

    /// A view that nothing happens to, while another has run a few times more.
    async fn rests(&self, view: &str, while_runs: &str) {
        let (before, others) = (self.runs(view).await, self.runs(while_runs).await);
        self.until_runs(while_runs, others + 3).await;
        assert_eq!(self.runs(view).await, before, "{view}");
    }

    async fn end(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Definitions in which these views have these schedules.
fn toml(scheduled: &[(&str, &str)]) -> String {
    let toml = arrivals_toml(CREATED);
    scheduled.iter().fold(toml, |toml, (view, every)| {
        let name = format!("name = \"{view}\"\nentity");
        assert_eq!(toml.matches(&name).count(), 1, "{view}");
        toml.replace(&name, &format!("name = \"{view}\"\nschedule = \"{every}\"\nentity"))
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schedules_begin_end_and_change_and_the_others_are_undisturbed() {
    let mut at_work = AtWork::new(&[("ops", "1s")]).await;
    at_work.until_runs("ops", 2).await;
    assert_eq!(at_work.runs("newest").await, 0);
    // A schedule is new: its first run comes at once.
    at_work.follow(&toml(&[("ops", "1s"), ("newest", "1h")]));
    let state = at_work.until("newest", |_| true).await;
    assert_eq!((at_work.runs("newest").await, state.failures), (1, 0));
    assert!(state.next_run > Some(at("12:50")), "{state:?}");
    // Of definitions that are taken up again and again, as they are, nobody notices.
    for _ in 0..5 {
        at_work.follow(&toml(&[("ops", "1s"), ("newest", "1h")]));
    }
    at_work.rests("newest", "ops").await;
    // Prose and ttl are no reason to run, either.
    at_work.follow(&toml(&[("ops", "1s"), ("newest", "1h")]).replace("ttl = \"6h\"", "ttl = \"7h\""));
    at_work.rests("newest", "ops").await;
    // It changes.
    let quick = toml(&[("ops", "1s"), ("newest", "1s")]);
    at_work.follow(&quick);
    at_work.until_runs("newest", 3).await;
    at_work.follow(&toml(&[("ops", "1s"), ("newest", "1h")]));
    at_work
        .until("newest", |state| state.next_run > Some(at("12:50")))
        .await;
    at_work.rests("newest", "ops").await;
    // It ends; the view stays.
    at_work.follow(&quick);
    at_work.follow(&toml(&[("ops", "1s")]));
    let name = "newest".parse().unwrap();
    assert!(at_work.schedules.of(&name).is_none());
    // A run may have begun in between, and is finished.
    while at_work.tasks.len() > 1 {
        tokio::task::yield_now().await;
    }
    at_work.rests("newest", "ops").await;
    assert!(
        at_work.schedules.of(&name).is_none(),
        "what was under way does not tell any more"
    );
    at_work.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_that_fails_is_tried_less_often_until_it_is_defined_otherwise() {
    let mut at_work = AtWork::new(&[]).await;
    let scheduled = toml(&[("ops", "1s"), ("newest", "1h")]);
    let broken = scheduled.replace(
        "features = [{ name = \"delay\", type = \"float64\" }]",
        "features = [{ name = \"delay\", type = \"float64\", column = \"missing\" }]",
    );
    at_work.follow(&broken);
    at_work.until("newest", |state| state.failures == 3).await;
    for _ in 0..5 {
        at_work.follow(&broken);
    }
    at_work.until_runs("ops", 2).await;
    let state = at_work.until("newest", |_| true).await;
    assert!(state.failures >= 3, "nobody has started it anew: {state:?}");
    at_work.ground.clock.set(at("12:10"));
    at_work.follow(&scheduled);
    let state = at_work.until("newest", |state| state.failures == 0).await;
    assert_eq!(state.problem, None);
    assert_eq!(
        at_work.ground.values("newest", "UA", "12:10").await.as_deref(),
        Some("10.0")
    );
    at_work.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_older_definitions_says_so_and_goes_on_once_it_has_the_applied_ones() {
    let mut ground = Ground::arrivals().await;
    ground.arrival("UA", "11:30", "11:30", "10").await;
    let (old, new) = (
        toml(&[("newest", "1s")]),
        toml(&[("newest", "1s")]).replace(
            "delay\", type = \"float64\" }]",
            "late\", column = \"delay\", type = \"float64\" }]",
        ),
    );
    let new = new.replace("\"newest:delay\"", "\"newest:late\"");
    ground.redefine(&new);
    let applying = Arc::clone(&ground.app);
    ground.redefine(&old);
    ground.app.apply(None).await.unwrap();
    let mut at_work = AtWork::on(ground);
    at_work.until_runs("newest", 2).await;
    applying.apply(None).await.unwrap();
    let state = at_work.until("newest", |state| state.failures > 1).await;
    let problem = state.problem.unwrap();
    assert!(problem.contains("an older one, applied at"), "{problem}");
    let marker = async |app: &App| app.writer().marker(&"newest".parse().unwrap()).await.unwrap().unwrap();
    let (runs, before) = (at_work.runs("newest").await, marker(&applying).await);
    at_work.until("newest", |state| state.failures > 2).await;
    assert_eq!(at_work.runs("newest").await, runs, "a refusal is no run");
    assert_eq!(marker(&applying).await, before);

    at_work.ground.clock.set(at("12:10"));
    at_work.follow(&new);
    at_work.until("newest", |state| state.failures == 0).await;
    let written = marker(&applying).await;
    assert_eq!(written.digest, applying.view("newest").unwrap().digest());
    at_work.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_run_of_a_view_that_is_removed_is_finished() {
    let mut ground = Ground::arrivals().await;
    ground.arrival("UA", "11:30", "11:30", "10").await;
    let gated = "CREATE VIEW gated AS
        SELECT carrier, event, created, delay FROM arrivals, (SELECT pg_advisory_lock_shared(42), pg_advisory_unlock_shared(42)) AS gate";
    ground.sql(gated).await;
    let through = toml(&[("newest", "1s")]).replace("table = \"arrivals\"", "table = \"gated\"");
    ground.redefine(&through);
    ground.sql("SELECT pg_advisory_lock(42)").await;
    let mut at_work = AtWork::on(ground);
    at_work.until_runs("newest", 1).await;
    let from = through.find("[[feature_view]]\nname = \"newest\"").unwrap();
    let to = through.find("[[feature_service]]").unwrap();
    let without = format!("{}{}", &through[..from], &through[to..]);
    at_work.follow(&without.replace("{ feature = \"newest:delay\", default = -1.0 },", ""));
    assert_eq!(at_work.tasks.len(), 1, "its run is under way");
    at_work.ground.sql("SELECT pg_advisory_unlock(42)").await;
    at_work.tasks.close();
    at_work.tasks.wait().await;
    let runs = at_work.ground.app.store().runs(Some("newest"), 9).await.unwrap();
    let outcomes: Vec<&str> = runs.iter().map(|run| run.outcome.as_str()).collect();
    assert_eq!(outcomes, ["done"]);
    assert!(at_work.schedules.of(&"newest".parse().unwrap()).is_none());
}
