//! `/docs/`.

use crate::bench::{Bench, NUMBER, PATIENT};

use super::described::{Sent, send};

#[tokio::test]
async fn the_pages_load_nothing_from_elsewhere() {
    let app = Bench::new().model("m", "picky", PATIENT, NUMBER).app();
    let led = send(&app, &Sent::get("/docs")).await;
    assert_eq!((led.status, led.headers["location"].to_str().unwrap()), (308, "/docs/"));
    let page = send(&app, &Sent::get("/docs/")).await;
    assert_eq!((page.status, page.content_type()), (200, "text/html"));
    let page = page.text();
    let attributes = [" href=\"", " src=\""];
    let loaded = attributes.iter().flat_map(|attribute| page.split(attribute).skip(1));
    let loaded: Vec<&str> = loaded.map(|rest| rest.split('"').next().unwrap()).collect();
    assert_eq!(loaded.len(), 7, "{loaded:?}");
    for asset in loaded {
        let name = asset.strip_prefix("./").unwrap_or(asset);
        assert!(!name.contains('/'), "{asset} is elsewhere");
        let asset = send(&app, &Sent::get(&format!("/docs/{name}"))).await;
        assert_eq!(asset.status, 200, "{name}");
        if name.ends_with(".css") {
            let text = asset.text();
            let others = text
                .split("url(")
                .skip(1)
                .filter(|url| !url.trim_start_matches(['"', '\'']).starts_with("data:"));
            assert_eq!(others.count(), 0, "{name} loads others");
            assert!(!text.contains("@import"), "{name} imports");
        }
    }
    let settings = send(&app, &Sent::get("/docs/swagger-initializer.js")).await.text();
    assert!(settings.contains(r#""url": "/openapi.json""#), "{settings}");
    assert!(settings.contains(r#""validatorUrl": "none""#), "{settings}");
    let missing = send(&app, &Sent::get("/docs/nothing.js")).await;
    assert_eq!(missing.status, 404);
    assert!(missing.text().contains("unknown_path"), "{}", missing.text());
}
