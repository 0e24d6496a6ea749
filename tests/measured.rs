//! The README's table of counts is the kept record of the bench, figure for figure.

const README: &str = include_str!("../README.md");
const RECORD: &str = include_str!("../benches/record/softcuda-sm_80/2026-11-22.csv");

const HEADER: &str = "\
| operator | case | type | flop | bytes moved / needed | sector use | warp instructions / mma | bank conflicts | error / allowed |
|---|---|---|---|---|---|---|---|---|
";

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

/// The README's table, of which the first two lines name the columns; `LLM_KERNELS_BLESS=1` writes it anew.
#[test]
fn the_readme_s_table_is_the_record() {
    let mut reader = csv::Reader::from_reader(RECORD.as_bytes());
    let headers = reader.headers().expect("the record has a header").clone();
    let rows: Vec<_> = reader.records().map(|row| line(&row.expect("a row of the record"), &headers) + "\n").collect();
    assert!(!rows.is_empty(), "the record is empty");

    let start = README.find(HEADER).expect("the README has the table's header") + HEADER.len();
    let end = start + README[start..].find("\n\n").expect("the table ends") + 1;
    let (table, expected) = (&README[start..end], rows.concat());
    if table != expected && std::env::var_os("LLM_KERNELS_BLESS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
        let text = [&README[..start], &expected, &README[end..]].concat();
        return std::fs::write(path, text).expect("the README is written");
    }
    assert_eq!(table, expected, "run with LLM_KERNELS_BLESS=1 to write the table anew");
}
