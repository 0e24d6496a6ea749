//! `run`: tensors from a file, through an operator, to a file.

use half::f16;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::{File, fails, json, llm_kernels, succeeds};

const OP: &str = "attention/flash_forward";

/// A file of f16 tensors.
fn write(name: &str, tensors: &[(&str, &[usize], Vec<f32>)]) -> File {
    let file = File::new(name);
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, _, values)| values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect())
        .collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        (name.to_string(), TensorView::new(Dtype::F16, shape.to_vec(), bytes).unwrap())
    });
    std::fs::write(&file.0, safetensors::serialize(views, None).unwrap()).unwrap();
    file
}

/// Queries of zero see every key alike: the result is the mean of the values, and lse the logarithm of their number.
fn uniform(name: &str, d: usize) -> File {
    let (queries, keys) = ([1, 3, 2, d], [1, 4, 1, d]);
    let v = (0..4 * d).map(|index| (index / d) as f32).collect();
    let ones = vec![1.0; 4 * d];
    write(name, &[("q", &queries, vec![0.0; 6 * d]), ("k", &keys, ones), ("v", &keys, v)])
}

#[test]
fn describe_says_what_the_operator_takes() {
    let description = json(&["run", OP, "--describe"]);
    let names = |list: &str| -> Vec<String> {
        let list = description[list].as_array().unwrap();
        list.iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    };
    let extras = ["sinks", "alibi_slopes", "bias", "mask_bits", "prefix", "cu_seqlens_q", "cu_seqlens_k"];
    assert_eq!(names("inputs"), [&["q", "k", "v"][..], &extras].concat());
    assert_eq!(
        names("options"),
        ["causal", "scale", "window_left", "window_right", "softcap", "dropout_p", "dropout_seed"]
    );
    assert_eq!(names("outputs"), ["out", "lse"]);
    assert_eq!(description["inputs"][0]["shape"], serde_json::json!(["b", "s_q", "h_q", "d"]));
    assert_eq!(description["inputs"][0]["shape_of_sequences"], serde_json::json!(["total_q", "h_q", "d"]));
    assert_eq!(description["inputs"][0]["dtypes"], serde_json::json!(["f16", "bf16", "f32"]));
    assert_eq!(description["outputs"][1]["shape"], serde_json::json!(["b", "h_q", "s_q"]));
    for option in description["options"].as_array().unwrap() {
        assert!(["bool", "float", "int"].contains(&option["type"].as_str().unwrap()));
        assert!(!option["default"].as_str().unwrap().is_empty() && !option["meaning"].as_str().unwrap().is_empty());
    }
}

#[test]
fn equal_scores_give_the_mean_of_the_values() {
    let (input, target) = (uniform("mean.in", 64), File::new("mean.out"));
    let text = succeeds(&["run", OP, "--input", input.path(), "--output", target.path(), "--verify"]);
    assert!(text.contains("out: agrees") && text.contains("lse: agrees"), "{text}");
    let bytes = std::fs::read(&target.0).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (out, lse) = (file.tensor("out").unwrap(), file.tensor("lse").unwrap());
    assert_eq!((out.shape(), out.dtype()), (&[1, 3, 2, 64][..], Dtype::F16));
    assert_eq!((lse.shape(), lse.dtype()), (&[1, 2, 3][..], Dtype::F32));
    assert!(out.data().chunks(2).all(|x| f16::from_le_bytes([x[0], x[1]]).to_f32() == 1.5));
    let expected = 4f32.ln();
    assert!(lse.data().chunks(4).all(|x| (f32::from_le_bytes([x[0], x[1], x[2], x[3]]) - expected).abs() < 1e-6));
}

#[test]
fn options_reach_the_operator() {
    let (input, target) = (uniform("causal.in", 64), File::new("causal.out"));
    // Four keys, three queries, aligned at the end: the first query sees two keys, the mean of 0 and 1.
    let arguments = ["run", OP, "--input", input.path(), "--output", target.path(), "--set", "causal=true", "--json"];
    let report = json(&arguments);
    assert_eq!(report["outputs"][0]["shape"], serde_json::json!([1, 3, 2, 64]));
    let bytes = std::fs::read(&target.0).unwrap();
    let out = SafeTensors::deserialize(&bytes).unwrap().tensor("out").unwrap().data().to_vec();
    let row = |query: usize| f16::from_le_bytes([out[query * 256], out[query * 256 + 1]]).to_f32();
    assert_eq!([row(0), row(1), row(2)], [0.5, 1.0, 1.5]);
}

#[test]
fn input_that_does_not_fit_is_one_clear_line() {
    let target = File::new("rejects.out");
    let good = uniform("good.in", 64);
    let narrow = uniform("narrow.in", 100);
    let keys: &[usize] = &[1, 4, 1, 64];
    let lone = write("lone.in", &[("query", keys, vec![0.0; 256]), ("k", keys, vec![0.0; 256])]);
    let cases: [(&File, &[&str], &str); 9] = [
        (&good, &["--set", "causal"], "--set causal: expected NAME=VALUE"),
        (&good, &["--set", "causal=yes"], "option causal is \"yes\", expected true or false"),
        (&good, &["--set", "colour=red"], "option \"colour\" is unknown; there are: causal, scale"),
        (&good, &["--set", "scale=1", "--set", "scale=2"], "option scale is set twice"),
        (&good, &["--set", "window_left=-1"], "option window_left"),
        (&good, &["--set", "softcap=0"], "softcap is 0, expected a finite number above 0"),
        (&good, &["--set", "dropout_p=1"], "dropout_p is 1, expected a number from 0 to below 1"),
        (&narrow, &[], "head_dim 100"),
        (&lone, &[], "in the file, and not an input: query"),
    ];
    for (input, extra, expected) in cases {
        let mut command = llm_kernels(&["run", OP, "--input", input.path(), "--output", target.path()]);
        let line = fails(command.args(extra));
        assert!(line.contains(expected), "{line}");
        assert!(!target.0.exists(), "nothing is written on an error: {line}");
    }
}

#[test]
fn files_that_cannot_be_read_or_written_are_named() {
    let good = uniform("files.in", 64);
    let text = File::new("text");
    std::fs::write(&text.0, "not tensors").unwrap();
    let missing = "/no/such/folder/x.safetensors";
    for (input, target, expected) in [
        (missing, text.path(), "/no/such/folder/x.safetensors: "),
        (text.path(), missing, "not a safetensors file"),
        (good.path(), missing, "/no/such/folder/x.safetensors: "),
    ] {
        let line = fails(&mut llm_kernels(&["run", OP, "--input", input, "--output", target]));
        assert!(line.contains(expected), "{line}");
    }
}
