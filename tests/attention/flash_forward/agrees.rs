//! With the reference, with a definition written down once more, and with a real model.

use super::*;
use llm_kernels::verify::{Bindings, Case, Op};
use safetensors::SafeTensors;

fn op() -> &'static Op {
    verify::select(Some("attention/flash_forward"))[0]
}

#[test]
fn every_case_of_check_agrees() {
    let _shared = LAUNCHES.read().unwrap_or_else(PoisonError::into_inner);
    let check = |case: &Case| op().check(queue(), case).unwrap_or_else(|error| panic!("{}: {error}", case.shape()));
    for case in op().check_cases.iter().filter(|case| !case.gpu_only || !queue().device().is_software()) {
        let row = check(case);
        assert!(row.agreement.passed(), "{} {}: {}", case.dtype, case.shape(), row.agreement.report());
    }
}

#[test]
fn a_difference_beyond_the_tolerance_is_seen() {
    let attention = Attention::new(F16, [1, 16, 32, 2, 1, 64], CAUSAL);
    let exact = reference(&attention.problem, &attention.inputs());
    let results = |out: &[f64], lse: &[f64]| Results {
        out: HostTensor::from_f64("out", F16, &[1, 16, 2, 64], out),
        lse: HostTensor::from_f64("lse", DType::F32, &[1, 2, 16], lse),
    };
    attention.assert_is(&results(&exact.out, &exact.lse));
    for wrong in [0.02, f64::NAN, f64::INFINITY] {
        let mut out = exact.out.clone();
        out[777] += wrong;
        assert!(!attention.compare(&results(&out, &exact.lse)).passed(), "out off by {wrong}");
        let mut lse = exact.lse.clone();
        lse[7] += wrong * 1e-3;
        assert!(!attention.compare(&results(&exact.out, &lse)).passed(), "lse off by {wrong}");
    }
}

#[test]
fn the_reference_is_the_softmax_of_a_small_example_by_hand() {
    // One query of value 1 in its first element, two keys with ln 1 and ln 3 there: weights 1/4 and 3/4.
    let options = Options { scale: Some(1.0), ..FULL };
    let problem = Problem::new(F16, shape([1, 1, 2, 1, 1, 64]), &options).unwrap();
    let one_in_64 = |first: f64| std::iter::once(first).chain(std::iter::repeat_n(0.0, 63)).collect::<Vec<_>>();
    let k = [one_in_64(0.0), one_in_64(3f64.ln())].concat();
    let v = [one_in_64(4.0), one_in_64(8.0)].concat();
    let q = one_in_64(1.0);
    let inputs = Inputs { q: &q, k: &k, v: &v, ..Inputs::default() };
    for (result, error) in [(reference(&problem, &inputs), 1e-15), (plain(&problem, &inputs), 1e-6)] {
        assert!((result.out[0] - 7.0).abs() <= 7.0 * error, "{result:?}");
        assert!((result.lse[0] - 4f64.ln()).abs() <= error, "{result:?}");
    }
}

/// Tensors of a file under tests/data.
fn data(name: &str) -> Vec<HostTensor> {
    let path = format!("{}/tests/data/{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let host = |(name, tensor): (String, safetensors::tensor::TensorView)| HostTensor {
        name,
        dtype: tensor.dtype().to_string().to_lowercase().parse().unwrap(),
        shape: tensor.shape().to_vec(),
        bytes: tensor.data().to_vec(),
    };
    file.tensors().into_iter().map(host).collect()
}

fn named<'a>(tensors: &'a [HostTensor], name: &str) -> &'a HostTensor {
    tensors.iter().find(|tensor| tensor.name == name).unwrap()
}

/// Runs the operator by name on a real model's tensors, and compares with the exact results that lie beside them.
fn agrees_with_the_model(name: &str, window_left: Option<usize>) {
    let _shared = LAUNCHES.read().unwrap_or_else(PoisonError::into_inner);
    let tensors = data(name);
    let window = window_left.map(|window| window.to_string());
    let mut set = vec![("causal", "true"), ("scale", "0.0625")];
    set.extend(window.as_deref().map(|window| ("window_left", window)));
    let bindings = Bindings::new(op(), tensors.clone(), &set).unwrap();
    let outputs = op().run(queue(), &bindings).unwrap_or_else(|error| panic!("{name}: {error}"));
    let results = Results { out: named(&outputs, "out").clone(), lse: named(&outputs, "lse").clone() };

    let [q, k, v] = ["q", "k", "v"].map(|name| named(&tensors, name));
    let options = Options { scale: Some(0.0625), window_left, ..CAUSAL };
    let sizes = [1, q.shape[1], k.shape[1], 4, 1, 256];
    let attention = Attention {
        problem: Problem::new(F16, shape(sizes), &options).unwrap(),
        options,
        q: q.to_f64(),
        k: k.to_f64(),
        v: v.to_f64(),
        extras: Extras::default(),
    };
    let exact = Output { out: named(&tensors, "out").to_f64(), lse: named(&tensors, "lse").to_f64() };
    let plain = plain(&attention.problem, &attention.inputs());
    let agreement = attention.compare_with(&results, &exact, &plain);
    assert!(agreement.passed(), "{name}: {}", agreement.report());

    // The reference of this crate gives what the file holds, to the file's precision.
    let own = reference(&attention.problem, &attention.inputs());
    let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 2e-6 * b.abs().max(1.0));
    assert!(near(&own.out, &exact.out) && near(&own.lse, &exact.lse), "{name}: the reference differs from the file");
}

#[test]
fn a_real_model_s_local_layer_agrees() {
    agrees_with_the_model("gemma3_local_passage", Some(511));
    agrees_with_the_model("gemma3_local_short", Some(511));
}

#[test]
fn a_real_model_s_global_layer_agrees() {
    agrees_with_the_model("gemma3_global_passage", None);
    agrees_with_the_model("gemma3_global_short", None);
}
