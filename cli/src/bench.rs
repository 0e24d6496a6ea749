//! `bench`: what operators cost. A row is shown only if the same run agreed with the reference.

use std::path::Path;

use llm_kernels::Resources;
use llm_kernels::verify::{BenchRow, HotLine};
use serde_json::{Map, Value, json};

use crate::check::{cases, json_agreement, json_case, json_counters, number};
use crate::failure::Failure;
use crate::output::{self, Table};
use crate::{Global, progress, select};

/// Measures the selected operators.
pub(crate) fn run(global: &Global, name: &str, csv: Option<&Path>, hot: bool) -> Result<(), Failure> {
    let ops = select::many(Some(name))?;
    let device = global.open()?;
    let queue = device.default_queue();
    let (cases, left_out) = cases(&ops, device.is_software(), |op| op.bench_cases);
    let bar = progress::bar(cases.len());
    let (mut rows, mut refused) = (Vec::new(), Vec::new());
    for (op, case) in cases {
        bar.set_message(format!("{} {}", op.path, case.name));
        let row = op.bench(&queue, case).map_err(|error| {
            Failure::Message(format!("{}, case `{}` ({}): {error}", op.path, case.name, case.shape()))
        })?;
        if row.agreement.passed() {
            rows.push(row)
        } else {
            refused.push(row)
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    if let Some(path) = csv {
        write_csv(path, device.name(), &rows)?;
    }
    if global.json {
        let list: Vec<Value> = rows.iter().map(json_row).collect();
        output::json(&json!({
            "device": device.name(),
            "software": device.is_software(),
            "not_run": left_out,
            "disagreed": refused.len(),
            "rows": list,
        }))?;
    } else {
        output::line(&table(&rows))?;
        let what = match device.is_software() {
            true => "counts, and modelled times, energy and cost: this is no GPU",
            false => "median times",
        };
        let not_run =
            if left_out > 0 { format!("; {left_out} cases need a GPU and were not run") } else { String::new() };
        output::line(&format!("{}: {what}{not_run}", device.name()))?;
        for row in &rows {
            output::line(&explain(row, hot))?;
        }
    }
    if let Some(row) = refused.first() {
        let (count, report) = (refused.len(), row.agreement.report());
        return Err(Failure::Message(format!(
            "{count} rows withheld, since the results disagree with the reference: {}, case `{}`: {report}",
            row.op, row.case.name
        )));
    }
    if rows.is_empty() { Err(Failure::Message(format!("no case of {name} was run"))) } else { Ok(()) }
}

/// Names and values of what is known of a row's costs; the unit is in the name.
fn costs(resources: &Resources) -> [(&'static str, Option<f64>); 14] {
    [
        ("seconds", resources.seconds),
        ("roofline_seconds", resources.roofline_seconds),
        ("roofline_fraction", resources.roofline_fraction()),
        ("tflop_per_s", resources.tflops()),
        ("gb_per_s", resources.gigabytes_per_second()),
        ("flops", resources.flops),
        ("bytes_needed", resources.bytes_needed),
        ("bytes_moved", resources.bytes_moved),
        ("flops_per_byte", resources.intensity()),
        ("peak_bytes", resources.peak_bytes),
        ("workspace_bytes", resources.workspace_bytes),
        ("joules", resources.joules),
        ("dollars", resources.dollars),
        ("communication_bytes", resources.communication_bytes),
    ]
}

fn table(rows: &[BenchRow]) -> String {
    let modelled = rows.iter().any(|row| row.modelled.is_some());
    let mut table = Table::new(&[
        "op",
        "case",
        "shape",
        "dtype",
        if modelled { "modelled time" } else { "time" },
        "TFLOP/s",
        "GB/s",
        "of roofline",
        "flop",
        "bytes",
        "moved/needed",
        "DRAM/needed",
        "workspace",
        "instr/mma",
        "conflicts",
        "energy",
        "$ per M tokens",
        "error/allowed",
    ]);
    for row in rows {
        let resources = &row.resources;
        let cell = |value: Option<f64>, unit: &str| value.map(|value| short(value) + unit).unwrap_or_default();
        let ratio = |a: Option<f64>, b: Option<f64>| Some(a? / b.filter(|b| *b > 0.0)?);
        let counter = |name: &str| row.counters.as_ref().and_then(|counters| counters.get(name));
        let percent = |value: Option<f64>| value.map(|value| format!("{:.2} %", value * 100.0)).unwrap_or_default();
        let ideal = counter("shared_ideal_wavefronts");
        let conflicts = ratio(counter("shared_wavefronts"), ideal).map(|times| times - 1.0);
        let moved = counter("global_bytes").or(resources.bytes_moved);
        table.row(vec![
            row.op.to_owned(),
            row.case.name.to_owned(),
            row.case.shape(),
            row.case.dtype.name().to_owned(),
            cell(resources.seconds, "s"),
            resources.tflops().map(|value| format!("{value:.1}")).unwrap_or_default(),
            resources.gigabytes_per_second().map(|value| format!("{value:.0}")).unwrap_or_default(),
            percent(resources.roofline_fraction()),
            cell(resources.flops, ""),
            cell(resources.bytes_needed, "B"),
            ratio(moved, resources.bytes_needed).map(|value| format!("{value:.2}")).unwrap_or_default(),
            ratio(counter("dram_bytes"), resources.bytes_needed).map(|value| format!("{value:.2}")).unwrap_or_default(),
            cell(resources.workspace_bytes, "B"),
            ratio(counter("inst_executed"), counter("inst_executed_pipe_tensor"))
                .map(|value| format!("{value:.2}"))
                .unwrap_or_default(),
            percent(conflicts),
            cell(resources.joules, "J"),
            dollars_per_million_tokens(row).map(|value| format!("{value:.2e}")).unwrap_or_default(),
            format!("{:.2}", row.agreement.largest_fraction()),
        ]);
    }
    table.render()
}

/// Rent of the device for a million tokens.
fn dollars_per_million_tokens(row: &BenchRow) -> Option<f64> {
    Some(row.resources.dollars? / row.case.tokens()? * 1e6)
}

/// What limits a row's modelled time, and with `hot` its hottest lines.
fn explain(row: &BenchRow, hot: bool) -> String {
    let Some(modelled) = &row.modelled else { return String::new() };
    let list = |parts: &[(&str, f64)], count: usize| {
        let text = parts.iter().take(count).map(|(name, part)| format!("{name} {:.0} %", 100.0 * part));
        text.collect::<Vec<_>>().join(", ")
    };
    let mut text = format!("\n{}, {}: {} of the modelled time", row.op, row.case.name, list(&modelled.bounds, 5));
    if !modelled.stalls.is_empty() {
        text += &format!("; warps wait: {}", list(&modelled.stalls, 4));
    }
    if hot {
        for (title, lines) in [("PTX line", &row.hot.ptx), ("source line", &row.hot.source)] {
            text += &format!("\n{}", hot_table(title, lines));
        }
    }
    text
}

fn hot_table(title: &str, lines: &[HotLine]) -> String {
    let mut table = Table::new(&[
        "share",
        title,
        "instruction",
        "source",
        "warp instr",
        "sectors",
        "wavefronts",
        "conflicts",
        "kernel",
    ]);
    for line in lines {
        let source = line.source.clone().unwrap_or_default();
        let by_source = title == "source line";
        table.row(vec![
            format!("{:.1} %", 100.0 * line.share),
            if by_source { source.clone() } else { line.ptx_line.to_string() },
            line.mnemonic.to_owned(),
            if by_source { String::new() } else { source },
            line.warp_instructions.to_string(),
            line.sectors.to_string(),
            line.wavefronts.to_string(),
            line.conflicts.to_string(),
            line.kernel.clone(),
        ]);
    }
    table.render()
}

/// Three digits and a prefix: `1.61 G`.
fn short(value: f64) -> String {
    let prefixes = [(1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k"), (1.0, " "), (1e-3, " m"), (1e-6, " µ")];
    let found = prefixes.iter().find(|(size, _)| value.abs() >= *size);
    let &(size, prefix) = found.unwrap_or(if value == 0.0 { &(1.0, " ") } else { &(1e-9, " n") });
    let scaled = value / size;
    let digits = if scaled.abs() >= 100.0 || scaled == 0.0 {
        0
    } else if scaled.abs() >= 10.0 {
        1
    } else {
        2
    };
    format!("{scaled:.digits$}{prefix}")
}

fn json_row(row: &BenchRow) -> Value {
    let mut object = json_case(row.op, &row.case);
    let costs: Map<_, _> = costs(&row.resources)
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.map_or(Value::Null, number)))
        .collect();
    object.insert("costs".into(), costs.into());
    object.insert("outputs".into(), json_agreement(&row.agreement));
    let modelled = row.modelled.as_ref().map(|modelled| {
        json!({
            "dollars_per_million_tokens": dollars_per_million_tokens(row).map(number),
            "bounds": json_counters(&modelled.bounds),
            "stalls": json_counters(&modelled.stalls),
            "hot_ptx_lines": row.hot.ptx.iter().map(json_line).collect::<Vec<_>>(),
            "hot_source_lines": row.hot.source.iter().map(json_line).collect::<Vec<_>>(),
        })
    });
    object.insert("modelled".into(), modelled.into());
    let counters = row.counters.as_ref().map(|counters| json_counters(&counters.entries));
    object.insert("counters".into(), counters.into());
    Value::Object(object)
}

fn json_line(line: &HotLine) -> Value {
    json!({
        "kernel": line.kernel,
        "ptx_line": line.ptx_line,
        "source": line.source,
        "mnemonic": line.mnemonic,
        "share": line.share,
        "warp_instructions": line.warp_instructions,
        "sectors": line.sectors,
        "wavefronts": line.wavefronts,
        "conflicts": line.conflicts,
    })
}

/// One line a row; a column for every counter that any row has.
fn write_csv(path: &Path, device: &str, rows: &[BenchRow]) -> Result<(), Failure> {
    let mut counters: Vec<&str> = Vec::new();
    for (name, _) in rows.iter().filter_map(|row| row.counters.as_ref()).flat_map(|counters| &counters.entries) {
        if !counters.contains(name) {
            counters.push(name);
        }
    }
    let write = || -> Result<(), csv::Error> {
        let mut file = csv::Writer::from_path(path)?;
        let costs_of = |row: &BenchRow| costs(&row.resources);
        let mut heading = vec!["device", "op", "case", "shape", "dtype", "error_of_allowed"];
        heading.extend(costs(&Resources::default()).map(|(name, _)| name));
        heading.extend(&counters);
        file.write_record(heading)?;
        for row in rows {
            let text = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
            let mut record = vec![
                device.to_owned(),
                row.op.to_owned(),
                row.case.name.to_owned(),
                row.case.shape(),
                row.case.dtype.name().to_owned(),
                row.agreement.largest_fraction().to_string(),
            ];
            record.extend(costs_of(row).map(|(_, value)| text(value)));
            let counter = |name: &&str| text(row.counters.as_ref().and_then(|counters| counters.get(name)));
            record.extend(counters.iter().map(counter));
            file.write_record(record)?;
        }
        Ok(file.flush()?)
    };
    write().map_err(|error| Failure::Message(format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn numbers_are_shortened_to_three_digits() {
        let texts = [0.0, 1.0, 999.0, 1500.0, 4.2949e9, 2.5e-5, 3e-8].map(short);
        assert_eq!(texts, ["0 ", "1.00 ", "999 ", "1.50 k", "4.29 G", "25.0 µ", "30.0 n"]);
    }
}
