//! Larder can be trusted with time: random histories of random worlds, compared with a naive model after every step.
//!
//! `cargo xtask test --cases N` compares so many entities' histories. A difference is shrunk and printed with the seed
//! that finds it again.

mod check; // a case happens to product and model, which must agree
mod definitions; // tables and definitions of a world
mod expect; // what readers may find after what has happened to a view
mod generate; // random cases
mod model; // what a value is as of a moment, naively
mod outcome; // how an action ends, and what readers find
mod product; // the feature server and its stores
mod random; // numbers from a seed
mod shrink; // the smallest case that still fails
mod views; // every view of a world
mod world; // what a case is

use end_to_end::redis_server::RedisServer;
use random::Random;
use world::Case;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is {text:?}, and must be a number")),
    )
}

/// How many groups of entities share a world: few, and so many worlds, where there are few cases; many where there are
/// many, since a run costs the same for all of them.
fn groups(cases: usize) -> usize {
    (cases / Case::histories(3)).clamp(60, 360)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_served_and_trained_is_what_the_rows_say() {
    let cases = usize::try_from(number("LARDER_TEST_CASES").unwrap_or(10_000)).unwrap();
    let groups = groups(cases);
    let seed = number("LARDER_TEST_SEED");
    let mut seeds = Random::new(seed.unwrap_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0));
    let (mut histories, mut online, mut trained) = (0, 0, 0);
    let mut worlds = 0;
    // One of their own: a run that replaces goes through every key there is.
    let redis = RedisServer::start().unwrap();
    while histories < cases {
        // A world's own seed repeats it.
        let world_seed = match seed {
            Some(seed) if worlds == 0 => seed,
            _ => seeds.next(),
        };
        let case = generate::case(&mut Random::new(world_seed), groups);
        println!("world {worlds}: LARDER_TEST_SEED={world_seed}");
        let mut product = product::Product::new(&redis.url()).await.unwrap();
        let verdict = check::check(&mut product, &case).await.unwrap();
        if let Some(difference) = verdict.difference {
            let report = shrink::report(product, case, difference).await;
            panic!(
                "world {worlds} differs from the model; to repeat it:\n  \
                 LARDER_TEST_SEED={world_seed} cargo xtask test --cases {cases} -- -p end-to-end --test histories\n\n{report}"
            );
        }
        product.end(&case).await.unwrap();
        histories += Case::histories(groups);
        online += verdict.online;
        trained += verdict.trained;
        worlds += 1;
    }
    println!("{histories} histories in {worlds} worlds: {online} values read and {trained} trained as the model says");
}
