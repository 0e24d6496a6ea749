//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Text by Gemma 3 from its GGUF file, on these kernels: on the first GPU, or in software where there is none.
#[derive(Clone, Debug, Parser)]
#[command(name = "generate")]
pub struct Options {
    /// The GGUF file.
    #[arg(long)]
    pub model: PathBuf,
    /// The text to go on from.
    #[arg(default_value = "The capital of France is", conflicts_with = "prompt_ids")]
    pub prompt: String,
    /// The prompt as token ids, the first token of the sequence (2) among them.
    #[arg(long, value_delimiter = ',')]
    pub prompt_ids: Option<Vec<u32>>,
    /// What matrix products see: `exact` are f16 activations, `q8` blocks of 32 integers of 8 bits, faster.
    #[arg(long, value_enum, default_value_t = Activations::Q8)]
    pub activations: Activations,
    /// The most tokens to generate.
    #[arg(long, default_value_t = 32)]
    pub max_tokens: usize,
    /// 0 takes the likeliest token.
    #[arg(long, default_value_t = 0.0)]
    pub temperature: f32,
    /// The share of the probability that the tokens to choose from hold.
    #[arg(long, default_value_t = 1.0)]
    pub top_p: f32,
    /// Seed of the choices.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Keeps keys and values in 8 bits.
    #[arg(long, value_enum)]
    pub quantize_kv: Option<KvFormat>,
    /// Prints one JSON object rather than text.
    #[arg(long)]
    pub json: bool,
    /// Prints the mean negative log-likelihood of a token of this text, as JSON, and generates nothing.
    #[arg(long)]
    pub score: Option<PathBuf>,
}

/// What the matrix products see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Activations {
    /// f16 activations times dequantised weights, summed in f32.
    Exact,
    /// Activations in blocks of 32 integers of 8 bits.
    Q8,
}

/// How keys and values are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KvFormat {
    /// Integers of 8 bits, a scale for each token and head.
    Int8,
    /// e4m3 floats, a scale for each token and head.
    Fp8,
}
