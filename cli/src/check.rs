//! `check`: every operator against its reference, over a sweep of shapes.

use llm_kernels::verify::{self, Agreement, Case, CheckRow, Op};
use serde_json::{Map, Value, json};

use crate::failure::Failure;
use crate::output::{self, Table};
use crate::{Global, progress, select};

/// Checks the selected operators; an error if any case disagrees.
pub(crate) fn run(global: &Global, name: Option<&str>) -> Result<(), Failure> {
    let ops = select::many(name)?;
    verify::check_everything();
    let device = global.open()?;
    let queue = device.default_queue();
    let (cases, left_out) = cases(&ops, device.is_software(), |op| op.check_cases);
    let bar = progress::bar(cases.len());
    let mut rows = Vec::new();
    let mut stopped = None;
    for (op, case) in cases {
        bar.set_message(format!("{} {}", op.path, case.name));
        match op.check(&queue, case) {
            Ok(row) => rows.push(row),
            Err(error) => {
                // After a fault nothing more runs on this device.
                stopped =
                    Some(Failure::Message(format!("{}, case `{}` ({}): {error}", op.path, case.name, case.shape())));
                break;
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let failed = rows.iter().filter(|row| !row.agreement.passed()).count();
    if global.json {
        let list: Vec<Value> = rows.iter().map(json_row).collect();
        output::json(&json!({
            "device": device.name(),
            "passed": failed == 0 && stopped.is_none(),
            "cases": rows.len(),
            "failed": failed,
            "not_run": left_out,
            "rows": list,
        }))?;
    } else if !rows.is_empty() {
        output::line(&table(&rows))?;
        for row in rows.iter().filter(|row| !row.agreement.passed()) {
            output::line(&format!("{}, case `{}`: {}", row.op, row.case.name, row.agreement.report()))?;
        }
        let not_run = if left_out > 0 { format!(", {left_out} need a GPU and were not run") } else { String::new() };
        let agree = rows.len() - failed;
        output::line(&format!("{agree} of {} cases agree on {}{not_run}", rows.len(), device.name()))?;
    }
    match stopped {
        Some(failure) => Err(failure),
        None if failed > 0 => {
            Err(Failure::Message(format!("{failed} of {} cases disagree with the reference", rows.len())))
        }
        None if rows.is_empty() => Err(Failure::Message("no case was checked".to_owned())),
        None => Ok(()),
    }
}

/// The cases to run, and how many are left out because they are too much for the software device.
pub(crate) fn cases(
    ops: &[&'static Op],
    software: bool,
    list: fn(&Op) -> &'static [Case],
) -> (Vec<(&'static Op, &'static Case)>, usize) {
    let all = ops.iter().flat_map(|&op| list(op).iter().map(move |case| (op, case)));
    let (left_out, kept): (Vec<_>, Vec<_>) = all.partition(|(_, case)| case.gpu_only && software);
    (kept, left_out.len())
}

fn table(rows: &[CheckRow]) -> String {
    let mut table = Table::new(&["op", "case", "shape", "dtype", "result", "error/allowed"]);
    for CheckRow { op, case, agreement, .. } in rows {
        let result = if agreement.passed() { "agrees" } else { "DISAGREES" };
        table.row(vec![
            (*op).to_owned(),
            case.name.to_owned(),
            case.shape(),
            case.dtype.name().to_owned(),
            result.to_owned(),
            format!("{:.2}", agreement.largest_fraction()),
        ]);
    }
    table.render()
}

fn json_row(row: &CheckRow) -> Value {
    let mut object = json_case(row.op, &row.case);
    object.insert("agrees".into(), row.agreement.passed().into());
    object.insert("outputs".into(), json_agreement(&row.agreement));
    let counters = row.counters.as_ref().map(|counters| json_counters(&counters.entries));
    object.insert("counters".into(), counters.into());
    Value::Object(object)
}

/// Operator, name, type, sizes and options of a case.
pub(crate) fn json_case(op: &str, case: &Case) -> Map<String, Value> {
    let sizes: Map<_, _> = case.sizes.iter().map(|&(name, size)| (name.to_owned(), size.into())).collect();
    let options: Map<_, _> = case.options.iter().map(|&(name, text)| (name.to_owned(), text.into())).collect();
    let extras: Map<_, _> = case.extras.iter().map(|&(name, text)| (name.to_owned(), text.into())).collect();
    let mut object = Map::new();
    object.insert("op".into(), op.into());
    object.insert("case".into(), case.name.into());
    object.insert("dtype".into(), case.dtype.name().into());
    object.insert("sizes".into(), sizes.into());
    object.insert("options".into(), options.into());
    object.insert("extras".into(), extras.into());
    object
}

/// How each output agrees.
pub(crate) fn json_agreement(agreement: &Agreement) -> Value {
    let outputs = agreement.outputs.iter().map(|output| {
        let first = output.first.as_ref().map(|first| {
            json!({
                "index": first.index,
                "got": number(first.got),
                "expected": number(first.expected),
                "allowed": number(first.limit),
            })
        });
        json!({
            "name": output.name,
            "elements": output.elements,
            "mismatches": output.mismatches,
            "largest_error": number(output.largest_error),
            "error_of_allowed": number(output.largest_fraction),
            "first_mismatch": first,
        })
    });
    outputs.collect()
}

/// Counters by name.
pub(crate) fn json_counters(entries: &[(&'static str, f64)]) -> Value {
    entries.iter().map(|&(name, value)| (name.to_owned(), number(value))).collect::<Map<_, _>>().into()
}

/// A number; JSON has none for NaN and the infinities, which become words. Counts are written without a fraction.
pub(crate) fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 9e15 {
        json!(value as i64)
    } else if value.is_finite() {
        json!(value)
    } else {
        json!(value.to_string())
    }
}
