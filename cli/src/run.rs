//! `run`: an operator on tensors from a file.

use std::path::Path;

use llm_kernels::verify::{Agreement, Bindings, HostTensor, Op, OptionSpec, OptionType, TensorSpec};
use serde_json::{Value, json};

use crate::check::json_agreement;
use crate::failure::Failure;
use crate::{Global, RunArgs, output, select, tensors};

/// Runs the operator, or prints its description.
pub(crate) fn run(global: &Global, arguments: &RunArgs) -> Result<(), Failure> {
    let op = select::one(&arguments.op)?;
    let (input, target) = match (&arguments.input, &arguments.output) {
        _ if arguments.describe => return Ok(output::json(&description(op))?),
        (Some(input), Some(output)) => (input, output),
        _ => {
            return Err(Failure::Message("run needs --input and --output".to_owned()));
        }
    };
    let options = arguments
        .options
        .iter()
        .map(|text| text.split_once('=').ok_or_else(|| Failure::Message(format!("--set {text}: expected NAME=VALUE"))));
    let options = options.collect::<Result<Vec<_>, _>>()?;
    let named = |specs: &[TensorSpec], name: &str| specs.iter().any(|spec| spec.name == name);
    let (inputs, others) = tensors::read(input, |name| named(op.description.inputs, name))?;
    // A file may hold the outputs that someone expects, beside the inputs; anything else is perhaps a misspelling.
    let strange: Vec<_> = others.into_iter().filter(|name| !named(op.description.outputs, name)).collect();
    let bindings = Bindings::new(op, inputs, &options).map_err(|error| match strange.is_empty() {
        true => error.into(),
        false => Failure::Message(format!("{error}; in the file, and not an input: {}", strange.join(", "))),
    })?;
    if !strange.is_empty() {
        eprintln!("{}: not an input, ignored: {}", input.display(), strange.join(", "));
    }
    let device = global.open()?;
    let queue = device.default_queue();
    let (outputs, agreement) = if arguments.verify {
        let compared = op.run_and_compare(&queue, &bindings)?;
        (compared.outputs, Some(compared.agreement))
    } else {
        (op.run(&queue, &bindings)?, None)
    };
    tensors::write(target, op.path, &outputs)?;
    print(global, op, device.name(), target, &outputs, agreement.as_ref())?;
    match agreement {
        Some(agreement) if !agreement.passed() => {
            Err(Failure::Message(format!("{} disagrees with the reference: {}", op.path, agreement.report())))
        }
        _ => Ok(()),
    }
}

fn print(
    global: &Global,
    op: &Op,
    device: &str,
    target: &Path,
    outputs: &[HostTensor],
    agreement: Option<&Agreement>,
) -> Result<(), Failure> {
    let target = target.display().to_string();
    if global.json {
        let list: Vec<Value> = outputs
            .iter()
            .map(|tensor| json!({ "name": tensor.name, "dtype": tensor.dtype.name(), "shape": tensor.shape }))
            .collect();
        let agrees = agreement.map(Agreement::passed);
        let comparison = agreement.map(json_agreement);
        return Ok(output::json(&json!({
            "op": op.path,
            "device": device,
            "file": target,
            "outputs": list,
            "agrees": agrees,
            "comparison": comparison,
        }))?);
    }
    for tensor in outputs {
        output::line(&format!("{} {} {:?}", tensor.name, tensor.dtype.name(), tensor.shape))?;
    }
    for compared in agreement.iter().flat_map(|agreement| &agreement.outputs) {
        output::line(&compared.to_string())?;
    }
    Ok(output::line(&format!("{} on {device}: written to {target}", op.path))?)
}

/// What an operator takes and gives.
fn description(op: &Op) -> Value {
    let tensors = |specs: &[TensorSpec]| -> Vec<Value> {
        let one = |spec: &TensorSpec| {
            let mut object = json!({
                "name": spec.name,
                "dtypes": spec.dtypes.iter().map(|dtype| dtype.name()).collect::<Vec<_>>(),
                "shape": spec.shape,
                "optional": spec.optional,
                "meaning": spec.meaning,
            });
            if !spec.shape_of_sequences.is_empty() {
                object["shape_of_sequences"] = json!(spec.shape_of_sequences);
            }
            object
        };
        specs.iter().map(one).collect()
    };
    let option = |spec: &OptionSpec| {
        let OptionSpec { name, kind, default, meaning } = spec;
        let mut object = json!({ "name": name, "type": kind.name(), "default": default, "meaning": meaning });
        if let OptionType::Choice(words) = kind {
            object["choices"] = json!(words);
        }
        object
    };
    json!({
        "op": op.path,
        "summary": op.summary,
        "inputs": tensors(op.description.inputs),
        "options": op.description.options.iter().map(option).collect::<Vec<_>>(),
        "outputs": tensors(op.description.outputs),
    })
}
