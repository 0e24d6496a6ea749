//! `pattern`.

use crate::{File, fails, json, llm_kernels, succeeds};

/// Tiles that the rectangles of one colour cover.
fn covered(drawing: &str, fill: &str) -> u64 {
    let rectangles = drawing.lines().filter(|line| line.contains(&format!("fill=\"{fill}\"")));
    let width = |line: &str| line.split("width=\"").nth(1)?.split('"').next()?.parse::<u64>().ok();
    rectangles.map(|line| width(line).unwrap()).sum()
}

#[test]
fn big_bird_is_drawn_tile_by_tile() {
    let file = File::new("bigbird.svg");
    let report = json(&["pattern", "bigbird", "--seq", "4096", "--svg", file.path(), "--json"]);
    let drawing = std::fs::read_to_string(&file.0).unwrap();
    assert!(drawing.starts_with("<svg ") && drawing.ends_with("</svg>\n"));
    // 64 blocks: 2 see all; of the others each sees 2 global ones, 3 near ones (less at the edges) and 3 random ones.
    let near = 61 * 3 + 2 - 1;
    assert_eq!(report["tiles"], 2 * 64 + 62 * (2 + 3) + near);
    assert_eq!(report["partial_tiles"], 0);
    assert_eq!(report["tiles"], covered(&drawing, "#1f4e79"));
    assert_eq!(report["pairs"].as_u64().unwrap(), report["tiles"].as_u64().unwrap() * 64 * 64);
}

#[test]
fn every_pattern_is_shown() {
    let partial = |pattern: &str| {
        let report = json(&["pattern", pattern, "--seq", "300", "--seq-k", "400", "--json"]);
        assert_eq!(report["pattern"], pattern);
        assert!(report["pairs"].as_u64().unwrap() > 0, "{report}");
        report["partial_tiles"].as_u64().unwrap()
    };
    let patterns = ["causal", "sliding-window", "dilated", "strided", "fixed", "longformer", "streaming", "tri-shape"];
    for pattern in patterns.into_iter().chain(["vertical-slash", "documents", "prefix-lm"]) {
        assert!(partial(pattern) > 0, "{pattern}");
    }
    partial("bigbird");
    assert!(succeeds(&["pattern", "causal", "--seq", "128"]).contains("tiles                    3\n"));
}

#[test]
fn mistakes_are_one_line() {
    for (arguments, expected) in [
        (&["pattern", "strided", "--seq", "64", "--stride", "0"][..], "stride is 0, expected at least 1"),
        (&["pattern", "causal", "--seq", "64", "--tile", "32"], "tile_q is 32, expected 64 or 128"),
        (&["pattern", "circular", "--seq", "64"], "invalid value 'circular'"),
        (&["pattern", "causal"], "--seq"),
        (&["pattern", "causal", "--seq", "64", "--svg", "/no/such/folder/x.svg"], "/no/such/folder/x.svg"),
    ] {
        let error = fails(&mut llm_kernels(arguments));
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
}
