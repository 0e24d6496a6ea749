//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use llm_kernels::fused::sample;
use llm_kernels::quant::gguf;

/// Text by Gemma 3 from its GGUF file, on these kernels: on the first GPU, or in software where there is none.
#[derive(Clone, Debug, Parser)]
#[command(name = "generate")]
pub(crate) struct Options {
    /// The GGUF file.
    #[arg(long)]
    pub(crate) model: PathBuf,
    /// The text to go on from.
    #[arg(default_value = "The capital of France is", conflicts_with = "prompt_ids")]
    pub(crate) prompt: String,
    /// The prompt as token ids, the first token of the sequence (2) among them.
    #[arg(long, value_delimiter = ',')]
    pub(crate) prompt_ids: Option<Vec<u32>>,
    /// What matrix products see: `exact` are f16 activations, `q8` blocks of 32 integers of 8 bits, faster.
    #[arg(long, value_enum, default_value_t = Activations::Q8)]
    pub(crate) activations: Activations,
    /// The most tokens to generate.
    #[arg(long, default_value_t = 32)]
    pub(crate) max_tokens: usize,
    /// 0 takes the likeliest token.
    #[arg(long, default_value_t = 0.0)]
    pub(crate) temperature: f32,
    /// The share of the probability that the tokens to choose from hold.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) top_p: f32,
    /// Seed of the choices.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Keeps keys and values in 8 bits.
    #[arg(long, value_enum)]
    pub(crate) quantize_kv: Option<KvFormat>,
    /// Prints one JSON object rather than text.
    #[arg(long)]
    pub(crate) json: bool,
    /// Prints the mean negative log-likelihood of a token of this text, as JSON, and generates nothing.
    #[arg(long)]
    pub(crate) score: Option<PathBuf>,
}

/// What the passes depend on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) activations: gguf::Activations,
    /// f16 without.
    pub(crate) cache: Option<KvFormat>,
    pub(crate) sampling: sample::Options,
}

impl Options {
    /// What of them the passes depend on.
    pub(crate) fn settings(&self) -> Settings {
        let activations = match self.activations {
            Activations::Exact => gguf::Activations::Exact,
            Activations::Q8 => gguf::Activations::Q8,
        };
        let (temperature, top_p, seed) = (self.temperature, self.top_p, self.seed);
        let sampling = sample::Options { temperature, top_p, seed, ..Default::default() };
        Settings { activations, cache: self.quantize_kv, sampling }
    }
}

/// What the matrix products see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Activations {
    /// f16 activations times dequantised weights, summed in f32.
    Exact,
    /// Activations in blocks of 32 integers of 8 bits.
    Q8,
}

/// How keys and values are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KvFormat {
    /// Integers of 8 bits, a scale for each token and head.
    Int8,
    /// e4m3 floats, a scale for each token and head.
    Fp8,
}
