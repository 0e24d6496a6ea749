//! The model against golden tokens and probabilities: llama.cpp's greedy tokens, and logits of an independent pass in f64
//! (`tests/data/README.md`). `.ci/golden` gets the file and runs these.

use std::path::PathBuf;
use std::sync::OnceLock;

use llm_kernels::quant::gguf::Activations;
use llm_kernels::{Queue, verify};
use memmap2::Mmap;
use serde_json::Value;

use crate::engine::Engine;
use crate::file::File;
use crate::generate::{Generation, Wanted, generate, largest};
use crate::options::{KvFormat, Settings};
use crate::score::{for_each_token, log_sum_exp, mean_negative_log_likelihood};

/// A prompt of the golden file.
struct Golden {
    name: String,
    ids: Vec<u32>,
    greedy: Vec<u32>,
    /// At some positions of `ids` and `greedy` together: the 32 likeliest tokens and the logarithms of their probabilities.
    top: Vec<(usize, Vec<(u32, f64)>)>,
    /// Of the long passage.
    mean_negative_log_likelihood: Option<f64>,
}

fn golden() -> Vec<Golden> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/gemma3_golden.json");
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let ids = |value: &Value| value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
    let row = |row: &Value| (row[0].as_u64().unwrap() as u32, row[2].as_f64().unwrap());
    let prompts = golden["prompts"].as_array().unwrap().iter().map(|prompt| Golden {
        name: prompt["name"].as_str().unwrap().to_owned(),
        ids: ids(&prompt["ids"]),
        greedy: ids(&prompt["greedy"]["ids"]),
        top: prompt["top32"]["numpy_f64"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(position, rows)| (position.parse().unwrap(), rows.as_array().unwrap().iter().map(row).collect()))
            .collect(),
        mean_negative_log_likelihood: prompt["mean_nll"]["numpy_f64"].as_f64(),
    });
    prompts.collect()
}

/// The two short ones.
fn short() -> Vec<Golden> {
    let short: Vec<_> = golden().into_iter().filter(|prompt| prompt.mean_negative_log_likelihood.is_none()).collect();
    assert_eq!(short.len(), 2);
    short
}

fn passage() -> Golden {
    golden().into_iter().find(|prompt| prompt.mean_negative_log_likelihood.is_some()).unwrap()
}

impl Golden {
    fn all(&self) -> Vec<u32> {
        [self.ids.as_slice(), &self.greedy].concat()
    }
}

fn bytes() -> &'static [u8] {
    static FILE: OnceLock<Mmap> = OnceLock::new();
    FILE.get_or_init(|| {
        let path = std::env::var_os("LLM_KERNELS_GEMMA").expect("LLM_KERNELS_GEMMA names the model's file");
        crate::map(&PathBuf::from(path)).unwrap()
    })
}

fn queue() -> Queue {
    crate::open_queue().unwrap()
}

fn engine(rows: usize, capacity: usize, settings: Settings) -> Engine {
    Engine::load(&queue(), &File::read(bytes()).unwrap(), rows, capacity, settings).unwrap()
}

/// The likeliest token each time.
fn greedy(activations: Activations) -> Settings {
    let sampling = llm_kernels::fused::sample::Options { temperature: 0.0, ..Default::default() };
    Settings { activations, cache: None, sampling }
}

fn run(prompt: &[u32], tokens: usize, settings: Settings) -> Generation {
    let mut engine = engine(prompt.len(), prompt.len() + tokens, settings);
    generate(&mut engine, prompt, &Wanted { tokens, end: None, top: false }, |_| Ok(())).unwrap()
}

#[test]
#[ignore = "needs the model's file: .ci/golden"]
fn exact_activations_give_the_golden_tokens() {
    for prompt in short() {
        let generated = run(&prompt.ids, prompt.greedy.len(), greedy(Activations::Exact)).ids;
        assert_eq!(generated, prompt.greedy, "{}", prompt.name);
    }
}

#[test]
#[ignore = "needs the model's file: .ci/golden"]
fn exact_activations_give_the_golden_probabilities() {
    for prompt in golden() {
        let mut ids = prompt.all();
        let last = prompt.top.iter().map(|(position, _)| *position).max();
        ids.truncate(last.unwrap() + 1);
        let mut engine = engine(ids.len(), ids.len(), greedy(Activations::Exact));
        engine.prompt(&ids).unwrap();
        for (position, rows) in &prompt.top {
            engine.logits(*position, 1).unwrap();
            let logits = engine.read_logits(1).unwrap();
            let sum = log_sum_exp(&logits);
            for &(id, expected) in rows {
                let got = f64::from(logits[id as usize]) - sum;
                let place = format!("{} at {position}, token {id}", prompt.name);
                assert!((got - expected).abs() <= 0.06, "{place}: ln p is {got}, expected {expected}");
            }
            assert_eq!(largest(&logits, 1)[0].0, rows[0].0, "{} at {position}", prompt.name);
        }
    }
}

/// Of the short prompts with what follows: every token by a step over the cache, with 8-bit activations, against the exact
/// pass of the whole.
#[test]
#[ignore = "needs the model's file: .ci/golden"]
fn steps_with_activations_of_8_bits_stay_close_to_exact_ones() {
    let (mut tokens, mut same, mut divergence) = (0, 0, 0.0);
    for prompt in short() {
        let ids = prompt.all();
        let mut exact = engine(ids.len(), ids.len(), greedy(Activations::Exact));
        let mut q8 = engine(1, ids.len(), greedy(Activations::Q8));
        for_each_token(&mut exact, &ids, |place, expected| {
            let stream = q8.queue.stream().clone();
            stream.memcpy_htod(&[ids[place] as i32], &mut q8.scratch.ids)?;
            stream.memcpy_htod(&[place as i32], &mut q8.scratch.steps)?;
            q8.advance()?;
            let logits = q8.read_logits(1)?;
            tokens += 1;
            same += u32::from(largest(&logits, 1)[0].0 == largest(expected, 1)[0].0);
            divergence += kullback_leibler(expected, &logits);
            Ok(())
        })
        .unwrap();
    }
    let agreement = f64::from(same) / f64::from(tokens);
    let divergence = divergence / f64::from(tokens);
    println!(
        "{tokens} tokens: the same likeliest token at {:.1} %, mean divergence {divergence:.2e}",
        100.0 * agreement
    );
    assert!(agreement >= 0.93, "{agreement}");
    assert!(divergence <= 1e-2, "{divergence}");
}

#[test]
#[ignore = "needs the model's file: .ci/golden"]
fn the_passage_is_as_likely_as_it_should_be() {
    let passage = passage();
    let expected = passage.mean_negative_log_likelihood.unwrap();
    let mut engine = engine(passage.ids.len(), passage.ids.len(), greedy(Activations::Q8));
    let got = mean_negative_log_likelihood(&mut engine, &passage.ids).unwrap();
    println!("mean negative log-likelihood {got:.6}, expected {expected:.6}");
    assert!((got / expected - 1.0).abs() <= 0.005, "{got}, expected {expected}");
}

/// Steps over the cache, prompt and cache of every format, with every check on.
#[test]
#[ignore = "needs the model's file: .ci/golden"]
fn a_prompt_and_eight_tokens_pass_every_check() {
    verify::check_everything();
    let prompt = &short()[0];
    for cache in [None, Some(KvFormat::Int8), Some(KvFormat::Fp8)] {
        let generated = run(&prompt.ids, 8, Settings { cache, ..greedy(Activations::Q8) }).ids;
        assert_eq!(generated.len(), 8);
    }
}

/// `sum(p ln(p / q))` of the softmaxes of two rows of logits.
fn kullback_leibler(p: &[f32], q: &[f32]) -> f64 {
    let (p_sum, q_sum) = (log_sum_exp(p), log_sum_exp(q));
    let term = |(&p, &q): (&f32, &f32)| {
        let (p, q) = (f64::from(p) - p_sum, f64::from(q) - q_sum);
        p.exp() * (p - q)
    };
    p.iter().zip(q).map(term).sum()
}
