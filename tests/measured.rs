//! The README's table of counts is the kept record of the bench, figure for figure.

const README: &str = include_str!("../README.md");
const RECORD: &str = include_str!("../benches/record/softcuda-sm_80/2026-11-22.csv");

/// A line of the README's table for one row of the record.
fn line(row: &csv::StringRecord, headers: &csv::StringRecord) -> String {
    let text = |name: &str| {
        let column = headers.iter().position(|header| header == name);
        &row[column.unwrap_or_else(|| panic!("the record has no column {name}"))]
    };
    let number = |name: &str| text(name).parse::<f64>().unwrap_or_else(|_| panic!("{name} is no number"));
    // A kernel may use no tensor cores.
    let ratio = |a: f64, b: f64, text: &dyn Fn(f64) -> String| if b > 0.0 { text(a / b) } else { "none".to_owned() };
    // What depends on lengths in device memory is not known beforehand.
    let flops = match text("flops") {
        "" => "-".to_owned(),
        _ if number("flops") >= 1e9 => format!("{:.2} G", number("flops") / 1e9),
        _ => format!("{:.0} M", number("flops") / 1e6),
    };
    let moved = number(if text("bytes_moved").is_empty() { "global_bytes" } else { "bytes_moved" });
    let operator = text("op").rsplit('/').next().unwrap_or_default();
    format!(
        "| `{operator}` | {} | {} | {flops} | {:.2} | {:.0} % | {} | {:.2} % | {:.2} |",
        text("case"),
        text("dtype"),
        moved / number("bytes_needed"),
        100.0 * number("global_requested_bytes") / number("global_bytes"),
        ratio(number("inst_executed"), number("inst_executed_pipe_tensor"), &|value| format!("{value:.2}")),
        100.0 * (number("shared_wavefronts") / number("shared_ideal_wavefronts") - 1.0),
        number("error_of_allowed"),
    )
}

#[test]
fn every_row_of_the_record_stands_in_the_readme() {
    let mut reader = csv::Reader::from_reader(RECORD.as_bytes());
    let headers = reader.headers().expect("the record has a header").clone();
    let rows: Vec<_> = reader.records().map(|row| row.expect("a row of the record")).collect();
    assert!(!rows.is_empty(), "the record is empty");
    for row in &rows {
        let expected = line(row, &headers);
        assert!(README.contains(&expected), "the README lacks\n{expected}");
    }
    let table_lines = README.lines().filter(|line| line.ends_with(" |") && line.contains(" % | ")).count();
    assert_eq!(table_lines, rows.len(), "lines of the README's table and rows of the record");
}
