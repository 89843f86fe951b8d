//! What the pages under docs/ show is run, and their links lead somewhere. (docs/definitions.md: feature-defs.)

use std::path::Path;

use end_to_end::documents::Document;
use end_to_end::env::root;
use end_to_end::shell::Shell;
use sqlx::AssertSqlSafe;

#[tokio::test]
async fn one_fact_is_followed_as_the_concepts_say() {
    let page = Document::read("docs/concepts.md");
    let shell = Shell::new().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(page.block("sql", "CREATE TABLE")))
        .execute(&shell.database.pool)
        .await
        .unwrap();
    shell.write("features/concepts.toml", &page.block("toml", "format = 1"));
    assert_eq!(
        shell.sh(&page.block("sh", "training-set")),
        page.block("text", "train.csv")
    );
    // What a materialization as of the same moment writes.
    shell.sh("feature-server migrate");
    for (moment, orders) in [("2024-05-01T12:30:00Z", 3), ("2024-05-01T13:00:00Z", 2)] {
        shell.sh(&format!("feature-server materialize --as-of {moment}"));
        let online = shell.sh("feature-server get habits customer_id=7 --json");
        let online: serde_json::Value = serde_json::from_str(&online).unwrap();
        assert_eq!(online[1]["value"], orders, "{online}");
        // The order is older than its ttl by now.
        assert_eq!(online[0]["status"], "OUTSIDE_MAX_AGE", "{online}");
    }
}

#[test]
fn links_lead_somewhere() {
    let mut pages = vec!["README.md".to_owned(), "ARCHITECTURE.md".to_owned()];
    for entry in std::fs::read_dir(root().join("docs")).unwrap() {
        pages.push(format!("docs/{}", entry.unwrap().file_name().to_string_lossy()));
    }
    for page in pages {
        let text = std::fs::read_to_string(root().join(&page)).unwrap();
        let folder = root().join(Path::new(&page).parent().unwrap());
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("http") {
                continue;
            }
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() {
                root().join(&page)
            } else {
                folder.join(path)
            };
            assert!(target.exists(), "{page} links to {link}");
            if !heading.is_empty() {
                let text = std::fs::read_to_string(&target).unwrap();
                let headings = text.lines().filter(|line| line.starts_with('#')).map(anchor);
                assert!(
                    headings.into_iter().any(|found| found == heading),
                    "{page} links to {link}"
                );
            }
        }
    }
}

/// What a heading's link is called.
fn anchor(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = words
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}
